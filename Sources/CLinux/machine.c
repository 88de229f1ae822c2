// The machine: clocks, limits, interfaces, threads. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "addresses.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <stdio.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t clinux_monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t clinux_wall_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

long clinux_current_folder(char *text, size_t room) {
  return getcwd(text, room) ? (long)strlen(text) : -errno;
}

int clinux_cores(void) {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) < 0) return 1;
  int count = CPU_COUNT(&cores);
  return count > 0 ? count : 1;
}

const char *clinux_environment(size_t index) { return environ[index]; }

int clinux_thread_start(void *(*body)(void *), void *argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  int code = pthread_create(&thread, &attributes, body, argument);
  pthread_attr_destroy(&attributes);
  return -code;
}

// Of the calling thread: another's would be a file in /proc. A name that is too long is left out.
void clinux_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

int clinux_interfaces(struct clinux_address *addresses, int count_max) {
  struct ifaddrs *list = NULL;
  if (getifaddrs(&list) < 0) return -errno;
  int count = 0;
  for (struct ifaddrs *entry = list; entry && count < count_max; entry = entry->ifa_next) {
    if (entry->ifa_addr && clinux_decode(entry->ifa_addr, &addresses[count]) == 0) count++;
  }
  freeifaddrs(list);
  return count;
}

void clinux_raise_open_files(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

uint64_t clinux_open_files_max(void) {
  struct rlimit files;
  return getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : files.rlim_cur;
}

uint64_t clinux_cpu_ns(void) {
  struct timespec used;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) < 0) return 0;
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

int clinux_open_memory_figures(void) {
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int clinux_open_descriptor_folder(void) {
  int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

uint64_t clinux_resident_bytes(int memory_figures) {
  char text[128];
  unsigned long long pages = 0;
  ssize_t count = pread(memory_figures, text, sizeof text - 1, 0);
  if (count <= 0) return 0;
  text[count] = 0;
  return sscanf(text, "%*u %llu", &pages) == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Since Linux 6.2 the size of that folder is the number of its entries; before, it is 0. */
uint64_t clinux_descriptor_count(int descriptor_folder) {
  struct stat folder;
  return fstat(descriptor_folder, &folder) < 0 || folder.st_size < 0 ? 0 : (uint64_t)folder.st_size;
}

const char *clinux_error_name(int code, char *text, size_t count) {
  return strerror_r(code, text, count);
}
