// The one socket between a sandbox's first process and its parent, and those of further commands: messages of one size,
// with descriptors. It relies on their size: a message is written and read as a whole, also by a stream.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int sandbox_send(int control, const struct csandbox_message *message, const int *fds, int count) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CSANDBOX_FDS_MAX * sizeof(int))];
  } room;
  struct iovec bytes = {.iov_base = (void *)message, .iov_len = sizeof *message};
  struct msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1};
  if (count > 0) {
    header.msg_control = &room;
    header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    memset(&room, 0, sizeof room);
    room.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN((size_t)count * sizeof(int))};
    memcpy(CMSG_DATA(&room.align), fds, (size_t)count * sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(control, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

int csandbox_send(int control, uint32_t kind, int32_t code) {
  struct csandbox_message message = {.kind = kind, .code = code};
  return sandbox_send(control, &message, NULL, 0);
}

int csandbox_send_descriptor(int control, uint32_t kind, int32_t code, int fd) {
  struct csandbox_message message = {.kind = kind, .code = code};
  return sandbox_send(control, &message, &fd, 1);
}

int csandbox_receive(int control, struct csandbox_message *message, int *fds, int *fd_count, int timeout_ms) {
  struct pollfd waiting = {.fd = control, .events = POLLIN};
  int ready = poll(&waiting, 1, timeout_ms);
  if (ready <= 0) return ready == 0 || errno == EINTR ? 0 : -errno;
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CSANDBOX_FDS_MAX * sizeof(int))];
  } room;
  struct iovec bytes = {.iov_base = message, .iov_len = sizeof *message};
  struct msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room};
  ssize_t got = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
  // An end that closes with messages unread resets the other, and the reset is told ahead of what that end had said.
  if (got < 0 && errno == ECONNRESET) got = recvmsg(control, &header, MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EINTR ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
  if (got != sizeof *message) return -EPIPE;
  message->text[CSANDBOX_TEXT_MAX - 1] = 0;
  int count = 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(part), (size_t)count * sizeof(int));
  }
  *fd_count = count;
  return 1;
}

int csandbox_peek(int control, struct csandbox_message *message) {
  ssize_t got;
  do got = recv(control, message, sizeof *message, MSG_PEEK);
  while (got < 0 && errno == EINTR);
  return got == sizeof *message ? 1 : -EPIPE;
}

int csandbox_ask_to_join(int connection, int count, const char *texts, size_t size, int terminal) {
  static const int standard[3] = {0, 1, 2};
  if (size > CSANDBOX_JOIN_TEXTS_MAX) return -E2BIG;
  struct csandbox_message message = {.kind = CSANDBOX_JOIN, .code = count, .step = (uint32_t)size, .text = {(char)terminal}};
  int result = sandbox_send(connection, &message, standard, 3);
  for (size_t place = 0; result == 0 && place < size;) {
    ssize_t sent = send(connection, texts + place, size - place, MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) result = -errno;
    if (sent > 0) place += (size_t)sent;
  }
  return result;
}
