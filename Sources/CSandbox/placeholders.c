// Names in the workspace that the command must not make: an empty folder or a file stands there while a sandbox runs, and
// inside of it something of the sandbox's own covers that. Runs that need the same one share it, each by a shared lock on
// it; the last one takes it away. A placeholder is known by its time of change, so that one which a killed run left is too.
#define _GNU_SOURCE
#include "CSandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// A second of 1972 that nothing else means; archives and package managers set 0 and 1.
enum { MARK = 86399417, TRIES_MAX = 2000 };

static int is_marked(const struct stat *status) {
  return status->st_mtim.tv_sec == MARK && status->st_mtim.tv_nsec == 0 && (S_ISDIR(status->st_mode) || S_ISREG(status->st_mode));
}

int csandbox_is_placeholder(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0 && is_marked(&status);
}

// No link on the way: another run of the same folder may put one anywhere.
static int open_folder(const char *path) {
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
  int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
  return fd < 0 ? -errno : fd;
}

static int names_the_same(int parent, const char *name, int fd) {
  struct stat here, there;
  return fstat(fd, &here) == 0 && fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && here.st_ino == there.st_ino &&
         here.st_dev == there.st_dev;
}

// A placeholder gets its mark and its lock under a name of its own, and then its place: nobody sees one without them.
static int make(int parent, const char *name, const char *text) {
  char own[64];
  snprintf(own, sizeof own, ".sluice-new-%d", (int)getpid());
  int fd, result = 0;
  if (text) {
    fd = openat(parent, own, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  } else {
    if (mkdirat(parent, own, 0755) < 0) return -errno;
    fd = openat(parent, own, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }
  if (fd < 0) return -errno;
  const struct timespec times[2] = {{.tv_sec = MARK}, {.tv_sec = MARK}};
  if ((text && write(fd, text, strlen(text)) != (ssize_t)strlen(text)) || flock(fd, LOCK_SH) < 0 || futimens(fd, times) < 0 ||
      renameat2(parent, own, parent, name, RENAME_NOREPLACE) < 0)
    result = -errno;
  if (result == 0) return fd;
  unlinkat(parent, own, text ? 0 : AT_REMOVEDIR);
  close(fd);
  return result;
}

// -EALREADY: what stands there is somebody's own; -EAGAIN: it is about to be taken away.
static int share(int parent, const char *name) {
  int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? -EAGAIN : errno == ELOOP ? -EALREADY : -errno;
  struct stat status;
  int result = fstat(fd, &status) < 0 ? -errno : is_marked(&status) ? 0 : -EALREADY;
  if (result == 0 && (flock(fd, LOCK_SH | LOCK_NB) < 0 || !names_the_same(parent, name, fd))) result = -EAGAIN;
  if (result == 0) return fd;
  close(fd);
  return result;
}

int csandbox_placeholder_hold(const char *folder, const char *name, const char *text, uint32_t uid, uint32_t gid) {
  // As the command: where it could not make it either, there is nothing to do.
  setfsgid(gid);
  setfsuid(uid);
  int parent = open_folder(folder), fd = parent;
  for (int tries = 0; parent >= 0 && tries < TRIES_MAX; tries++) {
    fd = make(parent, name, text);
    if (fd != -EEXIST) break;
    fd = share(parent, name);
    if (fd != -EAGAIN) break;
    poll(NULL, 0, 1);
  }
  if (parent >= 0) close(parent);
  setfsuid(geteuid());
  setfsgid(getegid());
  return fd;
}

void csandbox_placeholder_release(const char *folder, const char *name, int fd) {
  int parent = open_folder(folder);
  struct stat status;
  if (parent < 0) return;
  // Others that share it keep it; and what somebody has put into it is theirs.
  if (flock(fd, LOCK_EX | LOCK_NB) == 0 && names_the_same(parent, name, fd) && fstat(fd, &status) == 0 && is_marked(&status))
    unlinkat(parent, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0);
  close(parent);
}

// MARK: what stands in the workspace

long csandbox_list(const char *path, char *entries, size_t room) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  size_t used = 0;
  long got = 0;
  while (used < room && (got = syscall(SYS_getdents64, fd, entries + used, room - used)) > 0) used += (size_t)got;
  int code = errno;
  close(fd);
  // No room for one more entry.
  if (got < 0 && code != EINVAL) return -code;
  return (long)used;
}

long csandbox_read_regular(const char *path, char *bytes, size_t room) {
  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat status;
  long got = fstat(fd, &status) < 0 ? -errno : S_ISREG(status.st_mode) ? 0 : -EINVAL;
  size_t used = 0;
  while (got >= 0 && used < room && (got = read(fd, bytes + used, room - used)) > 0) used += (size_t)got;
  close(fd);
  return got < 0 ? got : (long)used;
}

int csandbox_stamp(const char *path, struct csandbox_stamp *stamp) {
  struct stat status;
  if (lstat(path, &status) < 0) return -errno;
  *stamp = (struct csandbox_stamp){
      .device = status.st_dev, .inode = status.st_ino, .size = (uint64_t)status.st_size, .mode = status.st_mode,
      .changed_ns = (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec,
  };
  return 0;
}

int csandbox_rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 ? -errno : 0; }
