// The default language of Intl, which ICU takes from the environment when a process starts.
#pragma once

// In a sandbox, on the thread of its main isolate: `name` is a language in ICU's form, such as "de_DE". No effect in a Node whose
// ICU is built in another way.
void locale_set(const char *name);
