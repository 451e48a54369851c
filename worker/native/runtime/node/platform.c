#include "platform.h"

#include "common.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

// Names by which Node's program exports the two. They are C++, and this addon is linked with no header of Node's own classes:
// one addon serves all Node versions of the images.
#define PLATFORM_TABLE "_ZTVN4node12NodePlatformE"
#define NUMBER_OF_THREADS "_ZN4node12NodePlatform21NumberOfWorkerThreadsEv"

// Writes to constant data or code. This file may write to a private read-only mapping, proc(5); it is closed again before the
// first fork.
static bool overwrite(void *at, const void *bytes, size_t length) {
  FD_CLEANUP int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  return memory >= 0 && pwrite(memory, bytes, length, (off_t)at) == (ssize_t)length;
}

bool platform_replace_virtual(const char *class_table, const void *from, const void *to) {
  void **table = dlsym(RTLD_DEFAULT, class_table);
  Dl_info about;
  const ElfW(Sym) *symbol = NULL;
  if (!table || !from || !dladdr1(table, &about, (void **)&symbol, RTLD_DL_SYMENT) || !symbol) return false;
  for (size_t i = 0; i < symbol->st_size / sizeof *table; i++) {
    if (table[i] == from) return overwrite(table + i, &to, sizeof to);
  }
  return false;
}

bool platform_replace_function(const char *name, const void *to) {
  void *function = dlsym(RTLD_DEFAULT, name);
  if (!function) return false;
  // movabs $to, %rax; jmp *%rax
  unsigned char jump[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
  memcpy(jump + 2, &to, sizeof to);
  return overwrite(function, jump, sizeof jump);
}

static int no_threads(void *platform) {
  (void)platform;
  return 0;
}

// A job of V8 takes part of its work to as many threads as the platform has, and does the rest on the thread that waits for it.
// Each collection of young objects is such a job, with --single-threaded too. In a fork its tasks would stay in the queue for
// ever: each holds memory, and the end of an isolate waits until the queue is empty. So no worker thread would ever end.
bool platform_forget_threads(void) {
  return platform_replace_virtual(PLATFORM_TABLE, dlsym(RTLD_DEFAULT, NUMBER_OF_THREADS),
                                  (const void *)no_threads);
}
