// The memory limit of a sandbox, told to V8: it collects garbage before the kernel would end the sandbox.
#pragma once

#include <stdint.h>

// Exit status of a process whose live objects do not fit into its limit: as a shell shows the end of Node itself, 128 + SIGABRT.
enum { HEAP_EXHAUSTED_STATUS = 134 };

// In the zygote, before the first fork. From then on heap_limit() can see the memory of buffers, which is outside of V8's heap.
void heap_watch_buffers(void);

// In a sandbox, once, on the thread of its main isolate and before its function loads: gives the heap what `memory_mb` leaves
// for it. Ends the process with HEAP_EXHAUSTED_STATUS when V8 finds no room within that.
void heap_limit(uint32_t memory_mb);
