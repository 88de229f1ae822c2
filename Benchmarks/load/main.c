// The command line of the load generator: `load serve` is the upstream, every other mode loads a proxy and prints JSON.
// It relies on client.c and upstream.c for the work; every run is bounded in count and in time.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "load.h"

static const char usage[] =
    "load serve [--port N] [--verify-all]\n"
    "load MODE --proxy PORT --upstream PORT [--target HOST:PORT] [--direct] [--connections N] [--count N] [--seconds S]\n"
    "     [--chunk BYTES] [--verify-all] [--address A.B.C.D] [--hello BYTES]\n"
    "  open        open a tunnel, one 64-byte round trip, close: COUNT tunnels over N at a time\n"
    "  pingpong    N tunnels, COUNT 64-byte round trips in all\n"
    "  bulk-up     COUNT bytes to the upstream over N tunnels; bulk-down: from it\n"
    "  idle        N tunnels, each used once, held until a line or the end of standard input\n"
    "  refused     COUNT CONNECTs that must not be answered with 200, a connection each\n"
    "  http        COUNT absolute-form GETs over N connections; http-new: a connection each\n"
    "  sni         COUNT connections that send a ClientHello for --target NAME, of --hello BYTES, and want it echoed\n"
    "  half-close  COUNT tunnels that shut their sending side and then wait for the upstream's answer\n"
    "All connections are to 127.0.0.1 unless --address says otherwise. COUNT of bulk is bytes. Exit status 0: all done and every byte as expected.\n";

static const char *names[] = {"open", "pingpong", "bulk-up", "bulk-down", "idle", "refused", "http", "http-new", "half-close", "sni"};

static unsigned long long number(const char *flag, const char *text, unsigned long long low, unsigned long long high) {
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  if (*text && !*end && value >= low && value <= high) return value;
  fprintf(stderr, "load: %s wants a number from %llu to %llu\n", flag, low, high);
  exit(2);
}

static uint32_t address(const char *text) {
  struct in_addr parsed;
  if (inet_pton(AF_INET, text, &parsed) == 1) return ntohl(parsed.s_addr);
  fprintf(stderr, "load: --address wants A.B.C.D\n");
  exit(2);
}

int main(int argc, char **argv) {
  struct settings s = {.connections = 32, .count = 1000, .seconds = 10, .chunk = 64 << 10, .address = 0x7f000001, .hello = 517};
  uint16_t port = 0;
  int kind = -1, serve = argc > 1 && !strcmp(argv[1], "serve");
  for (int i = 0; argc > 1 && i < (int)(sizeof names / sizeof *names); i++) {
    if (!strcmp(argv[1], names[i])) kind = i;
  }
  if (kind < 0 && !serve) {
    fputs(usage, stderr);
    return 2;
  }
  for (int i = 2; i < argc; i++) {
    const char *flag = argv[i];
    if (!strcmp(flag, "--direct")) {
      s.direct = 1;
      continue;
    }
    if (!strcmp(flag, "--verify-all")) {
      s.verify_all = 1;
      continue;
    }
    const char *value = ++i < argc ? argv[i] : "";
    if (!strcmp(flag, "--port")) port = (uint16_t)number(flag, value, 0, 65535);
    else if (!strcmp(flag, "--proxy")) s.port = (uint16_t)number(flag, value, 1, 65535);
    else if (!strcmp(flag, "--upstream")) s.upstream = (uint16_t)number(flag, value, 1, 65535);
    else if (!strcmp(flag, "--target")) s.target = value;
    else if (!strcmp(flag, "--connections")) s.connections = (uint32_t)number(flag, value, 1, 100000);
    else if (!strcmp(flag, "--count")) s.count = number(flag, value, 1, 1ull << 50);
    else if (!strcmp(flag, "--seconds")) s.seconds = (double)number(flag, value, 1, 3600);
    else if (!strcmp(flag, "--hello")) s.hello = (uint32_t)number(flag, value, 256, HELLO_MAX);
    else if (!strcmp(flag, "--address")) s.address = address(value);
    else if (!strcmp(flag, "--chunk")) s.chunk = (uint32_t)number(flag, value, 1024, CHUNK_MAX);
    else {
      fputs(usage, stderr);
      return 2;
    }
  }
  raise_files();
  pattern_init();
  if (serve) return serve_upstream(port, s.verify_all);
  if (!s.port || (!s.upstream && !s.target)) {
    fputs(usage, stderr);
    return 2;
  }
  s.kind = (enum kind)kind;
  s.name = names[kind];
  return run_client(&s);
}
