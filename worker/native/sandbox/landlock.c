// Landlock, landlock(7): restrictions that a process puts on itself and its children. The kernel keeps them apart from
// mounts, ids and the system call filter. They are a second barrier, for the day on which one of those fails:
//
//   writing     Only below /tmp, and to the devices. The root belongs to another id anyway. But a child process owns
//               files in /proc, and a mistake may leave other places writable.
//   reading     Only below the sandbox's own root: a leaked descriptor of a directory of the host (CVE-2024-21626), or a way
//               out of the chroot, opens nothing.
//   mounting    The kernel refuses every change of mounts to a process with file rules, whatever its capabilities.
//   ptrace      Of no process outside of the sandbox, /proc/PID/mem and process_vm_readv included.
//   ioctl       On no device (ABI 5), apart from those of every descriptor, such as FIOCLEX.
//   signals, abstract unix sockets (ABI 6)
//               Only within the sandbox, even if it shared a pid or network namespace.
//
// TCP is not restricted: the network namespace decides what can be reached, and servers on loopback have to work.
#include "sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than the headers of the oldest supported system; the numbers are the kernel's and never change.
#define FS_REFER (1ULL << 13)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)
#define RESTRICT_SELF_LOG_SAME_EXEC_OFF (1U << 0)

struct ruleset_attributes {
  uint64_t handled_access_fs;
  uint64_t handled_access_net; // ABI 4
  uint64_t scoped;             // ABI 6
};

#define FS_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                             \
  (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |          \
   LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                \
   LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | FS_REFER | FS_TRUNCATE)
// No rule allows device files, nor ioctl on them.
#define FS_NEVER (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | FS_IOCTL_DEV)

// Rights below each directory; the rights of a directory also hold in all that is mounted below it.
static const struct {
  const char *path;
  uint64_t access;
} rules[] = {
    {"/", FS_READ},
    {"/tmp", FS_WRITE},
    {"/dev", LANDLOCK_ACCESS_FS_WRITE_FILE},
};

static uint64_t known_access(int abi) {
  uint64_t access = FS_READ | FS_WRITE | FS_NEVER;
  if (abi < 3) access &= ~FS_TRUNCATE;
  if (abi < 5) access &= ~FS_IOCTL_DEV;
  return access;
}

// The kernel accepts a shorter structure of an older ABI. It refuses one that is longer than its own.
static size_t attributes_size(int abi) {
  if (abi >= 6) return sizeof(struct ruleset_attributes);
  return abi >= 4 ? offsetof(struct ruleset_attributes, scoped)
                  : offsetof(struct ruleset_attributes, handled_access_net);
}

static int add_rule(int ruleset, const char *path, uint64_t access, struct failure *failure) {
  FD_CLEANUP int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return fail_errno(failure, "open %s", path);
  const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
    return fail_errno(failure, "allow access below %s", path);
  return 0;
}

int landlock_restrict(struct failure *failure) {
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  // Landlock is not built, not switched on, or has ABI 1, which forbids a rename into another directory.
  if (abi < 2) return 0;
  const struct ruleset_attributes attributes = {
      .handled_access_fs = known_access((int)abi),
      .scoped = abi >= 6 ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0,
  };
  FD_CLEANUP int ruleset =
      (int)syscall(SYS_landlock_create_ruleset, &attributes, attributes_size((int)abi), 0);
  if (ruleset < 0) return fail_errno(failure, "make a ruleset of ABI %ld", abi);
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    if (add_rule(ruleset, rules[i].path, rules[i].access & attributes.handled_access_fs, failure) < 0)
      return -1;
  }
  // Without the kernel's audit records (ABI 7): a tenant with a million refusals must not fill the host's log.
  if (syscall(SYS_landlock_restrict_self, ruleset, abi >= 7 ? RESTRICT_SELF_LOG_SAME_EXEC_OFF : 0) < 0)
    return fail_errno(failure, "restrict itself");
  return (int)abi;
}
