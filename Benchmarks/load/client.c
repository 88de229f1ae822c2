// The client side of the load generator: many connections to one proxy on one thread, one mode a run, JSON at the end.
// It relies on loopback: connect() blocks (it returns at once there), everything after it is non-blocking per call.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "load.h"

enum { EVENTS = 256, HEAD_BYTES = 2048, HALF_CLOSE_BYTES = 4096 };

// A connection goes HEAD (the proxy's answer is awaited) -> READY (others are awaited) -> RUN; direct ones skip HEAD.
enum state { CLOSED, HEAD, READY, RUN };

struct conn {
  int fd;
  enum state state;
  int want_out, close_after, reused;
  uint64_t started;           // of the tunnel, the round trip, or the request
  uint64_t sent, got, length; // bulk: bytes of pattern; http and refused: got and length of the body
  uint32_t have;              // bytes in head, or of the answer that comes
  char head[HEAD_BYTES];
  uint8_t message[MESSAGE_BYTES], echo[MESSAGE_BYTES];
};

static struct settings set;
static struct conn *conns;
static struct histogram latency;
static int ep;
static uint32_t live, ready;
static uint64_t issued, ok, failed, wrong, bytes, opened, reopened, serial, status_count[600];
static uint64_t begun, ended;
static char connect_head[512], get_head[512];
static uint8_t scratch[CHUNK_MAX], hello[HELLO_MAX];

static int opens_each(void) {
  return set.kind == OPEN || set.kind == REFUSED || set.kind == HTTP_NEW || set.kind == HALF_CLOSE ||
         set.kind == SNI;
}

static int is_http(void) { return set.kind == HTTP || set.kind == HTTP_NEW; }

static void start(struct conn *c);
static void reopen(struct conn *c);

static void hang_up(struct conn *c) {
  if (c->state == CLOSED) return;
  close(c->fd);
  c->state = CLOSED;
  live--;
}

// One thing is done, well or not; the connection takes up the next one or ends.
static void finish(struct conn *c, int good) {
  if (good) {
    ok++;
    if (set.kind != BULK_UP && set.kind != BULK_DOWN) histogram_add(&latency, now_ns() - c->started);
  } else {
    failed++;
  }
  if (good && set.kind == HTTP && !c->close_after) return;
  hang_up(c);
  if ((opens_each() || set.kind == HTTP) && issued < set.count && failed <= 100 + set.count / 10) start(c);
}

static int say(struct conn *c, const void *what, size_t count) {
  return send(c->fd, what, count, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)count ? 0 : -1;
}

static void arm(struct conn *c, int out) {
  if (c->want_out == out) return;
  c->want_out = out;
  struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e) < 0) die("epoll_ctl");
}

// MARK: what a mode sends. Each returns -1 when the connection is broken.

static int ping(struct conn *c) {
  uint64_t id = ++serial;
  memcpy(c->message, pattern_at(id * 64), MESSAGE_BYTES);
  c->message[0] = 'E'; // to the upstream: echo
  memcpy(c->message + 8, &id, sizeof id);
  c->have = 0;
  if (set.kind == PINGPONG) c->started = now_ns();
  return say(c, c->message, MESSAGE_BYTES);
}

static int command(struct conn *c, char kind, uint64_t length) {
  uint8_t what[COMMAND_BYTES] = {(uint8_t)kind};
  memcpy(what + 1, &length, sizeof length);
  c->length = length;
  c->sent = c->got = c->have = 0;
  return say(c, what, sizeof what);
}

