#include <hiredis.h>
#include <stdlib.h>

// One command of `count` words, which stand one behind the other in `text`. The answer is freed by redisFreeCommand.
static inline int chiredis_format(char **target, int count, const char *text, const size_t *lengths) {
  const char **words = malloc(sizeof *words * (size_t)(count > 0 ? count : 1));
  if (!words) return -1;
  for (int index = 0; index < count; index++) {
    words[index] = text;
    text += lengths[index];
  }
  int length = redisFormatCommandArgv(target, count, words, lengths);
  free(words);
  return length;
}
