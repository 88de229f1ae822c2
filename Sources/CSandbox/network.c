// The sandbox's network: a loopback to which every address leads, and listeners on it for the gate.
// The process needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE in the namespace, which its maker has.
#define _GNU_SOURCE
#include "inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOPBACK = 1 };  // the first interface of every namespace

struct request {
  struct nlmsghdr head;
  union {
    struct ifinfomsg link;
    struct rtmsg route;
    struct ifaddrmsg address;
  };
  char attributes[64];
};

union answer {
  struct nlmsghdr head;
  char bytes[1024];
};

// Sends one request and waits for the first answer: its size, at least that of a header.
static ssize_t exchange(struct request *request, union answer *answer) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  FAIL_IF(fd < 0, "socket(AF_NETLINK)");
  request->head.nlmsg_flags |= NLM_F_REQUEST;
  sandbox_stage = "rtnetlink";
  ssize_t got = send(fd, request, request->head.nlmsg_len, 0);
  if (got >= 0) got = recv(fd, answer, sizeof *answer, 0);
  if (got < 0) got = -errno;
  close(fd);
  return got >= 0 && (size_t)got < NLMSG_HDRLEN ? -EPROTO : got;
}

// One request that is acknowledged.
static int ask(struct request *request) {
  union answer answer;
  request->head.nlmsg_flags |= NLM_F_ACK;
  ssize_t got = exchange(request, &answer);
  if (got < 0) return (int)got;
  if ((size_t)got < NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.head.nlmsg_type != NLMSG_ERROR) return -EPROTO;
  return ((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
}

int network_loopback_up(void) {
  struct request request = {
      .head = {.nlmsg_type = RTM_NEWLINK, .nlmsg_len = NLMSG_LENGTH(sizeof request.link)},
      .link = {.ifi_family = AF_UNSPEC, .ifi_index = LOOPBACK, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
  return ask(&request);
}

static void append(struct request *request, unsigned short type, const void *value, size_t size) {
  struct rtattr *attribute = (struct rtattr *)((char *)request + NLMSG_ALIGN(request->head.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = (unsigned short)RTA_LENGTH(size);
  memcpy(RTA_DATA(attribute), value, size);
  request->head.nlmsg_len = NLMSG_ALIGN(request->head.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

// 1 for IPv6, 0 for IPv4.
static int parse(const char *text, struct in6_addr *bytes) {
  if (inet_pton(AF_INET6, text, bytes) == 1) return 1;
  if (inet_pton(AF_INET, text, bytes) == 1) return 0;
  sandbox_stage = "inet_pton";
  return -EINVAL;
}

// Beside 127.0.0.1 and ::1: resolvers do not ask for a family that has no other address (AI_ADDRCONFIG).
int network_address(const char *text) {
  struct in6_addr bytes;
  int is_v6 = parse(text, &bytes);
  if (is_v6 < 0) return is_v6;
  struct request request = {
      .head = {.nlmsg_type = RTM_NEWADDR, .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL,
               .nlmsg_len = NLMSG_LENGTH(sizeof request.address)},
      .address = {.ifa_family = is_v6 ? AF_INET6 : AF_INET, .ifa_prefixlen = is_v6 ? 128 : 32, .ifa_index = LOOPBACK,
                  .ifa_scope = RT_SCOPE_UNIVERSE}};
  append(&request, IFA_LOCAL, &bytes, is_v6 ? 16 : 4);
  append(&request, IFA_ADDRESS, &bytes, is_v6 ? 16 : 4);
  return ask(&request);
}

// ip route add local default dev lo: from now on every address of the family is this namespace's own.
int network_local_route(int family) {
  struct request request = {
      .head = {.nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL,
               .nlmsg_len = NLMSG_LENGTH(sizeof request.route)},
      .route = {.rtm_family = family == 6 ? AF_INET6 : AF_INET, .rtm_table = RT_TABLE_LOCAL, .rtm_protocol = RTPROT_BOOT,
                .rtm_scope = family == 6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_HOST, .rtm_type = RTN_LOCAL}};
  append(&request, RTA_OIF, &(int){LOOPBACK}, sizeof(int));
  return ask(&request);
}

int network_is_local(const char *text) {
  struct in6_addr bytes;
  int is_v6 = parse(text, &bytes);
  if (is_v6 < 0) return is_v6;
  struct request request = {
      .head = {.nlmsg_type = RTM_GETROUTE, .nlmsg_len = NLMSG_LENGTH(sizeof request.route)},
      .route = {.rtm_family = is_v6 ? AF_INET6 : AF_INET, .rtm_dst_len = is_v6 ? 128 : 32}};
  append(&request, RTA_DST, &bytes, is_v6 ? 16 : 4);
  union answer answer;
  ssize_t got = exchange(&request, &answer);
  if (got < 0) return (int)got;
  if ((size_t)got < NLMSG_LENGTH(sizeof(struct rtmsg)) || answer.head.nlmsg_type != RTM_NEWROUTE) return 0;
  return ((struct rtmsg *)NLMSG_DATA(&answer.head))->rtm_type == RTN_LOCAL;
}

static int set(int fd, int level, int option) { return setsockopt(fd, level, option, &(int){1}, sizeof(int)); }

// Options are those that the gate gives its own listeners: what is accepted inherits TCP_NODELAY, and a datagram tells
// the address that it was sent to.
int network_listen(uint16_t port, uint64_t flags) {
  int is_v6 = (flags & CSANDBOX_LISTEN_V6) != 0, is_datagram = (flags & CSANDBOX_LISTEN_DATAGRAM) != 0;
  int fd = socket(is_v6 ? AF_INET6 : AF_INET, (is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  FAIL_IF(fd < 0, "socket");
  FAIL_IF(is_v6 && set(fd, IPPROTO_IPV6, IPV6_V6ONLY) < 0, "setsockopt(IPV6_V6ONLY)");
  if (is_datagram) {
    FAIL_IF(set(fd, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, is_v6 ? IPV6_RECVPKTINFO : IP_PKTINFO) < 0, "setsockopt(PKTINFO)");
  } else {
    FAIL_IF(set(fd, SOL_SOCKET, SO_REUSEADDR) < 0, "setsockopt(SO_REUSEADDR)");
    FAIL_IF(set(fd, IPPROTO_TCP, TCP_NODELAY) < 0, "setsockopt(TCP_NODELAY)");
  }
  // A transparent listener is handed connections to other addresses than its own.
  FAIL_IF(flags & CSANDBOX_LISTEN_REDIRECTED && set(fd, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, is_v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT) < 0,
          "setsockopt(TRANSPARENT)");
  uint32_t v4 = flags & CSANDBOX_LISTEN_LOOPBACK ? INADDR_LOOPBACK : INADDR_ANY;
  struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(v4)};
  struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (flags & CSANDBOX_LISTEN_LOOPBACK) any6.sin6_addr.s6_addr[15] = 1;
  const struct sockaddr *address = is_v6 ? (struct sockaddr *)&any6 : (struct sockaddr *)&any4;
  FAIL_IF(bind(fd, address, is_v6 ? sizeof any6 : sizeof any4) < 0, "bind");
  FAIL_IF(!is_datagram && listen(fd, 1024) < 0, "listen");
  return fd;
}
