// A debugger that stops a process and does nothing more with it: tracer PID. Prints "stopped" and waits
// until it is ended.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(int count, char **arguments) {
  char path[64];
  if (count != 2) return 2;
  snprintf(path, sizeof path, "/proc/%s/task", arguments[1]);
  DIR *tasks = opendir(path);
  if (!tasks) return perror("open the list of threads"), 1;
  for (struct dirent *entry; (entry = readdir(tasks));) {
    pid_t task = atoi(entry->d_name);
    if (task == 0) continue;
    // Seized before it is interrupted: PTRACE_ATTACH would send a signal, which /proc shows as a stop by that signal.
    if (ptrace(PTRACE_SEIZE, task, 0, 0) < 0) return perror("seize a thread"), 1;
    if (ptrace(PTRACE_INTERRUPT, task, 0, 0) < 0) return perror("interrupt a thread"), 1;
  }
  puts("stopped");
  fflush(stdout);
  pause();
  return 0;
}
