// The caller's terminal beside a terminal of the sandbox's own: bytes go from one to the other, and the command has no
// descriptor of the caller's. Keystrokes are read only while this process stands in the foreground, so a sandbox in the
// background, or one that was stopped, takes none. There is one terminal in a process, so its state is this file's.
#define _GNU_SOURCE
#include "CSandbox.h"

#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { ROOM = 16384, DRAIN_MS = 5000, LOOK_MS = 100 };

struct flow {
  char bytes[ROOM];
  size_t start, end;
};

static int caller = -1, own = -1;
static int is_shared, is_granted, is_raw;
static struct termios plain, raw;
static struct flow keys, output;

int terminal_first(void) {
  for (int fd = 0; fd < 3; fd++)
    if (isatty(fd)) return fd;
  return -1;
}

// A description of its own: not to block is a setting that all holders of one share, and they include the caller's shell.
int csandbox_terminal_find(void) {
  char path[32];
  int fd = terminal_first();
  if (fd < 0) return 0;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  caller = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  // Behind su and the like it is another user's. By this name everybody may open the terminal of its session.
  if (caller < 0) caller = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (caller < 0) caller = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return caller >= 0;
}

// Others of a pipeline (a pager does), or of the terminal's own session, may read it: then the command gets keystrokes
// when it asks for them.
int csandbox_terminal_is_shared(void) { return !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetpgrp(caller) < 0; }

// Where the terminal is not this session's, there is no job control, and nobody to ask.
static int in_foreground(void) {
  pid_t group = tcgetpgrp(caller);
  return group < 0 ? errno == ENOTTY : group == getpgrp();
}

static void copy_size(void) {
  struct winsize size;
  if (ioctl(caller, TIOCGWINSZ, &size) == 0) ioctl(own, TIOCSWINSZ, &size);
}

// Keys for erasing, interrupting and the like are the caller's. In the background its modes are those of a shell's prompt.
static void copy_modes(void) {
  struct termios theirs, ours;
  if (tcgetattr(caller, &theirs) < 0 || tcgetattr(own, &ours) < 0) return;
  if (in_foreground())
    ours = theirs;
  else
    ours.c_iflag |= theirs.c_iflag & IUTF8;
  tcsetattr(own, TCSANOW, &ours);
}

void csandbox_terminal_begin(int terminal, int shared) {
  own = terminal;
  is_shared = shared;
  is_granted = !shared;
  copy_size();
  copy_modes();
  csandbox_terminal_resume();
}

// MARK: modes of the caller's terminal

static int ends_lines(int terminal) {
  struct termios modes;
  const tcflag_t both = OPOST | ONLCR;
  return tcgetattr(terminal, &modes) == 0 && (modes.c_oflag & both) == both;
}

static void read_keys(void);

// In the foreground each key goes to the command's terminal as it is: that one makes signals of some. Others of a
// pipeline go on writing here, so lines end here as they did for as long as the command's own terminal ends them.
void csandbox_terminal_resume(void) {
  if (own < 0 || caller < 0 || !is_granted || !in_foreground()) return;
  copy_size();
  if (!is_raw) {
    // An end of input (Ctrl-D) that waits would be read as a byte 0 once lines are no longer put together.
    read_keys();
    if (caller < 0 || tcgetattr(caller, &plain) < 0) return;
  }
  raw = plain;
  cfmakeraw(&raw);
  if (is_shared && ends_lines(own)) raw.c_oflag = plain.c_oflag;
  is_raw = tcsetattr(caller, TCSANOW, &raw) == 0;
}

void csandbox_terminal_restore(void) {
  if (is_raw) tcsetattr(caller, TCSANOW, &plain);
  is_raw = 0;
}

int csandbox_terminal_grant(void) {
  if (own < 0 || caller < 0 || is_granted || !in_foreground()) return 0;
  is_granted = 1;
  csandbox_terminal_resume();
  return 1;
}

void csandbox_terminal_resize(void) {
  if (own >= 0 && caller >= 0) copy_size();
}

// The line ends of one of the two. A program that sends its own is to be the only one, on both terminals.
static void follow_line_ends(int own_ends) {
  tcflag_t wanted = own_ends ? plain.c_oflag : raw.c_oflag & ~(tcflag_t)OPOST;
  if (!is_raw || !is_shared || raw.c_oflag == wanted) return;
  raw.c_oflag = wanted;
  tcsetattr(caller, TCSANOW, &raw);
}

// MARK: bytes

static int is_empty(const struct flow *flow) { return flow->start == flow->end; }

// Nobody sees it any more; the command is not to wait for that.
static void lose_caller(void) {
  caller = -1;
  is_raw = 0;
  output.start = output.end;
}

static int is_ready(int fd) {
  struct pollfd waiting = {.fd = fd, .events = POLLIN};
  return poll(&waiting, 1, 0) == 1 && waiting.revents & POLLIN;
}

