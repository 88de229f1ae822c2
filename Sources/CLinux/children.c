// Child processes: started, limited, read. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int clinux_memory_file(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

long clinux_read_at(int fd, void *bytes, size_t count, uint64_t offset) {
  long got;
  do got = pread(fd, bytes, count, (off_t)offset);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

static int spawn_at(const char *path, const char *const *argv, const posix_spawn_file_actions_t *actions) {
  static const char *const environment[] = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
  pid_t pid;
  int code = posix_spawn(&pid, path, actions, NULL, (char *const *)argv, (char *const *)environment);
  return code ? -code : pid;
}

// `arguments` are NUL-terminated texts, one after another, with an empty one at the end. The program is looked for where
// the system keeps its programs, whatever the caller's PATH says, and gets a fixed environment.
int clinux_spawn(const char *arguments, int input, int output, int errors) {
  static const char *const folders[] = {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/usr/local/sbin/", "/usr/local/bin/"};
  const char *argv[64];
  int count = 0;
  for (const char *next = arguments; *next; next += strlen(next) + 1) {
    if (count == 63) return -E2BIG;
    argv[count++] = next;
  }
  argv[count] = NULL;
  if (count == 0) return -EINVAL;
  posix_spawn_file_actions_t actions;
  int code = posix_spawn_file_actions_init(&actions);
  if (code) return -code;
  const int wanted[3] = {input, output, errors};
  for (int fd = 0; fd < 3 && code == 0; fd++) code = posix_spawn_file_actions_adddup2(&actions, wanted[fd], fd);
  int result = code ? -code : -ENOENT;
  for (size_t i = 0; i < sizeof folders / sizeof *folders && result == -ENOENT; i++) {
    char path[256];
    if (snprintf(path, sizeof path, "%s%s", folders[i], argv[0]) >= (int)sizeof path) result = -ENAMETOOLONG;
    else result = spawn_at(path, argv, &actions);
  }
  posix_spawn_file_actions_destroy(&actions);
  return result;
}

// The exit status, or 128 and the signal.
int clinux_wait(int pid) {
  int status;
  pid_t ended;
  do ended = waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) return -errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// How many packed texts there are, up to the empty one at the end; each is put into `list` where there is one.
static int unpack(const char *packed, const char **list) {
  int count = 0;
  for (const char *next = packed; *next; next += strlen(next) + 1) {
    if (list) list[count] = next;
    count++;
  }
  if (list) list[count] = NULL;
  return count;
}

static int is_hidden(const char *variable, const char *hidden) {
  for (const char *name = hidden; *name; name += strlen(name) + 1) {
    size_t length = strlen(name);
    if (strncmp(variable, name, length) == 0 && variable[length] == '=') return 1;
  }
  return 0;
}

// The environment without the hidden variables, to be freed; nothing in this program changes the environment.
static char **visible_environment(const char *hidden) {
  size_t count = 0;
  while (environ[count]) count++;
  char **visible = calloc(count + 1, sizeof *visible);
  if (!visible) return NULL;
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (!is_hidden(environ[i], hidden)) visible[kept++] = environ[i];
  }
  return visible;
}

// A process group of its own, so that its children end with it; signals as a program expects them.
static int spawn_group(pid_t *pid, const char **argv, char **environment, int input, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int code = posix_spawn_file_actions_init(&actions);
  if (code) return code;
  code = posix_spawnattr_init(&attributes);
  if (code) {
    posix_spawn_file_actions_destroy(&actions);
    return code;
  }
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  if (input < 0) code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  else code = posix_spawn_file_actions_adddup2(&actions, input, 0);
  if (!code) code = posix_spawn_file_actions_adddup2(&actions, output, 1);
  if (!code) code = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  if (!code) code = posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)argv, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

static int wait_limited(pid_t pid, int timeout_ms) {
  int watched = (int)syscall(SYS_pidfd_open, pid, 0);
  int failure = watched < 0 ? errno : 0;
  uint64_t due = clinux_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
  while (!failure) {
    uint64_t now = clinux_monotonic_ns();
    struct pollfd ended = {.fd = watched, .events = POLLIN};
    int ready = poll(&ended, 1, now < due ? (int)((due - now + 999999) / 1000000) : 0);
    if (ready > 0) break;
    if (ready == 0) failure = ETIMEDOUT;
    if (ready < 0 && errno != EINTR) failure = errno;
  }
  if (watched >= 0) close(watched);
  // What it started ends with it, also where it has ended by itself.
  kill(-pid, SIGKILL);
  int status = clinux_wait(pid);
  return failure ? -failure : status;
}

int clinux_run(const char *arguments, const char *hidden, int input, int output, int timeout_ms) {
  int count = unpack(arguments, NULL);
  if (count == 0) return -EINVAL;
  const char **argv = calloc((size_t)count + 1, sizeof *argv);
  char **environment = visible_environment(hidden);
  pid_t pid = 0;
  int code = argv && environment ? 0 : ENOMEM;
  if (!code) {
    unpack(arguments, argv);
    code = spawn_group(&pid, argv, environment, input, output);
  }
  free(argv);
  free(environment);
  return code ? -code : wait_limited(pid, timeout_ms);
}

static int send_all(int fd, const void *bytes, size_t count) {
  for (const char *next = bytes; count > 0;) {
    long sent = write(fd, next, count);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return -1;
    next += sent;
    count -= (size_t)sent;
  }
  return 0;
}

static int read_all(int fd, void *bytes, size_t count) {
  for (char *next = bytes; count > 0;) {
    long got = read(fd, next, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return -1;
    next += got;
    count -= (size_t)got;
  }
  return 0;
}

// A file with that many bytes from the socket, at its beginning; -1 where it cannot be had.
static int input_file(int fd, uint32_t count) {
  static char bytes[CLINUX_COMMAND_INPUT_MAX];
  if (count > sizeof bytes || read_all(fd, bytes, count) < 0) return -1;
  int input = clinux_memory_file("sluice");
  if (input < 0) return -1;
  if (send_all(input, bytes, count) == 0 && lseek(input, 0, SEEK_SET) == 0) return input;
  close(input);
  return -1;
}

static int answer_command(int fd, uint32_t count, const char *arguments, const char *hidden, int timeout_ms) {
  static char bytes[128 * 1024];
  int input = count > 0 ? input_file(fd, count) : -1;
  if (count > 0 && input < 0) return -1;
  int output = clinux_memory_file("sluice");
  int32_t head[2] = {output < 0 ? output : clinux_run(arguments, hidden, input, output, timeout_ms), 0};
  if (input >= 0) close(input);
  long printed = output < 0 ? 0 : clinux_read_at(output, bytes, sizeof bytes, 0);
  if (output >= 0) close(output);
  head[1] = printed > 0 ? (int32_t)printed : 0;
  int result = send_all(fd, head, sizeof head);
  if (result == 0) result = send_all(fd, bytes, (size_t)head[1]);
  explicit_bzero(bytes, sizeof bytes);
  return result;
}

int clinux_command_helper(const char *arguments, const char *hidden, int timeout_ms) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  pid_t pid = fork();
  if (pid != 0) {
    int code = errno;
    close(ends[1]);
    if (pid > 0) return ends[0];
    close(ends[0]);
    return -code;
  }
  // The child keeps no listener of the gate open, and nothing else either.
  int fd = dup2(ends[1], 3);
  if (fd != 3 || syscall(SYS_close_range, 4, ~0U, 0) < 0) _exit(1);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  prctl(PR_SET_NAME, "credentials", 0, 0, 0);
  for (uint32_t count; read_all(fd, &count, sizeof count) == 0;) {
    if (answer_command(fd, count, arguments, hidden, timeout_ms) < 0) break;
  }
  _exit(0);
}
