// The process that outlives a sandbox, however that ends: it takes away what stood in the workspace for its time only.
// The process is forked while the caller has one thread, so it may call all that the caller could call.
#define _GNU_SOURCE
#include "CSandbox.h"

#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int csandbox_fork_aftermath(int *word) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  int pid = fork();
  if (pid < 0) {
    int code = errno;
    close(ends[0]);
    close(ends[1]);
    return -code;
  }
  if (pid == 0) terminal_remember();
  *word = pid == 0 ? ends[0] : ends[1];
  close(pid == 0 ? ends[1] : ends[0]);
  if (pid == 0) {
    // What the terminal or a shell sends to the group is not meant for it.
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
  }
  return pid;
}

int csandbox_await_sandbox(int word) {
  int32_t pid = 0;
  // The caller is gone before it told: then the sandbox's first process dies with it, and its command never starts.
  if (recv(word, &pid, sizeof pid, 0) != sizeof pid || pid <= 0) return 0;
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  // The process is gone already.
  if (fd < 0) return 0;
  struct pollfd waiting = {.fd = fd, .events = POLLIN};
  while (poll(&waiting, 1, -1) < 0 && errno == EINTR) {}
  close(fd);
  // The caller says its last words first. One that says nothing was killed.
  char byte;
  ssize_t got;
  while ((got = recv(word, &byte, 1, 0)) < 0 && errno == EINTR) {}
  if (got <= 0) terminal_mend();
  return 1;
}

void csandbox_end_aftermath(int word) {
  char byte = 1;
  // Where it is gone, it has nothing to say.
  if (send(word, &byte, 1, MSG_NOSIGNAL) < 0) errno = 0;
  close(word);
}

int csandbox_become(uint32_t uid, uint32_t gid) {
  return setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

int csandbox_tell_aftermath(int word, int32_t pid) { return send(word, &pid, sizeof pid, MSG_NOSIGNAL) < 0 ? -errno : 0; }

_Noreturn void csandbox_exit(int status) { _exit(status); }
