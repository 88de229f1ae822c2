// What runs between clone(2) and exec(2) of a sandbox, in C alone: no Swift runtime, no allocation, no thread.
// A plan comes in as an array of steps; each either succeeds or ends the launch with its number, its call and errno.
#ifndef CSANDBOX_H
#define CSANDBOX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum csandbox_op {
  CSANDBOX_BECOME_USER = 1,   // number uid, more gid
  CSANDBOX_DIE_WITH_PARENT,
  CSANDBOX_HOST_NAME,         // first
  CSANDBOX_LOOPBACK_UP,
  CSANDBOX_ADDRESS,           // first
  CSANDBOX_LOCAL_ROUTE,       // number 4 or 6
  CSANDBOX_SETTING,           // first the file, second what is written to it
  CSANDBOX_REDIRECT,          // number: the port of the listeners that all TCP goes to, more: 1 with IPv6
  CSANDBOX_LISTEN,            // number port, more CSANDBOX_LISTEN_*
  CSANDBOX_HAND_OUT,          // number of listeners
  CSANDBOX_NEW_ROOT,          // number bytes, more inodes
  CSANDBOX_FOLDER,            // first, number mode
  CSANDBOX_LINK,              // first the link, second where it leads
  CSANDBOX_FILE,              // first the path, second its bytes, number how many
  CSANDBOX_SEED,              // the same, where there is nothing of that name; more: its mode
  CSANDBOX_LAYER,             // first a folder of the system, second: a sequence of names and texts, number how many files
  CSANDBOX_SUBSTITUTE,        // first a file, second: where a link in its place leads; the file stays as it is
  CSANDBOX_COPY,              // first a folder, second: where what is written to it is kept, in `upper` and `work`
  CSANDBOX_BIND,              // first outside, second inside, number CSANDBOX_BIND_*; more: one of `trees` in its place, from 1 on
  CSANDBOX_PIN,               // first: a mount point of its own, number CSANDBOX_BIND_*
  CSANDBOX_TEMPORARY,         // first, second the mode, number bytes, more inodes
  CSANDBOX_PROCESSES,         // first
  CSANDBOX_TERMINALS,         // first
  CSANDBOX_MASK,              // first
  CSANDBOX_HIDE,              // first
  CSANDBOX_COVER,             // first, second: the bytes of a file, number how many; more: 1 for an empty folder instead
  CSANDBOX_ENTER_ROOT,
  CSANDBOX_OPEN_TERMINAL,
  CSANDBOX_LIMIT,             // number the resource, more its value
  CSANDBOX_DROP_BOUNDING,
  CSANDBOX_LOCK_SECUREBITS,
  CSANDBOX_NO_NEW_PRIVILEGES,
  CSANDBOX_DROP_CAPABILITIES,
  CSANDBOX_NOT_DUMPABLE,
  CSANDBOX_REAPER,
  CSANDBOX_SESSION,           // number 1: in the foreground of its terminal
  CSANDBOX_WORK_IN,           // first
  CSANDBOX_LANDLOCK,          // first: a sequence of writable paths, number how many; second: devices
  CSANDBOX_SECCOMP,           // number CSANDBOX_ALLOW_*
  CSANDBOX_CLOSE_DESCRIPTORS,
  CSANDBOX_PROBE,             // number CSANDBOX_PROBE_*, first, more a port
  CSANDBOX_EXEC,              // first: a sequence of arguments, then of the environment; number, more how many
};
enum { CSANDBOX_LISTEN_V6 = 1, CSANDBOX_LISTEN_DATAGRAM = 2, CSANDBOX_LISTEN_LOOPBACK = 4, CSANDBOX_LISTEN_REDIRECTED = 8 };
enum { CSANDBOX_ALLOW_TRACING = 1, CSANDBOX_ALLOW_NAMESPACES = 2 };
enum { CSANDBOX_BIND_WRITABLE = 1, CSANDBOX_BIND_DEVICE = 2 };
enum csandbox_probe {
  CSANDBOX_PROBE_TARGET_REFUSED = 1,  // first: HOST:PORT, asked of the proxy
  CSANDBOX_PROBE_NAME_REFUSED,        // first
  CSANDBOX_PROBE_CANARY_STREAM4,      // more: the port of a listener on the host's loopback
  CSANDBOX_PROBE_CANARY_STREAM6,
  CSANDBOX_PROBE_CANARY_DATAGRAM4,
  CSANDBOX_PROBE_DATAGRAM_REFUSED,    // first: an address
  CSANDBOX_PROBE_STREAM_REFUSED,
  CSANDBOX_PROBE_RAW_REFUSED,
  CSANDBOX_PROBE_UNREADABLE,
  CSANDBOX_PROBE_UNWRITABLE,
  CSANDBOX_PROBE_LOCAL_UNREACHABLE,   // first: the path of a unix socket
};

