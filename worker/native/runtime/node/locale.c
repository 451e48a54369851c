#include "locale.h"

#include <dlfcn.h>
#include <stdio.h>

// Versions of ICU that a Node can contain. It is part of each name that ICU exports.
enum { OLDEST_ICU = 70, NEWEST_ICU = 120 };

struct isolate;
extern struct isolate *current_isolate(void) __asm__("_ZN2v87Isolate10GetCurrentEv");
extern void
forget_locale(struct isolate *) __asm__("_ZN2v87Isolate37LocaleConfigurationChangeNotificationEv");
typedef void set_default(const char *name, int *error);

void locale_set(const char *name) {
  for (int version = OLDEST_ICU; version < NEWEST_ICU; version++) {
    char symbol[32];
    snprintf(symbol, sizeof symbol, "uloc_setDefault_%d", version);
    set_default *set = (set_default *)dlsym(RTLD_DEFAULT, symbol);
    if (!set) continue;
    int error = 0;
    set(name, &error);
    // V8 keeps the language that it has asked for.
    forget_locale(current_isolate());
    return;
  }
}
