// The yardstick: one thread that relays CONNECT tunnels with as few system calls as a decent engineer would spend, and
// nothing else: no policy, no names, no log, no deadlines. It relies on Linux epoll (edge-triggered) and splice(2).
//
// What it saves, and why each saving is sound:
//  - TCP_NODELAY is set on the listener; Linux hands it down to accepted sockets.
//  - A client is added to epoll without EPOLLOUT (it is writable at once, which would be a wake-up for nothing); the first
//    send that would block pays one EPOLL_CTL_MOD. An upstream needs EPOLLOUT for its connect, so it has it from the start.
//  - A recv shorter than its buffer has emptied the queue (epoll(7), edge-triggered streams): no second call to see EAGAIN.
//    With EPOLLRDHUP seen before it, the same short read also tells the end of the stream.
//  - No getsockopt(SO_ERROR) after connect: EPOLLERR says it. No epoll_ctl DEL: close does it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, HEAD_MAX = 8192, COPY_MAX = 1 << 20, POOL_MAX = 256, TURN_BYTES = 8 << 20 };
enum mode { MODE_ADAPTIVE, MODE_SPLICE, MODE_COPY };

// Settings: what the flags said.
static enum mode mode = MODE_ADAPTIVE;
static size_t pipe_bytes = 256 << 10;
static size_t read_bytes = 16 << 10;  // first reads; in adaptive mode a full one means "this is a stream"
static size_t leave_bytes = 16 << 10; // adaptive: a wake-up that moved less than this ends the stream

// One direction of a tunnel: from side s to the other side.
struct way {
  uint8_t *spill;     // what a short send left over (copy); NULL almost always
  uint32_t spill_at;  // first unsent byte of spill
  uint32_t spill_end; // or, before the upstream stands, what came behind the CONNECT head
  uint32_t held;      // bytes in the borrowed pipe
  int16_t pipe;       // borrowed pipe, or -1
  unsigned streaming : 1, ended : 1, done : 1;
};

enum phase { FREE, HEAD, CONNECTING, OPEN };

struct side {
  int fd;
  unsigned readable : 1, writable : 1, hung_up : 1, wants_out : 1;
};

struct session {
  struct side side[2]; // 0: client, 1: upstream
  struct way way[2];   // way[s]: what side s sends
  uint32_t generation;
  uint32_t next; // free list, or list of those with work left for the next turn
  uint8_t phase;
  uint8_t again;
};

static struct session **slabs; // sessions never move; they come in slabs, so memory follows the number of tunnels
static uint32_t slab_count, free_head = UINT32_MAX, again_head = UINT32_MAX;
enum { SLAB = 128 };
static int ep = -1, listener = -1;
static uint8_t *scratch;
static struct { int out, in; } pool[POOL_MAX]; // out: read end, in: write end
static int16_t pool_free[POOL_MAX];
static int pool_free_count, pool_made;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static struct session *at(uint32_t index) { return &slabs[index / SLAB][index % SLAB]; }

// MARK: sessions

static uint32_t take_session(void) {
  if (free_head == UINT32_MAX) {
    slabs = realloc(slabs, (slab_count + 1) * sizeof *slabs);
    struct session *slab = slabs ? calloc(SLAB, sizeof *slab) : NULL;
    if (!slab) die("memory");
    slabs[slab_count++] = slab;
    for (int i = SLAB - 1; i >= 0; i--) {
      slab[i].next = free_head;
      free_head = (slab_count - 1) * SLAB + (uint32_t)i;
    }
  }
  uint32_t index = free_head;
  free_head = at(index)->next;
  return index;
}

static void give_pipe(struct way *w, int broken) {
  if (w->pipe < 0) return;
  if (broken) { // bytes are left in it: nobody else may get them
    close(pool[w->pipe].out);
    close(pool[w->pipe].in);
    pool[w->pipe].out = -1;
  }
  pool_free[pool_free_count++] = w->pipe;
  w->pipe = -1;
}

static int take_pipe(struct way *w) {
  if (w->pipe >= 0) return 0;
  int16_t p;
  if (pool_free_count > 0) {
    p = pool_free[--pool_free_count];
  } else if (pool_made < POOL_MAX) {
    p = (int16_t)pool_made++;
    pool[p].out = -1;
  } else {
    return -1;
  }
  if (pool[p].out < 0) {
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) die("pipe2");
    if (fcntl(ends[1], F_SETPIPE_SZ, (int)pipe_bytes) < 0) perror("F_SETPIPE_SZ");
    pool[p].out = ends[0];
    pool[p].in = ends[1];
  }
  w->pipe = p;
  return 0;
}

