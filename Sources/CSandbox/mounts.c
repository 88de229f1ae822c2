// The sandbox's file system: a small tmpfs as root, and in it what the plan names, each mount moved in by descriptor.
// Paths outside are resolved below the old root, paths inside below the new one, both without following any symbolic link:
// what another run leaves in the workspace leads nowhere, even while this one starts.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// <sys/mount.h> and <linux/mount.h> of this libc define the same enumerators twice.
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
enum { DETACH = 2, REC = 16384, PRIVATE = 1 << 18, NO_SUID = 2, NO_DEV = 4, RECURSIVE = 0x8000 };

static int old_root = -1, new_root = -1;

static const char *below(const char *path) {
  while (*path == '/') path++;
  return *path ? path : ".";
}

// A rename or a mount anywhere on the machine, while `..` is followed, makes the kernel ask for another try (openat2(2)).
enum { TRIES_MAX = 10000 };

static int open_below(int root, const char *path, uint64_t resolve) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve};
  int fd = -1;
  for (int tries = 0; fd < 0 && tries < TRIES_MAX; tries++) {
    fd = (int)syscall(SYS_openat2, root, below(path), &how, sizeof how);
    if (fd < 0 && errno != EAGAIN) break;
  }
  return fd;
}

static int open_inside(const char *path) { return open_below(new_root, path, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS); }

