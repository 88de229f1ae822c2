// Facts of the build: the version in the file VERSION, and what `make release` says of the commit and its tools.
#pragma once

const char *cversion_text(void);
/// Empty in a debug build.
const char *cversion_commit(void);
/// `NAME VERSION` for each part that cannot say its own version, with `;` between them; empty in a debug build.
const char *cversion_built_with(void);
