// Addresses: to and from the kernel's form. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "addresses.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

socklen_t clinux_encode(const struct clinux_address *from, union any_address *to) {
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

int clinux_decode(const struct sockaddr *from, struct clinux_address *to) {
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