// An end of input is no byte: the command's terminal makes one of its own key for it.
static void take_keys(void) {
  if (is_empty(&keys)) keys.start = keys.end = 0;
  ssize_t got = read(caller, keys.bytes + keys.end, ROOM - keys.end);
  struct termios modes;
  if (got > 0)
    keys.end += (size_t)got;
  else if (got == 0 && is_raw)
    lose_caller();
  else if (got == 0 && tcgetattr(own, &modes) == 0)
    keys.bytes[keys.end++] = (char)modes.c_cc[VEOF];
}

static void read_keys(void) {
  while (caller >= 0 && keys.end < ROOM && is_ready(caller)) {
    size_t had = keys.end;
    take_keys();
    if (keys.end <= had) return;
  }
}

// Where both terminals end lines, the ends of the command's own are taken back.
static void take_output(void) {
  output.start = output.end = 0;
  ssize_t got = read(own, output.bytes, ROOM - 1);
  if (got <= 0) return;
  size_t count = (size_t)got;
  int own_ends = ends_lines(own);
  follow_line_ends(own_ends);
  output.end = count;
  if (!own_ends || caller < 0 || !ends_lines(caller)) return;
  // A line's end may come in two reads.
  if (output.bytes[count - 1] == '\r' && read(own, output.bytes + count, 1) == 1) count += 1;
  output.end = 0;
  for (size_t i = 0; i < count; i++)
    if (output.bytes[i] != '\r' || i + 1 == count || output.bytes[i + 1] != '\n') output.bytes[output.end++] = output.bytes[i];
}

static void give(struct flow *flow, int fd) {
  ssize_t sent = write(fd, flow->bytes + flow->start, flow->end - flow->start);
  if (sent > 0) flow->start += (size_t)sent;
  // A terminal that is gone takes everything.
  if (sent < 0 && errno != EAGAIN && errno != EINTR) flow->start = flow->end;
}

// Of `stty tostop`: who is in the background writes later.
static int may_write(void) {
  struct termios modes;
  return in_foreground() || tcgetattr(caller, &modes) < 0 || !(modes.c_lflag & TOSTOP);
}

int terminal_await(struct pollfd waiting[2], int timeout_ms) {
  waiting[0] = waiting[1] = (struct pollfd){.fd = -1};
  if (own < 0) return timeout_ms;
  int is_in_front = caller >= 0 && in_foreground();
  // Another has the terminal by now, and its own modes there.
  if (!is_in_front) is_raw = 0;
  if (!is_raw) csandbox_terminal_resume();
  short events = (short)((caller < 0 || is_empty(&output) || !may_write() ? 0 : POLLOUT) | (is_empty(&keys) && is_granted && is_in_front ? POLLIN : 0));
  if (events && caller >= 0) waiting[0] = (struct pollfd){.fd = caller, .events = events};
  waiting[1] = (struct pollfd){.fd = own, .events = (short)((is_empty(&output) ? POLLIN : 0) | (is_empty(&keys) ? 0 : POLLOUT))};
  // A shell that brings a running job to the foreground tells nobody.
  int looks = caller >= 0 && !is_raw && (is_granted || !is_empty(&output));
  return !looks || (timeout_ms >= 0 && timeout_ms < LOOK_MS) ? timeout_ms : LOOK_MS;
}

void terminal_relay(const struct pollfd waiting[2]) {
  if (own < 0) return;
  if (waiting[0].revents & (POLLHUP | POLLERR)) {
    lose_caller();
  } else {
    if (waiting[0].revents & POLLOUT) give(&output, caller);
    // The foreground may have changed since it was asked for.
    if (waiting[0].revents & POLLIN && in_foreground()) take_keys();
  }
  if (waiting[1].revents & POLLOUT) give(&keys, own);
  if (waiting[1].revents & POLLIN) take_output();
  if (caller < 0) output.start = output.end;
}

// The sandbox is gone: what its terminal still holds ends with an error (EIO).
void csandbox_terminal_drain(void) {
  if (own < 0) return;
  for (;;) {
    while (!is_empty(&output)) {
      struct pollfd waiting = {.fd = caller, .events = POLLOUT};
      if (caller >= 0 && !may_write()) csandbox_stop_self(SIGTTOU);
      if (caller < 0 || poll(&waiting, 1, DRAIN_MS) <= 0 || waiting.revents & (POLLHUP | POLLERR)) return;
      give(&output, caller);
    }
    struct pollfd waiting = {.fd = own, .events = POLLIN};
    if (poll(&waiting, 1, DRAIN_MS) <= 0) return;
    take_output();
    if (is_empty(&output)) return;
  }
}

// MARK: a caller that was killed

// Another process, which does not stand in the session, mends the terminal. One that a shell has mended meanwhile stays.
void terminal_mend(void) {
  struct termios now;
  int fd = terminal_first();
  if (fd < 0 || tcgetattr(fd, &now) < 0) return;
  struct termios spoilt = plain;
  cfmakeraw(&spoilt);
  if (now.c_lflag == spoilt.c_lflag && now.c_iflag == spoilt.c_iflag) tcsetattr(fd, TCSANOW, &plain);
}

void terminal_remember(void) {
  int fd = terminal_first();
  if (fd >= 0) tcgetattr(fd, &plain);
}
