// Files, eventfd, signalfd, poll. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int clinux_open_append(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
  return fd < 0 ? -errno : fd;
}

// A description of our own of what `fd` stands for: O_NONBLOCK on the inherited one would reach other processes.
int clinux_reopen_append(int fd) {
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int own = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (own < 0) own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return own < 0 ? -errno : own;
}

int clinux_open_read(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  return fd < 0 ? -errno : fd;
}

long clinux_read(int fd, void *bytes, size_t count) {
  long got;
  do got = read(fd, bytes, count);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

long clinux_write(int fd, const void *bytes, size_t count) {
  long written;
  do written = write(fd, bytes, count);
  while (written < 0 && errno == EINTR);
  return written < 0 ? -errno : written;
}

int clinux_eventfd(int is_blocking) {
  int fd = eventfd(0, EFD_CLOEXEC | (is_blocking ? 0 : EFD_NONBLOCK));
  return fd < 0 ? -errno : fd;
}

static void watched(sigset_t *signals) {
  sigemptyset(signals);
  sigaddset(signals, SIGTERM);
  sigaddset(signals, SIGINT);
  sigaddset(signals, SIGHUP);
}

// splice(2) into a socket that is gone raises SIGPIPE, and no flag prevents it.
// Signals are read where epoll reports them, and no handler runs anywhere.
int clinux_signal_open(void) {
  sigset_t signals;
  watched(&signals);
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) return -errno;
  int result = pthread_sigmask(SIG_BLOCK, &signals, NULL);
  if (result != 0) return -result;
  int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

// Number of the signal, or 0 when none waits.
int clinux_signal_take(int fd) {
  struct signalfd_siginfo seen;
  return read(fd, &seen, sizeof seen) == sizeof seen ? (int)seen.ssi_signo : 0;
}

static void write_stamp(const struct stat *status, uint64_t stamp[4]) {
  stamp[0] = status->st_dev;
  stamp[1] = status->st_ino;
  stamp[2] = (uint64_t)status->st_size;
  stamp[3] = (uint64_t)status->st_mtim.tv_sec * 1000000000u + (uint64_t)status->st_mtim.tv_nsec;
}

int clinux_file_stamp(const char *path, uint64_t stamp[4]) {
  struct stat status;
  if (stat(path, &status) < 0) return -errno;
  write_stamp(&status, stamp);
  return 0;
}

int clinux_descriptor_stamp(int fd, uint64_t stamp[4]) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  write_stamp(&status, stamp);
  return 0;
}

static int wait_for(int fd, short what, int timeout_ms) {
  struct pollfd one = {.fd = fd, .events = what};
  int ready = poll(&one, 1, timeout_ms);
  if (ready < 0) return errno == EINTR ? 0 : -errno;
  return ready;
}

int clinux_wait_readable(int fd, int timeout_ms) { return wait_for(fd, POLLIN, timeout_ms); }

int clinux_wait_writable(int fd, int timeout_ms) { return wait_for(fd, POLLOUT, timeout_ms); }
