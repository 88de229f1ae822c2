// Datagrams in batches, each with the address that it was sent to. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "addresses.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
    clinux_decode(&local.plain, &datagram->local);
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
    clinux_decode(&peers[i].plain, &datagrams[i].peer);
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
  clinux_encode(&datagram->local, &local);
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
        .msg_name = &peers[i], .msg_namelen = clinux_encode(&datagrams[i].peer, &peers[i]), .msg_iov = &places[i],
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