// Texts are places in one block of NUL-terminated texts; place 0 is the empty one.
struct csandbox_step {
  uint32_t op;
  uint32_t first, second;
  uint64_t number, more;
};

struct csandbox_plan {
  uint64_t namespaces;
  uint32_t uid, gid;
  // An unprivileged writer of gid_map has to give up setgroups(2) first.
  uint32_t denies_setgroups;
  uint32_t count;
  const struct csandbox_step *steps;
  const char *texts;
  // Detached mounts that were made outside, by csandbox_map_owner; descriptors above 3.
  const int *trees;
  uint32_t tree_count;
  // cgroup.procs of the cgroup that its first process goes to before it does anything, or NULL.
  const char *cgroup_procs;
  // Each probe says whether it held, and none ends the launch.
  uint32_t reports_probes;
};

// One owner of files: by the disk, and as a sandbox sees it.
struct csandbox_owners {
  uint32_t disk_uid, disk_gid, inside_uid, inside_gid;
};
// A descriptor of what is mounted at `path` and below it, detached, with the owner mapped; else -errno, and csandbox_stage()
// names the call. EINVAL where the file system has no such mapping. From a process with one thread, as root.
int csandbox_map_owner(const char *path, const struct csandbox_owners *owners);

enum csandbox_kind {
  // From inside
  CSANDBOX_FAILED = 1,  // step, code errno, text the call
  CSANDBOX_LISTENERS,   // fds
  CSANDBOX_READY,       // set up (and probed, where the plan has probes): the command may be started
  CSANDBOX_BROKEN,      // step: a probe that got through
  CSANDBOX_HELD,        // step: a probe that did not, where that is to be told
  CSANDBOX_STOPPED,     // code: the signal
  CSANDBOX_EXITED,      // code: the exit status, or 128 and the signal
  CSANDBOX_TERMINAL,    // fds: the other end of the command's terminal
  CSANDBOX_PUBLISHED,   // a connection to a published port has ended: code the port, text csandbox_published
  // From outside
  CSANDBOX_MAPPED,
  CSANDBOX_PROBE_NOW,
  CSANDBOX_START,
  CSANDBOX_SIGNAL,      // code
  CSANDBOX_FOREGROUND,  // the command gets its terminal, and goes on
  CSANDBOX_PUBLISH,     // fds: a listener of the host, code: the port inside that its connections go to
  CSANDBOX_JOIN,        // fds: of pid 1 a connection, on which a further command is asked for (csandbox_ask_to_join)
};
// Bytes of a connection to a published port, by the sandbox's view: `up` left it.
struct csandbox_published {
  uint64_t up, down, duration_ms;
};
// The step of a failure of a further command's exec: who asks for one has no plan.
#define CSANDBOX_JOINED_EXEC 0xffffffffu
enum { CSANDBOX_FDS_MAX = 64, CSANDBOX_TEXT_MAX = 64 };
struct csandbox_message {
  uint32_t kind;
  int32_t code;
  uint32_t step;
  char text[CSANDBOX_TEXT_MAX];
};
// The numbers of a CSANDBOX_PUBLISHED. A release build of Swift read its own copy of `text` before it was filled.
static inline struct csandbox_published csandbox_counts_of(const struct csandbox_message *message) {
  struct csandbox_published counts;
  memcpy(&counts, message->text, sizeof counts);
  return counts;
}

