// V8 knows two sizes of memory: its heap, and that of buffers outside. It collects garbage by how each has grown, and never looks
// at both together, nor at their sum with the rest of the process. The kernel counts the sum, and ends a sandbox that passes its
// limit, whatever part of it is garbage. So this file watches the sum:
//
//   old objects     have a limit of their own, below that of the sandbox.
//   collections     After each one, the process is measured. If it is near its limit, V8 is asked for a whole collection.
//   buffers         Every so many bytes of new ones, the process is measured. If it is near its limit, the allocation fails once;
//                   V8 then collects and asks again.
//
// The measure has two steps. The first costs some microseconds and counts pages that are shared with the zygote, too many by some
// 30 MB. Only near the limit the second follows, which costs about a millisecond and counts what the kernel charges.
#include "heap.h"

#include "common.h"
#include "platform.h"
#include "protocol.gen.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Parts of V8's interface, by the names that Node's program exports. They are the same in all Node versions of the images.
struct isolate;
struct details;
typedef size_t near_limit(void *data, size_t current, size_t initial);
typedef void collected(struct isolate *isolate, int type, int flags, void *data);
typedef void interrupt(struct isolate *isolate, void *data);
typedef void exhausted(const char *location, const struct details *details);
#define V8_NAME(name) __asm__("_ZN2v87Isolate" name)
extern struct isolate *current_isolate(void) V8_NAME("10GetCurrentEv");
extern void add_near_limit(struct isolate *, near_limit *, void *)
    V8_NAME("24AddNearHeapLimitCallbackEPFmPvmmES1_");
extern void remove_near_limit(struct isolate *, near_limit *, size_t limit)
    V8_NAME("27RemoveNearHeapLimitCallbackEPFmPvmmEm");
extern void after_collections(struct isolate *, collected *, void *, int types)
    V8_NAME("21AddGCEpilogueCallbackEPFvPS0_NS_6GCTypeENS_15GCCallbackFlagsEPvES4_S2_");
extern void request_interrupt(struct isolate *, interrupt *, void *)
    V8_NAME("16RequestInterruptEPFvPS0_PvES2_");
extern void notify_pressure(struct isolate *, int level)
    V8_NAME("26MemoryPressureNotificationENS_19MemoryPressureLevelE");
extern void on_exhausted(struct isolate *, exhausted *)
    V8_NAME("18SetOOMErrorHandlerEPFvPKcRKNS_10OOMDetailsEE");
extern void set_flags(const char *flags) __asm__("_ZN2v82V818SetFlagsFromStringEPKc");
enum { ALL_COLLECTIONS = 31, NO_PRESSURE = 0, CRITICAL_PRESSURE = 2 };

#define ALLOCATOR "NodeArrayBufferAllocator"
#define ALLOCATOR_TABLE "_ZTVN4node24" ALLOCATOR "E"
#define ALLOCATE "_ZN4node24" ALLOCATOR "8AllocateEm"
#define ALLOCATE_UNINITIALIZED "_ZN4node24" ALLOCATOR "21AllocateUninitializedEm"

#define MB ((size_t)1 << 20)

// Bytes that the young generation can grow to: three semi-spaces of the zygote's --max-semi-space-size.
#define YOUNG_BYTES (48 * MB)

// Limit in bytes below which the young generation does not grow. It could take most of the memory otherwise, and V8 goes by its size
// before it looks at any limit.
#define SMALL_BYTES (128 * MB)

// Size in bytes from which on malloc maps memory for one buffer, and bytes that it keeps when they are free. By default both grow
// with the largest buffer that was freed, up to 64 MB that are kept.
#define MAPPED_BYTES (1 << 20)
#define KEPT_BYTES (4 << 20)

// In bytes: the sandbox's limit, 0 until it is known; the use from which on garbage is collected; and the growth since the last
// such collection without which there is no other. A function whose live objects fill its memory would otherwise only collect.
static size_t limit, near, step;
// Bytes of new buffers between two measurements.
static size_t look_every;
// Bytes of buffers since the last measurement, and use after the last collection that this file has asked for.
static atomic_size_t unseen, settled;

// Whether this thread's isolate is watched, has a collection before it, or has just been refused a buffer.
static _Thread_local bool watched, asked, refused;

// Bytes of anonymous memory of this process, those included that it shares with the zygote.
static size_t resident(void) {
  char text[128];
  unsigned long all, shared;
  // Opened anew each time: a sandbox keeps no descriptor that its function has not asked for.
  FD_CLEANUP int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (length <= 0) return 0;
  text[length] = '\0';
  // Size, resident and shared, in pages.
  if (sscanf(text, "%*u %lu %lu", &all, &shared) != 2) return 0;
  return (all - shared) * (size_t)getpagesize();
}

