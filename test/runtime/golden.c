// Holds the C of the layouts to the golden bytes (contract/wire/golden.json). Reads lines `LAYOUT HEX`, or `frame HEX` for a whole
// frame. Prints for each a line of JSON: the fields that were read, and the bytes that they give when they are written again.
// A layout that was not read gives `{"refused":true}`.
#include "runtime/channel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_HEX = 65536 };

static const char *separator;

static void key(const char *name) {
  printf("%s\"%s\":", separator, name);
  separator = ",";
}

static void hex(const void *at, size_t length) {
  for (size_t i = 0; i < length; i++)
    printf("%02x", ((const unsigned char *)at)[i]);
}

// The last parameter is the size of the field, which only an array needs.
static void show_number(const char *name, intmax_t value) {
  key(name);
  printf("%" PRIdMAX, value);
}
// A string, because readers of JSON round large numbers.
static void show_u64(const char *name, uint64_t value) {
  key(name);
  printf("\"%" PRIu64 "\"", value);
}
static void show_numbers(const char *name, const uint32_t *values, size_t bytes) {
  key(name);
  for (size_t i = 0; i < bytes / sizeof *values; i++)
    printf("%s%u", i == 0 ? "[" : ",", values[i]);
  printf("]");
}
static void show_hex(const char *name, const void *at, size_t length) {
  key(name);
  printf("\"");
  hex(at, length);
  printf("\"");
}

#define SHOW(type, field, name) SHOW_##type(value.field, field, #name)
#define SHOW_u8(value_, field, name) show_number(name, value_);
#define SHOW_u32(value_, field, name) show_number(name, value_);
#define SHOW_i32(value_, field, name) show_number(name, value_);
#define SHOW_u64(value_, field, name) show_u64(name, value_);
#define SHOW_u32s(value_, field, name) show_numbers(name, value_, sizeof value_);
#define SHOW_text(value_, field, name) show_hex(name, value_, strlen(value_));
#define SHOW_id(value_, field, name) show_hex(name, value_, sizeof value_);
#define SHOW_optional_id(value_, field, name)                                                                \
  if (value.has_##field) show_hex(name, value_, sizeof value_);
#define SHOW_sized(value_, field, name) show_hex(name, (value_).at, (value_).length);
#define SHOW_rest(value_, field, name) show_hex(name, (value_).at, (value_).length);

static void show_again(const struct wire_parts *parts, const struct wire_channel_prefix *prefix) {
  printf("},\"hex\":\"");
  if (!prefix) {
    for (int i = 0; i < parts->count; i++)
      hex(parts->parts[i].iov_base, parts->parts[i].iov_len);
    printf("\"}\n");
    return;
  }
  // By the function that runtimes send with; a pipe takes more than any golden frame.
  int ends[2];
  unsigned char bytes[MAX_HEX / 2];
  struct failure failure = {0};
  if (pipe(ends) < 0 || channel_send(ends[1], prefix->kind, prefix->handle, parts, &failure) < 0) exit(1);
  const ssize_t length = read(ends[0], bytes, sizeof bytes);
  close(ends[0]);
  close(ends[1]);
  hex(bytes, length < 0 ? 0 : (size_t)length);
  printf("\"}\n");
}

static void refuse(void) {
  printf("{\"refused\":true}\n");
}

static void look(const char *layout, const unsigned char *bytes, size_t length,
                 const struct wire_channel_prefix *prefix) {
  separator = "";
#define LAYOUT(NAME, lower)                                                                                  \
  if (strcmp(layout, #NAME) == 0) {                                                                          \
    struct wire_##lower value;                                                                               \
    struct wire_parts parts;                                                                                 \
    memset(&parts, 0xee, sizeof parts);                                                                      \
    if (!wire_read_##lower(bytes, length, &value)) return refuse();                                          \
    printf("{\"layout\":\"%s\",\"handle\":%u,\"fields\":{", layout, prefix ? prefix->handle : 0);            \
    WIRE_FIELDS_##NAME(SHOW) wire_put_##lower(&parts, &value);                                               \
    return show_again(&parts, prefix);                                                                       \
  }
  WIRE_LAYOUTS(LAYOUT)
  refuse();
}

static const char *kind_name(uint8_t kind) {
#define KIND(NAME)                                                                                           \
  case CHANNEL_##NAME:                                                                                       \
    return #NAME;
  switch (kind) { WIRE_FRAMES(KIND) }
  return "";
}

static void look_at_frame(const unsigned char *bytes, size_t length) {
  struct channel_frame frame;
  struct failure failure = {0};
  int ends[2];
  // By the function that runtimes receive with.
  if (pipe(ends) < 0 || write(ends[1], bytes, length) != (ssize_t)length) exit(1);
  close(ends[1]);
  const int got = channel_receive(ends[0], &frame, &failure);
  close(ends[0]);
  if (got != 1) return refuse();
  const struct wire_channel_prefix prefix = {0, frame.kind, frame.handle};
  look(kind_name(frame.kind), frame.payload, frame.length, &prefix);
  free(frame.payload);
}

int main(void) {
  static char layout[64], digits[MAX_HEX + 1];
  static unsigned char bytes[MAX_HEX / 2];
  while (scanf("%63s", layout) == 1) {
    // No bytes are a word of their own.
    if (scanf("%65536s", digits) != 1) return 1;
    const size_t length = strcmp(digits, "-") == 0 ? 0 : strlen(digits) / 2;
    for (size_t i = 0; i < length; i++) {
      unsigned value;
      if (sscanf(digits + 2 * i, "%2x", &value) != 1) return 1;
      bytes[i] = (unsigned char)value;
    }
    if (strcmp(layout, "frame") == 0)
      look_at_frame(bytes, length);
    else
      look(layout, bytes, length, NULL);
  }
  return 0;
}
