// The attacks as a native addon: the same code in the function's own process, which has more access than a
// child process.
//
//   run(id, arguments) -> string   the text that the program would print
//   hashOf(string) -> number       the hash that V8 keeps in a string used as a property name; it shows the hash seed
//   crash()                        a write to an address that is not mapped
#include "attack.h"

#include <node_api.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 16, ARGUMENT_BYTES = 512 };

static napi_value run(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value given[2], result;
  char id[32];
  static char texts[MAX_ARGUMENTS][ARGUMENT_BYTES];
  char *arguments[MAX_ARGUMENTS];
  uint32_t length = 0;
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  napi_get_value_string_utf8(env, given[0], id, sizeof id, NULL);
  napi_get_array_length(env, given[1], &length);
  if (length > MAX_ARGUMENTS) length = MAX_ARGUMENTS;
  for (uint32_t i = 0; i < length; i++) {
    napi_value item;
    napi_get_element(env, given[1], i, &item);
    napi_get_value_string_utf8(env, item, texts[i], ARGUMENT_BYTES, NULL);
    arguments[i] = texts[i];
  }
  char *text = NULL;
  size_t size = 0;
  const struct attack attack = {open_memstream(&text, &size), (int)length, arguments};
  if (attack_run(id, &attack) < 0) napi_throw_error(env, NULL, "there is no such scenario");
  fclose(attack.out);
  napi_create_string_utf8(env, text, size, &result);
  free(text);
  return result;
}

// A napi_value is the address of a slot that holds the tagged pointer to the object; a string is its map (8
// bytes), then the hash with two bits of type below it. Node is built without pointer compression.
static napi_value hash_of(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value given, result;
  napi_get_cb_info(env, info, &count, &given, NULL, NULL);
  uintptr_t object;
  uint32_t hash;
  memcpy(&object, given, sizeof object);
  memcpy(&hash, (const char *)(object - 1 + sizeof(uintptr_t)), sizeof hash);
  napi_create_uint32(env, hash, &result);
  return result;
}

static napi_value crash(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  *(volatile int *)8 = 1;
  return NULL;
}

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback function;
  } functions[] = {{"run", run}, {"hashOf", hash_of}, {"crash", crash}};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
