// Build tool: compiles seccomp/policy.h into a system call filter, by libseccomp.
//
//   seccomp_compile header > build/seccomp_filter.gen.h       the instructions as a C array
//   seccomp_compile instructions > build/seccomp_filter.bpf   the instructions in the kernel's form
//   seccomp_compile names > build/seccomp_names.gen.h         the calls refused by notification, and their names in a record
//
// For test/seccomp, which finds out the entries that are needed:
//
//   seccomp_compile entries              the allowed calls: number, "needed" or "kept", call
//   seccomp_compile instructions 3 17    the filter without these entries
#include "policy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

// Newer than the headers of the oldest supported system; the numbers are the kernel's and never change.
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define EPERM_AT_ONCE SCMP_ACT_ERRNO(1 /* EPERM */)

#define MAX_ALLOWED 1024

static scmp_filter_ctx context;
static bool print_names, print_entries;
static bool kept; // true while a rule marked KEPT is added
static unsigned allowed;
static bool left_out[MAX_ALLOWED];

static void check(int result, const char *what) {
  if (result >= 0) return;
  fprintf(stderr, "seccomp_compile: %s: %s\n", what, strerror(-result));
  exit(1);
}

static int resolve(const char *name) {
  int number = seccomp_syscall_resolve_name(name);
  // An older libseccomp does not know the newest calls; they get the default answer, which refuses them.
  if (number == __NR_SCMP_ERROR)
    fprintf(stderr, "seccomp_compile: libseccomp does not know %s; it stays refused\n", name);
  return number;
}

static void add(unsigned action, const char *name, unsigned count, const struct scmp_arg_cmp *comparisons) {
  int number = resolve(name);
  if (number >= 0) check(seccomp_rule_add_array(context, action, number, count, comparisons), name);
}

// `text` is the entry's name in the list.
static void allow(const char *name, const char *text, unsigned count,
                  const struct scmp_arg_cmp *comparisons) {
  unsigned number = allowed++;
  if (number >= MAX_ALLOWED) check(-E2BIG, text);
  if (print_entries) printf("%u\t%s\t%s\n", number, kept ? "kept" : "needed", text);
  if (!left_out[number]) add(SCMP_ACT_ALLOW, name, count, comparisons);
}

// A call that is reported to the worker: adds the rule and, with `names`, a line of the worker's table.
static void refuse(const char *name, const char *text, unsigned count,
                   const struct scmp_arg_cmp *comparisons) {
  add(SCMP_ACT_NOTIFY, name, count, comparisons);
  int number = seccomp_syscall_resolve_name(name);
  if (!print_names || number < 0) return;
  printf("    {%d, %u, {", number, count);
  for (unsigned i = 0; i < count; i++) {
    printf("{%u, 0x%llx, 0x%llx}, ", comparisons[i].arg, (unsigned long long)comparisons[i].datum_a,
           (unsigned long long)comparisons[i].datum_b);
  }
  printf("}, \"%s\"},\n", text);
}

static int print_header(int file) {
  struct sock_filter instruction;
  puts("// Generated from seccomp/policy.h; do not edit.\n#pragma once\n#include <linux/filter.h>\n"
       "static struct sock_filter seccomp_filter[] = {");
  while (read(file, &instruction, sizeof instruction) == (ssize_t)sizeof instruction) {
    printf("  {0x%04x, %u, %u, 0x%08x},\n", instruction.code, instruction.jt, instruction.jf, instruction.k);
  }
  puts("};");
  return 0;
}

static int print_instructions(int file) {
  char bytes[4096];
  ssize_t length;
  while ((length = read(file, bytes, sizeof bytes)) > 0)
    fwrite(bytes, 1, (size_t)length, stdout);
  return 0;
}

