// B: the file system.
#include "attack.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void host_files(const struct attack *attack) {
  const char *const paths[] = {
      "/etc/shadow",
      "/etc/gshadow",
      "/etc/sudoers",
      "/etc/ssh/ssh_host_ed25519_key",
      "/etc/machine-id",
      "/etc/subuid",
      "/etc/crontab",
      "/etc/fstab",
      "/root",
      "/root/.ssh/id_ed25519",
      "/root/.bash_history",
      "/root/.npmrc",
      "/home",
      "/home/offshoot",
      "/var/lib/offshoot",
      "/var/lib/offshoot/admin-key",
      "/var/lib/offshoot/images",
      "/var/cache/offshoot",
      "/var/lib/docker",
      "/var/lib/dpkg/status",
      "/var/log/syslog",
      "/var/log/dpkg.log",
      "/var/run/docker.sock",
      "/run/docker.sock",
      "/run/containerd/containerd.sock",
      "/run/redis/redis.sock",
      "/run/systemd/private",
      "/run/dbus/system_bus_socket",
      "/run/offshoot/store",
      "/run/offshoot/scratch",
      "/run/offshoot/scratch/upper",
      "/run/offshoot/checkout",
      "/work",
      "/srv",
      "/mnt",
      "/media",
      "/boot",
      "/lost+found",
      "/proc/1/root/etc/shadow",
      "/proc/self/root/../etc/shadow",
      "/proc/1/cwd/../../../etc/shadow",
      "/../../../../etc/shadow",
      "/var/task/../../../../../etc/shadow",
      "/tmp/../../../etc/shadow",
      "/dev/fd/../../../etc/shadow",
      "/proc/self/fd/0/../../../etc/shadow",
      "/proc/2/root",
      "/proc/self/task/1/root/etc/shadow",
      "/oldroot",
      "/.pivot",
      "/var/task/..//../root",
      "/.dockerenv",
  };
  char content[4096];
  int tried = 0;
  for (int i = 0; i < (int)(sizeof paths / sizeof *paths) + attack->argc; i++) {
    int built_in = (int)(sizeof paths / sizeof *paths);
    const char *path = i < built_in ? paths[i] : attack->argv[i - built_in];
    tried++;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      told(attack, path, -1, errno);
      continue;
    }
    ssize_t length = read(fd, content, sizeof content - 1);
    close(fd);
    content[length > 0 ? length : 0] = '\0';
    fact(attack, path, content);
  }
  fact_number(attack, "tried", tried);
}

// nftw(3) passes no argument through.
static const struct attack *walker;
static long tries;

static void expect_refusal(const char *what, const char *path, long result) {
  tries++;
  if (result < 0) return;
  char call[4200];
  snprintf(call, sizeof call, "%s %s", what, path);
  told(walker, call, result, 0);
  if (what[0] == 'o') close((int)result);
}

