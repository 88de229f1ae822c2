// What the parent of a sandbox asks of its own system: signals as descriptors, its terminal, files before a plan is made.
// It relies on being called from a process with one thread where it changes who the process is.
#define _GNU_SOURCE
#include "CSandbox.h"

#include "terminal.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// MARK: signals

int csandbox_signals_open(void) {
  static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGTSTP};
  sigset_t signals;
  sigemptyset(&signals);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&signals, forwarded[i]);
  // SIGTTOU: this process sets the terminal back, also from the background. It is not read.
  sigset_t blocked = signals;
  sigaddset(&blocked, SIGTTOU);
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &blocked, NULL) < 0) return -errno;
  int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

int csandbox_wait(int signals, int control, int lifeline, int door, int timeout_ms, int *number) {
  struct pollfd waiting[6] = {{.fd = signals, .events = POLLIN}, {.fd = control, .events = POLLIN}, {.fd = lifeline, .events = POLLIN}, {.fd = door, .events = POLLIN}};
  timeout_ms = terminal_await(waiting + 4, timeout_ms);
  if (poll(waiting, 6, timeout_ms) <= 0) return 0;
  terminal_relay(waiting + 4);
  struct signalfd_siginfo seen;
  if (waiting[0].revents && read(signals, &seen, sizeof seen) == sizeof seen) {
    *number = (int)seen.ssi_signo;
    return 1;
  }
  return waiting[1].revents ? 2 : waiting[2].revents ? 3 : waiting[3].revents ? 4 : 0;
}

// MARK: the terminal

// The whole group, as the terminal would have stopped it: the shell that started it sees a stopped job. The kernel
// ignores these signals where no shell is there to let the group go on, as for the first process of a container.
void csandbox_stop_self(int number) {
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, number);
  sigprocmask(SIG_UNBLOCK, &stops, NULL);
  kill(0, number);
  sigprocmask(SIG_BLOCK, &stops, NULL);
}

// MARK: files

int csandbox_may_write(const char *path, uint32_t uid, uint32_t gid) {
  setfsgid(gid);
  setfsuid(uid);
  int result = faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
  setfsuid(geteuid());
  setfsgid(getegid());
  return result;
}

int csandbox_may_read_as(const char *path, uint32_t uid, uint32_t gid) {
  setfsgid(gid);
  setfsuid(uid);
  struct stat status;
  int may = stat(path, &status) == 0 &&
            faccessat(AT_FDCWD, path, R_OK | (S_ISDIR(status.st_mode) ? X_OK : 0), AT_EACCESS) == 0;
  setfsuid(geteuid());
  setfsgid(getegid());
  return may;
}

int csandbox_may_read(const char *path) { return access(path, R_OK) == 0; }

int csandbox_drop_groups(void) { return setgroups(0, NULL) < 0 ? -errno : 0; }

int csandbox_file_kind(const char *path, uint32_t *uid, uint32_t *gid) {
  struct stat status;
  if (lstat(path, &status) < 0) return 0;
  *uid = status.st_uid;
  *gid = status.st_gid;
  if (S_ISDIR(status.st_mode)) return 1;
  if (S_ISREG(status.st_mode)) return 2;
  return S_ISLNK(status.st_mode) ? 3 : 4;
}

int csandbox_device(const char *path, int itself, uint32_t *first, uint32_t *second) {
  struct stat status;
  if (stat(path, &status) < 0) return -errno;
  if (itself && !S_ISBLK(status.st_mode)) return -ENOTBLK;
  dev_t device = itself ? status.st_rdev : status.st_dev;
  *first = major(device);
  *second = minor(device);
  return 0;
}

long csandbox_read_link(const char *path, char *text, size_t room) {
  ssize_t count = readlink(path, text, room);
  return count < 0 ? -errno : count;
}

long csandbox_real_path(const char *path, char *text, size_t room) {
  char whole[PATH_MAX];
  if (!realpath(path, whole)) return -errno;
  size_t count = strlen(whole);
  if (count > room) return -ENAMETOOLONG;
  memcpy(text, whole, count);
  return (long)count;
}

int csandbox_make_folder(const char *path, uint32_t mode) { return mkdir(path, mode) < 0 ? -errno : 0; }

int csandbox_private_folder(const char *path) {
  struct stat status;
  if (mkdir(path, 0700) < 0 && errno != EEXIST) return -errno;
  if (lstat(path, &status) < 0) return -errno;
  return S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 077) == 0 ? 0 : -EPERM;
}

// proc_pid_stat(5): the 22nd field. The name before it may hold anything.
uint64_t csandbox_process_start(int pid) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got <= 0) return 0;
  text[got] = 0;
  char *place = strrchr(text, ')');
  for (int field = 2; place && field < 22; field++) place = strchr(place + 1, ' ');
  return place ? strtoull(place, NULL, 10) : 0;
}

int csandbox_end_process(int pid, uint64_t start, int number, int wait_ms) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return errno == ESRCH ? 1 : -errno;
  int result = 1;
  // By now the descriptor is of one process, and the look tells which.
  if (csandbox_process_start(pid) == start) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (number && syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) < 0)
      result = errno == ESRCH ? 1 : -errno;
    else
      result = poll(&waiting, 1, wait_ms) > 0;
  }
  close(fd);
  return result;
}

int csandbox_write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
  close(fd);
  return result;
}

int csandbox_remove_folder(const char *path) { return rmdir(path) < 0 ? -errno : 0; }

void csandbox_sweep(const char *base, const char *prefix) {
  DIR *folder = opendir(base);
  if (!folder) return;
  for (struct dirent *entry; (entry = readdir(folder));) {
    const char *dash = strrchr(entry->d_name, '-');
    if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || !dash) continue;
    char path[PATH_MAX], *end;
    long pid = strtol(dash + 1, &end, 10);
    if (pid <= 0 || pid > INT_MAX || *end || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
    // A cgroup that still holds a process stays.
    if (snprintf(path, sizeof path, "%s/%s", base, entry->d_name) < (int)sizeof path) rmdir(path);
  }
  closedir(folder);
}

// MARK: canaries

int csandbox_canary(int family, int datagram, uint16_t *port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int is_v6 = family == 6;
  int fd = socket(is_v6 ? AF_INET6 : AF_INET, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  struct sockaddr *address = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
  socklen_t size = is_v6 ? sizeof v6 : sizeof v4;
  if (bind(fd, address, size) < 0 || (!datagram && listen(fd, 1) < 0) || getsockname(fd, address, &size) < 0) {
    int code = errno;
    close(fd);
    return -code;
  }
  *port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
  return fd;
}

int csandbox_canary_was_reached(int fd, int datagram) {
  char bytes[64];
  if (datagram) return recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 0;
  int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (connection >= 0) close(connection);
  return connection >= 0;
}

int csandbox_host_listener(const char *text, uint16_t port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1, on = 1;
  if (!is_v4 && inet_pton(AF_INET6, text, &v6.sin6_addr) != 1) return -EINVAL;
  int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  struct sockaddr *address = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 || bind(fd, address, is_v4 ? sizeof v4 : sizeof v6) < 0 || listen(fd, 128) < 0) {
    int code = errno;
    close(fd);
    return -code;
  }
  return fd;
}
