// Thin wrappers around Linux calls: no state, no policy, one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

union any_address {
  struct sockaddr plain;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static socklen_t encode(const struct clinux_address *from, union any_address *to) {
  memset(to, 0, sizeof *to);
  if (from->family == 4) {
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(from->port);
    to->v4.sin_addr.s_addr = htonl((uint32_t)from->low);
    return sizeof to->v4;
  }
  to->v6.sin6_family = AF_INET6;
  to->v6.sin6_port = htons(from->port);
  for (int i = 0; i < 8; i++) {
    to->v6.sin6_addr.s6_addr[i] = (uint8_t)(from->high >> (56 - 8 * i));
    to->v6.sin6_addr.s6_addr[8 + i] = (uint8_t)(from->low >> (56 - 8 * i));
  }
  return sizeof to->v6;
}

static int decode(const struct sockaddr *from, struct clinux_address *to) {
  memset(to, 0, sizeof *to);
  if (from->sa_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    to->family = 4;
    to->port = ntohs(v4->sin_port);
    to->low = ntohl(v4->sin_addr.s_addr);
    return 0;
  }
  if (from->sa_family != AF_INET6) return -EAFNOSUPPORT;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
  to->family = 6;
  to->port = ntohs(v6->sin6_port);
  for (int i = 0; i < 8; i++) {
    to->high = to->high << 8 | v6->sin6_addr.s6_addr[i];
    to->low = to->low << 8 | v6->sin6_addr.s6_addr[8 + i];
  }
  return 0;
}

// MARK: epoll

int clinux_epoll_create(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int add(int epoll, int fd, uint64_t key, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u64 = key};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int clinux_epoll_add_edges(int epoll, int fd, uint64_t key) {
  return add(epoll, fd, key, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int clinux_epoll_add_reading_edges(int epoll, int fd, uint64_t key) {
  return add(epoll, fd, key, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

int clinux_epoll_all_edges(int epoll, int fd, uint64_t key) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = key};
  return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

int clinux_epoll_add_readable(int epoll, int fd, uint64_t key) { return add(epoll, fd, key, EPOLLIN); }

int clinux_epoll_add_shared(int epoll, int fd, uint64_t key, int edges) {
  return add(epoll, fd, key, EPOLLIN | EPOLLEXCLUSIVE | (edges ? (uint32_t)EPOLLET : 0u));
}

int clinux_epoll_interest(int epoll, int fd, uint64_t key, int readable, int writable, int is_new) {
  struct epoll_event event = {.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u), .data.u64 = key};
  return epoll_ctl(epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

int clinux_epoll_remove(int epoll, int fd) {
  struct epoll_event unused = {0};
  return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &unused) < 0 ? -errno : 0;
}

int clinux_epoll_wait(int epoll, struct clinux_event *events, int count_max, int timeout_ms) {
  struct epoll_event seen[256];
  if (count_max > 256) count_max = 256;
  int count = epoll_wait(epoll, seen, count_max, timeout_ms);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  for (int i = 0; i < count; i++) {
    uint32_t e = seen[i].events;
    events[i].key = seen[i].data.u64;
    events[i].ready = (e & EPOLLIN ? CLINUX_READABLE : 0u) | (e & EPOLLOUT ? CLINUX_WRITABLE : 0u) |
                      (e & EPOLLRDHUP ? CLINUX_PEER_CLOSED : 0u) | (e & EPOLLHUP ? CLINUX_HANGUP : 0u) |
                      (e & EPOLLERR ? CLINUX_ERROR : 0u);
  }
  return count;
}

// MARK: sockets

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
  socklen_t size = encode(address, &any);
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
  socklen_t size = encode(address, &any);
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
  if (decode(&any.plain, peer) == 0) return accepted;
  close(accepted);
  return -ECONNABORTED;
}

void clinux_close(int fd) { syscall(SYS_close, fd); }

int clinux_connect(const struct clinux_address *address, const char **stage) {
  union any_address any;
  socklen_t size = encode(address, &any);
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
  return decode(&any.plain, address);
}

int clinux_peer_address(int fd, struct clinux_address *address) {
  union any_address any;
  socklen_t size = sizeof any;
  if (getpeername(fd, &any.plain, &size) < 0) return -errno;
  return decode(&any.plain, address);
}

// SO_ORIGINAL_DST is 80 in both families (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
int clinux_original_destination(int fd, uint32_t family, struct clinux_address *address) {
  union any_address any;
  socklen_t size = sizeof any;
  if (getsockopt(fd, family == 6 ? IPPROTO_IPV6 : IPPROTO_IP, 80, &any, &size) < 0) return -errno;
  return decode(&any.plain, address);
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

// MARK: datagrams

union control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void read_packet_info(struct msghdr *header, struct clinux_datagram *datagram) {
  memset(&datagram->local, 0, sizeof datagram->local);
  datagram->link = 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
    union any_address local = {0};
    if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(part), sizeof info);
      local.v4.sin_family = AF_INET;
      local.v4.sin_addr = info.ipi_addr;
      datagram->link = (uint32_t)info.ipi_ifindex;
    } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(part), sizeof info);
      local.v6.sin6_family = AF_INET6;
      local.v6.sin6_addr = info.ipi6_addr;
      datagram->link = info.ipi6_ifindex;
    } else {
      continue;
    }
    decode(&local.plain, &datagram->local);
  }
}

