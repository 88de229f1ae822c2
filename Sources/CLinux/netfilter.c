// Batches of nf_tables messages, sent to the kernel from a network namespace of choice.
// The socket belongs to the namespace that it was made in: the thread is in there for that call alone.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char own_namespace[] = "/proc/self/ns/net";

static int open_socket(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  return fd < 0 ? -errno : fd;
}

// To enter a namespace takes more rights than to change its rules: the own one is not entered.
static int open_socket_in(const char *path) {
  struct stat there, here;
  if (stat(path, &there) < 0 || stat(own_namespace, &here) < 0) return -errno;
  if (there.st_dev == here.st_dev && there.st_ino == here.st_ino) return open_socket();
  int target = open(path, O_RDONLY | O_CLOEXEC), back = open(own_namespace, O_RDONLY | O_CLOEXEC);
  int result = target < 0 || back < 0 || setns(target, CLONE_NEWNET) < 0 ? -errno : open_socket();
  int left = result >= 0 && setns(back, CLONE_NEWNET) < 0 ? -errno : 0;
  if (target >= 0) close(target);
  if (back >= 0) close(back);
  if (left < 0) {
    close(result);
    return left;
  }
  return result;
}

int clinux_netfilter_batch(const char *namespace_path, const void *bytes, size_t count) {
  int fd = namespace_path ? open_socket_in(namespace_path) : open_socket();
  if (fd < 0) return fd;
  union {
    struct nlmsghdr head;
    char bytes[8192];
  } answer;
  ssize_t got = send(fd, bytes, count, 0);
  if (got >= 0) got = recv(fd, &answer, sizeof answer, 0);
  int result = got < 0 ? -errno : -EPROTO;
  if (got >= (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) && answer.head.nlmsg_type == NLMSG_ERROR)
    result = ((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
  close(fd);
  return result;
}
