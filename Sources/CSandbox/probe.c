// Tries, inside the finished sandbox, what must not work there: each probe holds, or something got through.
// It relies on the gate serving already. A canary's probe cannot tell by itself: the one who listens for it can.
#define _GNU_SOURCE
#include "inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int waiting_socket(int family, int type, int seconds) {
  int fd = socket(family, type | SOCK_CLOEXEC, 0);
  struct timeval limit = {.tv_sec = seconds};
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  return fd;
}

static int connect4(int fd, uint32_t address, uint16_t port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
  return connect(fd, (struct sockaddr *)&to, sizeof to);
}

// Any answer but success will do: no policy that refuses the target can answer with one.
static int target_is_refused(const char *target) {
  char text[512];
  int count = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target);
  int fd = waiting_socket(AF_INET, SOCK_STREAM, 5);
  int holds = fd >= 0 && count < (int)sizeof text && connect4(fd, INADDR_LOOPBACK, 3128) == 0 && write(fd, text, (size_t)count) == count;
  ssize_t got = holds ? read(fd, text, sizeof text) : 0;
  close(fd);
  return got > 12 && memcmp(text, "HTTP/1.1 ", 9) == 0 && text[9] != '2';
}

// A question for an A record; an answer without one is a refusal.
static int name_is_refused(const char *name) {
  uint8_t query[300] = {0x51, 0x1c, 1, 0, 0, 1}, reply[1024];
  size_t at = 12;
  while (*name && at < 250) {
    size_t length = strcspn(name, ".");
    query[at++] = (uint8_t)length;
    memcpy(query + at, name, length);
    at += length;
    name += length + (name[length] == '.');
  }
  query[at + 2] = query[at + 4] = 1;
  at += 5;
  int fd = waiting_socket(AF_INET, SOCK_DGRAM, 5);
  if (fd < 0 || connect4(fd, INADDR_LOOPBACK, 53) < 0 || write(fd, query, at) != (ssize_t)at) return 0;
  ssize_t got = read(fd, reply, sizeof reply);
  close(fd);
  return got >= 12 && reply[0] == query[0] && reply[1] == query[1] && reply[6] == 0 && reply[7] == 0;
}

static void try_canary(int family, int type, uint16_t port) {
  int fd = waiting_socket(family, type, 1);
  if (fd < 0) return;
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  if (family == AF_INET6) {
    if (connect(fd, (struct sockaddr *)&v6, sizeof v6) == 0) send(fd, "sluice", 6, MSG_NOSIGNAL);
  } else if (connect4(fd, INADDR_LOOPBACK, port) == 0) {
    send(fd, "sluice", 6, MSG_NOSIGNAL);
  }
  close(fd);
}

static int open_to(const char *address, int type, uint16_t port, int *fd) {
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct in_addr v4;
  if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
    *fd = waiting_socket(AF_INET6, type, 2);
    return *fd < 0 ? -1 : connect(*fd, (struct sockaddr *)&v6, sizeof v6);
  }
  if (inet_pton(AF_INET, address, &v4) != 1) return -1;
  *fd = waiting_socket(AF_INET, type, 2);
  return *fd < 0 ? -1 : connect4(*fd, ntohl(v4.s_addr), port);
}

// Refused at once, or taken by the gate, where the address is the sandbox's own: neither sent away nor swallowed.
static int is_refused(const char *address, int type, uint16_t port) {
  int fd = -1, result = open_to(address, type, port, &fd);
  if (result == 0 && type == SOCK_DGRAM) {
    char byte = 0;
    result = write(fd, &byte, 1) < 0 || read(fd, &byte, 1) < 0 ? -1 : 0;
  }
  int code = errno;
  int is_held = result < 0 ? code == ECONNREFUSED : type == SOCK_STREAM && network_is_local(address) == 1;
  // The gate has nothing to wait for.
  if (fd >= 0 && type == SOCK_STREAM) setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
  if (fd >= 0) close(fd);
  return is_held;
}

static int raw_is_refused(void) {
  static const int wanted[][2] = {{AF_INET, SOCK_RAW}, {AF_INET6, SOCK_RAW}, {AF_PACKET, SOCK_RAW}, {AF_PACKET, SOCK_DGRAM}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    int fd = socket(wanted[i][0], wanted[i][1], IPPROTO_ICMP);
    if (fd >= 0) return 0;
  }
  return 1;
}

static int opens(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);
  if (fd < 0) return 0;
  close(fd);
  return 1;
}

static int local_is_unreachable(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  // No such path can be connected to by anybody.
  if (strlen(path) >= sizeof address.sun_path) return 1;
  memcpy(address.sun_path, path, strlen(path));
  int fd = waiting_socket(AF_UNIX, SOCK_STREAM, 1);
  if (fd < 0) return 0;
  int result = connect(fd, (struct sockaddr *)&address, sizeof address), code = errno;
  close(fd);
  // One whose queue is full is reached all the same.
  return result < 0 && code != EAGAIN && code != EINPROGRESS;
}

int probe_holds(const struct csandbox_step *step, const char *first) {
  switch ((enum csandbox_probe)step->number) {
    case CSANDBOX_PROBE_TARGET_REFUSED: return target_is_refused(first);
    case CSANDBOX_PROBE_NAME_REFUSED: return name_is_refused(first);
    case CSANDBOX_PROBE_CANARY_STREAM4: try_canary(AF_INET, SOCK_STREAM, (uint16_t)step->more); return 1;
    case CSANDBOX_PROBE_CANARY_STREAM6: try_canary(AF_INET6, SOCK_STREAM, (uint16_t)step->more); return 1;
    case CSANDBOX_PROBE_CANARY_DATAGRAM4: try_canary(AF_INET, SOCK_DGRAM, (uint16_t)step->more); return 1;
    case CSANDBOX_PROBE_DATAGRAM_REFUSED: return is_refused(first, SOCK_DGRAM, (uint16_t)step->more);
    case CSANDBOX_PROBE_STREAM_REFUSED: return is_refused(first, SOCK_STREAM, (uint16_t)step->more);
    case CSANDBOX_PROBE_RAW_REFUSED: return raw_is_refused();
    case CSANDBOX_PROBE_UNREADABLE: return !opens(first, O_RDONLY);
    case CSANDBOX_PROBE_UNWRITABLE: return !opens(first, O_WRONLY | O_CREAT);
    case CSANDBOX_PROBE_LOCAL_UNREACHABLE: return local_is_unreachable(first);
  }
  return 0;
}
