// Node-API surface of the zygote: what runtime-images/node/bootstrap calls. The logic is in zygote.c.
//
//   serve(controlFd) -> channelFd   blocks; returns in each sandbox. In the zygote itself it returns -1 when
//   the worker
//                                   has gone, and throws when it cannot go on.
//   exit(code)                      _exit(2): Node's own exit joins threads that a forked process does not
//   have.
#include "zygote.h"

#include <node_api.h>
#include <uv.h>

#include <stdlib.h>
#include <unistd.h>

static struct zygote zygote;

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
  int channel = -1;
  int served = zygote_open(&zygote, control, &failure);
  if (served == 0) served = zygote_serve(&zygote, &channel, &failure);
  if (served < 0) {
    napi_throw_error(env, NULL, failure.message);
    return NULL;
  }
  napi_create_int32(env, served == 1 ? channel : -1, &result);
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

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "serve", NAPI_AUTO_LENGTH, serve, NULL, &function);
  napi_set_named_property(env, exports, "serve", function);
  napi_create_function(env, "exit", NAPI_AUTO_LENGTH, exit_now, NULL, &function);
  napi_set_named_property(env, exports, "exit", function);
  return exports;
}