static int send_bulk(struct conn *c) {
  for (int i = 0; i < 4 && c->sent < c->length; i++) {
    uint64_t left = c->length - c->sent;
    ssize_t n = send(c->fd, pattern_at(c->sent), left < set.chunk ? left : set.chunk, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return -1;
    c->sent += (uint64_t)n;
    bytes += (uint64_t)n;
  }
  arm(c, c->sent < c->length);
  return 0;
}

static int get(struct conn *c) {
  c->started = now_ns();
  c->have = 0;
  issued++;
  return say(c, get_head, strlen(get_head));
}

static int run(struct conn *c) {
  c->state = RUN;
  switch (set.kind) {
  case OPEN: case IDLE: return ping(c);
  case PINGPONG:
    if (issued >= set.count) return 0;
    issued++;
    return ping(c);
  case SNI:
    c->have = 0;
    return say(c, hello, set.hello);
  case BULK_UP: return command(c, 'U', set.count / set.connections) < 0 ? -1 : send_bulk(c);
  case BULK_DOWN: return command(c, 'D', set.count / set.connections);
  case HALF_CLOSE:
    if (command(c, 'U', UINT64_MAX) < 0 || say(c, pattern_at(0), HALF_CLOSE_BYTES) < 0) return -1;
    return shutdown(c->fd, SHUT_WR);
  default: return 0;
  }
}

// MARK: what a mode receives

static void take_echo(struct conn *c) {
  ssize_t n = recv(c->fd, c->echo + c->have, MESSAGE_BYTES - c->have, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return finish(c, 0);
  if ((c->have += (uint32_t)n) < MESSAGE_BYTES) return;
  if (memcmp(c->echo, c->message, MESSAGE_BYTES)) {
    wrong += MESSAGE_BYTES;
    return finish(c, 0);
  }
  if (set.kind == OPEN) return finish(c, 1);
  ok++;
  if (set.kind == IDLE) {
    c->state = READY; // from here on it is silent
    return;
  }
  histogram_add(&latency, now_ns() - c->started);
  if (issued >= set.count) return hang_up(c);
  issued++;
  if (ping(c) < 0) finish(c, 0);
}

static void take_hello(struct conn *c) {
  ssize_t n = recv(c->fd, scratch, set.hello - c->have, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return finish(c, 0);
  if (memcmp(scratch, hello + c->have, (size_t)n)) wrong += (uint64_t)n;
  if ((c->have += (uint32_t)n) == set.hello) finish(c, 1);
}

static void take_tally(struct conn *c, uint64_t expected) {
  ssize_t n = recv(c->fd, (uint8_t *)c->head + c->have, sizeof(struct tally) - c->have, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return finish(c, 0);
  if ((c->have += (uint32_t)n) < sizeof(struct tally)) return;
  struct tally t;
  memcpy(&t, c->head, sizeof t);
  wrong += t.wrong;
  finish(c, t.bytes == expected && t.wrong == 0);
}

static void take_bulk(struct conn *c) {
  ssize_t n = recv(c->fd, scratch, set.chunk, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return finish(c, 0);
  wrong += pattern_wrong(scratch, (size_t)n, c->got, set.verify_all);
  c->got += (uint64_t)n;
  bytes += (uint64_t)n;
  if (c->got >= c->length) finish(c, c->got == c->length);
}

// The end of an HTTP response: of a GET, or of a refused CONNECT, whose answer counts once its head is whole.
static void response_over(struct conn *c, int whole) {
  int code = c->state == RUN ? atoi(c->head + 9) : 0;
  int good = set.kind == REFUSED ? code >= 400 : code == 200 && whole;
  int goes_on = good && set.kind == HTTP && !c->close_after; // else finish() has started anew and sent a request
  finish(c, good);
  if (goes_on) {
    c->state = HEAD;
    c->reused = 1;
    if (issued >= set.count) return hang_up(c);
    if (get(c) < 0) reopen(c);
  }
}

static void take_body(struct conn *c, const uint8_t *what, size_t count) {
  if (is_http() && c->got + count <= BODY_BYTES) wrong += pattern_wrong(what, count, c->got, 1);
  c->got += count;
  bytes += count;
  if (c->got >= c->length) response_over(c, c->got == c->length);
}

static void head_complete(struct conn *c, char *end) {
  size_t behind = c->have - (size_t)(end - c->head);
  char last = *end;
  *end = 0;
  int code = strncmp(c->head, "HTTP/1.", 7) ? 0 : atoi(c->head + 9);
  if (code > 0 && code < 600) status_count[code]++;
  if (!is_http() && set.kind != REFUSED) { // an answer to CONNECT
    opened += code == 200;
    if (code != 200 || behind) return finish(c, 0);
    c->state = READY;
    ready++;
    if ((opens_each() || set.kind == IDLE) && run(c) < 0) finish(c, 0);
    return;
  }
  if (set.kind == REFUSED && code == 200) return finish(c, 0);
  const char *length = strcasestr(c->head, "\r\ncontent-length:");
  c->length = length ? strtoull(length + 17, NULL, 10) : UINT64_MAX;
  c->close_after = strcasestr(c->head, "\r\nconnection: close") != NULL;
  c->got = 0;
  c->state = RUN;
  *end = last;
  take_body(c, (uint8_t *)end, behind);
}

// A server may close a kept connection without a word (RFC 9112 9.3.1): the request goes again, on a new one.
static void reopen(struct conn *c) {
  reopened++;
  issued--;
  hang_up(c);
  start(c);
}

static void take_head(struct conn *c) {
  ssize_t n = recv(c->fd, c->head + c->have, HEAD_BYTES - 1 - c->have, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return c->reused && c->have == 0 ? reopen(c) : finish(c, 0);
  c->have += (uint32_t)n;
  c->head[c->have] = 0;
  char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
  if (end) head_complete(c, end + 4);
  else if (c->have == HEAD_BYTES - 1) finish(c, 0);
}

static void take_rest(struct conn *c) {
  ssize_t n = recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n > 0) take_body(c, scratch, (size_t)n);
  else response_over(c, c->length == UINT64_MAX); // closed: the end of a body without a length
}

static void event(struct conn *c, uint32_t events) {
  if (c->state == CLOSED) return;
  if (c->state == HEAD) return take_head(c);
  if (c->state == READY) { // nothing may come here but the end
    if (events & EPOLLIN) finish(c, 0);
    return;
  }
  switch (set.kind) {
  case OPEN: case PINGPONG: case IDLE: return take_echo(c);
  case BULK_DOWN: return take_bulk(c);
  case SNI: return take_hello(c);
  case HALF_CLOSE: return take_tally(c, HALF_CLOSE_BYTES);
  case BULK_UP:
    if ((events & EPOLLOUT) && send_bulk(c) < 0) return finish(c, 0);
    if (events & ~(uint32_t)EPOLLOUT) take_tally(c, c->length);
    return;
  case HTTP: case HTTP_NEW: case REFUSED: return take_rest(c);
  }
}

// MARK: the run

static void start(struct conn *c) {
  static const struct epoll_event in = {.events = EPOLLIN};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(set.port), .sin_addr.s_addr = htonl(set.address)};
  int on = 1;
  c->started = now_ns();
  c->have = 0;
  c->want_out = c->close_after = c->reused = 0;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct epoll_event e = in;
  e.data.ptr = c;
  c->state = HEAD;
  live++;
  int broken = connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0;
  if (is_http()) {
    broken = broken || get(c) < 0;
  } else {
    if (opens_each()) issued++;
    if (!set.direct) {
      broken = broken || say(c, connect_head, strlen(connect_head)) < 0;
    } else {
      c->state = READY;
      ready++;
      opened++;
      if (!broken && (opens_each() || set.kind == IDLE)) broken = run(c) < 0;
    }
  }
  if (!broken) return;
  perror("load: connection"); // no retry: a proxy that takes no connection would have us spin
  failed++;
  hang_up(c);
}

// Handles one batch. 0: the time is over.
static int turn(uint64_t deadline) {
  struct epoll_event events[EVENTS];
  uint64_t now = now_ns();
  if (now >= deadline) return 0;
  int n = epoll_wait(ep, events, EVENTS, (int)((deadline - now) / 1000000) + 1);
  if (n < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < n; i++) event(events[i].data.ptr, events[i].events);
  return 1;
}

static uint32_t settled(void) { return set.kind == IDLE ? (uint32_t)(ok + failed) : (uint32_t)(ready + failed); }

static int run_all(void) {
  uint64_t deadline = now_ns() + (uint64_t)(set.seconds * 1e9);
  int in_time = 1;
  begun = now_ns();
  uint32_t at_once = opens_each() || set.kind == HTTP ? set.connections : 64;
  for (uint32_t i = 0; i < set.connections; i++) {
    if ((opens_each() || is_http()) && issued >= set.count) break;
    start(&conns[i]);
    while (!opens_each() && !is_http() && in_time && i + 1 - settled() >= at_once) in_time = turn(deadline);
  }
  if (!opens_each() && !is_http()) {
    while (in_time && settled() < set.connections) in_time = turn(deadline);
    begun = now_ns(); // of streams and round trips: the opening is not counted
    for (uint32_t i = 0; set.kind != IDLE && i < set.connections; i++) {
      if (conns[i].state == READY && run(&conns[i]) < 0) finish(&conns[i], 0);
    }
  }
  while (in_time && live > 0 && set.kind != IDLE) in_time = turn(deadline);
  ended = now_ns();
  return in_time;
}

static void hold_idle(void) {
  printf("holding %llu\n", (unsigned long long)ok);
  fflush(stdout);
  struct pollfd input = {.fd = 0, .events = POLLIN};
  poll(&input, 1, 600000);
  for (uint32_t i = 0; i < set.connections; i++) hang_up(&conns[i]);
}

static void print_json(int in_time) {
  double seconds = (double)(ended - begun) / 1e9;
  printf("{\"mode\":\"%s\",\"connections\":%u,\"ok\":%llu,\"failed\":%llu,\"wrong_bytes\":%llu,\"in_time\":%s,"
         "\"seconds\":%.6f,\"rate\":%.1f,\"bytes\":%llu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,"
         "\"opened\":%llu,\"reopened\":%llu,\"status\":{",
         set.name, set.connections, (unsigned long long)ok, (unsigned long long)failed, (unsigned long long)wrong,
         in_time ? "true" : "false", seconds, (double)ok / seconds, (unsigned long long)bytes,
         histogram_us(&latency, 0.5), histogram_us(&latency, 0.9), histogram_us(&latency, 0.99),
         (double)latency.max / 1000, (unsigned long long)opened, (unsigned long long)reopened);
  const char *comma = "";
  for (int i = 0; i < 600; i++) {
    if (!status_count[i]) continue;
    printf("%s\"%d\":%llu", comma, i, (unsigned long long)status_count[i]);
    comma = ",";
  }
  printf("}}\n");
}

// A ClientHello (RFC 8446 section 4.1.2) for `name` in one record of `count` bytes: what is left is padding (RFC 7685).
static void make_hello(const char *name, size_t count) {
  size_t length = strlen(name), at = 0;
  uint8_t fixed[] = {0x16, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
  memcpy(hello, fixed, sizeof fixed);
  at = sizeof fixed + 32;           // random
  hello[at] = 32;                   // session id
  at += 33;
  uint8_t suites[] = {0, 6, 0x13, 1, 0x13, 2, 0x13, 3, 1, 0};
  memcpy(hello + at, suites, sizeof suites);
  at += sizeof suites;
  size_t extensions = at;
  at += 2;
  uint8_t names[] = {0, 0, 0, (uint8_t)(length + 5), 0, (uint8_t)(length + 3), 0, 0, (uint8_t)length};
  memcpy(hello + at, names, sizeof names);
  memcpy(hello + at + sizeof names, name, length);
  at += sizeof names + length;
  uint8_t versions[] = {0, 43, 0, 5, 4, 3, 4, 3, 3};
  memcpy(hello + at, versions, sizeof versions);
  at += sizeof versions;
  size_t padding = count - at - 4;
  uint8_t pad[] = {0, 21, (uint8_t)(padding >> 8), (uint8_t)padding};
  memcpy(hello + at, pad, sizeof pad);
  struct { size_t at, value; } lengths[] = {{3, count - 5}, {7, count - 9}, {extensions, count - extensions - 2}};
  for (int i = 0; i < 3; i++) {
    hello[lengths[i].at] = (uint8_t)(lengths[i].value >> 8);
    hello[lengths[i].at + 1] = (uint8_t)lengths[i].value;
  }
}

int run_client(const struct settings *settings) {
  set = *settings;
  char target[128];
  snprintf(target, sizeof target, "127.0.0.1:%u", set.upstream);
  const char *name = set.target ? set.target : target;
  if (strlen(name) >= sizeof target) {
    fprintf(stderr, "load: --target is too long\n");
    return 2;
  }
  snprintf(connect_head, sizeof connect_head, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\n\r\n", name, name);
  snprintf(get_head, sizeof get_head, "GET %s%s/item HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n",
           set.direct ? "" : "http://", set.direct ? "" : name, name); // a reverse proxy gets the origin form
  if (set.kind == SNI) {
    if (!set.target || strlen(name) > 100) {
      fprintf(stderr, "load: sni wants --target NAME of at most 100 bytes\n");
      return 2;
    }
    make_hello(name, set.hello);
    set.direct = 1;
  }
  ep = epoll_create1(EPOLL_CLOEXEC);
  conns = calloc(set.connections, sizeof *conns);
  if (ep < 0 || !conns) die("set-up");
  int in_time = run_all();
  if (set.kind == IDLE) hold_idle();
  print_json(in_time);
  return in_time && failed == 0 && wrong == 0 ? 0 : 1;
}
