// Files below one folder, written and removed for a caller who does not trust what stands there: each path is looked up
// below the folder's descriptor without following a link, so nothing outside of it is reached.
#define _GNU_SOURCE
#include "CSandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { DEPTH_MAX = 128, BUFFER = 1 << 16 };

int csandbox_is_whiteout(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

// A folder of which nothing below it is seen (overlayfs, userxattr).
int csandbox_is_opaque(const char *path) {
  char value[2];
  return lgetxattr(path, "user.overlay.opaque", value, sizeof value) >= 1 && value[0] == 'y';
}

uint32_t csandbox_mode(const char *path) {
  struct stat status;
  return lstat(path, &status) < 0 ? 0 : status.st_mode & 07777;
}

// The folder that `path` stands in, below `root`; `last` is its last part.
static int open_folder(int root, const char *path, const char **last) {
  char folder[PATH_MAX] = ".";
  const char *slash = strrchr(path, '/');
  *last = slash ? slash + 1 : path;
  if (slash) {
    size_t length = (size_t)(slash - path);
    if (length >= sizeof folder) return -ENAMETOOLONG;
    memcpy(folder, path, length);
    folder[length] = 0;
  }
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  int fd = -1;
  for (int tries = 0; fd < 0 && tries < 1000; tries++) {
    fd = (int)syscall(SYS_openat2, root, folder, &how, sizeof how);
    if (fd < 0 && errno != EAGAIN) break;
  }
  return fd < 0 ? -errno : fd;
}

int csandbox_open_folder(const char *path) {
  int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int remove_below(int parent, const char *name, int depth) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return -errno;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  DIR *folder = depth < DEPTH_MAX ? fdopendir(fd) : NULL;
  if (!folder) {
    close(fd);
    return -ELOOP;
  }
  int result = 0;
  for (struct dirent *entry; result == 0 && (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      result = remove_below(fd, entry->d_name, depth + 1);
  closedir(folder);
  return result < 0 ? result : unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int csandbox_change_remove(int root, const char *path) {
  const char *last;
  int parent = open_folder(root, path, &last);
  if (parent < 0) return parent;
  int result = remove_below(parent, last, 0);
  close(parent);
  return result;
}

// New files belong to the owner of the root, where the caller may say so.
static void give(int fd, int root) {
  struct stat status;
  if (geteuid() == 0 && fstat(root, &status) == 0 && fchown(fd, status.st_uid, status.st_gid) < 0) errno = 0;
}

int csandbox_change_folder(int root, const char *path, uint32_t mode) {
  const char *last;
  int parent = open_folder(root, path, &last);
  if (parent < 0) return parent;
  struct stat status;
  if (fstatat(parent, last, &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(status.st_mode)) remove_below(parent, last, 0);
  int result = mkdirat(parent, last, 0700) < 0 && errno != EEXIST ? -errno : 0;
  int fd = result < 0 ? -1 : openat(parent, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (result == 0 && fd < 0) result = -errno;
  if (fd >= 0) {
    give(fd, root);
    if (fchmod(fd, mode & 0777) < 0) result = -errno;
    close(fd);
  }
  close(parent);
  return result;
}

// A new file beside the old one, then in its place: whoever reads it sees the one or the other.
static void draft_name(char name[64]) {
  static unsigned number;
  snprintf(name, 64, ".sluice-%d-%u", (int)getpid(), number++);
}

static int put(int parent, const char *draft, const char *last) {
  struct stat status;
  if (fstatat(parent, last, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) {
    int result = remove_below(parent, last, 0);
    if (result < 0) return result;
  }
  return renameat(parent, draft, parent, last) < 0 ? -errno : 0;
}

static int copy_bytes(int from, int to) {
  static char buffer[BUFFER];
  for (ssize_t got; (got = read(from, buffer, sizeof buffer)) != 0;) {
    if (got < 0) return -errno;
    for (ssize_t done = 0, written; done < got; done += written)
      if ((written = write(to, buffer + done, (size_t)(got - done))) < 0) return -errno;
  }
  return 0;
}

int csandbox_change_file(int root, const char *path, const char *source, uint32_t mode) {
  const char *last;
  char draft[64];
  draft_name(draft);
  int from = open(source, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat status;
  if (from < 0) return -errno;
  int parent = fstat(from, &status) < 0 || !S_ISREG(status.st_mode) ? -EINVAL : open_folder(root, path, &last);
  if (parent < 0) {
    close(from);
    return parent;
  }
  int to = openat(parent, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  int result = to < 0 ? -errno : copy_bytes(from, to);
  if (to >= 0) {
    give(to, root);
    if (result == 0 && fchmod(to, mode & 0777) < 0) result = -errno;
    close(to);
  }
  if (result == 0) result = put(parent, draft, last);
  if (result < 0) unlinkat(parent, draft, 0);
  close(parent);
  close(from);
  return result;
}

int csandbox_change_link(int root, const char *path, const char *target) {
  const char *last;
  char draft[64];
  draft_name(draft);
  int parent = open_folder(root, path, &last);
  if (parent < 0) return parent;
  int result = symlinkat(target, parent, draft) < 0 ? -errno : put(parent, draft, last);
  if (result < 0) unlinkat(parent, draft, 0);
  close(parent);
  return result;
}

int csandbox_write_new(const char *path, const void *bytes, size_t count, uint32_t uid, uint32_t gid) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  int result = write(fd, bytes, count) == (ssize_t)count ? 0 : -EIO;
  if (result == 0 && geteuid() == 0 && fchown(fd, uid, gid) < 0) result = -errno;
  close(fd);
  return result;
}
