// Two filters of system calls, which rely on no_new_privs. The sandbox's is a deny list: what no program in there needs, and
// has led out of sandboxes, is answered EPERM; the rest is judged by the namespaces and by Landlock. The gate's own is an
// allow list: what it is made of is known.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the filter knows x86-64 and 64-bit ARM"
#endif

// Numbers since 5.1 are the same on every architecture.
enum {
  NR_PIDFD_GETFD = 438, NR_PROCESS_MADVISE = 440, NR_MOUNT_SETATTR = 442, NR_QUOTACTL_FD = 443, NR_PROCESS_MRELEASE = 448,
  NR_OPEN_TREE = 428, NR_MOVE_MOUNT = 429, NR_FSOPEN = 430, NR_FSCONFIG = 431, NR_FSMOUNT = 432, NR_FSPICK = 433,
  NR_IO_URING_SETUP = 425, NR_IO_URING_ENTER = 426, NR_IO_URING_REGISTER = 427, NR_CLONE3 = 435, NR_OPEN_TREE_ATTR = 467,
};

static const uint32_t denied[] = {
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, NR_IO_URING_SETUP, NR_IO_URING_ENTER, NR_IO_URING_REGISTER,
    SYS_add_key, SYS_request_key, SYS_keyctl,
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_swapon, SYS_swapoff, NR_OPEN_TREE, NR_MOVE_MOUNT, NR_FSOPEN,
    NR_FSCONFIG, NR_FSMOUNT, NR_FSPICK, NR_MOUNT_SETATTR, NR_OPEN_TREE_ATTR, SYS_quotactl, NR_QUOTACTL_FD,
    SYS_setns, SYS_unshare,
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, NR_PIDFD_GETFD, NR_PROCESS_MADVISE, NR_PROCESS_MRELEASE, SYS_kcmp,
    SYS_open_by_handle_at, SYS_fanotify_init,
    SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_reboot, SYS_acct, SYS_syslog,
    SYS_settimeofday, SYS_clock_settime, SYS_sethostname, SYS_setdomainname, SYS_personality, SYS_vhangup, SYS_nfsservctl,
    SYS_lookup_dcookie,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#if defined(__x86_64__)
    SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_ustat, SYS__sysctl, SYS_create_module, SYS_get_kernel_syms,
    SYS_query_module,
#endif
};
enum { DENIED = sizeof denied / sizeof *denied };
// Of these, what an option gives back (CSANDBOX_ALLOW_*).
static const uint32_t tracing[] = {SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp};
static const uint32_t nesting[] = {SYS_unshare, SYS_chroot};

static int is_among(uint32_t call, const uint32_t *calls, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (calls[i] == call) return 1;
  return 0;
}

static int is_given_back(uint32_t call, uint64_t allows) {
  return (allows & CSANDBOX_ALLOW_TRACING && is_among(call, tracing, sizeof tracing / sizeof *tracing)) ||
         (allows & CSANDBOX_ALLOW_NAMESPACES && is_among(call, nesting, sizeof nesting / sizeof *nesting));
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_LOW(index) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[index]))
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define IF_ANY(bits, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, yes, no)
#define AND(bits) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits)
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)
#define ERROR(code) ANSWER(SECCOMP_RET_ERRNO | (code))
#define ALLOW ANSWER(SECCOMP_RET_ALLOW)

#define NEW_NAMESPACES                                                                                        \
  (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)

// MARK: programs

// Jumps name labels, and their distances are computed: a line that is inserted moves no boundary.
enum { FILTER_MAX = 512, FIRST_LABEL = 0xf0 };
#define TO(label) ((uint8_t)(FIRST_LABEL + (label)))

struct filter {
  struct sock_filter steps[FILTER_MAX];
  unsigned count;
  // From where on jumps may lead to the labels that are placed next.
  unsigned begun;
};

static void add(struct filter *filter, const struct sock_filter *steps, size_t count) {
  for (size_t i = 0; i < count && filter->count < FILTER_MAX; i++) filter->steps[filter->count++] = steps[i];
}
#define ADD(filter, ...)                                   \
  do {                                                     \
    const struct sock_filter steps_[] = {__VA_ARGS__};     \
    add(filter, steps_, sizeof steps_ / sizeof *steps_);   \
  } while (0)

// All jumps so far to that label lead to the next step.
static void place(struct filter *filter, unsigned label) {
  for (unsigned i = filter->begun; i < filter->count; i++) {
    struct sock_filter *step = &filter->steps[i];
    if (BPF_CLASS(step->code) != BPF_JMP) continue;
    unsigned distance = filter->count - i - 1;
    // A distance that fits into no jump leaves the label where it is, and `finish` refuses that.
    if (distance >= FIRST_LABEL) continue;
    if (step->jt == TO(label)) step->jt = (uint8_t)distance;
    if (step->jf == TO(label)) step->jf = (uint8_t)distance;
  }
}

