// What the Glibc module lacks or makes awkward, with prefixed names. Every call that can fail answers -errno, so that
// no caller reads errno late. Never define _GNU_SOURCE here: every importer would fail.
#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>

// A socket address without its casts: family 4 or 6; an IPv4 address stands in `low`. All in host order.
struct clinux_address {
  uint64_t high, low;
  uint32_t family;
  uint16_t port;
};

// epoll(7)
struct clinux_event {
  uint64_t key;
  uint32_t ready;
};
enum {
  CLINUX_READABLE = 1,
  CLINUX_WRITABLE = 2,
  CLINUX_PEER_CLOSED = 4,
  CLINUX_HANGUP = 8,
  CLINUX_ERROR = 16,
};
int clinux_epoll_create(void);
int clinux_epoll_add_edges(int epoll, int fd, uint64_t key);
// Edges of reading alone, and of both directions from then on.
int clinux_epoll_add_reading_edges(int epoll, int fd, uint64_t key);
int clinux_epoll_all_edges(int epoll, int fd, uint64_t key);
int clinux_epoll_add_readable(int epoll, int fd, uint64_t key);
// Of a socket that other loops watch too: of these, few are woken by what comes.
int clinux_epoll_add_shared(int epoll, int fd, uint64_t key, int edges);
int clinux_epoll_interest(int epoll, int fd, uint64_t key, int readable, int writable, int is_new);
int clinux_epoll_remove(int epoll, int fd);
int clinux_epoll_wait(int epoll, struct clinux_event *events, int count_max, int timeout_ms);

// Sockets
int clinux_listen(const struct clinux_address *address, int reuse_port, int transparent, int backlog,
                  const char **stage);
int clinux_bind_datagrams(const struct clinux_address *address, int reuse_port, const char **stage);
int clinux_accept(int fd, struct clinux_address *peer);
void clinux_close(int fd);
// Without TCP_NODELAY.
int clinux_connect(const struct clinux_address *address, const char **stage);
// Two connected stream sockets of this process alone.
int clinux_socket_pair(int ends[2]);
int clinux_local_address(int fd, struct clinux_address *address);
void clinux_send_at_once(int fd);
int clinux_peer_address(int fd, struct clinux_address *address);
int clinux_original_destination(int fd, uint32_t family, struct clinux_address *address);
int clinux_pending_error(int fd);
// How many bytes the TCP peer has acknowledged in all, and whether it has others still to acknowledge (TCP_INFO).
int clinux_taken(int fd, uint64_t *bytes, int *waits);
int clinux_shutdown_write(int fd);
void clinux_keep_alive(int fd, int idle_seconds);
int clinux_reset_on_close(int fd);
long clinux_receive(int fd, void *bytes, size_t count);
// What a receive of one byte would answer; the byte stays.
long clinux_peek(int fd);
long clinux_send(int fd, const void *bytes, size_t count);

// Datagrams, a batch a call. `local` is the address of ours that the peer sent to, and that an answer must leave from;
// `link` is the interface, which link-local addresses need.
struct clinux_datagram {
  struct clinux_address peer, local;
  uint32_t link;
  uint32_t count;
};
enum { CLINUX_DATAGRAMS_MAX = 16 };
// `bytes` has room for `room` bytes a datagram. A longer one is cut, and its count is above `room`.
int clinux_receive_datagrams(int fd, void *bytes, size_t room, struct clinux_datagram *datagrams, int count_max);
// The datagrams stand one behind the other in `bytes`. Answers how many the kernel took; one that it refuses is dropped,
// and when its buffer is full the rest is.
int clinux_send_datagrams(int fd, const void *bytes, const struct clinux_datagram *datagrams, int count);

// Pipes
int clinux_pipe(int ends[2], int bytes_wanted);
long clinux_splice(int from, int to, size_t count, int more);

// Files and events
int clinux_open_append(const char *path);
int clinux_reopen_append(int fd);
int clinux_open_read(const char *path);
// Sends one batch of nf_tables messages, in the network namespace of that path or, with NULL, in the process's own.
// 0, or -errno: of the first message that the kernel refused, or of what went wrong on the way.
int clinux_netfilter_batch(const char *namespace_path, const void *bytes, size_t count);
long clinux_read(int fd, void *bytes, size_t count);
long clinux_write(int fd, const void *bytes, size_t count);
int clinux_eventfd(int is_blocking);
int clinux_signal_open(void);
int clinux_signal_take(int fd);
int clinux_file_stamp(const char *path, uint64_t stamp[4]);
int clinux_descriptor_stamp(int fd, uint64_t stamp[4]);
int clinux_wait_readable(int fd, int timeout_ms);
int clinux_wait_writable(int fd, int timeout_ms);

