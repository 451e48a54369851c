// Node-API surface of a zygote, for runtime-images/node/bootstrap: no more than glue. runtime/runtime_core.h, orphans.h, platform.h,
// host.h, heap.h and locale.h say what each function does; main.ts of the bootstrap has the types.
#include "heap.h"
#include "host.h"
#include "locale.h"
#include "platform.h"
#include "runtime/runtime_core.h"
#include "zygote/orphans.h"

#include <node_api.h>
#include <uv.h>

// libuv makes an epoll set of its own, and puts into it all that it watched in the zygote, by the renewed descriptors.
static int renew_loop(void *loop) {
  return uv_loop_fork(loop);
}

static napi_value boolean(napi_env env, bool value) {
  napi_value result;
  napi_get_boolean(env, value, &result);
  return result;
}

static napi_value number(napi_env env, int value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

static napi_value throw(napi_env env, const struct failure *failure) {
  napi_throw_error(env, NULL, failure->message);
  return NULL;
}

static int first_argument(napi_env env, napi_callback_info info, int otherwise) {
  size_t count = 1;
  napi_value argument;
  int32_t value = otherwise;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  if (count > 0) napi_get_value_int32(env, argument, &value);
  return value;
}

static napi_value serve(napi_env env, napi_callback_info info) {
  struct failure failure = {0};
  uv_loop_t *loop;
  napi_get_uv_event_loop(env, &loop);
  // Each of them works on without the change, less well; tests see the difference.
  (void)platform_forget_threads();
  (void)host_answer_for_sandbox();
  heap_prepare();
  const struct runtime_hooks hooks = {.renew_loop = renew_loop, .runtime = loop};
  if (runtime_serve(first_argument(env, info, -1), &hooks, &failure) < 0) return throw(env, &failure);
  return number(env, runtime_channel());
}

static napi_value is_told(napi_env env, napi_callback_info info) {
  (void)info;
  return boolean(env, runtime_is_told());
}

static napi_value isolate(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  runtime_isolate();
  host_begin_life();
  return NULL;
}

static napi_value take_turn(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, runtime_take_turn());
}

static napi_value exit_now(napi_env env, napi_callback_info info) {
  runtime_exit(first_argument(env, info, 0));
}

static napi_value make_socketpair(napi_env env, napi_callback_info info) {
  (void)info;
  int ends[2];
  napi_value result;
  struct failure failure = {0};
  if (runtime_socketpair(ends, &failure) < 0) return throw(env, &failure);
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++)
    napi_set_element(env, result, i, number(env, ends[i]));
  return result;
}

static napi_value random_seed(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, (int)runtime_random_seed());
}

static napi_value reap_orphans(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, orphans_reap());
}

static napi_value has_children(napi_env env, napi_callback_info info) {
  (void)info;
  return boolean(env, orphans_any());
}

static napi_value forget_files(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  runtime_forget_files();
  return NULL;
}

static napi_value limit_memory(napi_env env, napi_callback_info info) {
  heap_limit((uint32_t)first_argument(env, info, 0));
  return NULL;
}

static napi_value set_locale(napi_env env, napi_callback_info info) {
  size_t count = 1, length = 0;
  napi_value argument;
  char name[64];
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  // A longer name is cut, and is no language then.
  if (count > 0 && napi_get_value_string_utf8(env, argument, name, sizeof name, &length) == napi_ok)
    locale_set(name);
  return NULL;
}

static napi_value halt(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  runtime_halt();
}

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"serve", serve},
      {"isTold", is_told},
      {"isolate", isolate},
      {"takeTurn", take_turn},
      {"socketpair", make_socketpair},
      {"randomSeed", random_seed},
      {"exit", exit_now},
      {"reapOrphans", reap_orphans},
      {"hasChildren", has_children},
      {"forgetFiles", forget_files},
      {"limitMemory", limit_memory},
      {"setLocale", set_locale},
      {"halt", halt},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
