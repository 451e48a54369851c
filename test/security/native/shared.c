// V: what two sandboxes have of one host in common.
#include "attack.h"

#include <stddef.h>

const struct scenario shared_scenarios[] = {
    {NULL, NULL},
};
