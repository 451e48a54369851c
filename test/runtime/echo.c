// The smallest runtime: one thread, no language, and an answer that repeats the request. It stands on runtime_core.a alone, and so
// shows what a runtime must do besides: docs/runtime-protocol.md.
//
//   /descriptors   the state of each descriptor of the zygote
//   /exit          ends the process
//   anything else  the body of the request
//
// Usage: echo [TRY...]   each TRY is something that a runtime must not do, or may do; see tries[]
#include "orphans.h"
#include "runtime/channel.h"
#include "runtime/runtime_core.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

// Indexes in LogLevel.
enum { LEVEL_LOG = 2 };
enum { LOOK_AGAIN_US = 1000, REAP_MS = 20 };

// Descriptors as event loops have them, opened in the zygote.
static struct loop { int pair[2], pipe[2], event, timer, epoll, pidfd; } loop;
static int forks;
static bool forking;
static char hooks_seen[128];

static _Noreturn void give_up(const char *what) {
  dprintf(STDERR_FILENO, "echo: %s\n", what);
  runtime_exit(1);
}

static void note(const char *hook) {
  snprintf(hooks_seen + strlen(hooks_seen), sizeof hooks_seen - strlen(hooks_seen), "%s ", hook);
}

static bool open_loop(void) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, loop.pair) < 0) return false;
  if (pipe2(loop.pipe, O_CLOEXEC | O_NONBLOCK) < 0) return false;
  loop.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  loop.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  loop.epoll = epoll_create1(EPOLL_CLOEXEC);
  loop.pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  return loop.event >= 0 && loop.timer >= 0 && loop.epoll >= 0 && loop.pidfd >= 0;
}

static int watch_pair(void) {
  struct epoll_event wanted = {.events = EPOLLIN, .data.fd = loop.pair[0]};
  return epoll_ctl(loop.epoll, EPOLL_CTL_ADD, loop.pair[0], &wanted);
}

// Tries of the tests. Those before the fork run in the zygote, the others in each sandbox before its isolation.
static void leave_bytes_unread(void) {
  (void)!write(loop.pair[1], "x", 1);
}
static void open_listener(void) {
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  // An abstract name of the kernel's choice.
  const struct sockaddr any = {.sa_family = AF_UNIX};
  if (bind(listener, &any, sizeof any.sa_family) < 0 || listen(listener, 1) < 0) give_up("no listener");
}
static void open_socket(void) {
  if (socket(AF_INET, SOCK_STREAM, 0) < 0) give_up("no socket");
}
static void open_pair(void) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) give_up("no pair");
}
static void open_own_pidfd(void) {
  if (syscall(SYS_pidfd_open, getpid(), 0) < 0) give_up("no pidfd");
}
static void open_child_pidfd(void) {
  const pid_t child = fork();
  if (child == 0) runtime_halt();
  if (syscall(SYS_pidfd_open, child, 0) < 0) give_up("no pidfd");
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
}
static void open_file(void) {
  if (open("/etc/passwd", O_RDONLY) < 0) give_up("no file");
}
static const struct {
  const char *name;
  bool in_zygote;
  void (*run)(void);
} tries[] = {
    {"unread-bytes", true, leave_bytes_unread},
    {"listener", false, open_listener},
    {"socket", false, open_socket},
    {"pair", false, open_pair},
    {"own-pidfd", false, open_own_pidfd},
    {"child-pidfd", false, open_child_pidfd},
    {"file", false, open_file},
};
static char **asked;

static void run_tries(bool in_zygote) {
  for (char **name = asked; *name; name++) {
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
      if (tries[i].in_zygote == in_zygote && strcmp(tries[i].name, *name) == 0) tries[i].run();
    }
  }
}

static void before_fork(void *runtime) {
  (void)runtime;
  forks++;
  forking = true;
}

static void after_fork_in_zygote(void *runtime) {
  (void)runtime;
  if (!forking) give_up("after_fork_in_zygote without before_fork");
  forking = false;
}

static void after_fork_in_sandbox(void *runtime) {
  (void)runtime;
  if (forking) note("before_fork");
  note("after_fork_in_sandbox");
  run_tries(false);
}

static int renew_loop(void *runtime) {
  (void)runtime;
  note("renew_loop");
  // The set is new and empty. Without the renewal of descriptors, the pair is in it already.
  return watch_pair() == 0 || errno == EEXIST ? 0 : -1;
}

static void send_frame(uint8_t kind, uint32_t handle, const struct wire_parts *payload) {
  struct failure failure = {0};
  // The worker has gone or discards this sandbox.
  if (channel_send(runtime_channel(), kind, handle, payload, &failure) < 0) runtime_exit(0);
}

