// Files of one owner shown as another's: a cloned tree of mounts with a mapping of ids (mount_setattr(2), MOUNT_ATTR_IDMAP). It
// takes the rights of the real root over the file system, so it is done before the sandbox is cloned, and handed to it.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECURSIVE = 0x8000 };

static int write_map(pid_t pid, const char *name, uint32_t disk, uint32_t inside) {
  char path[48], line[32];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int length = snprintf(line, sizeof line, "%u %u 1\n", disk, inside);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  FAIL_IF(fd < 0, "open(uid_map)");
  ssize_t written = write(fd, line, (size_t)length);
  int code = errno;
  close(fd);
  errno = code;
  FAIL_IF(written != length, "write(uid_map)");
  return 0;
}

// A user namespace that has the mapping; nobody is in it once its only process is gone.
static int mapping(const struct csandbox_owners *owners) {
  sandbox_stage = "clone(CLONE_NEWUSER)";
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid < 0) return -errno;
  if (pid == 0)
    for (;;) pause();
  int result = write_map(pid, "uid_map", owners->disk_uid, owners->inside_uid);
  if (result == 0) result = write_map(pid, "gid_map", owners->disk_gid, owners->inside_gid);
  if (result == 0) {
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    sandbox_stage = "open(ns/user)";
    result = open(path, O_RDONLY | O_CLOEXEC);
    if (result < 0) result = -errno;
  }
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
  return result;
}

int csandbox_map_owner(const char *path, const struct csandbox_owners *owners) {
  int names = mapping(owners);
  if (names < 0) return names;
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
  int tree = -1, source = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
  sandbox_stage = "openat2";
  if (source >= 0) {
    sandbox_stage = "open_tree";
    tree = (int)syscall(SYS_open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | RECURSIVE);
  }
  int result = tree;
  if (tree >= 0) {
    struct mount_attr wanted = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, .userns_fd = (uint64_t)names};
    sandbox_stage = "mount_setattr(MOUNT_ATTR_IDMAP)";
    result = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | RECURSIVE, &wanted, sizeof wanted);
  }
  int code = errno;
  if (source >= 0) close(source);
  close(names);
  // A sandbox's first process has its control socket at 3.
  if (result == 0 && tree > 3) return tree;
  if (tree >= 0) close(tree);
  return -code;
}
