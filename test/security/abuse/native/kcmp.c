// Which open files do processes share? `kcmp PID...` compares every descriptor of the first process by kcmp(2)
// with every descriptor of the others. It prints a line for each pair that is one open file:
//   FD PID FD WHAT
// The last line is the number of comparisons. Ends with 1 when the kernel refuses one.
#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 65536 };

struct process {
  long pid;
  int count;
  int fds[MOST];
};

static struct process first, other;

static int list(struct process *process, const char *pid) {
  char path[64];
  process->pid = atol(pid);
  process->count = 0;
  snprintf(path, sizeof path, "/proc/%ld/fd", process->pid);
  DIR *directory = opendir(path);
  if (!directory) return -1;
  const struct dirent *entry;
  while ((entry = readdir(directory))) {
    if (entry->d_name[0] != '.' && process->count < MOST)
      process->fds[process->count++] = atoi(entry->d_name);
  }
  closedir(directory);
  return 0;
}

static void print(int fd, int other_fd) {
  char path[64], target[256];
  snprintf(path, sizeof path, "/proc/%ld/fd/%d", first.pid, fd);
  ssize_t length = readlink(path, target, sizeof target - 1);
  target[length > 0 ? length : 0] = '\0';
  printf("%d %ld %d %s\n", fd, other.pid, other_fd, target);
}

int main(int count, char **words) {
  long compared = 0;
  if (count < 3) return 64;
  if (list(&first, words[1]) < 0) {
    // Ended since.
    if (errno == ENOENT) return puts("0"), 0;
    fprintf(stderr, "list descriptors of %s: %s\n", words[1], strerror(errno));
    return 1;
  }
  for (int i = 2; i < count; i++) {
    // Ended since.
    if (list(&other, words[i]) < 0) continue;
    for (int a = 0; a < first.count; a++) {
      for (int b = 0; b < other.count; b++) {
        long order = syscall(SYS_kcmp, first.pid, other.pid, KCMP_FILE, first.fds[a], other.fds[b]);
        // Closed since.
        if (order < 0 && (errno == EBADF || errno == ESRCH)) continue;
        if (order < 0) {
          fprintf(stderr, "kcmp of %ld and %ld: %s\n", first.pid, other.pid, strerror(errno));
          return 1;
        }
        compared++;
        if (order == 0) print(first.fds[a], other.fds[b]);
      }
    }
  }
  printf("%ld\n", compared);
  return 0;
}
