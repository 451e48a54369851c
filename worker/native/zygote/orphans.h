#pragma once

#include "common.h"

#include <stdbool.h>

// Reaps the adopted children that had already ended at the last call. Returns the number of other ended children, for
// which one more look is due after a turn of the event loop. Only the main thread of PID 1 may call it.
int orphans_reap(void);

// True if the namespace has any process besides its first one, ended and unreaped ones included.
bool orphans_any(void);