// A rule's labels are its own.
static void begin(struct filter *filter) { filter->begun = filter->count; }

// Every label was placed, and all steps found room.
static int finish(const struct filter *filter) {
  if (filter->count >= FILTER_MAX) return -1;
  for (unsigned i = 0; i < filter->count; i++) {
    const struct sock_filter *step = &filter->steps[i];
    if (BPF_CLASS(step->code) == BPF_JMP && (step->jt >= FIRST_LABEL || step->jf >= FIRST_LABEL)) return -1;
  }
  return 0;
}

enum { ALLOWED, DENIED_CALL, NO_FAMILY, NO_PROTOCOL, INTERNET, PLAIN, NEXT };

int confine_seccomp(uint64_t allows) {
  // Little-endian machines both: an argument's low half comes first, and the kernel looks at that half alone for each of
  // the arguments that are compared here.
  struct filter filter = {.count = 0, .begun = 0};
  ADD(&filter, LOAD(arch), IF_EQUAL(ARCHITECTURE, TO(NEXT), 0), ANSWER(SECCOMP_RET_KILL_PROCESS));
  place(&filter, NEXT);
  ADD(&filter, LOAD(nr));
#if defined(__x86_64__)
  // x32: the same calls under other numbers.
  ADD(&filter, IF_ANY(0x40000000, 0, TO(NEXT)), ERROR(ENOSYS));
  place(&filter, NEXT);
#endif
  // The flags of clone3 lie in memory, where a filter cannot read: callers fall back to clone(2).
  ADD(&filter, IF_EQUAL(NR_CLONE3, 0, TO(NEXT)), ERROR(ENOSYS));
  place(&filter, NEXT);
  if (!(allows & CSANDBOX_ALLOW_NAMESPACES))
    ADD(&filter, IF_EQUAL(SYS_clone, 0, TO(NEXT)), LOAD_LOW(0), IF_ANY(NEW_NAMESPACES, TO(DENIED_CALL), TO(ALLOWED)));
  place(&filter, NEXT);
  // A debugger asks for addresses that stay the same from one run to the next (ADDR_NO_RANDOMIZE), and how it is now.
  if (allows & CSANDBOX_ALLOW_TRACING)
    ADD(&filter, IF_EQUAL(SYS_personality, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(0xffffffff, TO(ALLOWED), 0),
        IF_EQUAL(0x0040000, TO(ALLOWED), 0), IF_EQUAL(0, TO(ALLOWED), TO(DENIED_CALL)));
  place(&filter, NEXT);
  // TIOCSTI types into the caller's terminal; TIOCLINUX pastes into a console.
  ADD(&filter, IF_EQUAL(SYS_ioctl, 0, TO(NEXT)), LOAD_LOW(1), IF_EQUAL(TIOCSTI, TO(DENIED_CALL), 0),
      IF_EQUAL(TIOCLINUX, TO(DENIED_CALL), TO(ALLOWED)));
  place(&filter, NEXT);
  // The kernel's rarer protocols: much code, little tested.
  ADD(&filter, IF_EQUAL(SYS_socketpair, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(AF_UNIX, TO(ALLOWED), TO(NO_FAMILY)));
  place(&filter, NEXT);
  ADD(&filter, IF_EQUAL(SYS_socket, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(AF_UNIX, TO(ALLOWED), 0),
      IF_EQUAL(AF_INET, TO(INTERNET), 0), IF_EQUAL(AF_INET6, TO(INTERNET), 0), IF_EQUAL(AF_NETLINK, 0, TO(NO_FAMILY)),
      LOAD_LOW(2), IF_EQUAL(0 /* NETLINK_ROUTE */, TO(ALLOWED), TO(NO_PROTOCOL)));
  place(&filter, INTERNET);
  ADD(&filter, LOAD_LOW(1), AND(0xf), IF_EQUAL(SOCK_STREAM, TO(PLAIN), 0),
      IF_EQUAL(SOCK_DGRAM, TO(PLAIN), TO(DENIED_CALL)));
  place(&filter, PLAIN);
  ADD(&filter, LOAD_LOW(2), IF_EQUAL(0, TO(ALLOWED), 0), IF_EQUAL(IPPROTO_TCP, TO(ALLOWED), 0),
      IF_EQUAL(IPPROTO_UDP, TO(ALLOWED), 0), IF_EQUAL(IPPROTO_ICMP, TO(ALLOWED), 0),
      IF_EQUAL(IPPROTO_ICMPV6, TO(ALLOWED), TO(NO_PROTOCOL)));
  place(&filter, NEXT);
  for (unsigned i = 0; i < DENIED; i++)
    if (!is_given_back(denied[i], allows)) ADD(&filter, IF_EQUAL(denied[i], TO(DENIED_CALL), 0));
  place(&filter, ALLOWED);
  ADD(&filter, ALLOW);
  place(&filter, DENIED_CALL);
  ADD(&filter, ERROR(EPERM));
  place(&filter, NO_FAMILY);
  ADD(&filter, ERROR(EAFNOSUPPORT));
  place(&filter, NO_PROTOCOL);
  ADD(&filter, ERROR(EPROTONOSUPPORT));
  if (finish(&filter) < 0) errno = EINVAL;
  FAIL_IF(finish(&filter) < 0, "seccomp");
  struct sock_fprog program = {.len = (unsigned short)filter.count, .filter = filter.steps};
  FAIL_IF(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0, "seccomp");
  return 0;
}

// MARK: the gate

// What it does for each connection comes first: a kernel before 5.11 asks the filter each time. Later ones remember, for
// each call that is allowed whatever its arguments are, that there is nothing to ask.
static const uint32_t gate_calls[] = {
#if defined(__x86_64__)
    SYS_epoll_wait,
#endif
    SYS_epoll_pwait, SYS_recvfrom, SYS_sendto, SYS_epoll_ctl, SYS_close, SYS_accept4, SYS_setsockopt, SYS_getsockopt,
    SYS_connect, SYS_getpeername, SYS_getsockname, SYS_shutdown, SYS_splice, SYS_write, SYS_read, SYS_futex, SYS_pipe2,
    SYS_fcntl, SYS_recvmmsg, SYS_sendmmsg, SYS_recvmsg, SYS_sendmsg, SYS_clock_gettime,
    // Memory, time, chance
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_gettimeofday, SYS_clock_getres, SYS_nanosleep, SYS_clock_nanosleep,
    SYS_getrandom,
    // Threads and loops, which begin behind the filter
    SYS_exit, SYS_exit_group, SYS_gettid, SYS_getpid, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_sched_getaffinity,
    SYS_sigaltstack, SYS_membarrier, SYS_epoll_create1, SYS_eventfd2, SYS_readv, SYS_writev, SYS_bind,
    // Signals
    SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_restart_syscall,
    // Files, where Landlock has the say
    SYS_openat, SYS_newfstatat, SYS_fstat, SYS_statx, SYS_lseek, SYS_pread64, SYS_faccessat, 439 /* faccessat2 */,
    SYS_unlinkat,
    // A refresh token that is written back
    SYS_renameat, SYS_renameat2, SYS_fchmod, SYS_fsync,
    // Identity and place
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_sysinfo, SYS_ppoll,
#if defined(__x86_64__)
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_poll, SYS_time, SYS_unlink, SYS_rename,
#endif
};
// Of the one who looks after a sandbox: it waits for its first process, and takes its cgroup away.
static const uint32_t supervisor_calls[] = {
    SYS_wait4, SYS_waitid, SYS_getpgid, SYS_getppid,
#if defined(__x86_64__)
    SYS_rmdir, SYS_getpgrp,
#endif
};
// Beside `denied`: it never starts a program. What asks for one of these is no longer the gate, and is ended.
static const uint32_t intruder_calls[] = {SYS_execve, SYS_execveat};

enum { FIRST_CALL_OF_5_1 = 403 };

static void answer_each(struct filter *filter, const uint32_t *calls, size_t count, uint32_t answer) {
  for (size_t i = 0; i < count; i++) {
    begin(filter);
    ADD(filter, IF_EQUAL(calls[i], 0, TO(NEXT)), ANSWER(answer));
    place(filter, NEXT);
  }
}
#define ANSWER_EACH(filter, calls, answer) answer_each(filter, calls, sizeof calls / sizeof *calls, answer)

// The end of a rule that looks at arguments: the call's number is no longer loaded, so all of it ends with an answer.
static void answer(struct filter *filter) {
  place(filter, ALLOWED);
  ADD(filter, ALLOW);
  place(filter, DENIED_CALL);
  ADD(filter, ERROR(EPERM));
  place(filter, NEXT);
  begin(filter);
}

// Calls that are allowed with some arguments only. This one is made for each tunnel, whatever the kernel remembers, so it
// comes before all others.
static void add_socket(struct filter *filter, int local_sockets) {
  // Upstreams, name servers, and the list of interfaces; no unix socket: a container engine listens on one. Only a Redis
  // that the policy has at a path is reached by one.
  begin(filter);
  if (local_sockets) {
    ADD(filter, IF_EQUAL(SYS_socket, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(AF_UNIX, TO(ALLOWED), 0),
        IF_EQUAL(AF_INET, TO(ALLOWED), 0), IF_EQUAL(AF_INET6, TO(ALLOWED), 0),
        IF_EQUAL(AF_NETLINK, 0, TO(DENIED_CALL)), LOAD_LOW(2),
        IF_EQUAL(0 /* NETLINK_ROUTE */, TO(ALLOWED), TO(DENIED_CALL)));
    return answer(filter);
  }
  ADD(filter, IF_EQUAL(SYS_socket, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(AF_INET, TO(ALLOWED), 0),
      IF_EQUAL(AF_INET6, TO(ALLOWED), 0), IF_EQUAL(AF_NETLINK, 0, TO(DENIED_CALL)), LOAD_LOW(2),
      IF_EQUAL(0 /* NETLINK_ROUTE */, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
}

static void add_by_argument(struct filter *filter, int supervises) {
  uint32_t self = (uint32_t)getpid();
  begin(filter);
  // A thread, never a process.
  ADD(filter, IF_EQUAL(SYS_clone, 0, TO(NEXT)), LOAD_LOW(0), IF_ANY(CLONE_THREAD, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
  ADD(filter, IF_EQUAL(NR_CLONE3, 0, TO(NEXT)), ERROR(ENOSYS));
  place(filter, NEXT);
  begin(filter);
  // No memory becomes code.
  ADD(filter, IF_EQUAL(SYS_mmap, TO(PLAIN), 0), IF_EQUAL(SYS_mprotect, 0, TO(NEXT)));
  place(filter, PLAIN);
  ADD(filter, LOAD_LOW(2), IF_ANY(PROT_EXEC, TO(DENIED_CALL), TO(ALLOWED)));
  answer(filter);
  ADD(filter, IF_EQUAL(SYS_prctl, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(PR_SET_NAME, TO(ALLOWED), 0),
      IF_EQUAL(0x53564d41 /* PR_SET_VMA */, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
  // What joins the TLS of a listener and its sessions. Streams alone: a datagram socket could be turned to another peer.
  ADD(filter, IF_EQUAL(SYS_socketpair, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(AF_UNIX, 0, TO(DENIED_CALL)),
      LOAD_LOW(1), AND(0xf), IF_EQUAL(SOCK_STREAM, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
  // How it ends itself.
  ADD(filter, IF_EQUAL(SYS_tgkill, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(self, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
  if (!supervises) return;
  // The supervisor stops with its group, as the command did.
  ADD(filter, IF_EQUAL(SYS_kill, 0, TO(NEXT)), LOAD_LOW(0), IF_EQUAL(0, TO(ALLOWED), 0),
      IF_EQUAL(self, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
  // The two terminals, which it has open.
  ADD(filter, IF_EQUAL(SYS_ioctl, 0, TO(NEXT)), LOAD_LOW(1), IF_EQUAL(TIOCGPGRP, TO(ALLOWED), 0),
      IF_EQUAL(TIOCGWINSZ, TO(ALLOWED), 0), IF_EQUAL(TIOCSWINSZ, TO(ALLOWED), 0), IF_EQUAL(TCGETS, TO(ALLOWED), 0),
      IF_EQUAL(TCSETS, TO(ALLOWED), TO(DENIED_CALL)));
  answer(filter);
}

int confine_gate_seccomp(int supervises, int local_sockets) {
  struct filter filter = {.count = 0, .begun = 0};
  ADD(&filter, LOAD(arch), IF_EQUAL(ARCHITECTURE, TO(NEXT), 0), ANSWER(SECCOMP_RET_KILL_PROCESS));
  place(&filter, NEXT);
  ADD(&filter, LOAD(nr));
  add_socket(&filter, local_sockets);
  ANSWER_EACH(&filter, gate_calls, SECCOMP_RET_ALLOW);
  if (supervises) ANSWER_EACH(&filter, supervisor_calls, SECCOMP_RET_ALLOW);
  ANSWER_EACH(&filter, intruder_calls, SECCOMP_RET_KILL_PROCESS);
  ANSWER_EACH(&filter, denied, SECCOMP_RET_KILL_PROCESS);
  add_by_argument(&filter, supervises);
  // A C library tries what is new, and does without where it is told that there is no such call.
  ADD(&filter, BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_CALL_OF_5_1, 0, TO(NEXT)), ERROR(ENOSYS));
  place(&filter, NEXT);
  ADD(&filter, ERROR(EPERM));
  if (finish(&filter) < 0) errno = EINVAL;
  FAIL_IF(finish(&filter) < 0, "seccomp");
  struct sock_fprog program = {.len = (unsigned short)filter.count, .filter = filter.steps};
  // No code of others runs in here that could look at what the processor guesses: that guard would cost each call.
  long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
  if (result > 0) errno = ESRCH;
  FAIL_IF(result != 0, "seccomp");
  return 0;
}
