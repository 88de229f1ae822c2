// The sandbox's first process: it walks through the plan, then stays as pid 1, which reaps, forwards signals and dies
// with its parent; with it the kernel ends all that runs in the sandbox. It talks with the parent over one socket.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
const char *sandbox_stage = "";

const char *sandbox_next(const char *text) { return text + strlen(text) + 1; }

// MARK: the parent's word

// Waits for the parent's word; without a parent there is nothing to go on for.
static int32_t await(int control, uint32_t kind) {
  struct csandbox_message message;
  int fds[CSANDBOX_FDS_MAX], count, got;
  do got = csandbox_receive(control, &message, fds, &count, -1);
  while (got == 0);
  if (got < 0 || message.kind != kind) _exit(125);
  return message.code;
}

static void fail(int control, uint32_t step, int code) {
  struct csandbox_message message = {.kind = CSANDBOX_FAILED, .code = -code, .step = step};
  snprintf(message.text, sizeof message.text, "%s", sandbox_stage);
  sandbox_send(control, &message, NULL, 0);
  _exit(125);
}

// From 4 on; `kept` is in no order, and holds none below. Few: each is looked for anew.
static int close_all_but(const int *kept, uint32_t count) {
  unsigned from = 4;
  for (uint32_t left = count; left > 0; left--) {
    unsigned next = ~0U;
    for (uint32_t i = 0; i < count; i++)
      if ((unsigned)kept[i] >= from && (unsigned)kept[i] < next) next = (unsigned)kept[i];
    if (next > from && syscall(SYS_close_range, from, next - 1, 0) < 0) return -1;
    from = next + 1;
  }
  return (int)syscall(SYS_close_range, from, ~0U, 0);
}

// MARK: pid 1

struct inside {
  const struct csandbox_plan *plan;
  int control;
  // Of the steps that follow the reaper's, all but the last are done by the probe too.
  int is_probe;
  int listeners[CSANDBOX_FDS_MAX * 16];
  int listener_count;
  // The command's own, or 0.
  int terminal;
  // Of a further command; NULL for the first one.
  const struct joined *joined;
};

static int become(uint64_t uid, uint64_t gid) {
  FAIL_IF(setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) < 0, "setresgid");
  FAIL_IF(setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0, "setresuid");
  // /proc/self belongs to this user again.
  FAIL_IF(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0, "prctl(PR_SET_DUMPABLE)");
  return 0;
}

static int write_setting(const char *path, const char *value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  FAIL_IF(fd < 0, "open");
  FAIL_IF(write(fd, value, strlen(value)) < 0, "write");
  close(fd);
  return 0;
}

static int hand_out(struct inside *inside) {
  struct csandbox_message message = {.kind = CSANDBOX_LISTENERS};
  for (int done = 0; done < inside->listener_count; done += CSANDBOX_FDS_MAX) {
    int count = inside->listener_count - done;
    if (count > CSANDBOX_FDS_MAX) count = CSANDBOX_FDS_MAX;
    sandbox_stage = "sendmsg(SCM_RIGHTS)";
    int result = sandbox_send(inside->control, &message, inside->listeners + done, count);
    if (result < 0) return result;
  }
  for (int i = 0; i < inside->listener_count; i++) close(inside->listeners[i]);
  return 0;
}

// Ends here too, or nobody would hear its last bytes: a terminal without an open end is hung up.
static int open_terminal(struct inside *inside) {
  int other = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), locked = 0;
  FAIL_IF(other < 0, "open(/dev/ptmx)");
  FAIL_IF(ioctl(other, TIOCSPTLCK, &locked) < 0, "ioctl(TIOCSPTLCK)");
  inside->terminal = ioctl(other, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  FAIL_IF(inside->terminal < 0, "ioctl(TIOCGPTPEER)");
  struct csandbox_message message = {.kind = CSANDBOX_TERMINAL};
  sandbox_stage = "sendmsg(SCM_RIGHTS)";
  int result = sandbox_send(inside->control, &message, &other, 1);
  close(other);
  return result;
}

