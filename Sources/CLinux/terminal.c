// The terminal: raw mode, and given back on every way out. Thin wrappers: one call each, -errno on failure.
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios terminal_before;
static char terminal_leave[64];
static volatile sig_atomic_t terminal_is_taken;
static const int terminal_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGILL, SIGTRAP,
                                       SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE};
enum { TERMINAL_SIGNALS = sizeof terminal_signals / sizeof terminal_signals[0] };

int clinux_is_terminal(int fd) { return isatty(fd); }

int clinux_terminal_size(int size[2]) {
  struct winsize window;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) < 0) return -errno;
  size[0] = window.ws_row;
  size[1] = window.ws_col;
  return 0;
}

// tcsetattr and write are safe in a signal handler (signal-safety(7)).
void clinux_terminal_give_back(void) {
  if (!terminal_is_taken) return;
  terminal_is_taken = 0;
  if (write(STDOUT_FILENO, terminal_leave, strlen(terminal_leave)) < 0) { /* it is gone, and needs nothing */ }
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_before);
}

// SA_RESETHAND has put the default back: raised again, the signal ends the process as it would have.
static void terminal_signal(int number) {
  clinux_terminal_give_back();
  raise(number);
}

int clinux_terminal_take(const char *leave) {
  if (strlen(leave) >= sizeof terminal_leave) return -EINVAL;
  if (tcgetattr(STDIN_FILENO, &terminal_before) < 0) return -errno;
  strcpy(terminal_leave, leave);
  struct sigaction action = {.sa_handler = terminal_signal, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  for (int index = 0; index < TERMINAL_SIGNALS; index++)
    if (sigaction(terminal_signals[index], &action, NULL) < 0) return -errno;
  struct termios keys = terminal_before;
  keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
  keys.c_iflag &= ~(tcflag_t)(IXON | ICRNL);
  keys.c_cc[VMIN] = 0;
  keys.c_cc[VTIME] = 0;
  terminal_is_taken = 1;
  if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys) < 0) {
    int code = errno;
    terminal_is_taken = 0;
    return -code;
  }
  return 0;
}
