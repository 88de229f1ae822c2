// What this machine offers, found out by trying: nothing of it stays. For `sluice doctor`.
// It relies on a caller with one thread: a child is cloned, and calls the kernel alone.
#define _GNU_SOURCE
#include "CSandbox.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EVERY_NAMESPACE = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP };

int csandbox_try_namespaces(enum csandbox_offer *failed) {
  *failed = CSANDBOX_OFFER_CLONE;
  long pid = syscall(SYS_clone, EVERY_NAMESPACE | SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid < 0) return errno;
  if (pid == 0) {
    // A security module may give the namespace, and not the capabilities in it.
    if (sethostname("sluice", 6) < 0) _exit(CSANDBOX_OFFER_CAPABILITIES);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) _exit(CSANDBOX_OFFER_CAPABILITIES);
    // The kernel shows no new /proc where the old one is covered in parts.
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) _exit(CSANDBOX_OFFER_PROC);
    _exit(0);
  }
  int status = 0;
  pid_t ended;
  do ended = waitpid((pid_t)pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) return errno;
  if (WIFSIGNALED(status)) return EINTR;
  *failed = (enum csandbox_offer)WEXITSTATUS(status);
  return WEXITSTATUS(status) ? EPERM : 0;
}

int csandbox_try_seccomp(void) {
  uint32_t wanted[] = {SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &wanted[i]) < 0) return errno;
  return 0;
}

int csandbox_try_transparent(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) return errno;
  int code = setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) < 0 ? errno : 0;
  close(fd);
  return code;
}

uint64_t csandbox_open_files_max(void) {
  struct rlimit files;
  return getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : files.rlim_max;
}

int csandbox_make_folder_of(const char *path, uint32_t uid, uint32_t gid) {
  if (mkdir(path, 0700) < 0) return -errno;
  if ((uid == geteuid() && gid == getegid()) || chown(path, uid, gid) == 0) return 0;
  int code = errno;
  rmdir(path);
  return -code;
}
