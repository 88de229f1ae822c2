// Sockets: made, connected, their options, bytes in and out. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "addresses.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

// None of these can fail on a TCP socket in a way that matters. Sockets that a listener accepts inherit TCP_NODELAY.
static void set_no_delay(int fd) { set(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

void clinux_send_at_once(int fd) { set_no_delay(fd); }

void clinux_keep_alive(int fd, int idle_seconds) {
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

// Without CAP_NET_ADMIN a socket cannot take connections to foreign addresses (TPROXY); REDIRECT needs none of it.
static void set_transparent(int fd, uint32_t family) {
  if (family == 4) set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
  else set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

int clinux_listen(const struct clinux_address *address, int reuse_port, int transparent, int backlog,
                  const char **stage) {
  union any_address any;
  socklen_t size = clinux_encode(address, &any);
  *stage = "socket";
  int fd = socket(any.plain.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (reuse_port) set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (address->family == 6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (transparent) set_transparent(fd, address->family);
  set_no_delay(fd);
  *stage = "bind";
  int failed = bind(fd, &any.plain, size) < 0;
  if (!failed) {
    *stage = "listen";
    failed = listen(fd, backlog) < 0;
  }
  if (!failed) return fd;
  int code = errno;
  close(fd);
  return -code;
}

int clinux_bind_datagrams(const struct clinux_address *address, int reuse_port, const char **stage) {
  union any_address any;
  socklen_t size = clinux_encode(address, &any);
  *stage = "socket";
  int fd = socket(any.plain.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (reuse_port) set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (address->family == 6) {
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  } else {
    set(fd, IPPROTO_IP, IP_PKTINFO, 1);
  }
  set_transparent(fd, address->family);
  *stage = "bind";
  if (bind(fd, &any.plain, size) == 0) return fd;
  int code = errno;
  close(fd);
  return -code;
}

int clinux_adopt(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int clinux_adopt_listener(int fd, int datagram) {
  struct clinux_address address;
  int result = clinux_local_address(fd, &address);
  if (result < 0) return result;
  int only = 0;
  socklen_t size = sizeof only;
  if (address.family == 6 && address.high == 0 && address.low == 0 &&
      (getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size) < 0 || !only))
    return -EAFNOSUPPORT;
  if (!datagram) set_no_delay(fd);
  else if (address.family == 6) set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  else set(fd, IPPROTO_IP, IP_PKTINFO, 1);
  return clinux_adopt(fd);
}

// accept(2), connect(2), recv(2), send(2) and close(2) are cancellation points: in a process with threads glibc pays two
// atomic operations a call for that, which was 2 % of a round trip. No thread of ours is ever cancelled, so these calls
// go straight to the kernel.
int clinux_accept(int fd, struct clinux_address *peer) {
  union any_address any;
  socklen_t size = sizeof any;
  int accepted = (int)syscall(SYS_accept4, fd, &any.plain, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted < 0) return -errno;
  if (clinux_decode(&any.plain, peer) == 0) return accepted;
  close(accepted);
  return -ECONNABORTED;
}

void clinux_close(int fd) { syscall(SYS_close, fd); }

int clinux_connect(const struct clinux_address *address, const char **stage) {
  union any_address any;
  socklen_t size = clinux_encode(address, &any);
  *stage = "socket";
  int fd = socket(any.plain.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  *stage = "connect";
  // EINTR leaves the attempt under way, as EINPROGRESS does (connect(2)).
  if (syscall(SYS_connect, fd, &any.plain, size) == 0 || errno == EINPROGRESS || errno == EINTR) return fd;
  int code = errno;
  clinux_close(fd);
  return -code;
}

int clinux_socket_pair(int ends[2]) {
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
}

int clinux_local_address(int fd, struct clinux_address *address) {
  union any_address any;
  socklen_t size = sizeof any;
  if (getsockname(fd, &any.plain, &size) < 0) return -errno;
  return clinux_decode(&any.plain, address);
}

int clinux_peer_address(int fd, struct clinux_address *address) {
  union any_address any;
  socklen_t size = sizeof any;
  if (getpeername(fd, &any.plain, &size) < 0) return -errno;
  return clinux_decode(&any.plain, address);
}

// SO_ORIGINAL_DST is 80 in both families (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
int clinux_original_destination(int fd, uint32_t family, struct clinux_address *address) {
  union any_address any;
  socklen_t size = sizeof any;
  if (getsockopt(fd, family == 6 ? IPPROTO_IPV6 : IPPROTO_IP, 80, &any, &size) < 0) return -errno;
  return clinux_decode(&any.plain, address);
}

int clinux_pending_error(int fd) {
  int code = 0;
  socklen_t size = sizeof code;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0 ? errno : code;
}

int clinux_taken(int fd, uint64_t *bytes, int *waits) {
  // The kernel's structure goes on where the C library's ends (include/uapi/linux/tcp.h).
  struct {
    struct tcp_info known;
    uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
    uint32_t segments_out, segments_in, unsent_bytes;
  } info;
  _Static_assert(sizeof(struct tcp_info) == 104, "the first fields, up to tcpi_total_retrans");
  memset(&info, 0, sizeof info);
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return -errno;
  *bytes = info.bytes_acked;
  *waits = info.unsent_bytes > 0 || info.known.tcpi_unacked > 0;
  return 0;
}

int clinux_shutdown_write(int fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }

int clinux_reset_on_close(int fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  return setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0 ? -errno : 0;
}

long clinux_receive(int fd, void *bytes, size_t count) {
  long received;
  do received = syscall(SYS_recvfrom, fd, bytes, count, 0, NULL, NULL);
  while (received < 0 && errno == EINTR);
  return received < 0 ? -errno : received;
}

long clinux_peek(int fd) {
  char byte;
  long received;
  do received = syscall(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);
  while (received < 0 && errno == EINTR);
  return received < 0 ? -errno : received;
}

long clinux_send(int fd, const void *bytes, size_t count) {
  long sent;
  do sent = syscall(SYS_sendto, fd, bytes, count, MSG_NOSIGNAL, NULL, 0);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}
