// What a confined gate's process can still do, tried in a child that confines itself first.
#ifndef CONFINED_TRIALS_H
#define CONFINED_TRIALS_H

enum trial {
  TRIAL_READ = 1,
  TRIAL_APPEND,
  TRIAL_TRUNCATE,
  TRIAL_REMOVE,
  TRIAL_REMOVE_FOLDER,
  TRIAL_EXECUTE,
  TRIAL_FORK,
  TRIAL_THREAD,
  TRIAL_TCP_SOCKET,
  TRIAL_UNIX_SOCKET,
  TRIAL_LISTEN,
  TRIAL_BIND_TCP,
  TRIAL_CODE,
  TRIAL_UNSHARE,
  TRIAL_SIGNAL_PARENT,
  TRIAL_TERMINAL_INPUT,
};

// 0: it can; the errno that stopped it; 128 and the signal that ended it; -1: the trial itself went wrong. `place` is
// what the gate keeps (a csandbox_reach_kind), or NULL; `path` is what is tried.
int confined_try(enum trial trial, const char *place, unsigned kind, int supervises, const char *path);

#endif
