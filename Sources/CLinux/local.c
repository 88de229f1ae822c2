// Unix sockets with a path, their peers, and descriptors that are handed over: one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int place(const char *path, struct sockaddr_un *address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = strlen(path);
  if (length == 0 || length > CLINUX_LOCAL_PATH_MAX) return -ENAMETOOLONG;
  memcpy(address->sun_path, path, length);
  return 0;
}

// bind(2) makes the file with the mode of the socket, so that it never stands there with another one.
int clinux_local_socket(unsigned mode) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (fchmod(fd, mode) == 0) return fd;
  int code = errno;
  close(fd);
  return -code;
}

int clinux_local_bind(int fd, const char *path) {
  struct sockaddr_un address;
  int result = place(path, &address);
  if (result < 0) return result;
  return bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

int clinux_local_listen(int fd, int backlog) { return listen(fd, backlog) < 0 ? -errno : 0; }

int clinux_local_accept(int fd) {
  int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return accepted < 0 ? -errno : accepted;
}

int clinux_local_connect(const char *path, int wait_seconds) {
  struct sockaddr_un address;
  int result = place(path, &address);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct timeval limit = {.tv_sec = wait_seconds};
  int failed = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
               setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
               connect(fd, (struct sockaddr *)&address, sizeof address) < 0;
  if (!failed) return fd;
  int code = errno;
  close(fd);
  return -code;
}

int clinux_local_connect_at_once(const char *path) {
  struct sockaddr_un address;
  int result = place(path, &address);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  // A unix socket connects at once, or not at all (EAGAIN: the backlog is full).
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int code = errno;
  close(fd);
  return -code;
}

int clinux_local_peer(int fd, int *pid, uint32_t *uid) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
  *pid = (int)peer.pid;
  *uid = peer.uid;
  return 0;
}

int clinux_local_identity(const char *path, uint64_t identity[2]) {
  struct stat found;
  if (lstat(path, &found) < 0) return -errno;
  if (!S_ISSOCK(found.st_mode)) return -ENOTSOCK;
  identity[0] = found.st_dev;
  identity[1] = found.st_ino;
  return 0;
}

int clinux_unlink(const char *path) { return unlink(path) < 0 ? -errno : 0; }

int clinux_lock_folder(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  int code = errno;
  close(fd);
  return -code;
}

// MARK: descriptors

union rights {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(CLINUX_DESCRIPTORS_MAX * sizeof(int))];
};

long clinux_send_descriptors(int fd, const void *bytes, size_t count, const int *fds, int fd_count) {
  if (fd_count < 0 || fd_count > CLINUX_DESCRIPTORS_MAX) return -EINVAL;
  union rights room;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd_count > 0) {
    memset(&room, 0, sizeof room);
    header.msg_control = &room;
    header.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
    room.align.cmsg_level = SOL_SOCKET;
    room.align.cmsg_type = SCM_RIGHTS;
    room.align.cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
    memcpy(CMSG_DATA(&room.align), fds, (size_t)fd_count * sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(fd, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

long clinux_receive_descriptors(int fd, void *bytes, size_t count, int *fds, int *fd_count) {
  union rights room;
  struct iovec part = {.iov_base = bytes, .iov_len = count};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room};
  *fd_count = 0;
  ssize_t got;
  do got = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    int held = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < held; i++) memcpy(&fds[(*fd_count)++], CMSG_DATA(part) + (size_t)i * sizeof(int), sizeof(int));
  }
  return got;
}

static int option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

int clinux_is_listener(int fd, int datagram) {
  int family = option(fd, SO_DOMAIN);
  if (family != AF_INET && family != AF_INET6) return 0;
  if (datagram) return option(fd, SO_TYPE) == SOCK_DGRAM && option(fd, SO_PROTOCOL) == IPPROTO_UDP;
  return option(fd, SO_TYPE) == SOCK_STREAM && option(fd, SO_PROTOCOL) == IPPROTO_TCP && option(fd, SO_ACCEPTCONN) == 1;
}

int clinux_set_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int clinux_duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? -errno : copy;
}

int clinux_local_listener_path(int fd, char *path) {
  if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1)
    return -EINVAL;
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  socklen_t size = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) return -errno;
  size_t length = strnlen(address.sun_path, sizeof address.sun_path);
  if (length == 0 || length > CLINUX_LOCAL_PATH_MAX) return -EINVAL;
  memcpy(path, address.sun_path, length);
  path[length] = 0;
  return (int)length;
}

int clinux_local_datagrams_to(const char *path) {
  struct sockaddr_un address;
  int result = place(path, &address);
  if (result < 0) return result;
  socklen_t size = sizeof address;
  if (path[0] == '@') {
    address.sun_path[0] = 0;
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (connect(fd, (struct sockaddr *)&address, size) == 0) return fd;
  int code = errno;
  close(fd);
  return -code;
}
