// The count of invocations that a sandbox was handed ahead: a word in a page that worker and sandbox map.
// Each side takes off it by one atomic operation, so the processor decides who was first and neither waits
// for the other. An eventfd would be one open file of both: its flags are the sandbox's to change, and its
// write(2) then sleeps. The page has no descriptor left on either side, and its size is sealed, because a
// page that is cut off would end the worker by SIGBUS.
#pragma once

#include "common.h"

struct turns;

// Makes a page. Gives the worker's view; `*theirs` is a descriptor for the sandbox with an open file of its
// own.
struct turns *turns_make(int *theirs, struct failure *failure);

// The sandbox's view of the page behind `fd`, which stays open.
struct turns *turns_map(int fd, struct failure *failure);

void turns_unmap(struct turns *turns);

// Adds one. A count that the sandbox has written over is the sandbox's own loss.
void turns_post(struct turns *turns);

// Takes all off. Gives their number, and at most `max`, because the sandbox may have counted them up.
uint32_t turns_take_back(struct turns *turns, uint32_t max);

// Takes one off, in the sandbox. False where none is left.
bool turns_take(struct turns *turns);
