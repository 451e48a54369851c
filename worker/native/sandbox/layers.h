// Layers of the isolation in a build. A product's build has all of them. Only the controls of the attack suite leave
// one out (make BUILD=DIRECTORY WITHOUT=LAYER), to see that their attacks then succeed.
#pragma once

#include <stdbool.h>

#ifdef WITHOUT_SECCOMP
#define WITH_SECCOMP false
#else
#define WITH_SECCOMP true
#endif
#ifdef WITHOUT_DISTINCT_UID
#define WITH_DISTINCT_UID false
#else
#define WITH_DISTINCT_UID true
#endif
#ifdef WITHOUT_CLOSE_RANGE
#define WITH_CLOSE_RANGE false
#else
#define WITH_CLOSE_RANGE true
#endif
#ifdef WITHOUT_NETNS
#define WITH_NETNS false
#else
#define WITH_NETNS true
#endif
#ifdef WITHOUT_PRIVILEGE_DROP
#define WITH_PRIVILEGE_DROP false
#else
#define WITH_PRIVILEGE_DROP true
#endif
#ifdef WITHOUT_LANDLOCK
#define WITH_LANDLOCK false
#else
#define WITH_LANDLOCK true
#endif
#ifdef WITHOUT_AUDIT
#define WITH_AUDIT false
#else
#define WITH_AUDIT true
#endif

#ifndef CONTROL_BUILD
// clang-format off
_Static_assert(WITH_SECCOMP && WITH_DISTINCT_UID && WITH_CLOSE_RANGE && WITH_NETNS && WITH_PRIVILEGE_DROP && WITH_LANDLOCK &&
                   WITH_AUDIT,
               "a build that lacks a layer of the isolation is a control of the attack suite and nothing else");
// clang-format on
#endif
