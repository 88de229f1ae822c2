// What the files of this target share: the call that failed last, and one function a kind of step.
#ifndef INSIDE_H
#define INSIDE_H

#include "CSandbox.h"

// The name of the call that failed, for the message; always a literal.
extern const char *sandbox_stage;

#define FAIL_IF(condition, call)  \
  do {                            \
    if (condition) {              \
      sandbox_stage = call;       \
      return -errno;              \
    }                             \
  } while (0)

const char *sandbox_next(const char *text);

int network_loopback_up(void);
int network_address(const char *address);
int network_local_route(int family);
// 1 where a route says that the address is this namespace's own.
int network_is_local(const char *address);
int network_redirect(uint16_t port, int has_v6);
int network_listen(uint16_t port, uint64_t flags);

int mounts_new_root(uint64_t bytes, uint64_t inodes);
int mounts_folder(const char *path, uint32_t mode);
int mounts_link(const char *path, const char *to);
int mounts_file(const char *path, const char *bytes, uint64_t count);
int mounts_seed(const char *path, const char *bytes, uint64_t count, uint32_t mode);
int mounts_layer(const char *path, const char *files, uint64_t count);
int mounts_substitute(const char *path, const char *to);
int mounts_copy(const char *path, const char *store);
int mounts_bind(const char *outside, const char *inside, uint64_t flags);
int mounts_attach(int tree, const char *inside, uint64_t flags);
int mounts_pin(const char *path, uint64_t flags);
int mounts_temporary(const char *path, const char *mode, uint64_t bytes, uint64_t inodes);
int mounts_processes(const char *path);
int mounts_terminals(const char *path);
int mounts_mask(const char *path);
int mounts_hide(const char *path);
int mounts_cover(const char *path, const char *bytes, uint64_t count, int is_folder);
int mounts_enter(void);

int confine_drop_bounding(void);
int confine_lock_securebits(void);
int confine_drop_capabilities(void);
int confine_landlock(const char *writable, uint64_t count, const char *devices);
int confine_seccomp(uint64_t allows);
int confine_gate_seccomp(int supervises, int local_sockets);

// 1: held, 0: something got through.
int probe_holds(const struct csandbox_step *step, const char *first);

// The arguments, and behind them a setting of TERM, which may be empty.
struct joined {
  uint32_t count, size;
  int terminal;
  char texts[CSANDBOX_JOIN_TEXTS_MAX];
};

int sandbox_send(int control, const struct csandbox_message *message, const int *fds, int count);
// Answers only where it fails. Of a further command the arguments are its own, and `texts` lead to the environment.
int sandbox_execute(const struct joined *joined, const char *texts, uint64_t count, uint64_t settings);

// Joins connections to a listener of the host with a port of the sandbox's loopback, until the sandbox ends.
_Noreturn void publish(int control, int listener, uint16_t port);

#endif