int clinux_receive_datagrams(int fd, void *bytes, size_t room, struct clinux_datagram *datagrams, int count_max) {
  struct mmsghdr headers[CLINUX_DATAGRAMS_MAX];
  struct iovec places[CLINUX_DATAGRAMS_MAX];
  union any_address peers[CLINUX_DATAGRAMS_MAX];
  union control controls[CLINUX_DATAGRAMS_MAX];
  if (count_max > CLINUX_DATAGRAMS_MAX) count_max = CLINUX_DATAGRAMS_MAX;
  for (int i = 0; i < count_max; i++) {
    places[i] = (struct iovec){.iov_base = (char *)bytes + (size_t)i * room, .iov_len = room};
    headers[i].msg_hdr = (struct msghdr){
        .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &places[i], .msg_iovlen = 1,
        .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
  }
  int count;
  do count = recvmmsg(fd, headers, (unsigned)count_max, MSG_DONTWAIT | MSG_TRUNC, NULL);
  while (count < 0 && errno == EINTR);
  if (count < 0) return -errno;
  for (int i = 0; i < count; i++) {
    datagrams[i].count = headers[i].msg_len;
    decode(&peers[i].plain, &datagrams[i].peer);
    read_packet_info(&headers[i].msg_hdr, &datagrams[i]);
  }
  return count;
}

static int is_link_local(const struct clinux_address *address) {
  return address->family == 6 && address->high >> 54 == 0xfe80u >> 6;
}

static size_t write_packet_info(const struct clinux_datagram *datagram, union control *control) {
  memset(control, 0, sizeof *control);
  union any_address local;
  if (!datagram->local.family) return 0;
  encode(&datagram->local, &local);
  if (datagram->local.family == 4) {
    struct in_pktinfo info = {.ipi_spec_dst = local.v4.sin_addr};
    control->align = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof info)};
    memcpy(CMSG_DATA(&control->align), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
  }
  struct in6_pktinfo info = {.ipi6_addr = local.v6.sin6_addr};
  // Elsewhere the route says the interface: an answer may leave by another one than its question came in by.
  if (is_link_local(&datagram->local) || is_link_local(&datagram->peer)) info.ipi6_ifindex = datagram->link;
  control->align = (struct cmsghdr){.cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO, .cmsg_len = CMSG_LEN(sizeof info)};
  memcpy(CMSG_DATA(&control->align), &info, sizeof info);
  return CMSG_SPACE(sizeof info);
}

