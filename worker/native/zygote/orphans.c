// PID 1 has to wait for the processes of its namespace that have lost their parent. A runtime waits only for the
// children that it started itself.
//
// The kernel does not mark adopted children, so two looks tell them apart. A parent waits for its own child as soon
// as that has ended: the runtime does so at SIGCHLD, and a thread of native code already blocks in waitpid(). The two
// looks have a turn of the event loop between them. An ended child that is still there at the second look is an
// orphan.
#include "orphans.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

// Upper bound on the ended children that one look notes; any more wait for a later look.
enum { MAX_ENDED = 1024 };
static pid_t ended_before[MAX_ENDED];
static int ended_before_count;

static bool had_ended(pid_t pid) {
  for (int i = 0; i < ended_before_count; i++) {
    if (ended_before[i] == pid) return true;
  }
  return false;
}

// Leaves the child unreaped, so that its own parent still finds it.
static bool has_ended(pid_t pid) {
  siginfo_t info = {0};
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid == pid;
}

bool orphans_any(void) {
  siginfo_t info;
  // All processes of the namespace are descendants of its first one, so there are none when it has no child. Ended
  // children stay unreaped.
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

int orphans_reap(void) {
  // Children of the main thread: the ones that it started and all adopted ones, proc_pid_children(5). Without this
  // file (CONFIG_PROC_CHILDREN) orphans stay, within pids.max.
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
  // Signals this thread, which acts at once. So the runtime looks for its own children before the next look, whatever
  // happened to their SIGCHLD.
  if (count > 0) raise(SIGCHLD);
  return count;
}
