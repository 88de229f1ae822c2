// Clock, pattern and histogram of the load generator: small pure pieces and the two calls that may end the process.
// It relies on a monotonic clock and nothing else.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include "load.h"

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(const char *what) {
  perror(what);
  exit(1);
}

void raise_files(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

// MARK: pattern. A prime period, so that no chunk size lines up with it.

static uint8_t pattern[PATTERN_PERIOD + CHUNK_MAX];

void pattern_init(void) {
  for (uint32_t i = 0; i < sizeof pattern; i++) {
    uint32_t x = i % PATTERN_PERIOD * 2654435761u;
    pattern[i] = (uint8_t)(x >> 24 ^ x >> 13);
  }
}

const uint8_t *pattern_at(uint64_t position) { return pattern + position % PATTERN_PERIOD; }

uint64_t pattern_wrong(const uint8_t *bytes, size_t count, uint64_t position, int all) {
  enum { SAMPLE = 64 };
  const uint8_t *want = pattern_at(position);
  if (!all && count > 2 * SAMPLE) {
    size_t tail = count - SAMPLE;
    if (!memcmp(bytes, want, SAMPLE) && !memcmp(bytes + tail, want + tail, SAMPLE)) return 0;
  } else if (!memcmp(bytes, want, count)) {
    return 0;
  }
  uint64_t wrong = 0;
  for (size_t i = 0; i < count; i++) wrong += bytes[i] != want[i];
  return wrong;
}

// MARK: histogram. Values below 128 ns have a bucket each; above, 128 buckets a doubling (the first 64 of them unused).

static uint32_t bucket_of(uint64_t v) {
  if (v < 128) return (uint32_t)v;
  uint32_t shift = 63u - (uint32_t)__builtin_clzll(v) - 6; // leaves 64 to 127
  return shift * 128 + (uint32_t)(v >> shift);
}

void histogram_add(struct histogram *h, uint64_t nanoseconds) {
  h->buckets[bucket_of(nanoseconds)]++;
  h->count++;
  h->sum += nanoseconds;
  if (nanoseconds > h->max) h->max = nanoseconds;
}

double histogram_us(const struct histogram *h, double quantile) {
  if (h->count == 0) return 0;
  uint64_t rank = (uint64_t)(quantile * (double)h->count), seen = 0;
  if (rank >= h->count) rank = h->count - 1;
  for (uint32_t i = 0; i < sizeof h->buckets / sizeof *h->buckets; i++) {
    seen += h->buckets[i];
    if (seen > rank) {
      uint32_t shift = i / 128;
      uint64_t low = shift ? (uint64_t)(i % 128) << shift : i;
      return (double)(low + ((1ull << shift) >> 1)) / 1000;
    }
  }
  return (double)h->max / 1000;
}