static int join(struct inside *inside, int connection, int signals);

// What a terminal would send to a whole group goes to the group: a shell goes on with its loop where its child alone ends.
static void pass(pid_t command, int number) {
  int is_group = number == SIGINT || number == SIGQUIT || number == SIGTSTP || number == SIGCONT || number == SIGHUP;
  if (!is_group || kill(-command, number) < 0) kill(command, number);
}

// 1 where this process is a new one, which a further command is to come of.
static int obey(const struct inside *inside, pid_t command, int *connection) {
  struct csandbox_message message;
  int fds[CSANDBOX_FDS_MAX], count = 0;
  int got = csandbox_receive(inside->control, &message, fds, &count, 0);
  if (got < 0) {
    // The asker of a further command is gone, as a terminal that is hung up.
    if (inside->joined) pass(command, SIGHUP), pass(command, SIGCONT);
    _exit(125);
  }
  if (got == 0) return 0;
  if (message.kind == CSANDBOX_SIGNAL) pass(command, message.code);
  if (message.kind == CSANDBOX_FOREGROUND) {
    // SIGTTOU is blocked.
    tcsetpgrp(inside->terminal, command);
    pass(command, SIGCONT);
  }
  // Never comes back.
  if (message.kind == CSANDBOX_PUBLISH && count == 1 && !inside->joined && fork() == 0) publish(inside->control, fds[0], (uint16_t)message.code);
  int joins = message.kind == CSANDBOX_JOIN && count == 1 && !inside->joined && fork() == 0;
  if (joins) *connection = fds[0];
  for (int i = joins; i < count; i++) close(fds[i]);
  return joins;
}