// The terminal of standard input and output, one a process. Between `take` and `give_back` keys come one by one and are
// not shown; a signal that ends the process gives it back first. `leave` is what is written to it then, at most 64 bytes.
int clinux_is_terminal(int fd);
int clinux_terminal_size(int size[2]);
int clinux_terminal_take(const char *leave);
void clinux_terminal_give_back(void);

// Unix sockets with a path, and descriptors that are handed over by them.
enum { CLINUX_LOCAL_PATH_MAX = 107, CLINUX_DESCRIPTORS_MAX = 64 };
int clinux_local_socket(unsigned mode);
int clinux_local_bind(int fd, const char *path);
int clinux_local_listen(int fd, int backlog);
int clinux_local_accept(int fd);
// Each read and write on it waits that long.
int clinux_local_connect(const char *path, int wait_seconds);
// Nonblocking; a connection that would have to wait fails.
int clinux_local_connect_at_once(const char *path);
int clinux_local_peer(int fd, int *pid, uint32_t *uid);
// -ENOTSOCK where something else is in its place.
int clinux_local_identity(const char *path, uint64_t identity[2]);
int clinux_unlink(const char *path);
// -EWOULDBLOCK while another process has it.
int clinux_lock_folder(const char *path);
long clinux_send_descriptors(int fd, const void *bytes, size_t count, const int *fds, int fd_count);
// `fds` has room for CLINUX_DESCRIPTORS_MAX; the kernel closes what is beyond that.
long clinux_receive_descriptors(int fd, void *bytes, size_t count, int *fds, int *fd_count);
// Of IPv4 or IPv6: a TCP socket that listens, or a UDP socket.
int clinux_is_listener(int fd, int datagram);
int clinux_set_nonblocking(int fd);

// Listeners that another process made, and what it wants to be told.
// The descriptor does not block, and no other program gets it.
int clinux_adopt(int fd);
// And of TCP or UDP, gives it what this process's own have. -EAFNOSUPPORT: it listens on all IPv6 addresses, and takes IPv4 there.
int clinux_adopt_listener(int fd, int datagram);
int clinux_duplicate(int fd);
// The path of a unix stream socket that listens, and its length, or -errno; `path` has room for CLINUX_LOCAL_PATH_MAX + 1.
int clinux_local_listener_path(int fd, char *path);
// A datagram socket to a path, or to an abstract name when it begins with @.
int clinux_local_datagrams_to(const char *path);

// Children
int clinux_memory_file(const char *name);
long clinux_read_at(int fd, void *bytes, size_t count, uint64_t offset);
int clinux_spawn(const char *arguments, int input, int output, int errors);
int clinux_wait(int pid);
// A process of its own that runs this one program each time it is asked on the socket that is returned: a count of 32
// bits and that many bytes, which the program reads. It answers with the status, the count of bytes and the bytes; it
// ends with the socket. Not for a process with threads.
#define CLINUX_COMMAND_INPUT_MAX 16384
int clinux_command_helper(const char *arguments, const char *hidden, int timeout_ms);
// Runs a program to its end with the caller's environment but for the variables in `hidden`; both lists are packed texts.
// The program reads from `input`, or nothing where that is -1.
// What it writes to its standard output goes to `output`, the rest nowhere. The exit status, 128 and the signal,
// -ETIMEDOUT when it was killed for the time it took, or -errno.
int clinux_run(const char *arguments, const char *hidden, int input, int output, int timeout_ms);

// The machine
uint64_t clinux_monotonic_ns(void);
int64_t clinux_wall_ms(void);
int clinux_cores(void);
// NAME=VALUE of this process's environment, or NULL behind the last one.
const char *clinux_environment(size_t index);
long clinux_current_folder(char *text, size_t room);
int clinux_thread_start(void *(*body)(void *), void *argument);
void clinux_thread_name(const char *name);
int clinux_interfaces(struct clinux_address *addresses, int count_max);
void clinux_raise_open_files(void);
uint64_t clinux_open_files_max(void);
/* Of the process; 0 where the kernel does not tell. The two descriptors outlive a view of /proc. */
uint64_t clinux_cpu_ns(void);
int clinux_open_memory_figures(void);
int clinux_open_descriptor_folder(void);
uint64_t clinux_resident_bytes(int memory_figures);
uint64_t clinux_descriptor_count(int descriptor_folder);
const char *clinux_error_name(int code, char *text, size_t count);

#endif
