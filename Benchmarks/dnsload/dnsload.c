// Loads a DNS server over UDP from one core: a window of questions under way, each reply held to its question.
// It relies on 127.0.0.1; it prints one line of JSON. A run is bounded in count and in time; a lost question is a failure.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { WINDOW_MAX = 512, BATCH = 32, ROOM = 512, MICROSECONDS_MAX = 1000000 };

static const char usage[] =
    "dnsload --port PORT --suffix NAME [--names N] [--rcode CODE] [--window N] [--count N] [--seconds S]\n"
    "Asks for A of n0.NAME to n(N-1).NAME, one after the other, WINDOW at a time, COUNT in all.\n"
    "A good reply repeats its question and has that RCODE, and one answer where it is 0.\n";

struct settings {
  uint16_t port;
  const char *suffix;
  uint32_t names, window, rcode;
  uint64_t count;
  double seconds;
};

struct question {
  uint64_t sent_ns;
  uint32_t length;
  uint8_t bytes[ROOM];
};

static struct question questions[WINDOW_MAX];
static uint32_t histogram[MICROSECONDS_MAX + 1];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint8_t *label(uint8_t *out, const char *text, size_t length) {
  *out++ = (uint8_t)length;
  memcpy(out, text, length);
  return out + length;
}

// The id says the place in the window, and which round of it.
static void ask(const struct settings *s, uint32_t place, uint64_t number) {
  struct question *q = &questions[place];
  uint16_t id = (uint16_t)(place | (number / s->window % 128) << 9);
  uint8_t *at = q->bytes;
  memcpy(at, (uint8_t[12]){(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}, 12);
  at += 12;
  char first[24];
  at = label(at, first, (size_t)snprintf(first, sizeof first, "n%u", (unsigned)(number % s->names)));
  for (const char *text = s->suffix; *text;) {
    size_t length = strcspn(text, ".");
    at = label(at, text, length);
    text += length + (text[length] == '.');
  }
  // Root, A, IN, and an OPT record for 1232 bytes.
  memcpy(at, (uint8_t[16]){0, 0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}, 16);
  q->length = (uint32_t)(at + 16 - q->bytes);
}

static int is_good(const struct settings *s, const struct question *q, const uint8_t *reply, size_t length) {
  size_t question_end = q->length - 11;
  if (length < question_end || memcmp(reply, q->bytes, 2) || memcmp(reply + 12, q->bytes + 12, question_end - 12)) return 0;
  return (reply[3] & 15u) == s->rcode && (reply[6] << 8 | reply[7]) == (s->rcode == 0);
}

static double percentile(uint64_t total, double part) {
  uint64_t seen = 0, wanted = (uint64_t)((double)total * part);
  for (uint32_t i = 0; i <= MICROSECONDS_MAX; i++) {
    seen += histogram[i];
    if (seen > wanted) return i;
  }
  return MICROSECONDS_MAX;
}

static void send_all(int fd, struct mmsghdr *messages, unsigned count) {
  while (count > 0) {
    int sent = sendmmsg(fd, messages, count, 0);
    if (sent < 0) die("sendmmsg");
    messages += sent;
    count -= (unsigned)sent;
  }
}

static int run(const struct settings *s) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = 4 << 20;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  static uint8_t replies[BATCH][ROOM];
  struct mmsghdr in[BATCH], out[WINDOW_MAX];
  struct iovec in_place[BATCH], out_place[WINDOW_MAX];
  memset(in, 0, sizeof in);
  memset(out, 0, sizeof out);
  for (int i = 0; i < BATCH; i++) {
    in_place[i] = (struct iovec){replies[i], ROOM};
    in[i].msg_hdr = (struct msghdr){.msg_iov = &in_place[i], .msg_iovlen = 1};
  }
  uint64_t asked = 0, good = 0, wrong = 0, start = now_ns(), end = start + (uint64_t)(s->seconds * 1e9);
  unsigned due = 0;
  uint32_t places[WINDOW_MAX];
  for (uint32_t place = 0; place < s->window && place < s->count; place++) places[due++] = place;
  int in_time = 1;
  while (good + wrong < s->count) {
    uint64_t now = now_ns();
    for (unsigned i = 0; i < due; i++) {
      struct question *q = &questions[places[i]];
      ask(s, places[i], asked++);
      q->sent_ns = now;
      out_place[i] = (struct iovec){q->bytes, q->length};
      out[i].msg_hdr = (struct msghdr){.msg_iov = &out_place[i], .msg_iovlen = 1};
    }
    send_all(fd, out, due);
    due = 0;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (now > end || poll(&wait, 1, 1000) <= 0) {
      in_time = 0;
      break;
    }
    int count = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
    if (count < 0 && errno != EAGAIN) die("recvmmsg");
    now = now_ns();
    for (int i = 0; i < count; i++) {
      uint32_t place = (uint32_t)(replies[i][0] << 8 | replies[i][1]) & (WINDOW_MAX - 1);
      if (place < s->window && is_good(s, &questions[place], replies[i], in[i].msg_len)) {
        uint64_t us = (now - questions[place].sent_ns) / 1000;
        histogram[us > MICROSECONDS_MAX ? MICROSECONDS_MAX : us]++;
        good++;
      } else {
        wrong++;
      }
      if (place < s->window && asked + due < s->count) places[due++] = place;
    }
  }
  double seconds = (double)(now_ns() - start) / 1e9;
  printf("{\"ok\": %llu, \"failed\": %llu, \"in_time\": %s, \"seconds\": %.4f, \"rate\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n",
         (unsigned long long)good, (unsigned long long)(wrong + (asked - good - wrong)), in_time ? "true" : "false", seconds,
         (double)good / seconds, percentile(good, 0.5), percentile(good, 0.99));
  return good == s->count ? 0 : 1;
}

static uint64_t number(const char *text, uint64_t low, uint64_t high) {
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  if (*text && !*end && value >= low && value <= high) return value;
  fputs(usage, stderr);
  exit(2);
}

int main(int argc, char **argv) {
  struct settings s = {.names = 1000, .window = 64, .count = 100000, .seconds = 30};
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *flag = argv[i], *value = argv[i + 1];
    if (!strcmp(flag, "--port")) s.port = (uint16_t)number(value, 1, 65535);
    else if (!strcmp(flag, "--suffix")) s.suffix = value;
    else if (!strcmp(flag, "--names")) s.names = (uint32_t)number(value, 1, 1000000);
    else if (!strcmp(flag, "--rcode")) s.rcode = (uint32_t)number(value, 0, 15);
    else if (!strcmp(flag, "--window")) s.window = (uint32_t)number(value, 1, WINDOW_MAX);
    else if (!strcmp(flag, "--count")) s.count = number(value, 1, 1ull << 40);
    else if (!strcmp(flag, "--seconds")) s.seconds = (double)number(value, 1, 3600);
    else s.port = 0, i = argc;
  }
  if (!s.port || !s.suffix || strlen(s.suffix) > 200) {
    fputs(usage, stderr);
    return 2;
  }
  return run(&s);
}
