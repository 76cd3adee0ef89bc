/* SPDX-License-Identifier: MIT */
/*
 * The replay front-end: a script's requests through the real engine and real leaves, with no kernel
 * driver and no root. For tests, crash replay, and looking at what a tree does.
 *
 * One request per line; `#` begins a comment; sizes as in documents:
 *   write OFFSET LENGTH SEED [fua]   fill with a pattern that depends on seed and offset
 *   read OFFSET LENGTH [SEED]        prints a CRC32C; with a seed, compares with that pattern
 *   save OFFSET LENGTH FILE          the bytes go to FILE, which is made or replaced
 *   zeroes OFFSET LENGTH             write-zeroes
 *   discard OFFSET LENGTH
 *   flush
 *   depth N                          this many requests in flight at a time (1 at first)
 *   wait                             until all have ended
 * The last request of a script is always awaited. Output: one line per request, in script order.
 */
#ifndef COMPOSER_REPLAY_H
#define COMPOSER_REPLAY_H

#include "tree.h"

#include <stdio.h>

/* 0: all requests did what the script says; 1: some failed or differed; -1: messages in err. */
int replay_run(
	struct tree *tree, FILE *script, const char *name, FILE *out, bool trace, struct err *err);

#endif