// Starts the sandbox's first process and maps its ids. Answers its process id, or -errno and the call that failed. The
// caller has one thread, and blocks the signals that it wants to see.
int csandbox_launch(const struct csandbox_plan *plan, int *control, const char **stage);
// 1: a message (and at most CSANDBOX_FDS_MAX descriptors), 0: none yet, -EPIPE: the sandbox is gone.
int csandbox_receive(int control, struct csandbox_message *message, int *fds, int *fd_count, int timeout_ms);
int csandbox_send(int control, uint32_t kind, int32_t code);
int csandbox_send_descriptor(int control, uint32_t kind, int32_t code, int fd);
// Asks for a further command, with the standard three of this process. `texts` are its arguments, each ended by NUL, and
// then one text that is a setting of TERM, or empty. `terminal`: 0 none, 1 in its foreground, 2 behind others.
enum { CSANDBOX_JOIN_TEXTS_MAX = 1 << 18 };
int csandbox_ask_to_join(int connection, int count, const char *texts, size_t size, int terminal);
// Waits for a message and leaves it where it is. 1, or -EPIPE.
int csandbox_peek(int control, struct csandbox_message *message);

// Waiting for signals and messages: 1 a signal (its number in *signal), 2 a message, 3 the lifeline has ended, 4
// somebody is at the door, 0 none of them. No lifeline or door is -1.
int csandbox_signals_open(void);
int csandbox_wait(int signals, int control, int lifeline, int door, int timeout_ms, int *signal);

// Stopping as the command did, with the whole group. Returns at once where nobody could let the group go on. The signal
// is one of a terminal's: SIGTSTP, SIGTTIN or SIGTTOU.
void csandbox_stop_self(int number);

// The caller's terminal. `find` answers 1 where one of the standard three is one; `begin` joins it to the command's own,
// which csandbox_wait then serves. `grant` answers 1 where the command may have the keystrokes from now on.
int csandbox_terminal_find(void);
int csandbox_terminal_is_shared(void);
void csandbox_terminal_begin(int terminal, int shared);
void csandbox_terminal_resume(void);
void csandbox_terminal_restore(void);
int csandbox_terminal_grant(void);
void csandbox_terminal_resize(void);
void csandbox_terminal_drain(void);

// The standard three: one that is closed is opened on nothing, so that no other file gets its number.
enum csandbox_standard {
  CSANDBOX_STANDARD_FINE = 0, CSANDBOX_STANDARD_FOLDER, CSANDBOX_STANDARD_SOCKET, CSANDBOX_STANDARD_DEVICE,
  CSANDBOX_STANDARD_TERMINAL, CSANDBOX_STANDARD_UNKNOWN,
};
void csandbox_standard_fill(void);
enum csandbox_standard csandbox_standard_kind(int fd);
// Of a path, links followed, or of a descriptor where that is NULL.
int csandbox_identity(const char *path, int fd, uint64_t *device, uint64_t *inode, uint64_t *links);

// The host, before a plan is made.
int csandbox_may_write(const char *path, uint32_t uid, uint32_t gid);
int csandbox_drop_groups(void);
// 0 missing, 1 folder, 2 file, 3 link, 4 other; of the link itself.
int csandbox_file_kind(const char *path, uint32_t *uid, uint32_t *gid);
// Numbers of the device that a file is on, or of the one that it is.
int csandbox_device(const char *path, int itself, uint32_t *major, uint32_t *minor);
long csandbox_read_link(const char *path, char *text, size_t room);
long csandbox_real_path(const char *path, char *text, size_t room);
int csandbox_make_folder(const char *path, uint32_t mode);
// A folder that is this user's alone, made where there is none. -EPERM where it is another's, or open to others.
int csandbox_private_folder(const char *path);
// Changes with each process that gets this number; 0 where there is none.
uint64_t csandbox_process_start(int pid);
// A signal for that very process, and a wait for its end. 1: it is gone, 0: not yet, or -errno. Number 0 sends none.
int csandbox_end_process(int pid, uint64_t start, int number, int wait_ms);
int csandbox_landlock_version(void);
int csandbox_write_file(const char *path, const char *text);
int csandbox_remove_folder(const char *path);
// Removes empty folders below `base` named PREFIX…-PID whose process is gone.
void csandbox_sweep(const char *base, const char *prefix);

// A name that the command must not make: an empty folder there, or with `text` a file. Answers a descriptor to keep, or
// -EALREADY where something of somebody's own stands there, or -errno. `release` takes it away, unless others share it.
int csandbox_placeholder_hold(const char *folder, const char *name, const char *text, uint32_t uid, uint32_t gid);
void csandbox_placeholder_release(const char *folder, const char *name, int fd);
int csandbox_is_placeholder(const char *path);