static int visit(const char *path, const struct stat *facts, int type, struct FTW *walk) {
  (void)walk;
  if (type == FTW_D || type == FTW_DNR) {
    const char *const own[] = {"/proc", "/dev", "/tmp"};
    for (size_t i = 0; i < 3; i++)
      if (strcmp(path, own[i]) == 0) return FTW_SKIP_SUBTREE;
    char inside[4200];
    snprintf(inside, sizeof inside, "%s/planted", path);
    expect_refusal("open(O_CREAT)", inside, open(inside, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    expect_refusal("mkdir", inside, mkdir(inside, 0755));
    expect_refusal("symlink", inside, symlink("/etc/passwd", inside));
  } else if (S_ISREG(facts->st_mode)) {
    expect_refusal("open(O_WRONLY)", path, open(path, O_WRONLY | O_CLOEXEC));
    expect_refusal("open(O_RDWR|O_TRUNC)", path, open(path, O_RDWR | O_TRUNC | O_CLOEXEC));
    expect_refusal("truncate", path, truncate(path, 0));
    expect_refusal("link", path, link(path, "/tmp/linked"));
  }
  if (S_ISLNK(facts->st_mode)) return FTW_CONTINUE;
  expect_refusal("chmod", path, chmod(path, 0777));
  expect_refusal("chown", path, chown(path, 1000, 1000));
  expect_refusal("rename", path, rename(path, "/tmp/moved"));
  if (S_ISREG(facts->st_mode)) expect_refusal("unlink", path, unlink(path));
  return FTW_CONTINUE;
}

static void change_base(const struct attack *attack) {
  walker = attack;
  tries = 0;
  nftw("/", visit, 32, FTW_PHYS | FTW_ACTIONRETVAL);
  fact_number(attack, "tries", tries);
}

static void mount_table(const struct attack *attack) {
  tell_file(attack, "/proc/self/mountinfo");
  tell_file(attack, "/proc/self/mounts");
}

static void mount_things(const struct attack *attack) {
  // Argument: a directory to mount on.
  const char *place = attack->argc > 0 ? attack->argv[0] : "/tmp/m";
  mkdir(place, 0755);
  TRY(attack, "mount tmpfs", mount("tmpfs", place, "tmpfs", 0, NULL));
  TRY(attack, "mount proc", mount("proc", place, "proc", 0, NULL));
  TRY(attack, "mount sysfs", mount("sysfs", place, "sysfs", 0, NULL));
  TRY(attack, "mount overlay", mount("overlay", place, "overlay", 0, "lowerdir=/"));
  TRY(attack, "mount cgroup2", mount("cgroup2", place, "cgroup2", 0, NULL));
  const char *const controllers[] = {"memory",  "cpu",     "cpuset", "pids",
                                     "freezer", "devices", "blkio",  "rdma"};
  for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
    char call[64];
    snprintf(call, sizeof call, "mount cgroup %s", controllers[i]);
    TRY(attack, call, mount("cgroup", place, "cgroup", 0, controllers[i]));
  }
  TRY(attack, "bind /", mount("/", place, NULL, MS_BIND | MS_REC, NULL));
  TRY(attack, "remount / writable", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY(attack, "remount /var/task writable", mount(NULL, "/var/task", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY(attack, "make / shared", mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL));
  TRY(attack, "umount2 /var/task", umount2("/var/task", MNT_DETACH));
  TRY(attack, "umount2 /proc", umount2("/proc", MNT_DETACH));
  TRY(attack, "fsopen", syscall(SYS_fsopen, "tmpfs", 0));
  TRY(attack, "fspick", syscall(SYS_fspick, AT_FDCWD, "/", 0));
  TRY(attack, "fsconfig", syscall(SYS_fsconfig, 0, 0, NULL, NULL, 0));
  TRY(attack, "fsmount", syscall(SYS_fsmount, 0, 0, 0));
  TRY(attack, "open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE));
  TRY(attack, "move_mount", syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, place, 0));
  TRY(attack, "mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0));
  TRY(attack, "pivot_root", syscall(SYS_pivot_root, ".", "."));
  TRY(attack, "chroot", chroot("/tmp"));
}

static void make_devices(const struct attack *attack) {
  TRY(attack, "mknod c 1 1 (mem)", mknod("/tmp/mem", S_IFCHR | 0666, makedev(1, 1)));
  TRY(attack, "mknod c 1 11 (kmsg)", mknod("/tmp/kmsg", S_IFCHR | 0666, makedev(1, 11)));
  TRY(attack, "mknod b 8 0 (disk)", mknod("/tmp/sda", S_IFBLK | 0666, makedev(8, 0)));
  TRY(attack, "mknod b 254 0 (disk)", mknod("/tmp/vda", S_IFBLK | 0666, makedev(254, 0)));
  TRY(attack, "mknod c 0 0 (whiteout)", mknod("/tmp/whiteout", S_IFCHR, 0));
  TRY(attack, "mknodat c 1 1 (mem)", mknodat(AT_FDCWD, "/tmp/mem2", S_IFCHR | 0666, makedev(1, 1)));
  const char *const devices[] = {"/dev/mem",   "/dev/kmem",        "/dev/kmsg",         "/dev/port",
                                 "/dev/sda",   "/dev/vda",         "/dev/tty",          "/dev/ptmx",
                                 "/dev/fuse",  "/dev/kvm",         "/dev/vsock",        "/dev/net/tun",
                                 "/dev/shm/x", "/dev/console",     "/dev/loop-control", "/dev/mqueue",
                                 "/dev/pts/0", "/dev/userfaultfd", "/dev/vhost-vsock",  "/dev/dri"};
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
    TRY(attack, devices[i], open(devices[i], O_RDWR | O_CLOEXEC));
}

static void open_each(const struct attack *attack) {
  for (int i = 0; i < attack->argc; i++)
    TRY(attack, attack->argv[i], open(attack->argv[i], O_RDONLY | O_CLOEXEC));
}

static void rewrite_program(const struct attack *attack) {
  const char *const programs[] = {"/proc/self/exe",
                                  "/proc/1/exe",
                                  "/usr/bin/node",
                                  "/opt/offshoot/zygote.node",
                                  "/opt/offshoot/bootstrap.cjs",
                                  "/var/task/attack"};
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    char call[96], again[64];
    const char *program = programs[i];
    snprintf(call, sizeof call, "open %s O_WRONLY", program);
    TRY(attack, call, open(program, O_WRONLY | O_CLOEXEC));
    snprintf(call, sizeof call, "open %s O_RDWR", program);
    TRY(attack, call, open(program, O_RDWR | O_CLOEXEC));
    snprintf(call, sizeof call, "truncate %s", program);
    TRY(attack, call, truncate(program, 0));
    // CVE-2019-5736: a descriptor for reading, opened again through /proc for writing.
    int fd = open(program, O_PATH | O_CLOEXEC);
    if (fd < 0) continue;
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    snprintf(call, sizeof call, "open %s again O_RDWR", program);
    TRY(attack, call, open(again, O_RDWR | O_CLOEXEC));
    snprintf(call, sizeof call, "truncate %s again", program);
    TRY(attack, call, truncate(again, 0));
    close(fd);
  }
}

static void deep_tree(const struct attack *attack) {
  char name[256];
  memset(name, 'n', 255);
  name[255] = '\0';
  int depth = 0, error = 0, levels = attack->argc > 0 ? atoi(attack->argv[0]) : 100000;
  if (chdir("/tmp") < 0) return;
  while (depth < levels) {
    if (mkdir(name, 0700) < 0 || chdir(name) < 0) {
      error = errno;
      break;
    }
    depth++;
  }
  fact_number(attack, "depth", depth);
  told(attack, "mkdir once more", error ? -1 : 0, error);
}

const struct scenario file_scenarios[] = {
    {"B1", host_files},   {"B2", change_base}, {"B3", mount_table}, {"B4", mount_things},
    {"B5", make_devices}, {"B6", open_each},   {"B7", open_each},   {"B14", rewrite_program},
    {"B17", deep_tree},   {NULL, NULL},
};
