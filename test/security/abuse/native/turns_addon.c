// Attacks of native code on the page in which the calls of its sandbox are counted: the page is mapped, so native
// code can write to it.
//   hoard()    takes every turn as soon as there is one, and never returns
//   inflate()  counts up as far as it goes
#include <node_api.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static _Atomic uint32_t *page(void) {
  unsigned long start = 0;
  char line[512];
  FILE *maps = fopen("/proc/self/maps", "re");
  while (maps && fgets(line, sizeof line, maps)) {
    if (strstr(line, "/memfd:turns") && sscanf(line, "%lx", &start) == 1) break;
  }
  if (maps) fclose(maps);
  return (_Atomic uint32_t *)start;
}

static napi_value hoard(napi_env env, napi_callback_info info) {
  (void)info;
  _Atomic uint32_t *count = page();
  if (!count) return napi_throw_error(env, NULL, "there is no page of turns"), NULL;
  for (;;)
    atomic_exchange(count, 0);
}

static napi_value inflate(napi_env env, napi_callback_info info) {
  (void)info;
  _Atomic uint32_t *count = page();
  if (!count) return napi_throw_error(env, NULL, "there is no page of turns"), NULL;
  atomic_store(count, UINT32_MAX);
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "hoard", NAPI_AUTO_LENGTH, hoard, NULL, &function);
  napi_set_named_property(env, exports, "hoard", function);
  napi_create_function(env, "inflate", NAPI_AUTO_LENGTH, inflate, NULL, &function);
  napi_set_named_property(env, exports, "inflate", function);
  return exports;
}
