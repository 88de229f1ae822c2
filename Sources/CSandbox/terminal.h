// The terminal of terminal.c, as the loop of the caller and the process that outlives it see it.
#ifndef TERMINAL_H
#define TERMINAL_H

#include <poll.h>

// The first of the standard three that is a terminal, or -1.
int terminal_first(void);
// Answers how long to wait at most.
int terminal_await(struct pollfd waiting[2], int timeout_ms);
void terminal_relay(const struct pollfd waiting[2]);
void terminal_remember(void);
void terminal_mend(void);

#endif
