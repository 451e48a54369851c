// Node-API surface of the zygote, for runtime-images/node/bootstrap. The logic is in zygote.c.
//
//   serve(controlFd) -> channelFd  blocks; returns in each sandbox that is prepared; in the zygote it returns -1 when the
//                                  worker has closed the control socket, and throws when it cannot go on
//   isTold() -> boolean            in a prepared sandbox: true if the function to run is known
//   isolate()                      blocks until the function is known, and returns when the sandbox may run it
//   takeTurn() -> number           in a sandbox, for the next invocation that was handed ahead: 1 if it may start (its turn is
//                                  taken), 0 if the worker has taken it back, -1 if the worker has yet to read earlier output
//   socketpair() -> [fd, fd]       for the rehearsal
//   randomSeed() -> number         31 bits of getrandom(2): a seed without any state that is shared with other forks
//   forgetFiles()                  drops mappings of files from the page table, to be faulted in again where they are used
//   exit(code)                     _exit(2): Node's own exit joins threads that a forked process does not have
//   reapOrphans() -> number        ended children for which one more look is due, see orphans.h
//   hasChildren() -> boolean       true if there is any process besides this one
//   limitMemory(megabytes)         tells V8 the memory limit of the sandbox, see heap.h
//   halt()                         never returns; the worker is about to end the sandbox
#include "heap.h"
#include "orphans.h"
#include "platform.h"
#include "zygote.h"

#include <node_api.h>
#include <uv.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static struct zygote zygote;
// In a sandbox: the order by which it was made.
static struct sandbox_order order = {.channel = -1};

static int fork_loop(void *loop) {
  return uv_loop_fork(loop);
}

static napi_value serve(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument, result;
  int32_t control = -1;
  struct failure failure = {0};
  uv_loop_t *loop;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_value_int32(env, argument, &control);
  napi_get_uv_event_loop(env, &loop);
  zygote.loop_fork = fork_loop;
  zygote.loop = loop;
  platform_forget_threads();
  heap_watch_buffers();
  int served = zygote_open(&zygote, control, &failure);
  if (served == 0) served = zygote_serve(&zygote, &order, &failure);
  if (served < 0) {
    fail_in(&failure, "zygote");
    napi_throw_error(env, NULL, failure.message);
    return NULL;
  }
  napi_create_int32(env, served == 1 ? order.channel : -1, &result);
  return result;
}

static napi_value is_told(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  napi_get_boolean(env, zygote_is_told(&order), &result);
  return result;
}

static napi_value isolate(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  zygote_isolate(&zygote, &order);
  return NULL;
}

static int take_turn(void) {
  const int outputs[] = {STDOUT_FILENO, STDERR_FILENO};
  for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
    // The worker must read the output of native code before the next invocation starts. Otherwise that one could be
    // taken for its author. Either end of a pipe can ask how many bytes it holds.
    int waiting = 0;
    if (ioctl(outputs[i], FIONREAD, &waiting) == 0 && waiting > 0) return -1;
  }
  return turns_take(zygote.turns) ? 1 : 0;
}

static napi_value take_turn_now(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  napi_create_int32(env, take_turn(), &result);
  return result;
}

static napi_value exit_now(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t code = 0;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  if (count > 0) napi_get_value_int32(env, argument, &code);
  _exit(code);
}

static napi_value make_socketpair(napi_env env, napi_callback_info info) {
  (void)info;
  int fds[2];
  napi_value result, number;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
    napi_throw_error(env, NULL, "cannot make a socket pair");
    return NULL;
  }
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) {
    napi_create_int32(env, fds[i], &number);
    napi_set_element(env, result, i, number);
  }
  return result;
}

static napi_value random_seed(napi_env env, napi_callback_info info) {
  (void)info;
  uint32_t seed = 0;
  napi_value result;
  // getrandom(2) never returns fewer of these few bytes; without them a sandbox must not start.
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) _exit(1);
  napi_create_uint32(env, seed & 0x7fffffffU, &result);
  return result;
}

static napi_value reap_orphans(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  napi_create_int32(env, orphans_reap(), &result);
  return result;
}

static napi_value has_children(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  napi_get_boolean(env, orphans_any(), &result);
  return result;
}

// Drops the page table entries of files without private pages: all code and constants. The contents stay in the page
// cache. Pages that are not used again before the first fork need no copy in each fork and no removal at each end of
// a sandbox.
static napi_value forget_files(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  FILE *mappings = fopen("/proc/self/smaps", "re");
  if (!mappings) return NULL;
  char line[512], permissions[5], path[256];
  unsigned long start = 0, end = 0, next_start, next_end, private_kb;
  while (fgets(line, sizeof line, mappings)) {
    // A line "start-end permissions offset device inode path", then lines of figures.
    if (sscanf(line, "%lx-%lx %4s", &next_start, &next_end, permissions) == 3) {
      bool of_file = sscanf(line, "%*s %*s %*s %*s %*s %255s", path) == 1 && path[0] == '/';
      start = next_start;
      end = of_file && permissions[1] != 'w' && permissions[3] == 'p' ? next_end : next_start;
    }
    // The loader has changed a private page (relocations), and the change would be lost.
    if (end > start && sscanf(line, "Anonymous: %lu", &private_kb) == 1 && private_kb == 0)
      (void)madvise((void *)start, end - start, MADV_DONTNEED);
  }
  fclose(mappings);
  return NULL;
}

static napi_value limit_memory(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  uint32_t megabytes = 0;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  if (count > 0 && napi_get_value_uint32(env, argument, &megabytes) == napi_ok) heap_limit(megabytes);
  return NULL;
}

static napi_value halt(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  for (;;)
    pause();
  return NULL;
}

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"serve", serve},
      {"isTold", is_told},
      {"isolate", isolate},
      {"takeTurn", take_turn_now},
      {"socketpair", make_socketpair},
      {"randomSeed", random_seed},
      {"exit", exit_now},
      {"reapOrphans", reap_orphans},
      {"hasChildren", has_children},
      {"forgetFiles", forget_files},
      {"limitMemory", limit_memory},
      {"halt", halt},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