// Signals that are asked for go to the command; its end is the end of all. Returns in a further command.
static int forward(struct inside *inside, pid_t command, int signals) {
  int control = inside->control, connection;
  for (;;) {
    struct pollfd waiting[2] = {{.fd = control, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    if (poll(waiting, 2, -1) < 0) continue;
    if (waiting[0].revents && obey(inside, command, &connection)) return join(inside, connection, signals);
    if (!waiting[1].revents) continue;
    struct signalfd_siginfo drained;
    if (read(signals, &drained, sizeof drained) < 0 && errno != EAGAIN) _exit(125);
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
      if (ended != command) continue;
      if (WIFSTOPPED(status)) {
        csandbox_send(control, CSANDBOX_STOPPED, WSTOPSIG(status));
        continue;
      }
      csandbox_send(control, CSANDBOX_EXITED, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      _exit(0);
    }
  }
}

// What the caller's environment held is not kept in the memory of a process of the sandbox.
static void forget_environment(void) {
  for (char **entry = environ; *entry; entry++) memset(*entry, 0, strlen(*entry));
}

static int has_probes(const struct csandbox_plan *plan) {
  for (uint32_t i = 0; i < plan->count; i++)
    if (plan->steps[i].op == CSANDBOX_PROBE) return 1;
  return 0;
}

// Answers in the processes that go on with the plan: the probe, and then the command. Never in pid 1 itself.
static int reap(struct inside *inside) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  FAIL_IF(signals < 0, "signalfd");
  forget_environment();
  // The command is not its session's leader: as a group of its own below this one it can be stopped and go on.
  FAIL_IF(setsid() < 0, "setsid");
  FAIL_IF(inside->terminal && ioctl(inside->terminal, TIOCSCTTY, 0) < 0, "ioctl(TIOCSCTTY)");
  if (has_probes(inside->plan)) {
    await(inside->control, CSANDBOX_PROBE_NOW);
    pid_t probe = fork();
    FAIL_IF(probe < 0, "fork");
    if (probe == 0) {
      inside->is_probe = 1;
      return 0;
    }
    int status = 1;
    FAIL_IF(waitpid(probe, &status, 0) < 0, "waitpid");
    // The helper has said itself why.
    if (status != 0) _exit(125);
  }
  csandbox_send(inside->control, CSANDBOX_READY, 0);
  await(inside->control, CSANDBOX_START);
  pid_t command = fork();
  FAIL_IF(command < 0, "fork");
  // Here as there, so that it has its group before the first signal.
  if (command > 0) setpgid(command, command);
  return command > 0 ? forward(inside, command, signals) : 0;
}

// MARK: a further command

static struct joined the_joined;

static int read_request(int connection, struct joined *joined) {
  struct csandbox_message message;
  int fds[CSANDBOX_FDS_MAX], count = 0, got;
  do got = csandbox_receive(connection, &message, fds, &count, -1);
  while (got == 0);
  sandbox_stage = "request";
  if (got < 0 || message.kind != CSANDBOX_JOIN || count != 3 || message.code <= 0 || message.step > sizeof joined->texts) return -EPROTO;
  for (int fd = 0; fd < 3; fd++) {
    FAIL_IF(dup2(fds[fd], fd) < 0, "dup2");
    close(fds[fd]);
  }
  *joined = (struct joined){.count = (uint32_t)message.code, .size = message.step, .terminal = message.text[0]};
  uint32_t texts = 0;
  for (uint32_t place = 0; place < joined->size; place += (uint32_t)got) {
    struct pollfd waiting = {.fd = connection, .events = POLLIN};
    do got = poll(&waiting, 1, -1) < 0 ? -1 : (int)recv(connection, joined->texts + place, joined->size - place, 0);
    while (got < 0 && (errno == EINTR || errno == EAGAIN));
    if (got <= 0) return -EPROTO;
  }
  for (uint32_t place = 0; place < joined->size; place++) texts += joined->texts[place] == 0;
  return joined->size > 0 && joined->texts[joined->size - 1] == 0 && texts == joined->count + 1 ? 0 : -EPROTO;
}

// A process beside pid 1 that is to its command what pid 1 is to the first one. The steps that come behind the reaper's
// are done for each command, so a further one has nothing that the first one has not.
static int join(struct inside *inside, int connection, int signals) {
  // In the place of pid 1's own, which is not this one's to read.
  if (dup3(connection, inside->control, O_CLOEXEC) < 0) _exit(125);
  close(connection);
  if (inside->terminal) close(inside->terminal);
  inside->terminal = 0;
  inside->joined = &the_joined;
  int result = read_request(inside->control, &the_joined);
  if (result < 0) return result;
  csandbox_send(inside->control, CSANDBOX_READY, 0);
  FAIL_IF(setsid() < 0, "setsid");
  if (the_joined.terminal) {
    result = open_terminal(inside);
    if (result < 0) return result;
    FAIL_IF(ioctl(inside->terminal, TIOCSCTTY, 0) < 0, "ioctl(TIOCSCTTY)");
  }
  pid_t command = fork();
  FAIL_IF(command < 0, "fork");
  if (command > 0) setpgid(command, command);
  return command > 0 ? forward(inside, command, signals) : 0;
}

// MARK: the command

static int begin_session(const struct inside *inside, int is_foreground) {
  FAIL_IF(setpgid(0, 0) < 0, "setpgid");
  if (!inside->terminal) return 0;
  for (int fd = 0; fd < 3; fd++) FAIL_IF(isatty(fd) && dup2(inside->terminal, fd) < 0, "dup2");
  // SIGTTOU is blocked, as all signals are: a background group may hand itself the terminal.
  FAIL_IF(is_foreground && tcsetpgrp(inside->terminal, getpid()) < 0, "tcsetpgrp");
  return 0;
}

static int set_limit(uint64_t resource, uint64_t value) {
  struct rlimit now;
  FAIL_IF(getrlimit((__rlimit_resource_t)resource, &now) < 0, "getrlimit");
  if (now.rlim_max != RLIM_INFINITY && now.rlim_max < value) value = now.rlim_max;
  struct rlimit wanted = {.rlim_cur = value, .rlim_max = value};
  FAIL_IF(setrlimit((__rlimit_resource_t)resource, &wanted) < 0, "setrlimit");
  return 0;
}

// MARK: one step after the other

static int listen_for(struct inside *inside, const struct csandbox_step *step) {
  int fd = network_listen((uint16_t)step->number, step->more);
  if (fd < 0) return fd;
  if (inside->listener_count == CSANDBOX_FDS_MAX * 16) {
    sandbox_stage = "listen";
    return -ENOBUFS;
  }
  inside->listeners[inside->listener_count++] = fd;
  return 0;
}

// What got through ends the launch, unless all that is tried is to be told.
static int try_probe(struct inside *inside, uint32_t index, const char *first) {
  int holds = probe_holds(&inside->plan->steps[index], first);
  struct csandbox_message message = {.kind = holds ? CSANDBOX_HELD : CSANDBOX_BROKEN, .step = index};
  if (!holds || inside->plan->reports_probes) sandbox_send(inside->control, &message, NULL, 0);
  if (!holds && !inside->plan->reports_probes) _exit(125);
  return 0;
}

static int perform(struct inside *inside, uint32_t index) {
  const struct csandbox_step *step = &inside->plan->steps[index];
  const char *first = inside->plan->texts + step->first, *second = inside->plan->texts + step->second;
  switch ((enum csandbox_op)step->op) {
    case CSANDBOX_BECOME_USER: return become(step->number, step->more);
    case CSANDBOX_DIE_WITH_PARENT: FAIL_IF(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0, "prctl(PR_SET_PDEATHSIG)"); return 0;
    case CSANDBOX_HOST_NAME: FAIL_IF(sethostname(first, strlen(first)) < 0, "sethostname"); return 0;
    case CSANDBOX_LOOPBACK_UP: return network_loopback_up();
    case CSANDBOX_ADDRESS: return network_address(first);
    case CSANDBOX_LOCAL_ROUTE: return network_local_route((int)step->number);
    case CSANDBOX_SETTING: return write_setting(first, second);
    case CSANDBOX_REDIRECT: return network_redirect((uint16_t)step->number, step->more == 1);
    case CSANDBOX_LISTEN: return listen_for(inside, step);
    case CSANDBOX_HAND_OUT: return hand_out(inside);
    case CSANDBOX_NEW_ROOT: return mounts_new_root(step->number, step->more);
    case CSANDBOX_FOLDER: return mounts_folder(first, (uint32_t)step->number);
    case CSANDBOX_LINK: return mounts_link(first, second);
    case CSANDBOX_FILE: return mounts_file(first, second, step->number);
    case CSANDBOX_SEED: return mounts_seed(first, second, step->number, (uint32_t)step->more);
    case CSANDBOX_LAYER: return mounts_layer(first, second, step->number);
    case CSANDBOX_SUBSTITUTE: return mounts_substitute(first, second);
    case CSANDBOX_COPY: return mounts_copy(first, second);
    case CSANDBOX_BIND:
      if (step->more) return mounts_attach(inside->plan->trees[step->more - 1], second, step->number);
      return mounts_bind(first, second, step->number);
    case CSANDBOX_PIN: return mounts_pin(first, step->number);
    case CSANDBOX_TEMPORARY: return mounts_temporary(first, second, step->number, step->more);
    case CSANDBOX_PROCESSES: return mounts_processes(first);
    case CSANDBOX_TERMINALS: return mounts_terminals(first);
    case CSANDBOX_MASK: return mounts_mask(first);
    case CSANDBOX_HIDE: return mounts_hide(first);
    case CSANDBOX_COVER: return mounts_cover(first, second, step->number, step->more == 1);
    case CSANDBOX_ENTER_ROOT: return mounts_enter();
    case CSANDBOX_OPEN_TERMINAL: return open_terminal(inside);
    case CSANDBOX_LIMIT: return set_limit(step->number, step->more);
    case CSANDBOX_DROP_BOUNDING: return confine_drop_bounding();
    case CSANDBOX_LOCK_SECUREBITS: return confine_lock_securebits();
    case CSANDBOX_NO_NEW_PRIVILEGES: FAIL_IF(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0, "prctl(PR_SET_NO_NEW_PRIVS)"); return 0;
    case CSANDBOX_DROP_CAPABILITIES: return confine_drop_capabilities();
    case CSANDBOX_NOT_DUMPABLE: FAIL_IF(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0, "prctl(PR_SET_DUMPABLE)"); return 0;
    case CSANDBOX_REAPER: return reap(inside);
    // The terminal is the command's alone.
    case CSANDBOX_SESSION: return inside->is_probe ? 0 : begin_session(inside, inside->joined ? inside->joined->terminal == 1 : step->number == 1);
    case CSANDBOX_WORK_IN: FAIL_IF(chdir(first) < 0, "chdir"); return 0;
    case CSANDBOX_LANDLOCK: return confine_landlock(first, step->number, second);
    case CSANDBOX_SECCOMP: return confine_seccomp(step->number);
    // Closed by the exec, so that until then a failure can be told.
    case CSANDBOX_CLOSE_DESCRIPTORS: FAIL_IF(syscall(SYS_close_range, 3, ~0U, 4 /* CLOEXEC */) < 0, "close_range"); return 0;
    case CSANDBOX_PROBE: return inside->is_probe ? try_probe(inside, index, first) : 0;
    case CSANDBOX_EXEC:
      if (inside->is_probe) _exit(0);
      return sandbox_execute(inside->joined, first, step->number, step->more);
  }
  sandbox_stage = "no such step";
  return -EINVAL;
}

static struct inside the_inside;

static _Noreturn void run_inside(const struct csandbox_plan *plan, int control) {
  // Before the parent's word: if it is gone already, the word never comes.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  // Nothing of the parent's but the standard three, mounts for this sandbox, and the control socket, which takes the place of 3.
  if ((control != 3 && dup3(control, 3, O_CLOEXEC) < 0) || close_all_but(plan->trees, plan->tree_count) < 0) _exit(125);
  control = 3;
  await(control, CSANDBOX_MAPPED);
  the_inside = (struct inside){.plan = plan, .control = control};
  for (uint32_t index = 0; index < plan->count; index++) {
    int result = perform(&the_inside, index);
    int is_exec = the_inside.joined && plan->steps[index].op == CSANDBOX_EXEC;
    if (result < 0) fail(control, is_exec ? CSANDBOX_JOINED_EXEC : index, result);
  }
  _exit(125);
}

// MARK: the parent

static int write_process_file(int pid, const char *name, const char *text) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
  close(fd);
  return result;
}