static int move_to(int tree, int target) {
  return (int)syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static int set_attributes(int tree, uint64_t attributes, unsigned recursive) {
  struct mount_attr wanted = {.attr_set = attributes};
  return (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | recursive, &wanted, sizeof wanted);
}

int mounts_new_root(uint64_t bytes, uint64_t inodes) {
  // Nothing that is mounted here is seen outside, nor the other way round.
  FAIL_IF(mount(NULL, "/", NULL, REC | PRIVATE, NULL) < 0, "mount(MS_PRIVATE)");
  // Any folder will do; once this is the root, what it covered is seen again.
  const char *place = "/tmp";
  if (mount("tmpfs", place, "tmpfs", NO_SUID | NO_DEV, "size=4m,mode=0755") < 0) {
    place = "/proc";
    FAIL_IF(mount("tmpfs", place, "tmpfs", NO_SUID | NO_DEV, "size=4m,mode=0755") < 0, "mount(tmpfs)");
  }
  FAIL_IF(chdir(place) < 0, "chdir");
  FAIL_IF(mkdir("old", 0755) < 0 || mkdir("new", 0755) < 0, "mkdir");
  FAIL_IF(syscall(SYS_pivot_root, ".", "old") < 0, "pivot_root");
  FAIL_IF(chdir("/") < 0, "chdir");
  char options[96];
  snprintf(options, sizeof options, "size=%llu,nr_inodes=%llu,mode=0755", (unsigned long long)bytes,
           (unsigned long long)inodes);
  FAIL_IF(mount("tmpfs", "/new", "tmpfs", NO_SUID | NO_DEV, options) < 0, "mount(tmpfs)");
  old_root = open("/old", O_PATH | O_DIRECTORY | O_CLOEXEC);
  new_root = open("/new", O_PATH | O_DIRECTORY | O_CLOEXEC);
  FAIL_IF(old_root < 0 || new_root < 0, "open");
  return 0;
}

// The folder that the last part of `path` stands in, made with all above it; `last` is that part. No link is followed.
static int open_parent(const char *path, uint32_t mode, char last[NAME_MAX + 1]) {
  path = below(path);
  int here = openat(new_root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (;;) {
    size_t length = strcspn(path, "/");
    if (length == 0 || length > NAME_MAX) {
      close(here);
      errno = ENAMETOOLONG;
      return -1;
    }
    memcpy(last, path, length);
    last[length] = 0;
    path += length;
    path += strspn(path, "/");
    if (!*path) return here;
    int next = -1;
    if (mkdirat(here, last, mode) == 0 || errno == EEXIST)
      next = openat(here, last, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(here);
    if (next < 0) return -1;
    here = next;
  }
}

int mounts_folder(const char *path, uint32_t mode) {
  char last[NAME_MAX + 1];
  int parent = open_parent(path, 0755, last);
  FAIL_IF(parent < 0, "open");
  FAIL_IF(mkdirat(parent, last, mode) < 0 && errno != EEXIST, "mkdir");
  close(parent);
  return 0;
}

int mounts_link(const char *path, const char *to) {
  char last[NAME_MAX + 1];
  int parent = open_parent(path, 0755, last);
  FAIL_IF(parent < 0, "open");
  FAIL_IF(symlinkat(to, parent, last) < 0, "symlink");
  close(parent);
  return 0;
}

static int write_all(int parent, const char *last, const char *bytes, uint64_t count, uint32_t mode) {
  int fd = openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  FAIL_IF(fd < 0, "open");
  while (count > 0) {
    ssize_t written = write(fd, bytes, count);
    FAIL_IF(written < 0, "write");
    bytes += written;
    count -= (uint64_t)written;
  }
  close(fd);
  close(parent);
  return 0;
}

int mounts_file(const char *path, const char *bytes, uint64_t count) {
  char last[NAME_MAX + 1];
  int parent = open_parent(path, 0755, last);
  FAIL_IF(parent < 0, "open");
  return write_all(parent, last, bytes, count, 0644);
}

// In a home that an earlier run left, there may be another file, or a link, in its place or above it: it stays.
int mounts_seed(const char *path, const char *bytes, uint64_t count, uint32_t mode) {
  char last[NAME_MAX + 1];
  int parent = open_parent(path, 0755, last);
  if (parent < 0 && (errno == ENOTDIR || errno == ELOOP || errno == EACCES)) return 0;
  FAIL_IF(parent < 0, "open");
  int result = write_all(parent, last, bytes, count, mode);
  return result == -EEXIST ? 0 : result;
}

// A place to mount on: a folder, or an empty file for what is none.
static int make_target(const char *path, int is_folder) {
  char last[NAME_MAX + 1];
  int parent = open_parent(path, 0755, last);
  FAIL_IF(parent < 0, "open");
  if (is_folder) {
    FAIL_IF(mkdirat(parent, last, 0755) < 0 && errno != EEXIST, "mkdir");
  } else {
    int fd = openat(parent, last, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    FAIL_IF(fd < 0 && errno != EACCES, "open");
    if (fd >= 0) close(fd);
  }
  int target = openat(parent, last, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  FAIL_IF(target < 0, "open");
  close(parent);
  return target;
}

static uint64_t attributes(uint64_t flags) {
  return MOUNT_ATTR_NOSUID | (flags & CSANDBOX_BIND_DEVICE ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_NODEV) |
         (flags & (CSANDBOX_BIND_WRITABLE | CSANDBOX_BIND_DEVICE) ? 0 : MOUNT_ATTR_RDONLY);
}

static int bind_onto(int source, int target, uint64_t flags) {
  int tree = (int)syscall(SYS_open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | RECURSIVE);
  FAIL_IF(tree < 0, "open_tree");
  FAIL_IF(set_attributes(tree, attributes(flags), RECURSIVE) < 0, "mount_setattr");
  FAIL_IF(move_to(tree, target) < 0, "move_mount");
  close(tree);
  return 0;
}

int mounts_bind(const char *outside, const char *inside, uint64_t flags) {
  int source = open_below(old_root, outside, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  FAIL_IF(source < 0, "open");
  struct stat status;
  FAIL_IF(fstat(source, &status) < 0, "stat");
  int target = make_target(inside, S_ISDIR(status.st_mode));
  if (target < 0) return target;
  int result = bind_onto(source, target, flags);
  close(source);
  close(target);
  return result;
}

// A tree that was made outside, as a bind.
int mounts_attach(int tree, const char *inside, uint64_t flags) {
  struct stat status;
  FAIL_IF(fstat(tree, &status) < 0, "stat");
  FAIL_IF(set_attributes(tree, attributes(flags), RECURSIVE) < 0, "mount_setattr");
  int target = make_target(inside, S_ISDIR(status.st_mode));
  if (target < 0) return target;
  FAIL_IF(move_to(tree, target) < 0, "move_mount");
  close(tree);
  close(target);
  return 0;
}

// Source and target are one descriptor: nobody can put another thing there in between.
int mounts_pin(const char *path, uint64_t flags) {
  int here = open_inside(path);
  FAIL_IF(here < 0, "open");
  int result = bind_onto(here, here, flags);
  close(here);
  return result;
}

static int make_file_system(const char *kind, const char *const options[][2], uint64_t attributes, int *tree) {
  int context = (int)syscall(SYS_fsopen, kind, FSOPEN_CLOEXEC);
  FAIL_IF(context < 0, "fsopen");
  for (; (*options)[0]; options++) {
    int how = (*options)[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
    FAIL_IF(syscall(SYS_fsconfig, context, how, (*options)[0], (*options)[1], 0) < 0, "fsconfig");
  }
  FAIL_IF(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0, "fsconfig(create)");
  *tree = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
  FAIL_IF(*tree < 0, "fsmount");
  close(context);
  return 0;
}

static int mount_new(const char *kind, const char *const options[][2], uint64_t attributes, const char *path) {
  int tree, target = make_target(path, 1);
  if (target < 0) return target;
  int result = make_file_system(kind, options, attributes, &tree);
  if (result < 0) return result;
  FAIL_IF(move_to(tree, target) < 0, "move_mount");
  close(tree);
  close(target);
  return 0;
}

int mounts_temporary(const char *path, const char *mode, uint64_t bytes, uint64_t inodes) {
  char size[24], count[24];
  snprintf(size, sizeof size, "%llu", (unsigned long long)bytes);
  snprintf(count, sizeof count, "%llu", (unsigned long long)inodes);
  const char *const options[][2] = {{"size", size}, {"nr_inodes", count}, {"mode", mode}, {NULL, NULL}};
  return mount_new("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, path);
}

int mounts_processes(const char *path) {
  const char *const options[][2] = {{"hidepid", "2"}, {NULL, NULL}};
  return mount_new("proc", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, path);
}

int mounts_terminals(const char *path) {
  const char *const options[][2] = {{"ptmxmode", "0666"}, {"mode", "0620"}, {NULL, NULL}};
  return mount_new("devpts", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, path);
}

// An empty folder on a folder, and on a file `blank`, a file of the old root or of its scratch space.
static int cover(const char *path, int blank_root, const char *blank, uint64_t flags) {
  int target = open_inside(path);
  FAIL_IF(target < 0, "open");
  struct stat status;
  FAIL_IF(fstat(target, &status) < 0, "stat");
  int result;
  if (S_ISDIR(status.st_mode)) {
    int tree;
    const char *const options[][2] = {{"size", "4k"}, {"nr_inodes", "2"}, {"mode", "0555"}, {NULL, NULL}};
    result = make_file_system("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, &tree);
    if (result == 0) {
      FAIL_IF(move_to(tree, target) < 0, "move_mount");
      close(tree);
    }
  } else {
    int nothing = open_below(blank_root, blank, RESOLVE_IN_ROOT);
    FAIL_IF(nothing < 0, "open(blank)");
    result = bind_onto(nothing, target, flags);
    close(nothing);
  }
  close(target);
  return result;
}

// Programs that read it find it empty.
int mounts_mask(const char *path) { return cover(path, old_root, "/dev/null", CSANDBOX_BIND_DEVICE); }

// Nobody may open it, nor change that: the mount is read-only.
int mounts_hide(const char *path) {
  static const char *const blank = "/hidden";
  // In a folder that this user may not enter, and cannot change, it is hidden already.
  int target = open_inside(path);
  if (target < 0 && errno == EACCES) return 0;
  if (target >= 0) close(target);
  int fd = open(blank, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0);
  FAIL_IF(fd < 0 && errno != EACCES, "open(/hidden)");
  if (fd >= 0) close(fd);
  return cover(path, AT_FDCWD, blank, 0);
}

// The sandbox's own, read-only, on a placeholder or a file of the system's: what lies there on the disk is neither opened
// nor locked from inside.
int mounts_cover(const char *path, const char *bytes, uint64_t count, int is_folder) {
  static unsigned number;
  char own[32];
  snprintf(own, sizeof own, is_folder ? "/empty" : "/cover%u", number++);
  int fd;
  if (is_folder) {
    FAIL_IF(mkdir(own, 0755) < 0 && errno != EEXIST, "mkdir(/empty)");
    fd = open(own, O_PATH | O_DIRECTORY | O_CLOEXEC);
  } else {
    fd = open(own, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    for (ssize_t written; fd >= 0 && count > 0; bytes += written, count -= (uint64_t)written) {
      written = write(fd, bytes, count);
      FAIL_IF(written < 0, "write");
    }
  }
  FAIL_IF(fd < 0, "open(cover)");
  int target = open_inside(path);
  FAIL_IF(target < 0, "open");
  int result = bind_onto(fd, target, 0);
  close(fd);
  close(target);
  return result;
}

// Files over those of a folder of the system, which stays as it is. Where the kernel cannot lay one folder over another, those
// that the folder has already are covered one by one.
int mounts_layer(const char *path, const char *files, uint64_t count) {
  static unsigned number;
  char own[32], lower[80];
  snprintf(own, sizeof own, "/layer%u", number++);
  FAIL_IF(mkdir(own, 0755) < 0, "mkdir(/layer)");
  int layer = open(own, O_PATH | O_DIRECTORY | O_CLOEXEC);
  int source = open_below(old_root, path, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  FAIL_IF(layer < 0 || source < 0, "open");
  const char *name = files;
  for (uint64_t left = count; left > 0; left--) {
    const char *text = sandbox_next(name);
    int result = write_all(dup(layer), name, text, strlen(text), 0644);
    if (result < 0) return result;
    name = sandbox_next(text);
  }
  close(layer);
  // The folder by its descriptor: no path is looked up a second time.
  snprintf(lower, sizeof lower, "%s:/old/proc/self/fd/%d", own, source);
  const char *const options[][2] = {{"lowerdir", lower}, {NULL, NULL}};
  int tree, target = open_inside(path);
  FAIL_IF(target < 0, "open");
  int result = make_file_system("overlay", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY, &tree);
  if (result == 0) {
    FAIL_IF(move_to(tree, target) < 0, "move_mount");
    close(tree);
  }
  close(source);
  close(target);
  if (result == 0) return 0;
  char whole[PATH_MAX];
  name = files;
  for (uint64_t left = count; left > 0; left--) {
    const char *text = sandbox_next(name);
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    int there = open_inside(whole);
    if (there >= 0) {
      close(there);
      result = mounts_cover(whole, text, strlen(text), 0);
      if (result < 0) return result;
    }
    name = sandbox_next(text);
  }
  return 0;
}

// A folder of the user's as it is, whose changes go to another one. Both by descriptors, as above.
int mounts_copy(const char *path, const char *store) {
  char lower[48], upper[56], work[56];
  int source = open_below(old_root, path, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  int kept = open_below(old_root, store, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  FAIL_IF(source < 0 || kept < 0, "open");
  snprintf(lower, sizeof lower, "/old/proc/self/fd/%d", source);
  snprintf(upper, sizeof upper, "/old/proc/self/fd/%d/upper", kept);
  snprintf(work, sizeof work, "/old/proc/self/fd/%d/work", kept);
  const char *const options[][2] = {
      {"lowerdir", lower}, {"upperdir", upper}, {"workdir", work}, {"userxattr", NULL}, {NULL, NULL}};
  int result = mount_new("overlay", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, path);
  close(source);
  close(kept);
  return result;
}

// A link in place of a file, which nobody inside can take away. A program that writes the file anew by renaming, as git does,
// follows the link first, and writes where that leads. Where a link cannot be mounted, the file is read-only.
int mounts_substitute(const char *path, const char *to) {
  static unsigned number;
  char own[32];
  snprintf(own, sizeof own, "/link%u", number++);
  FAIL_IF(symlink(to, own) < 0, "symlink");
  int link = open(own, O_PATH | O_NOFOLLOW | O_CLOEXEC), target = open_inside(path);
  FAIL_IF(link < 0 || target < 0, "open");
  int tree = (int)syscall(SYS_open_tree, link, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  int is_done = tree >= 0 && move_to(tree, target) == 0;
  if (tree >= 0) close(tree);
  close(link);
  int result = is_done ? 0 : bind_onto(target, target, 0);
  close(target);
  return result;
}

int mounts_enter(void) {
  FAIL_IF(set_attributes(new_root, MOUNT_ATTR_RDONLY, 0) < 0, "mount_setattr");
  FAIL_IF(fchdir(new_root) < 0, "fchdir");
  // The old root comes to lie on top of the new one, and is then taken away (pivot_root(2), NOTES).
  FAIL_IF(syscall(SYS_pivot_root, ".", ".") < 0, "pivot_root");
  FAIL_IF(umount2(".", DETACH) < 0, "umount2");
  FAIL_IF(chdir("/") < 0, "chdir");
  close(old_root);
  close(new_root);
  return 0;
}