static void end_session(uint32_t index) {
  struct session *s = at(index);
  for (int i = 0; i < 2; i++) {
    if (s->side[i].fd >= 0) close(s->side[i].fd);
    give_pipe(&s->way[i], s->way[i].held > 0);
    free(s->way[i].spill);
    s->way[i].spill = NULL;
  }
  s->phase = FREE;
  s->generation++; // events of this turn that still name it fall out
  if (s->again) return; // it stands in the other list: freed when that is walked
  s->next = free_head;
  free_head = index;
}

// Event data: generation, index, side. The listener is all ones.
static uint64_t key(uint32_t index, int side) {
  return (uint64_t)(at(index)->generation & 0x7fffffff) << 33 | (uint64_t)index << 1 | (unsigned)side;
}

static void watch(uint32_t index, int side, uint32_t events, int op) {
  struct epoll_event e = {.events = events | EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u64 = key(index, side)};
  if (epoll_ctl(ep, op, at(index)->side[side].fd, &e) < 0) die("epoll_ctl");
}

// MARK: relay. Every function returns -1 when the tunnel is broken.

static int blocked(uint32_t index, int to) {
  struct side *d = &at(index)->side[to];
  d->writable = 0;
  if (!d->wants_out) {
    d->wants_out = 1;
    watch(index, to, EPOLLOUT, EPOLL_CTL_MOD);
  }
  return 0;
}

static int spill(struct way *w, const uint8_t *bytes, size_t count) {
  w->spill = malloc(count);
  if (!w->spill) return -1;
  memcpy(w->spill, bytes, count);
  w->spill_at = 0;
  w->spill_end = (uint32_t)count;
  return 0;
}

// Sends what the way holds. 1: nothing left, 0: the destination is full.
static int push(uint32_t index, int from) {
  struct session *s = at(index);
  struct way *w = &s->way[from];
  int to = 1 - from;
  while (w->spill || w->held) {
    if (!s->side[to].writable) return 0;
    ssize_t n;
    if (w->spill) {
      n = send(s->side[to].fd, w->spill + w->spill_at, w->spill_end - w->spill_at, MSG_NOSIGNAL);
    } else {
      n = splice(pool[w->pipe].out, NULL, s->side[to].fd, NULL, w->held, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    }
    if (n < 0) {
      if (errno != EAGAIN) return -1;
      blocked(index, to);
      return 0;
    }
    if (w->held) {
      w->held -= (uint32_t)n;
    } else if ((w->spill_at += (uint32_t)n) == w->spill_end) {
      free(w->spill);
      w->spill = NULL;
    }
  }
  return 1;
}

// Moves one chunk by copy. Returns bytes read, 0 at the end of the stream, -2 when there is nothing to read.
static ssize_t copy_chunk(uint32_t index, int from) {
  struct session *s = at(index);
  struct side *src = &s->side[from], *dst = &s->side[1 - from];
  ssize_t n = recv(src->fd, scratch, read_bytes, 0);
  if (n < 0) return errno == EAGAIN ? -2 : -1;
  if ((size_t)n < read_bytes) {
    src->readable = 0;
    if (src->hung_up) s->way[from].ended = 1;
  }
  if (n == 0) return 0;
  ssize_t sent = dst->writable ? send(dst->fd, scratch, (size_t)n, MSG_NOSIGNAL) : 0;
  if (sent < 0) {
    if (errno != EAGAIN) return -1;
    sent = 0;
  }
  if (sent < n) {
    blocked(index, 1 - from);
    if (spill(&s->way[from], scratch + sent, (size_t)(n - sent)) < 0) return -1;
  }
  return n;
}

static ssize_t splice_chunk(uint32_t index, int from) {
  struct session *s = at(index);
  struct way *w = &s->way[from];
  if (take_pipe(w) < 0) return copy_chunk(index, from);
  ssize_t n = splice(s->side[from].fd, NULL, pool[w->pipe].in, NULL, pipe_bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (n < 0) return errno == EAGAIN ? -2 : -1;
  w->held = (uint32_t)n;
  return n;
}

// Moves all that side `from` has. -1: broken.
static int pump(uint32_t index, int from) {
  struct session *s = at(index);
  struct way *w = &s->way[from];
  size_t moved = 0;
  for (;;) {
    int clear = push(index, from);
    if (clear < 0) return -1;
    if (!clear) return 0;
    if (w->ended) break;
    if (!s->side[from].readable) {
      give_pipe(w, 0);
      return 0;
    }
    if (moved >= TURN_BYTES) { // others wait: go on after this turn's events
      if (!s->again) {
        s->again = 1;
        s->next = again_head;
        again_head = index;
      }
      return 0;
    }
    ssize_t n = w->streaming ? splice_chunk(index, from) : copy_chunk(index, from);
    if (n == -1) return -1;
    if (n == -2) {
      s->side[from].readable = 0;
      give_pipe(w, 0);
      if (mode == MODE_ADAPTIVE && moved < leave_bytes) w->streaming = 0;
      return 0;
    }
    if (n == 0) w->ended = 1;
    moved += (size_t)n;
    if (mode == MODE_ADAPTIVE && (size_t)n >= read_bytes) w->streaming = 1;
  }
  give_pipe(w, 0);
  if (w->done) return 0;
  w->done = 1;
  if (!s->way[1 - from].done) shutdown(s->side[1 - from].fd, SHUT_WR); // else both are closed right away
  return 0;
}

static void relay(uint32_t index) {
  struct session *s = at(index);
  for (int from = 0; from < 2; from++) {
    if (s->way[from].done) continue;
    if (!s->side[from].readable && !s->way[from].spill && !s->way[from].held) continue;
    if (pump(index, from) < 0) {
      end_session(index);
      return;
    }
  }
  if (s->way[0].done && s->way[1].done) end_session(index);
}

// MARK: CONNECT

static void refuse(uint32_t index, const char *status) {
  char reply[128];
  int n = snprintf(reply, sizeof reply, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);
  if (send(at(index)->side[0].fd, reply, (size_t)n, MSG_NOSIGNAL) < 0) perror("send");
  end_session(index);
}

static int dial(uint32_t index, const struct sockaddr_in *to) {
  struct session *s = at(index);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) return -1;
  s->side[1].fd = fd;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) return -1;
  s->phase = CONNECTING;
  s->side[1].wants_out = 1;
  watch(index, 1, EPOLLOUT, EPOLL_CTL_ADD);
  return 0;
}