static int map_ids(int pid, const struct csandbox_plan *plan, const char **stage) {
  char map[64];
  int result = 0;
  *stage = "cgroup.procs";
  snprintf(map, sizeof map, "%d", pid);
  if (plan->cgroup_procs) result = csandbox_write_file(plan->cgroup_procs, map);
  if (result < 0) return result;
  *stage = "setgroups";
  if (plan->denies_setgroups) result = write_process_file(pid, "setgroups", "deny");
  if (result < 0) return result;
  *stage = "uid_map";
  snprintf(map, sizeof map, "%u %u 1\n", plan->uid, plan->uid);
  result = write_process_file(pid, "uid_map", map);
  if (result < 0) return result;
  *stage = "gid_map";
  snprintf(map, sizeof map, "%u %u 1\n", plan->gid, plan->gid);
  return write_process_file(pid, "gid_map", map);
}

int csandbox_launch(const struct csandbox_plan *plan, int *control, const char **stage) {
  int ends[2];
  *stage = "socketpair";
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  *stage = "clone";
  long pid = syscall(SYS_clone, plan->namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid == 0) run_inside(plan, ends[1]);
  int code = errno;
  close(ends[1]);
  if (pid > 0) {
    code = -map_ids((int)pid, plan, stage);
    if (code == 0) {
      *stage = "the sandbox's first process";
      code = -csandbox_send(ends[0], CSANDBOX_MAPPED, 0);
    }
    if (code == 0) {
      *control = ends[0];
      return (int)pid;
    }
  }
  // The child finds its end of the socket closed, and ends.
  close(ends[0]);
  if (pid > 0) waitpid((pid_t)pid, NULL, 0);
  return -code;
}
