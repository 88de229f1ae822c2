// The file VERSION as text of the program: the package, the man pages and the binary have one source.
#include "CVersion.h"

#ifndef SLUICE_COMMIT
#define SLUICE_COMMIT ""
#endif
#ifndef SLUICE_BUILT_WITH
#define SLUICE_BUILT_WITH ""
#endif

#pragma clang diagnostic ignored "-Wc23-extensions"
static const char text[] = {
#embed "../../VERSION" suffix(, )
  0};

const char *cversion_text(void) { return text; }
const char *cversion_commit(void) { return SLUICE_COMMIT; }
const char *cversion_built_with(void) { return SLUICE_BUILT_WITH; }
