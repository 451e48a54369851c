// Answers of libuv about the machine: those of the sandbox in place of the host's, on every thread of this process.
#pragma once

#include <stdbool.h>

// In the zygote, before the first fork. Returns false if a function of libuv is not found; it then speaks of the host.
bool host_answer_for_sandbox(void);

// In a sandbox, when its function is known: its life begins.
void host_begin_life(void);
