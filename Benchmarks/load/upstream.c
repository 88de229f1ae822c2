// The built-in upstream: echo, sink, source and a tiny HTTP server behind one port, told apart by the first byte.
// One thread, level-triggered epoll; it relies on load.h for the wire words and prints "upstream PORT" once it listens.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "load.h"

enum { HEAD_BYTES = 4096, EVENTS = 256 };

struct peer {
  int fd;
  char kind;              // 0 until the first byte came
  uint8_t command_have;   // of the COMMAND_BYTES of 'U' and 'D'
  uint8_t command[COMMAND_BYTES];
  uint8_t want_out, answered, close_after;
  uint64_t length, done, wrong;
  uint8_t *spill;         // what could not be sent yet (echo, answers)
  size_t spill_at, spill_end;
  char *head;             // HTTP: the request so far
  uint32_t head_have;
};

static int ep, verify_all;
static uint8_t scratch[CHUNK_MAX];
static char response[512 + BODY_BYTES];
static size_t response_bytes;

static void drop(struct peer *p) {
  close(p->fd);
  free(p->spill);
  free(p->head);
  free(p);
}

static void arm(struct peer *p, int out) {
  if (p->want_out == out) return;
  p->want_out = (uint8_t)out;
  // While answers cannot leave, nothing more is read: that is the back-pressure.
  struct epoll_event e = {.events = out ? EPOLLOUT : EPOLLIN, .data.ptr = p};
  if (epoll_ctl(ep, EPOLL_CTL_MOD, p->fd, &e) < 0) die("epoll_ctl");
}

// Each of these returns -1 when the connection is over.
static int answer(struct peer *p, const void *bytes, size_t count) {
  ssize_t n = p->spill ? 0 : send(p->fd, bytes, count, MSG_NOSIGNAL);
  if (n < 0) {
    if (errno != EAGAIN) return -1;
    n = 0;
  }
  if ((size_t)n == count) return 0;
  size_t left = count - (size_t)n, had = p->spill_end - p->spill_at;
  uint8_t *grown = malloc(had + left);
  if (!grown) die("memory");
  if (had) memcpy(grown, p->spill + p->spill_at, had);
  memcpy(grown + had, (const uint8_t *)bytes + n, left);
  free(p->spill);
  p->spill = grown;
  p->spill_at = 0;
  p->spill_end = had + left;
  arm(p, 1);
  return 0;
}

static int send_source(struct peer *p) {
  for (int i = 0; i < 4 && p->done < p->length; i++) {
    uint64_t left = p->length - p->done;
    ssize_t n = send(p->fd, pattern_at(p->done), left < CHUNK_MAX / 2 ? left : CHUNK_MAX / 2, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return -1;
    p->done += (uint64_t)n;
  }
  arm(p, p->done < p->length);
  return 0;
}

static int tally(struct peer *p) {
  struct tally t = {p->done, p->wrong};
  p->answered = 1;
  return answer(p, &t, sizeof t);
}

static int take_sink(struct peer *p, const uint8_t *bytes, size_t count) {
  p->wrong += pattern_wrong(bytes, count, p->done, verify_all);
  p->done += count;
  return p->done == p->length ? tally(p) : 0;
}

static int take_http(struct peer *p, const uint8_t *bytes, size_t count) {
  if (!p->head && !(p->head = malloc(HEAD_BYTES + 1))) die("memory");
  for (size_t i = 0; i < count; i++) {
    if (p->head_have == HEAD_BYTES) return -1;
    p->head[p->head_have++] = (char)bytes[i];
    if (bytes[i] != '\n' || p->head_have < 4 || memcmp(p->head + p->head_have - 4, "\r\n\r\n", 4)) continue;
    p->head[p->head_have] = 0;
    if (strcasestr(p->head, "\r\nconnection: close") || strstr(p->head, " HTTP/1.0\r\n")) p->close_after = 1;
    p->head_have = 0;
    if (answer(p, response, response_bytes) < 0) return -1;
  }
  return p->close_after && !p->spill ? -1 : 0;
}

static int take(struct peer *p, const uint8_t *bytes, size_t count) {
  if (!p->kind) p->kind = (char)bytes[0];
  if (p->kind == 'E' || p->kind == 0x16) return answer(p, bytes, count);
  if (p->kind == 'G') return take_http(p, bytes, count);
  if (p->kind != 'U' && p->kind != 'D') return -1;
  while (p->command_have < COMMAND_BYTES && count > 0) {
    p->command[p->command_have++] = *bytes++;
    count--;
  }
  if (p->command_have < COMMAND_BYTES) return 0;
  memcpy(&p->length, p->command + 1, sizeof p->length);
  if (p->kind == 'D') return send_source(p);
  return count ? take_sink(p, bytes, count) : 0;
}

static int end_of_stream(struct peer *p) {
  if (p->kind == 'U' && p->length == UINT64_MAX && !p->answered && tally(p) == 0 && p->spill) return 0;
  return -1;
}

static int readable(struct peer *p) {
  ssize_t n = recv(p->fd, scratch, sizeof scratch, 0);
  if (n < 0) return errno == EAGAIN ? 0 : -1;
  return n == 0 ? end_of_stream(p) : take(p, scratch, (size_t)n);
}

static int writable(struct peer *p) {
  if (p->kind == 'D') return send_source(p);
  ssize_t n = send(p->fd, p->spill + p->spill_at, p->spill_end - p->spill_at, MSG_NOSIGNAL);
  if (n < 0) return errno == EAGAIN ? 0 : -1;
  if ((p->spill_at += (size_t)n) < p->spill_end) return 0;
  free(p->spill);
  p->spill = NULL;
  p->spill_at = p->spill_end = 0;
  arm(p, 0);
  return p->close_after ? -1 : 0;
}

static void accept_peers(int listener) {
  for (int i = 0; i < 64; i++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EAGAIN && errno != ECONNABORTED) die("accept4");
      return;
    }
    struct peer *p = calloc(1, sizeof *p);
    if (!p) die("memory");
    p->fd = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0) die("epoll_ctl");
  }
}

static void make_response(void) {
  int n = snprintf(response, sizeof response,
                   "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", BODY_BYTES);
  memcpy(response + n, pattern_at(0), BODY_BYTES);
  response_bytes = (size_t)n + BODY_BYTES;
}

int serve_upstream(uint16_t port, int verify) {
  verify_all = verify;
  make_response();
  ep = epoll_create1(EPOLL_CLOEXEC);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof me;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // handed down to accepted sockets
  if (bind(listener, (struct sockaddr *)&me, sizeof me) < 0 || listen(listener, 4096) < 0) die("listen");
  if (getsockname(listener, (struct sockaddr *)&me, &length) < 0) die("getsockname");
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e) < 0) die("epoll_ctl");
  printf("upstream %u\n", ntohs(me.sin_port));
  fflush(stdout);
  for (;;) {
    static struct epoll_event events[EVENTS];
    int n = epoll_wait(ep, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      struct peer *p = events[i].data.ptr;
      if (!p) {
        accept_peers(listener);
      } else if (((events[i].events & EPOLLOUT) && p->want_out ? writable(p) : readable(p)) < 0) {
        drop(p);
      }
    }
  }
}
