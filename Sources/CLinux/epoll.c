// epoll: which events of which descriptor, under which key. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

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