// "CONNECT a.b.c.d:port HTTP/1.1": digits and dots, or it is refused.
static int parse(const char *head, struct sockaddr_in *to) {
  char address[16];
  unsigned port;
  if (sscanf(head, "CONNECT %15[0-9.]:%5u HTTP/1.", address, &port) != 2 || port == 0 || port > 65535) return -1;
  *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  return inet_pton(AF_INET, address, &to->sin_addr) == 1 ? 0 : -1;
}

static void read_head(uint32_t index) {
  struct session *s = at(index);
  struct way *w = &s->way[0];
  size_t had = w->spill_end;
  if (had) memcpy(scratch, w->spill, had); // a head in pieces: kept in the spill of its way
  ssize_t n = recv(s->side[0].fd, scratch + had, HEAD_MAX - had, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    end_session(index);
    return;
  }
  size_t count = had + (size_t)n;
  scratch[count] = 0;
  free(w->spill);
  w->spill = NULL;
  w->spill_end = 0;
  char *end = memmem(scratch, count, "\r\n\r\n", 4);
  if (!end) {
    if (count >= HEAD_MAX || spill(w, scratch, count) < 0) refuse(index, "400 Bad Request");
    return;
  }
  s->side[0].readable = count == HEAD_MAX || s->side[0].hung_up;
  size_t behind = count - (size_t)(end + 4 - (char *)scratch);
  struct sockaddr_in to;
  if (behind && spill(w, (uint8_t *)end + 4, behind) < 0) end_session(index);
  else if (parse((char *)scratch, &to) < 0) refuse(index, "400 Bad Request");
  else if (dial(index, &to) < 0) refuse(index, "502 Bad Gateway");
}

static void opened(uint32_t index) {
  static const char reply[] = "HTTP/1.1 200 Connection established\r\n\r\n";
  struct session *s = at(index);
  s->phase = OPEN;
  s->side[0].writable = 1;
  s->way[0].streaming = s->way[1].streaming = mode == MODE_SPLICE;
  if (send(s->side[0].fd, reply, sizeof reply - 1, MSG_NOSIGNAL) != (ssize_t)sizeof reply - 1) end_session(index);
  else relay(index);
}

