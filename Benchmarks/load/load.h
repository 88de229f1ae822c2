// What the parts of the load generator share: settings, the byte pattern, the histogram, and the wire words of the
// built-in upstream. It relies on nothing but libc and Linux epoll.
//
// One port of the upstream serves all axes; the first byte a connection sends says which:
//   'E'                 echo: all bytes come back, that one included
//   'U' + u64 length    sink: takes `length` bytes of pattern (UINT64_MAX: to the end of the stream), answers with a tally
//   'D' + u64 length    source: sends `length` bytes of pattern, then waits for the client to close
//   'G'                 HTTP/1.1: every request gets the same small response
//   0x16                a TLS record: echo
#ifndef LOAD_H
#define LOAD_H
#include <stddef.h>
#include <stdint.h>

enum { COMMAND_BYTES = 9, HELLO_MAX = 16384, MESSAGE_BYTES = 64, BODY_BYTES = 128, CHUNK_MAX = 256 << 10, PATTERN_PERIOD = 65521 };

struct tally { // the sink's answer
  uint64_t bytes, wrong;
};

enum kind { OPEN, PINGPONG, BULK_UP, BULK_DOWN, IDLE, REFUSED, HTTP, HTTP_NEW, HALF_CLOSE, SNI };

struct settings {
  enum kind kind;
  const char *name;
  uint16_t port, upstream;        // the proxy's, and the target's
  const char *target;             // "host:port" of CONNECT, or NULL: 127.0.0.1:upstream
  int direct;                     // no CONNECT: a relay of bare TCP stands there
  int verify_all;                 // compare every byte of a bulk stream, not samples of it
  uint32_t connections;
  uint64_t count;                 // tunnels, round trips, requests; bytes for bulk
  double seconds;                 // the run ends here whatever is left
  uint32_t chunk;                 // bytes a send or recv of a bulk stream
  uint32_t address;               // where connections go, in host order
  uint32_t hello;                 // bytes of the ClientHello of `sni`
};

// common.c: the pattern
void pattern_init(void);
const uint8_t *pattern_at(uint64_t position); // CHUNK_MAX bytes are readable there
// Number of wrong bytes among those looked at: all, or 64 at either end (a lost, doubled or moved chunk shows there).
uint64_t pattern_wrong(const uint8_t *bytes, size_t count, uint64_t position, int all);

// common.c: latencies with a relative error under 1/64
struct histogram {
  uint64_t buckets[64 * 128], count, max, sum;
};
void histogram_add(struct histogram *h, uint64_t nanoseconds);
double histogram_us(const struct histogram *h, double quantile);

// upstream.c
int serve_upstream(uint16_t port, int verify_all);

// client.c
int run_client(const struct settings *settings);

// common.c: the rest
uint64_t now_ns(void);
void die(const char *what) __attribute__((noreturn));
void raise_files(void);

#endif
