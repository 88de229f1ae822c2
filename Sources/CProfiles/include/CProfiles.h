// The files of Examples/policies as bytes of the program: one source for the examples and for `profile:NAME`.
#ifndef CPROFILES_H
#define CPROFILES_H

#include <stddef.h>

struct cprofiles_file {
  const char *name;
  const unsigned char *bytes;
  size_t length;
};

// In the order in which they are listed.
const struct cprofiles_file *cprofiles_all(void);
size_t cprofiles_count(void);

#endif
