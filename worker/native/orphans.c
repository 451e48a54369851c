// What PID 1 owes its namespace: to wait for the processes that have lost their parent, which nobody else
// will. A runtime waits for the children that it started itself, and for no others.
//
// The kernel does not say which children were adopted, so they are told by patience: whoever knows a child
// waits for it as soon as it has ended. The runtime does so when it hears SIGCHLD, a thread of native code
// sits in waitpid() already. A child that has ended and is still there at the second of two looks, with a
// turn of the event loop between them, is nobody's.
#include "orphans.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

// Children that had ended at the last look. More at once than this are waited for later.
enum { MAX_ENDED = 1024 };
static pid_t ended_before[MAX_ENDED];
static int ended_before_count;

static bool had_ended(pid_t pid) {
  for (int i = 0; i < ended_before_count; i++) {
    if (ended_before[i] == pid) return true;
  }
  return false;
}

// Leaves the child as it is, so that whoever waits for it finds it.
static bool has_ended(pid_t pid) {
  siginfo_t info = {0};
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid == pid;
}

bool orphans_any(void) {
  siginfo_t info;
  // All processes of the namespace are below its first one, so that they are gone when it has no child. Those
  // that have ended and wait to be reaped are left as they are.
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

int orphans_reap(void) {
  // Children of the main thread: the ones that it started, and all that were adopted, proc_pid_children(5). A
  // kernel without this file (CONFIG_PROC_CHILDREN) leaves orphans where they are, within pids.max.
  FILE *children = fopen("/proc/self/task/1/children", "re");
  if (!children) return 0;
  static pid_t ended[MAX_ENDED];
  int count = 0;
  pid_t pid;
  while (count < MAX_ENDED && fscanf(children, "%d", &pid) == 1) {
    if (!has_ended(pid)) continue;
    if (had_ended(pid))
      waitpid(pid, NULL, WNOHANG | __WALL);
    else
      ended[count++] = pid;
  }
  fclose(children);
  for (int i = 0; i < count; i++)
    ended_before[i] = ended[i];
  ended_before_count = count;
  // By this thread and so at once: whatever became of the signal that announced these children, the runtime
  // looks for its own before the next look.
  if (count > 0) raise(SIGCHLD);
  return count;
}
