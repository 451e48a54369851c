// The memory limit of a sandbox, told to V8: it collects garbage before the kernel would end the sandbox.
#pragma once

#include <stddef.h>
#include <stdint.h>

// In the zygote, before the first fork. From then on heap_limit() can see the memory of buffers, which is outside of V8's heap.
void heap_prepare(void);

// In a sandbox, once, on the thread of its main isolate and before its function loads: gives the heap what `memory_mb` leaves
// for it. Ends the process with EXHAUSTED_STATUS when V8 finds no room within that.
void heap_limit(uint32_t memory_mb);

// Bytes that belong to this process alone: about those for which its cgroup is charged. Costs about a millisecond.
size_t heap_charged(void);
