// What a process may never have again: capabilities, and by Landlock files beyond those that are named. The sandbox's, and
// the gate's own. It relies on no_new_privs being set before: no program that is executed later gets any of it back.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int confine_drop_bounding(void) {
  for (int capability = 0;; capability++) {
    int is_there = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (is_there < 0) break;  // past the kernel's last one
    FAIL_IF(is_there && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0, "prctl(PR_CAPBSET_DROP)");
  }
  FAIL_IF(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0, "prctl(PR_CAP_AMBIENT)");
  return 0;
}

int confine_lock_securebits(void) {
  const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                             SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  FAIL_IF(prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0, "prctl(PR_SET_SECUREBITS)");
  return 0;
}

int confine_drop_capabilities(void) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2];
  memset(none, 0, sizeof none);
  FAIL_IF(syscall(SYS_capset, &head, none) < 0, "capset");
  return 0;
}

// Of newer headers than this libc brings (linux/landlock.h of 6.12).
struct ruleset {
  uint64_t files, network, scoped;
};
struct beneath {
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));
enum {
  EXECUTE = 1 << 0, WRITE_FILE = 1 << 1, READ_FILE = 1 << 2, READ_DIR = 1 << 3, REMOVE_DIR = 1 << 4, REMOVE_FILE = 1 << 5,
  MAKE_CHAR = 1 << 6, MAKE_DIR = 1 << 7, MAKE_REG = 1 << 8, MAKE_SOCK = 1 << 9, MAKE_FIFO = 1 << 10, MAKE_BLOCK = 1 << 11,
  MAKE_SYM = 1 << 12, REFER = 1 << 13, TRUNCATE = 1 << 14, IOCTL_DEVICE = 1 << 15,
  BIND_TCP = 1 << 0,
  SCOPE_ABSTRACT_SOCKETS = 1 << 0, SCOPE_SIGNALS = 1 << 1,
};

int csandbox_landlock_version(void) {
  long version = syscall(444, NULL, 0, 1);
  return version < 0 ? -errno : (int)version;
}

static uint64_t file_rights(int version) {
  uint64_t handled = (1 << 13) - 1;
  if (version >= 2) handled |= REFER;
  if (version >= 3) handled |= TRUNCATE;
  if (version >= 5) handled |= IOCTL_DEVICE;
  return handled;
}

static int create(int version, uint64_t network, uint64_t scoped) {
  struct ruleset wanted = {.files = file_rights(version), .network = network, .scoped = scoped};
  size_t size = version >= 6 ? sizeof wanted : version >= 4 ? 16 : 8;
  int ruleset = (int)syscall(444, &wanted, size, 0);
  FAIL_IF(ruleset < 0, "landlock_create_ruleset");
  return ruleset;
}

static int restrict_self(int ruleset) {
  FAIL_IF(syscall(446, ruleset, 0) < 0, "landlock_restrict_self");
  close(ruleset);
  return 0;
}

static int allow_below(int ruleset, int parent, uint64_t rights) {
  struct stat status;
  FAIL_IF(fstat(parent, &status) < 0, "stat");
  // What holds for a folder's entries alone is refused for a file.
  if (!S_ISDIR(status.st_mode)) rights &= EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE;
  struct beneath rule = {.allowed = rights, .parent = parent};
  FAIL_IF(syscall(445, ruleset, 1, &rule, 0) < 0, "landlock_add_rule");
  close(parent);
  return 0;
}

static int allow(int ruleset, const char *path, uint64_t rights) {
  int parent = open(path, O_PATH | O_CLOEXEC);
  FAIL_IF(parent < 0, "open");
  return allow_below(ruleset, parent, rights);
}

// The standard three may lie anywhere: who has one open may open it anew by its name in /dev, with the same rights.
static int allow_standard(int ruleset, uint64_t handled) {
  for (int fd = 0; fd < 3; fd++) {
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &status) < 0 || S_ISSOCK(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode)) continue;
    uint64_t rights = ((flags & O_ACCMODE) != O_WRONLY ? READ_FILE : 0) | ((flags & O_ACCMODE) != O_RDONLY ? WRITE_FILE | TRUNCATE : 0);
    struct beneath rule = {.allowed = rights & handled, .parent = fd};
    // A pipe lies in no file system that has rules.
    FAIL_IF(syscall(445, ruleset, 1, &rule, 0) < 0 && errno != EBADFD && errno != EBADF, "landlock_add_rule");
  }
  return 0;
}

int confine_landlock(const char *writable, uint64_t count, const char *devices) {
  int version = csandbox_landlock_version();
  FAIL_IF(version < 0, "landlock_create_ruleset");
  uint64_t handled = file_rights(version);
  int ruleset = create(version, 0, version >= 6 ? SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS : 0);
  if (ruleset < 0) return ruleset;
  int result = allow(ruleset, "/", EXECUTE | READ_FILE | READ_DIR);
  if (result == 0) result = allow(ruleset, devices, handled & (READ_FILE | WRITE_FILE | READ_DIR | TRUNCATE | IOCTL_DEVICE));
  if (result == 0) result = allow_standard(ruleset, handled);
  for (; result == 0 && count > 0; count--, writable = sandbox_next(writable))
    result = allow(ruleset, writable, handled & ~(uint64_t)(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEVICE));
  return result < 0 ? result : restrict_self(ruleset);
}

// MARK: the gate

static int landlock_gate(const struct csandbox_reach *reach) {
  int version = csandbox_landlock_version();
  FAIL_IF(version < 0, "landlock_create_ruleset");
  // The listeners are bound by now. A supervisor stops with its whole group, which may hold the caller's shell.
  uint64_t scoped = SCOPE_ABSTRACT_SOCKETS | (reach->supervises ? 0 : SCOPE_SIGNALS);
  int ruleset = create(version, version >= 4 ? BIND_TCP : 0, version >= 6 ? scoped : 0);
  if (ruleset < 0) return ruleset;
  static const uint64_t rights[] = {
      [CSANDBOX_REACH_READ] = READ_FILE, [CSANDBOX_REACH_APPEND] = WRITE_FILE | MAKE_REG,
      [CSANDBOX_REACH_CGROUP] = READ_FILE | WRITE_FILE | REMOVE_DIR, [CSANDBOX_REACH_REMOVE] = REMOVE_FILE,
  };
  for (uint32_t i = 0; i < reach->count; i++) {
    // What is not there, or cannot be reached now, is not needed later.
    int parent = open(reach->texts + reach->places[i].text, O_PATH | O_CLOEXEC);
    if (parent < 0) continue;
    int result = allow_below(ruleset, parent, rights[reach->places[i].kind]);
    if (result < 0) return result;
  }
  return restrict_self(ruleset);
}

// Without CAP_SETPCAP the bounding set stays; no_new_privs and an empty permitted set make it void.
static int drop_all_capabilities(void) {
  int result = confine_drop_bounding();
  if (result == 0) result = confine_lock_securebits();
  return result == 0 || result == -EPERM ? confine_drop_capabilities() : result;
}

int csandbox_confine_gate(const struct csandbox_reach *reach, struct csandbox_lacks *lacks) {
  FAIL_IF(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0, "prctl(PR_SET_NO_NEW_PRIVS)");
  // Folders are opened while root may still look into each; capabilities go after that.
  lacks->landlock_version = csandbox_landlock_version();
  lacks->landlock = -landlock_gate(reach);
  int result = drop_all_capabilities();
  if (result < 0) return result;
  lacks->seccomp = -confine_gate_seccomp(reach->supervises != 0, reach->local_sockets != 0);
  return 0;
}

const char *csandbox_stage(void) { return sandbox_stage; }
