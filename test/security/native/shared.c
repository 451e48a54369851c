// V: things of one host that two sandboxes have in common.
#include "attack.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
#define DEVICES (sizeof devices / sizeof *devices)

// Where a sender would put its bits: F_GETLK gives start and length back.
#define FIRST_BYTE (1LL << 40)
#define MESSAGE 4711

// Device number `index`, or, after the last, the input that this process was started with.
static int device(size_t index, const char **name) {
  *name = index < DEVICES ? devices[index] : "descriptor 0";
  return index < DEVICES ? open(devices[index], O_RDWR | O_CLOEXEC) : dup(STDIN_FILENO);
}

static struct flock lock_of(short type, off_t start) {
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = MESSAGE};
}

// Takes a lock of each kind on each device, and keeps them.
static void take_locks(const struct attack *attack) {
  char call[64];
  for (size_t i = 0; i <= DEVICES; i++) {
    const char *name;
    int fd = device(i, &name);
    snprintf(call, sizeof call, "flock %s", name);
    TRY(attack, call, fd < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB));
    struct flock lock = lock_of(F_WRLCK, FIRST_BYTE);
    snprintf(call, sizeof call, "F_SETLK %s", name);
    TRY(attack, call, fcntl(fd, F_SETLK, &lock));
    lock = lock_of(F_WRLCK, 2 * FIRST_BYTE);
    snprintf(call, sizeof call, "F_OFD_SETLK %s", name);
    TRY(attack, call, fcntl(fd, F_OFD_SETLK, &lock));
    snprintf(call, sizeof call, "F_SETLEASE %s", name);
    TRY(attack, call, fcntl(fd, F_SETLEASE, F_WRLCK));
  }
}

// Whether the locks of another process are seen: an attempt succeeds when they are.
static void see_locks(const struct attack *attack) {
  char call[64];
  for (size_t i = 0; i <= DEVICES; i++) {
    const char *name;
    int fd = device(i, &name);
    snprintf(call, sizeof call, "flock %s", name);
    bool is_taken = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    told(attack, call, is_taken ? 0 : -1, 0);
    struct flock lock = lock_of(F_WRLCK, FIRST_BYTE - 1);
    snprintf(call, sizeof call, "F_GETLK %s", name);
    bool is_told = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_start == FIRST_BYTE;
    told(attack, call, is_told && lock.l_len == MESSAGE ? 0 : -1, 0);
    lock = lock_of(F_WRLCK, 2 * FIRST_BYTE);
    snprintf(call, sizeof call, "F_OFD_SETLK %s", name);
    bool is_refused = fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES);
    told(attack, call, is_refused ? 0 : -1, 0);
    close(fd);
  }
}

static void in_another_process(const struct attack *attack) {
  fflush(attack->out);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return told(attack, "pipe", -1, errno);
  pid_t pid = fork();
  if (pid == 0) {
    const struct attack own = {fdopen(ends[1], "w"), 0, NULL};
    see_locks(&own);
    fclose(own.out);
    _exit(0);
  }
  close(ends[1]);
  char text[512];
  ssize_t length;
  while ((length = read(ends[0], text, sizeof text)) > 0)
    fwrite(text, 1, (size_t)length, attack->out);
  close(ends[0]);
}

// Every call that could set a time stamp of a device.
static void touch_devices(const struct attack *attack) {
  char call[64], byte[16] = "x";
  for (size_t i = 0; i < DEVICES; i++) {
    int fd = open(devices[i], O_RDWR | O_CLOEXEC);
    snprintf(call, sizeof call, "read %s", devices[i]);
    TRY(attack, call, read(fd, byte, sizeof byte));
    snprintf(call, sizeof call, "write %s", devices[i]);
    TRY(attack, call, write(fd, byte, 1));
    snprintf(call, sizeof call, "utimensat %s", devices[i]);
    TRY(attack, call, utimensat(AT_FDCWD, devices[i], NULL, 0));
    snprintf(call, sizeof call, "futimens %s", devices[i]);
    TRY(attack, call, futimens(fd, NULL));
    snprintf(call, sizeof call, "chmod %s", devices[i]);
    TRY(attack, call, chmod(devices[i], 0600));
    close(fd);
  }
}

static void look_at_devices(const struct attack *attack) {
  for (size_t i = 0; i < DEVICES; i++) {
    struct stat facts;
    if (stat(devices[i], &facts) < 0) return told(attack, devices[i], -1, errno);
    char text[160];
    snprintf(text, sizeof text, "%o %lld.%ld %lld.%ld %lld.%ld", facts.st_mode,
             (long long)facts.st_atim.tv_sec, facts.st_atim.tv_nsec, (long long)facts.st_mtim.tv_sec,
             facts.st_mtim.tv_nsec, (long long)facts.st_ctim.tv_sec, facts.st_ctim.tv_nsec);
    fact(attack, devices[i], text);
  }
}

static void mounts(const struct attack *attack) {
  tell_file(attack, "/proc/self/mountinfo");
}

const struct scenario shared_scenarios[] = {
    {"V1-take", take_locks},
    {"V1-see", see_locks},
    {"V1-see-own", in_another_process},
    {"V2-touch", touch_devices},
    {"V2-look", look_at_devices},
    {"V3", mounts},
    {NULL, NULL},
};
