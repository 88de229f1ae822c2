// The sandbox's network: a loopback to which every address leads, and listeners on it for the gate.
// It needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE in the namespace, which its maker has.
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

// Sends one request and waits for its acknowledgement.
static int ask(struct request *request) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  FAIL_IF(fd < 0, "socket(AF_NETLINK)");
  request->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  int result = -EPROTO;
  sandbox_stage = "rtnetlink";
  if (send(fd, request, request->head.nlmsg_len, 0) < 0) {
    result = -errno;
  } else {
    union {
      struct nlmsghdr head;
      char bytes[1024];
    } answer;
    ssize_t got = recv(fd, &answer, sizeof answer, 0);
    if (got < 0) result = -errno;
    else if ((size_t)got >= NLMSG_LENGTH(sizeof(struct nlmsgerr)) && answer.head.nlmsg_type == NLMSG_ERROR)
      result = ((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
  }
  close(fd);
  return result;
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

// Beside 127.0.0.1 and ::1: resolvers do not ask for a family that has no other address (AI_ADDRCONFIG).
int network_address(const char *text) {
  struct in6_addr bytes;
  int is_v6 = inet_pton(AF_INET6, text, &bytes) == 1;
  if (!is_v6 && inet_pton(AF_INET, text, &bytes) != 1) {
    sandbox_stage = "inet_pton";
    return -EINVAL;
  }
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
  uint32_t v4 = flags & CSANDBOX_LISTEN_LOOPBACK ? INADDR_LOOPBACK : INADDR_ANY;
  struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(v4)};
  struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (flags & CSANDBOX_LISTEN_LOOPBACK) any6.sin6_addr.s6_addr[15] = 1;
  const struct sockaddr *address = is_v6 ? (struct sockaddr *)&any6 : (struct sockaddr *)&any4;
  FAIL_IF(bind(fd, address, is_v6 ? sizeof any6 : sizeof any4) < 0, "bind");
  FAIL_IF(!is_datagram && listen(fd, 1024) < 0, "listen");
  return fd;
}