int main(int argc, char **argv) {
  const char *wanted = argc >= 2 ? argv[1] : "";
  print_names = strcmp(wanted, "names") == 0;
  print_entries = strcmp(wanted, "entries") == 0;
  bool instructions = strcmp(wanted, "instructions") == 0;
  if (!instructions && (argc != 2 || (!print_names && !print_entries && strcmp(wanted, "header") != 0))) {
    fputs("usage: seccomp_compile header | names | entries | instructions [ENTRY...]\n", stderr);
    return 2;
  }
  for (int i = 2; i < argc; i++) {
    unsigned long number = strtoul(argv[i], NULL, 10);
    if (number >= MAX_ALLOWED) check(-E2BIG, argv[i]);
    left_out[number] = true;
  }
  context = seccomp_init(SCMP_ACT_ERRNO(38 /* ENOSYS */));
  if (!context) return 1;
  check(seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
        "set the action for other architectures");
  // A binary tree instead of a list: the filter runs at every system call.
  check(seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimise");

#define COMPARE(argument, mask, value)                                                                       \
  { argument, SCMP_CMP_MASKED_EQ, mask, value }
#define COMPARE_32(argument, value) COMPARE(argument, LOW_32, (uint32_t)(value))
#define LIST(...)                                                                                            \
  (const struct scmp_arg_cmp[]) {                                                                            \
    __VA_ARGS__                                                                                              \
  }
#define ALLOW(call, reason) allow(#call, #call, 0, NULL);
#define ALLOW_MASKED(call, argument, mask, value, reason)                                                    \
  allow(#call, #call "(" #value ")", 1, LIST(COMPARE(argument, mask, value)));
#define ALLOW_EQUAL(call, argument, value, reason)                                                           \
  allow(#call, #call "(" #value ")", 1, LIST(COMPARE_32(argument, value)));
#define ALLOW_SOCKET(family, type, protocol, reason)                                                         \
  allow("socket", "socket(" #family ", " #type ", " #protocol ")", 3,                                        \
        LIST(COMPARE_32(0, family), COMPARE(1, SOCKET_TYPE_MASK, type), COMPARE_32(2, protocol)));
#define ALLOW_OPTION(level, option, reason)                                                                  \
  allow("setsockopt", "setsockopt(" #level ", " #option ")", 2,                                              \
        LIST(COMPARE_32(1, level), COMPARE_32(2, option)));
#define READ_OPTION(level, option, reason)                                                                   \
  allow("getsockopt", "getsockopt(" #level ", " #option ")", 2,                                              \
        LIST(COMPARE_32(1, level), COMPARE_32(2, option)));
#define KEPT(rule)                                                                                           \
  kept = true;                                                                                               \
  rule kept = false;
#define ASK(call, reason) refuse(#call, #call, 0, NULL);
#define REFUSE(call, reason) refuse(#call, #call, 0, NULL);
#define REFUSE_MASKED(call, argument, mask, value, reason)                                                   \
  refuse(#call, #call "(" #value ")", 1, LIST(COMPARE(argument, mask, value)));
#define REFUSE_EQUAL(call, argument, value, reason)                                                          \
  refuse(#call, #call "(" #value ")", 1, LIST(COMPARE_32(argument, value)));
#define REFUSE_SOCKET(family, type, reason)                                                                  \
  refuse("socket", "socket(" #family ", " #type ")", 2,                                                      \
         LIST(COMPARE_32(0, family), COMPARE(1, SOCKET_TYPE_MASK, type)));
#define REFUSE_AS(error, call, reason) add(SCMP_ACT_ERRNO(error), #call, 0, NULL);
#define REFUSE_SILENTLY(call, argument, value, reason)                                                       \
  add(EPERM_AT_ONCE, #call, 1, LIST(COMPARE_32(argument, value)));
  if (print_names)
    puts("// Generated from seccomp/policy.h; do not edit.\n#pragma once\n"
         "static const struct refused_call refused_calls[] = {");
  SECCOMP_POLICY
  if (print_names) {
    puts("};");
    seccomp_release(context);
    return 0;
  }
  if (print_entries) return 0;

  int file = memfd_create("filter", MFD_CLOEXEC);
  check(file, "make a file for the filter");
  check(seccomp_export_bpf(context, file), "export the filter");
  lseek(file, 0, SEEK_SET);
  seccomp_release(context);
  int result = strcmp(wanted, "header") == 0 ? print_header(file) : print_instructions(file);
  close(file);
  return result;
}