int clinux_send_datagrams(int fd, const void *bytes, const struct clinux_datagram *datagrams, int count) {
  struct mmsghdr headers[CLINUX_DATAGRAMS_MAX];
  struct iovec places[CLINUX_DATAGRAMS_MAX];
  union any_address peers[CLINUX_DATAGRAMS_MAX];
  union control controls[CLINUX_DATAGRAMS_MAX];
  if (count > CLINUX_DATAGRAMS_MAX) count = CLINUX_DATAGRAMS_MAX;
  const char *next = bytes;
  for (int i = 0; i < count; i++) {
    places[i] = (struct iovec){.iov_base = (char *)next, .iov_len = datagrams[i].count};
    next += datagrams[i].count;
    headers[i].msg_hdr = (struct msghdr){
        .msg_name = &peers[i], .msg_namelen = encode(&datagrams[i].peer, &peers[i]), .msg_iov = &places[i],
        .msg_iovlen = 1, .msg_control = &controls[i], .msg_controllen = write_packet_info(&datagrams[i], &controls[i])};
    if (!headers[i].msg_hdr.msg_controllen) headers[i].msg_hdr.msg_control = NULL;
  }
  int sent = 0, done = 0;
  while (done < count) {
    int took = sendmmsg(fd, headers + done, (unsigned)(count - done), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (took > 0) {
      sent += took;
      done += took;
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      done++;
    }
  }
  return sent;
}

// MARK: pipes

int clinux_pipe(int ends[2], int bytes_wanted) {
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) return -errno;
  int bytes = fcntl(ends[1], F_SETPIPE_SZ, bytes_wanted);
  if (bytes > 0) return bytes;
  bytes = fcntl(ends[1], F_GETPIPE_SZ);
  return bytes > 0 ? bytes : 65536;
}

long clinux_splice(int from, int to, size_t count, int more) {
  unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0u);
  long moved;
  do moved = splice(from, NULL, to, NULL, count, flags);
  while (moved < 0 && errno == EINTR);
  return moved < 0 ? -errno : moved;
}

// MARK: files and events

int clinux_open_append(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
  return fd < 0 ? -errno : fd;
}

// A description of our own of what `fd` stands for: O_NONBLOCK on the inherited one would reach other processes.
int clinux_reopen_append(int fd) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int own = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (own < 0) own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return own < 0 ? -errno : own;
}

int clinux_open_read(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  return fd < 0 ? -errno : fd;
}

long clinux_read(int fd, void *bytes, size_t count) {
  long got;
  do got = read(fd, bytes, count);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

long clinux_write(int fd, const void *bytes, size_t count) {
  long written;
  do written = write(fd, bytes, count);
  while (written < 0 && errno == EINTR);
  return written < 0 ? -errno : written;
}

int clinux_eventfd(int is_blocking) {
  int fd = eventfd(0, EFD_CLOEXEC | (is_blocking ? 0 : EFD_NONBLOCK));
  return fd < 0 ? -errno : fd;
}

static void watched(sigset_t *signals) {
  sigemptyset(signals);
  sigaddset(signals, SIGTERM);
  sigaddset(signals, SIGINT);
  sigaddset(signals, SIGHUP);
}

// splice(2) into a socket that is gone raises SIGPIPE, and no flag prevents it.
// They are read, where epoll tells of them, and no handler runs anywhere.
int clinux_signal_open(void) {
  sigset_t signals;
  watched(&signals);
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) return -errno;
  int result = pthread_sigmask(SIG_BLOCK, &signals, NULL);
  if (result != 0) return -result;
  int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

// Its number, or 0 when none waits.
int clinux_signal_take(int fd) {
  struct signalfd_siginfo seen;
  return read(fd, &seen, sizeof seen) == sizeof seen ? (int)seen.ssi_signo : 0;
}

static void write_stamp(const struct stat *status, uint64_t stamp[4]) {
  stamp[0] = status->st_dev;
  stamp[1] = status->st_ino;
  stamp[2] = (uint64_t)status->st_size;
  stamp[3] = (uint64_t)status->st_mtim.tv_sec * 1000000000u + (uint64_t)status->st_mtim.tv_nsec;
}

int clinux_file_stamp(const char *path, uint64_t stamp[4]) {
  struct stat status;
  if (stat(path, &status) < 0) return -errno;
  write_stamp(&status, stamp);
  return 0;
}

int clinux_descriptor_stamp(int fd, uint64_t stamp[4]) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  write_stamp(&status, stamp);
  return 0;
}