// MARK: the loop

static void accept_clients(void) {
  for (int i = 0; i < 64; i++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EAGAIN && errno != ECONNABORTED) die("accept4");
      return;
    }
    uint32_t index = take_session();
    struct session *s = at(index);
    uint32_t generation = s->generation;
    *s = (struct session){.generation = generation, .phase = HEAD};
    s->side[0].fd = fd;
    s->side[1].fd = -1;
    s->way[0].pipe = s->way[1].pipe = -1;
    watch(index, 0, 0, EPOLL_CTL_ADD);
  }
}

static void handle(const struct epoll_event *e) {
  uint32_t index = (uint32_t)(e->data.u64 >> 1);
  int which = (int)(e->data.u64 & 1);
  struct session *s = at(index);
  if (s->phase == FREE || key(index, which) != e->data.u64) return;
  struct side *side = &s->side[which];
  if (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side->readable = 1;
  if (e->events & (EPOLLRDHUP | EPOLLHUP)) side->hung_up = 1;
  if (e->events & EPOLLOUT) side->writable = 1;
  if (s->phase == HEAD) {
    read_head(index);
  } else if (s->phase == CONNECTING) {
    if (which == 0) return; // remembered in `readable`
    if (e->events & (EPOLLERR | EPOLLHUP)) refuse(index, "502 Bad Gateway");
    else if (e->events & EPOLLOUT) opened(index);
  } else if (s->way[which].done && (e->events & (EPOLLERR | EPOLLHUP))) {
    end_session(index); // it had shut its sending side, and now it is gone
  } else {
    relay(index);
  }
}

static void go_on(void) {
  uint32_t index = again_head;
  again_head = UINT32_MAX;
  while (index != UINT32_MAX) {
    struct session *s = at(index);
    uint32_t next = s->next;
    s->again = 0;
    if (s->phase == FREE) {
      s->next = free_head;
      free_head = index;
    } else {
      relay(index);
    }
    index = next;
  }
}

static size_t size_of(const char *text, const char *flag) {
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  if (*end || value < 1024 || value > COPY_MAX) {
    fprintf(stderr, "relay: %s wants 1024 to %d bytes\n", flag, COPY_MAX);
    exit(2);
  }
  return value;
}

int main(int argc, char **argv) {
  uint16_t port = 0;
  for (int i = 1; i < argc; i++) {
    const char *flag = argv[i], *value = ++i < argc ? argv[i] : "";
    if (!strcmp(flag, "--port")) port = (uint16_t)atoi(value);
    else if (!strcmp(flag, "--pipe-bytes")) pipe_bytes = size_of(value, flag);
    else if (!strcmp(flag, "--read-bytes")) read_bytes = size_of(value, flag);
    else if (!strcmp(flag, "--leave-bytes")) leave_bytes = size_of(value, flag);
    else if (!strcmp(flag, "--mode") && !strcmp(value, "adaptive")) mode = MODE_ADAPTIVE;
    else if (!strcmp(flag, "--mode") && !strcmp(value, "splice")) mode = MODE_SPLICE;
    else if (!strcmp(flag, "--mode") && !strcmp(value, "copy")) mode = MODE_COPY;
    else {
      fprintf(stderr, "relay [--port N] [--mode adaptive|splice|copy] [--pipe-bytes N] [--read-bytes N] [--leave-bytes N]\n");
      return 2;
    }
  }
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  scratch = malloc(COPY_MAX + 1);
  ep = epoll_create1(EPOLL_CLOEXEC);
  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (!scratch || ep < 0 || listener < 0) die("set-up");
  struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof me;
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&me, sizeof me) < 0 || listen(listener, 4096) < 0) die("listen");
  if (getsockname(listener, (struct sockaddr *)&me, &length) < 0) die("getsockname");
  struct epoll_event e = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
  if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e) < 0) die("epoll_ctl");
  fprintf(stderr, "relay: listening on 127.0.0.1:%u\n", ntohs(me.sin_port));
  static struct epoll_event events[EVENTS];
  for (;;) {
    int n = epoll_wait(ep, events, EVENTS, again_head == UINT32_MAX ? -1 : 0);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      if (events[i].data.u64 == UINT64_MAX) accept_clients();
      else handle(&events[i]);
    }
    if (again_head != UINT32_MAX) go_on();
  }
}
