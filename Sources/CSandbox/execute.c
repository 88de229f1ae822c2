// The last step of a command: its arguments and environment, and the way along PATH, as execvp(3) goes it.
// It relies on all signals being blocked until then.
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void give_back_signals(void) {
  for (int number = 1; number < 65; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

enum { ARGUMENTS_MAX = 16384 };
static char *arguments[ARGUMENTS_MAX + 3], *scripted[ARGUMENTS_MAX + 3];

// Answers only where it fails. A text without a `#!` line is the shell's, as execvp(3) has it.
static int start(const char *path, uint64_t count, char **environment) {
  sandbox_stage = "execve";
  execve(path, arguments, environment);
  if (errno == ENOEXEC) {
    memmove(scripted + 2, arguments + 1, count * sizeof *arguments);
    scripted[0] = "/bin/sh";
    scripted[1] = (char *)path;
    execve(scripted[0], scripted, environment);
  }
  int code = errno;
  if (code == ENOENT && access(path, F_OK) == 0) sandbox_stage = "interpreter";
  return -code;
}

static const char *skip(const char *texts, uint64_t count) {
  for (; count > 0; count--) texts = sandbox_next(texts);
  return texts;
}

// The environment is the plan's for each command, but for TERM: a further one may have another terminal.
int sandbox_execute(const struct joined *joined, const char *texts, uint64_t count, uint64_t settings) {
  const char *entries = skip(texts, count), *terminal = "";
  if (joined) {
    texts = joined->texts;
    count = joined->count;
    terminal = skip(texts, count);
  }
  if (count + settings + 1 > ARGUMENTS_MAX) {
    sandbox_stage = "execve";
    return -E2BIG;
  }
  uint64_t place = 0;
  for (uint64_t i = 0; i < count; i++, texts = sandbox_next(texts)) arguments[place++] = (char *)texts;
  arguments[place++] = NULL;
  char **environment = arguments + place;
  const char *path = "";
  for (uint64_t i = 0; i < settings; i++, entries = sandbox_next(entries)) {
    if (strncmp(entries, "PATH=", 5) == 0) path = entries + 5;
    if (*terminal && strncmp(entries, "TERM=", 5) == 0) continue;
    arguments[place++] = (char *)entries;
  }
  if (*terminal) arguments[place++] = (char *)terminal;
  arguments[place] = NULL;
  give_back_signals();
  if (strchr(arguments[0], '/')) return start(arguments[0], count, environment);
  int code = -ENOENT;
  sandbox_stage = "execve";
  while (*path) {
    size_t length = strcspn(path, ":");
    char whole[4096];
    if (snprintf(whole, sizeof whole, "%.*s/%s", (int)length, path, arguments[0]) < (int)sizeof whole) {
      int result = start(whole, count, environment);
      if (result != -ENOTDIR && (result != -ENOENT || sandbox_stage[0] == 'i')) return result == -EACCES && access(whole, F_OK) < 0 ? code : result;
    }
    path += length + (path[length] == ':');
  }
  return code;
}
