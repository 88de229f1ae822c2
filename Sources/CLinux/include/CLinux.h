// What the Glibc module lacks, with prefixed names. Never define _GNU_SOURCE here: every importer would fail.
#ifndef CLINUX_H
#define CLINUX_H
#endif
