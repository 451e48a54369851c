// F: descriptors and memory that a sandbox inherited from its zygote.
#include "attack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void descriptors(const struct attack *attack) {
  char path[64], target[256];
  for (int fd = 0; fd < 1024; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = '\0';
    snprintf(path, sizeof path, "fd %d", fd);
    fact(attack, path, target);
  }
}

// Memory that a fork shares instead of copying.
static void shared_mappings(const struct attack *attack) {
  FILE *maps = fopen("/proc/self/maps", "re");
  char line[512], permissions[5];
  int mappings = 0;
  while (maps && fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%*x-%*x %4s", permissions) != 1) continue;
    mappings++;
    if (permissions[3] == 's') fact(attack, "shared mapping", line);
  }
  if (maps) fclose(maps);
  fact_number(attack, "mappings", mappings);
}

// Marks every event descriptor of this process: an epoll instance gets a watch of descriptor argv[0], and an
// eventfd counts argv[1] more. The test checks whether the zygote's have changed.
static void mark_events(const struct attack *attack) {
  int mark = atoi(attack->argv[0]);
  uint64_t count = (uint64_t)atoi(attack->argv[1]);
  int ends[2];
  if (pipe(ends) < 0 || dup2(ends[0], mark) < 0) return;
  for (int fd = 3; fd < 1024; fd++) {
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) continue;
    target[length] = '\0';
    snprintf(path, sizeof path, "mark %d", fd);
    struct epoll_event event = {.events = 0, .data.fd = mark};
    if (strstr(target, "[eventpoll]")) fact_number(attack, path, epoll_ctl(fd, EPOLL_CTL_ADD, mark, &event));
    if (strstr(target, "[eventfd]")) fact_number(attack, path, write(fd, &count, sizeof count));
  }
}

// Searches all memory that this process can read for the given bytes. They come inverted, so that the search
// itself does not bring them into memory. Pages are copied through a pipe: an unreadable page is then an
// error and not a crash.
static void scan_memory(const struct attack *attack) {
  const char *inverted = attack->argv[0];
  size_t length = strlen(inverted) / 2;
  unsigned char wanted[256];
  if (length == 0 || length > sizeof wanted) return;
  for (size_t i = 0; i < length; i++) {
    unsigned value;
    sscanf(inverted + 2 * i, "%2x", &value);
    wanted[i] = (unsigned char)value;
  }
  enum { CHUNK = 65536 };
  static unsigned char window[CHUNK + 256];
  int ends[2];
  FILE *maps = fopen("/proc/self/maps", "re");
  if (!maps || pipe(ends) < 0) return told(attack, "read /proc/self/maps", -1, errno);
  char line[512];
  unsigned long scanned = 0, found = 0;
  while (fgets(line, sizeof line, maps)) {
    unsigned long start, end;
    char permissions[5];
    if (sscanf(line, "%lx-%lx %4s", &start, &end, permissions) != 3 || permissions[0] != 'r') continue;
    if (start <= (unsigned long)window && (unsigned long)window < end) continue;
    size_t kept = 0;
    for (unsigned long at = start; at < end; at += CHUNK) {
      size_t wish = end - at < CHUNK ? end - at : CHUNK;
      ssize_t got = write(ends[1], (const void *)at, wish);
      if (got <= 0) {
        kept = 0;
        continue;
      }
      for (ssize_t have = 0; have < got;) {
        ssize_t part = read(ends[0], window + kept + have, (size_t)(got - have));
        if (part <= 0) break;
        have += part;
      }
      size_t total = kept + (size_t)got;
      for (size_t i = 0; i + length <= total; i++) {
        size_t same = 0;
        while (same < length && window[i + same] == (unsigned char)~wanted[same])
          same++;
        if (same == length) found++;
      }
      scanned += (unsigned long)got;
      kept = total < length - 1 ? total : length - 1;
      memmove(window, window + total - kept, kept);
    }
  }
  fclose(maps);
  close(ends[0]), close(ends[1]);
  fact_number(attack, "scanned", (long)scanned);
  fact_number(attack, "found", (long)found);
}

static void environment(const struct attack *attack) {
  for (char **entry = environ; *entry; entry++)
    fact(attack, "environ", *entry);
  tell_file(attack, "/proc/self/environ");
  tell_file(attack, "/proc/self/cmdline");
}

const struct scenario memory_scenarios[] = {
    {"F1", descriptors}, {"F1-mark", mark_events}, {"F1-maps", shared_mappings},
    {"F2", environment}, {"F3", scan_memory},      {NULL, NULL},
};
