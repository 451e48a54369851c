// Changes in the runtime's own program, in memory. The platform that Node gives to V8 is a queue of tasks, and threads that run
// them; a fork has the queue without the threads.
#pragma once

#include <stdbool.h>

// In the zygote, before the first fork: tells V8 that its platform has no threads, so that the thread which waits for a task runs
// the task itself. Returns false if this Node is built in another way; V8 then goes on as before.
bool platform_forget_threads(void);

// Replaces a pointer in a table of virtual functions of the runtime by another, for all objects of that class. Returns false if
// `class_table` is no symbol of the runtime, or does not contain `from`.
bool platform_replace_virtual(const char *class_table, const void *from, const void *to);

// Replaces an exported function of the runtime for all its callers. Returns false if it has no such function.
bool platform_replace_function(const char *name, const void *to);
