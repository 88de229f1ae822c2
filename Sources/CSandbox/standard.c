// The three descriptors that a command inherits: which of them may go in, and what they are known by.
// It relies on being asked before anything else is opened: a number of these that is free would be given to that.
#define _GNU_SOURCE
#include "CSandbox.h"

#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

void csandbox_standard_fill(void) {
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) _exit(125);
}

// A pair of sockets, or a connection: neither can be turned to another peer.
static int is_joined(int fd) {
  struct sockaddr_un peer;
  socklen_t size = sizeof peer;
  int family, kind;
  socklen_t room = sizeof family;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &room) < 0 || family != AF_UNIX) return 0;
  room = sizeof kind;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &room) < 0 || kind == SOCK_DGRAM) return 0;
  return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

// Devices of memory that hold nothing: null, zero, full, random, urandom.
static int is_harmless(dev_t device) {
  unsigned number = minor(device);
  return major(device) == 1 && (number == 3 || number == 5 || number == 7 || number == 8 || number == 9);
}

// By /dev/tty or /dev/console it has another name, and the same number.
static int is_callers_terminal(int fd) {
  unsigned first = 0, this = 0;
  return isatty(fd) && ioctl(terminal_first(), TIOCGDEV, &first) == 0 && ioctl(fd, TIOCGDEV, &this) == 0 && first == this;
}

enum csandbox_standard csandbox_standard_kind(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return CSANDBOX_STANDARD_UNKNOWN;
  if (S_ISDIR(status.st_mode)) return CSANDBOX_STANDARD_FOLDER;
  if (fcntl(fd, F_GETFL) & O_PATH) return CSANDBOX_STANDARD_UNKNOWN;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFIFO: return CSANDBOX_STANDARD_FINE;
    case S_IFSOCK: return is_joined(fd) ? CSANDBOX_STANDARD_FINE : CSANDBOX_STANDARD_SOCKET;
    case S_IFCHR:
      if (isatty(fd)) return is_callers_terminal(fd) ? CSANDBOX_STANDARD_FINE : CSANDBOX_STANDARD_TERMINAL;
      return is_harmless(status.st_rdev) ? CSANDBOX_STANDARD_FINE : CSANDBOX_STANDARD_DEVICE;
    case S_IFBLK: return CSANDBOX_STANDARD_DEVICE;
    default: return CSANDBOX_STANDARD_UNKNOWN;
  }
}

int csandbox_identity(const char *path, int fd, uint64_t *device, uint64_t *inode, uint64_t *links) {
  struct stat status;
  if ((path ? stat(path, &status) : fstat(fd, &status)) < 0) return -errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  *links = S_ISDIR(status.st_mode) ? 1 : status.st_nlink;
  return 0;
}

int csandbox_standard_asks(void) { return isatty(0) && isatty(2); }

// The parent is the process that the caller waits for: when that is gone, the terminal is a shell's again.
int csandbox_standard_answer(char *line, int room) {
  pid_t asked_for = getppid();
  int parent = (int)syscall(SYS_pidfd_open, asked_for, 0), count = -1;
  struct pollfd watched[2] = {{.fd = 0, .events = POLLIN}, {.fd = parent, .events = POLLIN}};
  if (parent >= 0 && getppid() == asked_for && poll(watched, 2, -1) > 0 && !watched[1].revents)
    count = (int)read(0, line, (size_t)room);
  if (parent >= 0) close(parent);
  return count;
}
