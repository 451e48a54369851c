// The count of invocations that a sandbox was handed ahead: a word in a page that worker and sandbox map. Each side
// takes from it by one atomic operation, so the processor decides which was first, and neither waits for the other.
//
// An eventfd would be one open file of both. The sandbox could change its flags, and the worker's write(2) would then
// sleep. The page has no descriptor left on either side. Its size is sealed, because a truncated page would end the
// worker by SIGBUS.
#pragma once

#include "common.h"

struct turns;

// Makes a page. Returns the worker's view. `*theirs` is a descriptor for the sandbox, on an open file of its own.
struct turns *turns_make(int *theirs, struct failure *failure);

// Returns the sandbox's view of the page behind `fd`, which stays open.
struct turns *turns_map(int fd, struct failure *failure);

void turns_unmap(struct turns *turns);

// Adds one. A sandbox that overwrites the count harms only itself.
void turns_post(struct turns *turns);

// Takes up to `max` off, and gives how many. The others stay: the sandbox is about to take them. Gives 0 as well
// when a sandbox writes so often that no try succeeds.
uint32_t turns_take_back(struct turns *turns, uint32_t max);

// Takes one off, in the sandbox. False if the count is zero.
bool turns_take(struct turns *turns);