static void send_bytes(uint8_t kind, uint32_t handle, const void *at, size_t length) {
  struct wire_parts parts = {.count = 0};
  wire_add(&parts, at, length);
  send_frame(kind, handle, &parts);
}

static struct wire_bytes text(const char *value) {
  return (struct wire_bytes){value, strlen(value)};
}

static void send_head(uint8_t kind, uint32_t handle, const char *meta, struct wire_bytes body) {
  struct wire_parts parts;
  wire_put_payload(&parts, &(struct wire_payload){text(meta), body});
  send_frame(kind, handle, &parts);
}

static const char OK[] = "{\"status\":200,\"headers\":[[\"content-type\",\"application/octet-stream\"]]}";
// Tells the worker to call the function for each item of a batch by itself.
static const char NO_BATCHES[] = "{\"status\":501,\"headers\":[[\"x-offshoot-no-queue-handler\",\"1\"]]}";

static void send_pieces(uint32_t handle, struct wire_bytes body) {
  for (size_t at = 0; at < body.length; at += MAX_PIECE_BYTES) {
    const size_t left = body.length - at;
    send_bytes(CHANNEL_CHUNK, handle, (const char *)body.at + at,
               left < MAX_PIECE_BYTES ? left : MAX_PIECE_BYTES);
  }
}

static void respond(uint32_t handle, struct wire_bytes body) {
  if (body.length <= MAX_PIECE_BYTES) return send_head(CHANNEL_RESULT, handle, OK, body);
  send_head(CHANNEL_HEAD, handle, OK, (struct wire_bytes){NULL, 0});
  send_pieces(handle, body);
  send_bytes(CHANNEL_END, handle, NULL, 0);
}

static void say(uint32_t handle, const char *line) {
  struct wire_parts parts;
  wire_put_log(&parts, &(struct wire_log){.level = LEVEL_LOG, .text = text(line)});
  send_frame(CHANNEL_LOG, handle, &parts);
}

// Frames that came while an invocation waited for the pieces of its body.
struct pending {
  struct channel_frame frame;
  struct pending *next;
};
static struct pending *oldest, **newest = &oldest;

static void keep(const struct channel_frame *frame) {
  struct pending *kept = malloc(sizeof *kept);
  if (!kept) give_up("no memory");
  *kept = (struct pending){*frame, NULL};
  *newest = kept;
  newest = &kept->next;
}

static bool take(struct channel_frame *frame) {
  struct pending *first = oldest;
  if (!first) return false;
  *frame = first->frame;
  oldest = first->next;
  if (!oldest) newest = &oldest;
  free(first);
  return true;
}

static void receive(struct channel_frame *frame) {
  struct failure failure = {0};
  // PID 1 reaps the orphans of its namespace, whenever it has nothing to do.
  for (struct pollfd wanted = {runtime_channel(), POLLIN, 0}; poll(&wanted, 1, REAP_MS) == 0;)
    orphans_reap();
  const int got = channel_receive(runtime_channel(), frame, &failure);
  if (got < 0) give_up(failure.message);
  if (got == 0) runtime_exit(0);
}

// Streams a large body back as it comes. Credit for each piece lets the worker send the next ones.
static void echo_pieces(uint32_t handle, unsigned long long bytes) {
  send_head(CHANNEL_HEAD, handle, OK, (struct wire_bytes){NULL, 0});
  while (bytes > 0) {
    struct channel_frame frame;
    receive(&frame);
    if (frame.kind != CHANNEL_BODY || frame.handle != handle) {
      keep(&frame);
      continue;
    }
    struct wire_parts parts;
    wire_put_body_credit(&parts, &(struct wire_body_credit){(uint32_t)frame.length});
    send_frame(CHANNEL_BODY_CREDIT, handle, &parts);
    send_pieces(handle, (struct wire_bytes){frame.payload, frame.length});
    bytes -= frame.length < bytes ? frame.length : bytes;
    free(frame.payload);
  }
  send_bytes(CHANNEL_END, handle, NULL, 0);
}

static bool is_readable(int fd) {
  struct pollfd wanted = {fd, POLLIN, 0};
  return poll(&wanted, 1, 1000) == 1 && (wanted.revents & POLLIN);
}

static bool passes(int from, int to) {
  char byte = 0;
  return write(from, "y", 1) == 1 && is_readable(to) && read(to, &byte, 1) == 1 && byte == 'y';
}

