// Each trial is one call of the kernel, so that what is answered is its own word.
#define _GNU_SOURCE
#include "ConfinedTrials.h"

#include "CSandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int code_of(long result) { return result < 0 ? errno : 0; }

static void *nothing(void *argument) { return argument; }

static int start_thread(void) {
  pthread_t thread;
  int code = pthread_create(&thread, NULL, nothing, NULL);
  return code ? code : pthread_join(thread, NULL);
}

static int bind_tcp(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  return code_of(bind(fd, (struct sockaddr *)&any, sizeof any));
}

static int attempt(enum trial trial, const char *path) {
  char *const arguments[] = {(char *)path, NULL};
  switch (trial) {
    case TRIAL_READ: return code_of(open(path, O_RDONLY));
    case TRIAL_APPEND: return code_of(open(path, O_WRONLY | O_CREAT | O_APPEND, 0600));
    case TRIAL_TRUNCATE: return code_of(open(path, O_WRONLY | O_TRUNC));
    case TRIAL_REMOVE: return code_of(unlink(path));
    case TRIAL_REMOVE_FOLDER: return code_of(rmdir(path));
    case TRIAL_EXECUTE: return code_of(execve(path, arguments, arguments + 1));
    case TRIAL_FORK: return code_of(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
    case TRIAL_THREAD: return start_thread();
    case TRIAL_TCP_SOCKET: return code_of(socket(AF_INET, SOCK_STREAM, 0));
    case TRIAL_UNIX_SOCKET: return code_of(socket(AF_UNIX, SOCK_STREAM, 0));
    case TRIAL_LISTEN: return code_of(listen(socket(AF_INET, SOCK_STREAM, 0), 1));
    case TRIAL_BIND_TCP: return bind_tcp();
    case TRIAL_CODE: return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
    case TRIAL_UNSHARE: return code_of(unshare(CLONE_NEWUSER));
    case TRIAL_SIGNAL_PARENT: return code_of(kill(getppid(), 0));
    case TRIAL_TERMINAL_INPUT: return code_of(ioctl(0, TIOCSTI, "x"));
  }
  return -1;
}

int confined_try(enum trial trial, const char *place, unsigned kind, int supervises, const char *path) {
  pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) {
    struct csandbox_place one = {.text = 0, .kind = kind};
    struct csandbox_reach reach = {.places = &one, .count = place ? 1 : 0, .supervises = (uint32_t)supervises, .texts = place};
    struct csandbox_lacks lacks;
    if (csandbox_confine_gate(&reach, &lacks) < 0 || lacks.landlock || lacks.seccomp) _exit(255);
    _exit(attempt(trial, path));
  }
  int status;
  if (waitpid(child, &status, 0) < 0) return -1;
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
}