static int wait_for(int fd, short what, int timeout_ms) {
  struct pollfd one = {.fd = fd, .events = what};
  int ready = poll(&one, 1, timeout_ms);
  if (ready < 0) return errno == EINTR ? 0 : -errno;
  return ready;
}

int clinux_wait_readable(int fd, int timeout_ms) { return wait_for(fd, POLLIN, timeout_ms); }

int clinux_wait_writable(int fd, int timeout_ms) { return wait_for(fd, POLLOUT, timeout_ms); }

// MARK: the terminal

static struct termios terminal_before;
static char terminal_leave[64];
static volatile sig_atomic_t terminal_is_taken;
static const int terminal_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGILL, SIGTRAP,
                                       SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE};
enum { TERMINAL_SIGNALS = sizeof terminal_signals / sizeof terminal_signals[0] };

int clinux_is_terminal(int fd) { return isatty(fd); }

int clinux_terminal_size(int size[2]) {
  struct winsize window;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) < 0) return -errno;
  size[0] = window.ws_row;
  size[1] = window.ws_col;
  return 0;
}

// tcsetattr and write are safe in a signal handler (signal-safety(7)).
void clinux_terminal_give_back(void) {
  if (!terminal_is_taken) return;
  terminal_is_taken = 0;
  if (write(STDOUT_FILENO, terminal_leave, strlen(terminal_leave)) < 0) { /* it is gone, and needs nothing */ }
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_before);
}

// SA_RESETHAND has put the default back: raised again, the signal ends the process as it would have.
static void terminal_signal(int number) {
  clinux_terminal_give_back();
  raise(number);
}

int clinux_terminal_take(const char *leave) {
  if (strlen(leave) >= sizeof terminal_leave) return -EINVAL;
  if (tcgetattr(STDIN_FILENO, &terminal_before) < 0) return -errno;
  strcpy(terminal_leave, leave);
  struct sigaction action = {.sa_handler = terminal_signal, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  for (int index = 0; index < TERMINAL_SIGNALS; index++)
    if (sigaction(terminal_signals[index], &action, NULL) < 0) return -errno;
  struct termios keys = terminal_before;
  keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
  keys.c_iflag &= ~(tcflag_t)(IXON | ICRNL);
  keys.c_cc[VMIN] = 0;
  keys.c_cc[VTIME] = 0;
  terminal_is_taken = 1;
  if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys) < 0) {
    int code = errno;
    terminal_is_taken = 0;
    return -code;
  }
  return 0;
}

// MARK: children

