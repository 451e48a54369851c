#pragma once

#include "common.h"

#include <stdbool.h>

// Waits for the adopted children that had ended by the last call already. Returns how many ended children are
// left, so that one more look is due after a turn of the event loop. To be called by the main thread of
// PID 1.
int orphans_reap(void);

// Whether the namespace has any process beside its first one, ended ones that nobody has waited for included.
bool orphans_any(void);
