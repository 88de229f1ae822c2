// Pipes and splice(2). Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int clinux_pipe(int ends[2], int bytes_wanted) {
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) return -errno;
  int bytes = fcntl(ends[1], F_SETPIPE_SZ, bytes_wanted);
  if (bytes > 0) return bytes;
  bytes = fcntl(ends[1], F_GETPIPE_SZ);
  return bytes > 0 ? bytes : 65536;
}

long clinux_splice(int from, int to, size_t count, int more) {
  unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0u);
  long moved;
  do moved = splice(from, NULL, to, NULL, count, flags);
  while (moved < 0 && errno == EINTR);
  return moved < 0 ? -errno : moved;
}