int clinux_memory_file(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

long clinux_read_at(int fd, void *bytes, size_t count, uint64_t offset) {
  long got;
  do got = pread(fd, bytes, count, (off_t)offset);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

static int spawn_at(const char *path, const char *const *argv, const posix_spawn_file_actions_t *actions) {
  static const char *const environment[] = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
  pid_t pid;
  int code = posix_spawn(&pid, path, actions, NULL, (char *const *)argv, (char *const *)environment);
  return code ? -code : pid;
}

// `arguments` are NUL-terminated texts, one after another, with an empty one at the end. The program is looked for where
// the system keeps its programs, whatever the caller's PATH says, and gets a fixed environment.
int clinux_spawn(const char *arguments, int input, int output, int errors) {
  static const char *const folders[] = {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/usr/local/sbin/", "/usr/local/bin/"};
  const char *argv[64];
  int count = 0;
  for (const char *next = arguments; *next; next += strlen(next) + 1) {
    if (count == 63) return -E2BIG;
    argv[count++] = next;
  }
  argv[count] = NULL;
  if (count == 0) return -EINVAL;
  posix_spawn_file_actions_t actions;
  int code = posix_spawn_file_actions_init(&actions);
  if (code) return -code;
  const int wanted[3] = {input, output, errors};
  for (int fd = 0; fd < 3 && code == 0; fd++) code = posix_spawn_file_actions_adddup2(&actions, wanted[fd], fd);
  int result = code ? -code : -ENOENT;
  for (size_t i = 0; i < sizeof folders / sizeof *folders && result == -ENOENT; i++) {
    char path[256];
    if (snprintf(path, sizeof path, "%s%s", folders[i], argv[0]) >= (int)sizeof path) result = -ENAMETOOLONG;
    else result = spawn_at(path, argv, &actions);
  }
  posix_spawn_file_actions_destroy(&actions);
  return result;
}

// The exit status, or 128 and the signal.
int clinux_wait(int pid) {
  int status;
  pid_t ended;
  do ended = waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) return -errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// How many packed texts there are, up to the empty one at the end; each is put into `list` where there is one.
static int unpack(const char *packed, const char **list) {
  int count = 0;
  for (const char *next = packed; *next; next += strlen(next) + 1) {
    if (list) list[count] = next;
    count++;
  }
  if (list) list[count] = NULL;
  return count;
}

static int is_hidden(const char *variable, const char *hidden) {
  for (const char *name = hidden; *name; name += strlen(name) + 1) {
    size_t length = strlen(name);
    if (strncmp(variable, name, length) == 0 && variable[length] == '=') return 1;
  }
  return 0;
}

// The environment without the hidden variables, to be freed; nothing in this program changes the environment.
static char **visible_environment(const char *hidden) {
  size_t count = 0;
  while (environ[count]) count++;
  char **visible = calloc(count + 1, sizeof *visible);
  if (!visible) return NULL;
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (!is_hidden(environ[i], hidden)) visible[kept++] = environ[i];
  }
  return visible;
}

// A process group of its own, so that its children end with it; signals as a program expects them.
static int spawn_group(pid_t *pid, const char **argv, char **environment, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int code = posix_spawn_file_actions_init(&actions);
  if (code) return code;
  code = posix_spawnattr_init(&attributes);
  if (code) {
    posix_spawn_file_actions_destroy(&actions);
    return code;
  }
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (!code) code = posix_spawn_file_actions_adddup2(&actions, output, 1);
  if (!code) code = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  if (!code) code = posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)argv, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

static int wait_limited(pid_t pid, int timeout_ms) {
  int watched = (int)syscall(SYS_pidfd_open, pid, 0);
  int failure = watched < 0 ? errno : 0;
  uint64_t due = clinux_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
  while (!failure) {
    uint64_t now = clinux_monotonic_ns();
    struct pollfd ended = {.fd = watched, .events = POLLIN};
    int ready = poll(&ended, 1, now < due ? (int)((due - now + 999999) / 1000000) : 0);
    if (ready > 0) break;
    if (ready == 0) failure = ETIMEDOUT;
    if (ready < 0 && errno != EINTR) failure = errno;
  }
  if (watched >= 0) close(watched);
  // What it started ends with it, also where it has ended by itself.
  kill(-pid, SIGKILL);
  int status = clinux_wait(pid);
  return failure ? -failure : status;
}

int clinux_run(const char *arguments, const char *hidden, int output, int timeout_ms) {
  int count = unpack(arguments, NULL);
  if (count == 0) return -EINVAL;
  const char **argv = calloc((size_t)count + 1, sizeof *argv);
  char **environment = visible_environment(hidden);
  pid_t pid = 0;
  int code = argv && environment ? 0 : ENOMEM;
  if (!code) {
    unpack(arguments, argv);
    code = spawn_group(&pid, argv, environment, output);
  }
  free(argv);
  free(environment);
  return code ? -code : wait_limited(pid, timeout_ms);
}

static int send_all(int fd, const void *bytes, size_t count) {
  for (const char *next = bytes; count > 0;) {
    long sent = write(fd, next, count);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return -1;
    next += sent;
    count -= (size_t)sent;
  }
  return 0;
}

static int answer_command(int fd, const char *arguments, const char *hidden, int timeout_ms) {
  static char bytes[128 * 1024];
  int output = clinux_memory_file("sluice");
  int32_t head[2] = {output < 0 ? output : clinux_run(arguments, hidden, output, timeout_ms), 0};
  long count = output < 0 ? 0 : clinux_read_at(output, bytes, sizeof bytes, 0);
  if (output >= 0) close(output);
  head[1] = count > 0 ? (int32_t)count : 0;
  int result = send_all(fd, head, sizeof head);
  if (result == 0) result = send_all(fd, bytes, (size_t)head[1]);
  explicit_bzero(bytes, sizeof bytes);
  return result;
}

int clinux_command_helper(const char *arguments, const char *hidden, int timeout_ms) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  pid_t pid = fork();
  if (pid != 0) {
    int code = errno;
    close(ends[1]);
    if (pid > 0) return ends[0];
    close(ends[0]);
    return -code;
  }
  // It keeps no listener of the gate open, and nothing else either.
  int fd = dup2(ends[1], 3);
  if (fd != 3 || syscall(SYS_close_range, 4, ~0U, 0) < 0) _exit(1);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  prctl(PR_SET_NAME, "credentials", 0, 0, 0);
  for (char asked; read(fd, &asked, 1) == 1;) {
    if (answer_command(fd, arguments, hidden, timeout_ms) < 0) break;
  }
  _exit(0);
}

// MARK: the machine

uint64_t clinux_monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t clinux_wall_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

long clinux_current_folder(char *text, size_t room) {
  return getcwd(text, room) ? (long)strlen(text) : -errno;
}

int clinux_cores(void) {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) < 0) return 1;
  int count = CPU_COUNT(&cores);
  return count > 0 ? count : 1;
}

