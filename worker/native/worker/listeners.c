#include "listeners.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Size of the buffer for the table. A line has 150 characters, and the kernel lists listeners first, so the buffer
// holds all that count.
#define TABLE_BYTES ((MAX_LISTENERS + 2) * 160)
// TCP_LISTEN of the kernel's include/net/tcp_states.h.
#define LISTENING 0x0aU

unsigned listeners_in(const char *table) {
  unsigned found = 0;
  for (const char *line = table; line; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    unsigned state;
    if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%*x %*[0-9A-Fa-f]:%*x %x", &state) == 1 && state == LISTENING)
      found++;
  }
  return found;
}

// Returns MAX_LISTENERS if the table cannot be read, since there may then be no room.
static unsigned listeners_of(pid_t pid, const char *protocol) {
  char path[64], table[TABLE_BYTES + 1];
  snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, protocol);
  // The files below /proc/PID/net are those of the process's network namespace, and every user may open them.
  FD_CLEANUP int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return MAX_LISTENERS;
  size_t length = 0;
  ssize_t got;
  // Reads until the end: one read returns fewer bytes than were asked for.
  while (length < TABLE_BYTES && (got = read(fd, table + length, TABLE_BYTES - length)) > 0)
    length += (size_t)got;
  table[length] = '\0';
  return listeners_in(table);
}

bool listener_fits(struct listener_count *count) {
  if (count->most >= MAX_LISTENERS) return false;
  count->most++;
  return true;
}

void listener_recount(struct listener_count *count, pid_t pid) {
  count->most = listeners_of(pid, "tcp") + listeners_of(pid, "tcp6");
}
