#include "refusals.h"

#include "seccomp_names.gen.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

// Refusals that a sandbox may cause at once, and per second in the long run. A program that tries every call once
// stays below them; one that does nothing else does not.
#define BURST 128
#define PER_SECOND 4

// Larger than the structures of any kernel; the request must be zero beyond the part that the kernel fills in.
enum { NOTIFICATION_BYTES = 1024 };

const char *refusal_name(const struct seccomp_data *call) {
  for (size_t i = 0; i < sizeof refused_calls / sizeof *refused_calls; i++) {
    const struct refused_call *refused = &refused_calls[i];
    bool matches = refused->number == call->nr;
    for (unsigned c = 0; matches && c < refused->comparison_count; c++)
      matches = (call->args[refused->comparisons[c].argument] & refused->comparisons[c].mask) ==
                refused->comparisons[c].value;
    if (matches) return refused->name;
  }
  return "a system call";
}

static bool may_listen(struct refusal_state *state, pid_t pid, bool *over) {
  if (listener_fits(&state->listeners)) return true;
  *over = !refusal_spend(&state->budget, now_us());
  if (*over) return false;
  listener_recount(&state->listeners, pid);
  return listener_fits(&state->listeners);
}

const char *refusal_answer(int listener, struct refusal_state *state, bool *over) {
  struct pollfd wanted = {listener, POLLIN, 0};
  // Asks first, because the call below blocks without a notification, whatever the flags of the descriptor are. With
  // a notification it returns at once, even if the caller has died since.
  if (poll(&wanted, 1, 0) < 0) return NULL;
  *over = (wanted.revents & POLLIN) == 0 && (wanted.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
  if ((wanted.revents & POLLIN) == 0) return NULL;
  union {
    struct seccomp_notif notification;
    char bytes[NOTIFICATION_BYTES];
  } request;
  union {
    struct seccomp_notif_resp answer;
    char bytes[NOTIFICATION_BYTES];
  } response;
  memset(&request, 0, sizeof request);
  memset(&response, 0, sizeof response);
  // ENOENT: the caller was killed meanwhile.
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) return NULL;
  response.answer.id = request.notification.id;
  const struct seccomp_data *call = &request.notification.data;
  bool granted = false;
  if (call->nr == __NR_listen)
    granted = may_listen(state, (pid_t)request.notification.pid, over);
  else
    *over = !refusal_spend(&state->budget, now_us());
  if (granted)
    response.answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  else
    response.answer.error = -EPERM;
  // A caller that has ended needs no answer.
  (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  return granted ? NULL : refusal_name(call);
}

bool refusal_spend(struct refusal_budget *budget, uint64_t at_us) {
  if (budget->at_us == 0) budget->left = BURST;
  if (budget->at_us != 0 && at_us > budget->at_us)
    budget->left += (double)(at_us - budget->at_us) * PER_SECOND / 1e6;
  if (budget->left > BURST) budget->left = BURST;
  budget->at_us = at_us;
  if (budget->left < 1) return false;
  budget->left -= 1;
  return true;
}