static bool is_open(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

static bool epoll_sees_pair(void) {
  struct epoll_event event = {0};
  char byte;
  const bool seen = write(loop.pair[1], "z", 1) == 1 && epoll_wait(loop.epoll, &event, 1, 1000) == 1;
  return read(loop.pair[0], &byte, 1) == 1 && seen && event.data.fd == loop.pair[0];
}

static bool timer_fires(void) {
  const struct itimerspec soon = {.it_value.tv_nsec = 1000000};
  uint64_t times;
  return timerfd_settime(loop.timer, 0, &soon, NULL) == 0 && is_readable(loop.timer) &&
         read(loop.timer, &times, sizeof times) == sizeof times;
}

static bool event_counts(void) {
  const uint64_t added = 3;
  uint64_t read_back;
  return write(loop.event, &added, sizeof added) == sizeof added &&
         read(loop.event, &read_back, sizeof read_back) == sizeof read_back && read_back == added;
}

static void respond_descriptors(uint32_t handle) {
  char answer[512];
  const struct {
    const char *name;
    bool works, open;
  } all[] = {
      {"pair", passes(loop.pair[1], loop.pair[0]) && passes(loop.pair[0], loop.pair[1]),
       is_open(loop.pair[0])},
      {"pipe", passes(loop.pipe[1], loop.pipe[0]), is_open(loop.pipe[0])},
      {"event", event_counts(), is_open(loop.event)},
      {"timer", timer_fires(), is_open(loop.timer)},
      {"epoll", epoll_sees_pair(), is_open(loop.epoll)},
      {"pidfd", false, is_open(loop.pidfd)},
  };
  size_t length =
      (size_t)snprintf(answer, sizeof answer, "{\"forks\":%d,\"hooks\":\"%s\"", forks, hooks_seen);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    length += (size_t)snprintf(answer + length, sizeof answer - length, ",\"%s\":\"%s\"", all[i].name,
                               all[i].works  ? "works"
                               : all[i].open ? "open"
                                             : "closed");
  snprintf(answer + length, sizeof answer - length, "}");
  respond(handle, text(answer));
}

static const char *find(struct wire_bytes json, const char *words) {
  return memmem(json.at, json.length, words, strlen(words));
}

static void answer(uint32_t handle, struct wire_bytes context, struct wire_bytes request) {
  struct wire_payload payload;
  if (!wire_read_payload(request.at, request.length, &payload)) give_up("a payload that is none");
  const char *bytes = find(context, "\"bodyBytes\":");
  if (find(payload.meta, "\"kind\":\"batch\""))
    return send_head(CHANNEL_RESULT, handle, NO_BATCHES, (struct wire_bytes){NULL, 0});
  if (find(payload.meta, "/exit\"")) runtime_exit(3);
  if (find(payload.meta, "/descriptors\"")) return respond_descriptors(handle);
  if (bytes) return echo_pieces(handle, strtoull(bytes + strlen("\"bodyBytes\":"), NULL, 10));
  char line[64];
  snprintf(line, sizeof line, "echo of %zu bytes", payload.body.length);
  say(handle, line);
  respond(handle, payload.body);
}

static void invoke(const struct channel_frame *frame) {
  struct wire_invoke parts;
  if (!wire_read_invoke(frame->payload, frame->length, &parts)) give_up("an INVOKE that is none");
  int turn = 1;
  // An invocation that was handed ahead starts only by a turn: the worker may have taken it back.
  while (find(parts.context, "\"ahead\":true") && (turn = runtime_take_turn()) < 0)
    usleep(LOOK_AGAIN_US);
  if (turn == 0) return;
  answer(frame->handle, parts.context, parts.request);
  send_bytes(CHANNEL_SETTLED, frame->handle, NULL, 0);
}

static _Noreturn void run(void) {
  for (;;) {
    struct channel_frame frame;
    if (!take(&frame)) receive(&frame);
    if (frame.kind == CHANNEL_INIT) {
      struct wire_parts parts;
      wire_put_ready(&parts, &(struct wire_ready){text("{\"init\":0,\"handlers\":[\"handler\"]}")});
      send_frame(CHANNEL_READY, 0, &parts);
    }
    if (frame.kind == CHANNEL_INVOKE) invoke(&frame);
    free(frame.payload);
  }
}

int main(int count, char **words) {
  (void)count;
  asked = words + 1;
  struct failure failure = {0};
  if (!open_loop() || watch_pair() < 0) give_up("the event loop could not be made");
  run_tries(true);
  const struct runtime_hooks hooks = {
      .before_fork = before_fork,
      .after_fork_in_zygote = after_fork_in_zygote,
      .after_fork_in_sandbox = after_fork_in_sandbox,
      .renew_loop = renew_loop,
  };
  const int served = runtime_serve(RUNTIME_CONTROL_FD, &hooks, &failure);
  if (served < 0) give_up(failure.message);
  if (served == 0) runtime_exit(0);
  runtime_isolate();
  run();
}