size_t heap_charged(void) {
  char text[2048];
  FD_CLEANUP int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (length <= 0) return resident();
  text[length] = '\0';
  size_t bytes = 0;
  for (const char *line = text; (line = strstr(line, "\nPrivate_")); line++) {
    unsigned long kb;
    if (sscanf(line, "\nPrivate_%*[^:]: %lu", &kb) == 1) bytes += kb * 1024;
  }
  return bytes;
}

static bool is_near_limit(size_t more) {
  if (resident() + more <= near) return false;
  size_t used = heap_charged() + more;
  return used > near && used > settled + step;
}

static void settle(void) {
  // Buffers are malloc's, which keeps freed memory for later.
  malloc_trim(0);
  settled = heap_charged();
}

static void relieve(struct isolate *isolate, void *data) {
  (void)data;
  notify_pressure(isolate, CRITICAL_PRESSURE);
  // V8 would go on to prefer small memory to speed.
  notify_pressure(isolate, NO_PRESSURE);
  settle();
  asked = false;
}

static void on_collected(struct isolate *isolate, int type, int flags, void *data) {
  (void)type;
  (void)flags;
  (void)data;
  if (asked || !is_near_limit(0)) return;
  asked = true;
  // A callback of a collection may not begin another. The interrupt comes before the next loop of JavaScript.
  request_interrupt(isolate, relieve, NULL);
}

static _Noreturn void end_exhausted(const char *location, const struct details *details) {
  (void)details;
  dprintf(STDERR_FILENO,
          "%s: JavaScript heap out of memory; next: raise \"memory\", now %zu MB, in offshoot.json\n",
          location ? location : "V8", limit / MB);
  _exit(EXHAUSTED_STATUS);
}

static size_t keep_limit(void *data, size_t current, size_t initial) {
  (void)data;
  (void)initial;
  return current;
}

// `old`: upper bound on the bytes of its old objects, unless a lower one holds already.
static void watch(struct isolate *isolate, size_t old) {
  watched = true;
  // V8 has no call to set the limit. It takes a new one, lower than the one before, when a callback is removed.
  add_near_limit(isolate, keep_limit, NULL);
  remove_near_limit(isolate, keep_limit, old);
  after_collections(isolate, on_collected, NULL, ALL_COLLECTIONS);
  on_exhausted(isolate, end_exhausted);
}

// Whether V8 has to collect before it gets a buffer of this size.
static bool must_collect(size_t bytes) {
  if (limit == 0) return false;
  // A worker thread makes buffers before any code of the function runs in it. Its heap may take what the main thread leaves.
  if (!watched) {
    struct isolate *isolate = current_isolate();
    if (isolate) watch(isolate, limit / 8 * 5);
  }
  if (refused) {
    refused = false;
    settle();
    return false;
  }
  size_t more = atomic_fetch_add(&unseen, bytes) + bytes;
  if (more < look_every) return false;
  unseen = 0;
  refused = is_near_limit(more);
  return refused;
}

typedef void *allocate_buffer(void *allocator, size_t bytes);
static allocate_buffer *allocate_zeroed, *allocate_uninitialized;

static void *watched_zeroed(void *allocator, size_t bytes) {
  return must_collect(bytes) ? NULL : allocate_zeroed(allocator, bytes);
}

static void *watched_uninitialized(void *allocator, size_t bytes) {
  return must_collect(bytes) ? NULL : allocate_uninitialized(allocator, bytes);
}

void heap_prepare(void) {
  // Here and not in each sandbox, where the call would touch every list of malloc.
  mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
  mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
  // Flags of the zygote would hold for worker threads too, and beat the limits that a thread is given or takes from the machine.
  // They have had their effect on the main isolate.
  set_flags("--max-old-space-size=0 --max-semi-space-size=0");
  const struct {
    const char *name;
    allocate_buffer **original, *watching;
  } functions[] = {
      {ALLOCATE, &allocate_zeroed, watched_zeroed},
      {ALLOCATE_UNINITIALIZED, &allocate_uninitialized, watched_uninitialized},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *original = dlsym(RTLD_DEFAULT, functions[i].name);
    // Before the table changes, as another thread might allocate.
    *functions[i].original = (allocate_buffer *)original;
    platform_replace_virtual(ALLOCATOR_TABLE, original, (const void *)functions[i].watching);
  }
}

void heap_limit(uint32_t memory_mb) {
  struct isolate *isolate = current_isolate();
  size_t bytes = memory_mb * MB;
  near = bytes / 4 * 3;
  step = bytes / 16;
  look_every = bytes / 64;
  if (bytes < SMALL_BYTES) set_flags("--semi-space-growth-factor=1");
  watch(isolate, bytes > YOUNG_BYTES * 8 / 3 ? bytes - YOUNG_BYTES : bytes / 8 * 5);
  limit = bytes;
}