// Entries as getdents64(2) has them: how many bytes, or -errno. No link is followed.
long csandbox_list(const char *path, char *entries, size_t room);
// Of a regular file alone: what else stands there may block.
long csandbox_read_regular(const char *path, char *bytes, size_t room);
struct csandbox_stamp {
  uint64_t device, inode, size;
  int64_t changed_ns;
  uint32_t mode;
};
int csandbox_stamp(const char *path, struct csandbox_stamp *stamp);
// Replaces nothing.
int csandbox_rename(const char *from, const char *to);

// 0 in the new process. `word` is told the process id of the sandbox's first process, and closed when all is said.
int csandbox_fork_aftermath(int *word);
// Returns when that sandbox is gone. 1: it ran; 0: it never did.
int csandbox_await_sandbox(int word);
int csandbox_become(uint32_t uid, uint32_t gid);
// The last word: the caller ends as it should.
void csandbox_end_aftermath(int word);
int csandbox_tell_aftermath(int word, int32_t pid);
_Noreturn void csandbox_exit(int status);

// What the gate's own process keeps: no capability, no file but these, no system call but those that it makes. Of every
// thread, so it is called while there is one; threads inherit it.
enum csandbox_reach_kind { CSANDBOX_REACH_READ = 0, CSANDBOX_REACH_APPEND, CSANDBOX_REACH_CGROUP, CSANDBOX_REACH_REMOVE };
struct csandbox_place {
  uint32_t text, kind;
};
struct csandbox_reach {
  const struct csandbox_place *places;
  uint32_t count;
  // The process looks after a sandbox: waits for a child, passes a terminal on, removes a cgroup.
  uint32_t supervises;
  const char *texts;
  // The gate connects to a unix socket.
  uint32_t local_sockets;
};
// errno of what this kernel would not do; 0 where it did.
struct csandbox_lacks {
  int landlock, seccomp;
  int landlock_version;
};
// -errno, with the call by csandbox_stage, where no_new_privs or capabilities failed.
int csandbox_confine_gate(const struct csandbox_reach *reach, struct csandbox_lacks *lacks);
const char *csandbox_stage(void);
// Changes of a workspace, made in a copy of it. Paths are below the folder that `root` is; what a link leads to is not
// reached. 0, or -errno.
int csandbox_is_whiteout(const char *path);
int csandbox_is_opaque(const char *path);
uint32_t csandbox_mode(const char *path);
int csandbox_open_folder(const char *path);
int csandbox_change_remove(int root, const char *path);
int csandbox_change_folder(int root, const char *path, uint32_t mode);
int csandbox_change_file(int root, const char *path, const char *source, uint32_t mode);
int csandbox_change_link(int root, const char *path, const char *target);
// A new file of that owner's.
int csandbox_write_new(const char *path, const void *bytes, size_t count, uint32_t uid, uint32_t gid);
// 1 where standard input and standard error are terminals.
int csandbox_standard_asks(void);
// The bytes of one answer, of a terminal in line mode; -1 where the parent process is gone.
int csandbox_standard_answer(char *line, int room);

// True if this user may read the file, Landlock not asked.
int csandbox_may_read(const char *path);
int csandbox_may_read_as(const char *path, uint32_t uid, uint32_t gid);

// What this machine offers, tried in a child or on a socket that is closed again. The caller has one thread.
enum csandbox_offer { CSANDBOX_OFFER_CLONE = 1, CSANDBOX_OFFER_CAPABILITIES, CSANDBOX_OFFER_PROC };
// 0, or errno and what it was that failed.
int csandbox_try_namespaces(enum csandbox_offer *failed);
int csandbox_try_seccomp(void);
int csandbox_try_transparent(void);
uint64_t csandbox_open_files_max(void);
// A new, empty folder that is the user's alone.
int csandbox_make_folder_of(const char *path, uint32_t uid, uint32_t gid);

// A listener on an address of the host's loopback: a descriptor, or -errno.
int csandbox_host_listener(const char *address, uint16_t port);

// Listeners on the host's loopback that nothing inside may reach.
int csandbox_canary(int family, int datagram, uint16_t *port);
int csandbox_canary_was_reached(int fd, int datagram);

#endif
