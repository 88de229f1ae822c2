// A published port: connections to a listener on the host's loopback, joined with a port of the sandbox's own loopback.
// The process that does this stands inside, since a socket belongs to the network that it was made in, and is not the
// command's: it runs no code but this, and nothing inside may look at it. It relies on being ended with the sandbox.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS_MAX = 64, ROOM = 16384 };

// One direction: bytes that the other side does not take stay here, and their source is not read meanwhile.
struct way {
  char bytes[ROOM];
  size_t start, end;
  uint64_t carried;
  int is_over, is_told;
};
struct pair {
  int host, own, is_open, is_connecting;
  uint64_t began_ms;
  struct way down, up;
};
static struct pair pairs[PAIRS_MAX];

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void finish(struct pair *pair, int control, uint16_t port, int is_cut) {
  // A side that failed is told so, and not that all has come.
  struct linger none = {.l_onoff = 1};
  if (is_cut) setsockopt(pair->host, SOL_SOCKET, SO_LINGER, &none, sizeof none), setsockopt(pair->own, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close(pair->host);
  if (pair->own >= 0) close(pair->own);
  pair->is_open = 0;
  struct csandbox_message message = {.kind = CSANDBOX_PUBLISHED, .code = port};
  struct csandbox_published counts = {.up = pair->up.carried, .down = pair->down.carried, .duration_ms = now_ms() - pair->began_ms};
  _Static_assert(sizeof counts <= sizeof message.text, "the counts fit");
  memcpy(message.text, &counts, sizeof counts);
  sandbox_send(control, &message, NULL, 0);
}

static void begin(int control, int listener, uint16_t port) {
  struct pair *pair = NULL;
  for (int i = 0; i < PAIRS_MAX && !pair; i++)
    if (!pairs[i].is_open) pair = &pairs[i];
  if (!pair) return;
  int host = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (host < 0) return;
  memset(pair, 0, sizeof *pair);
  pair->host = host;
  pair->is_open = pair->is_connecting = 1;
  pair->began_ms = now_ms();
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  pair->own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int result = pair->own < 0 ? -1 : connect(pair->own, (struct sockaddr *)&address, sizeof address);
  if (result < 0 && (pair->own < 0 || errno != EINPROGRESS)) finish(pair, control, port, 1);
}

// 0 while it goes on, -1 where a side has failed.
static int carry(struct way *way, int from, int to, short readable, short writable) {
  if (way->start == way->end && !way->is_over && readable & (POLLIN | POLLHUP | POLLERR)) {
    ssize_t got = recv(from, way->bytes, ROOM, 0);
    if (got < 0 && errno != EAGAIN && errno != EINTR) return -1;
    way->is_over = got == 0;
    way->start = 0;
    way->end = got > 0 ? (size_t)got : 0;
    writable |= POLLOUT;
  }
  if (way->start < way->end && writable & (POLLOUT | POLLERR)) {
    ssize_t sent = send(to, way->bytes + way->start, way->end - way->start, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return -1;
    if (sent > 0) way->start += (size_t)sent, way->carried += (uint64_t)sent;
  }
  // Half-close goes on to the other side.
  if (way->start == way->end && way->is_over && !way->is_told) {
    shutdown(to, SHUT_WR);
    way->is_told = 1;
  }
  return 0;
}

static short wants(const struct way *in, const struct way *out) {
  return (short)((in->start == in->end && !in->is_over ? POLLIN : 0) | (out->start < out->end ? POLLOUT : 0));
}

static int move(struct pair *pair, short host, short own) {
  if (pair->is_connecting && own) {
    int code = 0;
    socklen_t size = sizeof code;
    if (getsockopt(pair->own, SOL_SOCKET, SO_ERROR, &code, &size) < 0 || code) return -1;
    pair->is_connecting = 0;
  }
  if (pair->is_connecting) return host & (POLLHUP | POLLERR) ? -1 : 0;
  return carry(&pair->down, pair->host, pair->own, host, own) < 0 || carry(&pair->up, pair->own, pair->host, own, host) < 0 ? -1 : 0;
}

_Noreturn void publish(int control, int listener, uint16_t port) {
  struct pollfd waiting[1 + 2 * PAIRS_MAX];
  for (;;) {
    int has_room = 0;
    for (int i = 0; i < PAIRS_MAX; i++) {
      struct pair *pair = &pairs[i];
      has_room |= !pair->is_open;
      struct pollfd *both = waiting + 1 + 2 * i;
      both[0] = both[1] = (struct pollfd){.fd = -1};
      if (!pair->is_open) continue;
      // An end that asks for nothing would wake for being hung up, without end.
      short host = pair->is_connecting ? 0 : wants(&pair->down, &pair->up);
      short own = pair->is_connecting ? POLLOUT : wants(&pair->up, &pair->down);
      if (host || pair->is_connecting) both[0] = (struct pollfd){.fd = pair->host, .events = host};
      if (own) both[1] = (struct pollfd){.fd = pair->own, .events = own};
    }
    waiting[0] = (struct pollfd){.fd = has_room ? listener : -1, .events = POLLIN};
    if (poll(waiting, 1 + 2 * PAIRS_MAX, -1) < 0) continue;
    for (int i = 0; i < PAIRS_MAX; i++) {
      struct pair *pair = &pairs[i];
      if (!pair->is_open) continue;
      int is_cut = move(pair, waiting[1 + 2 * i].revents, waiting[2 + 2 * i].revents) < 0;
      if (is_cut || (pair->up.is_told && pair->down.is_told)) finish(pair, control, port, is_cut);
    }
    if (waiting[0].revents) begin(control, listener, port);
  }
}