const char *clinux_environment(size_t index) { return environ[index]; }

int clinux_thread_start(void *(*body)(void *), void *argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  int code = pthread_create(&thread, &attributes, body, argument);
  pthread_attr_destroy(&attributes);
  return -code;
}

// Of the calling thread: another's would be a file in /proc. A name that is too long is left out.
void clinux_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

int clinux_interfaces(struct clinux_address *addresses, int count_max) {
  struct ifaddrs *list = NULL;
  if (getifaddrs(&list) < 0) return -errno;
  int count = 0;
  for (struct ifaddrs *entry = list; entry && count < count_max; entry = entry->ifa_next) {
    if (entry->ifa_addr && decode(entry->ifa_addr, &addresses[count]) == 0) count++;
  }
  freeifaddrs(list);
  return count;
}

void clinux_raise_open_files(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

uint64_t clinux_open_files_max(void) {
  struct rlimit files;
  return getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : files.rlim_cur;
}

uint64_t clinux_cpu_ns(void) {
  struct timespec used;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) < 0) return 0;
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

int clinux_open_memory_figures(void) {
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int clinux_open_descriptor_folder(void) {
  int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

uint64_t clinux_resident_bytes(int memory_figures) {
  char text[128];
  unsigned long long pages = 0;
  ssize_t count = pread(memory_figures, text, sizeof text - 1, 0);
  if (count <= 0) return 0;
  text[count] = 0;
  return sscanf(text, "%*u %llu", &pages) == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Since Linux 6.2 the size of that folder is the number of its entries; before, it is 0. */
uint64_t clinux_descriptor_count(int descriptor_folder) {
  struct stat folder;
  return fstat(descriptor_folder, &folder) < 0 || folder.st_size < 0 ? 0 : (uint64_t)folder.st_size;
}

const char *clinux_error_name(int code, char *text, size_t count) {
  return strerror_r(code, text, count);
}
