/* SPDX-License-Identifier: MIT */
/*
 * Explaining: what a tree would do with a request, as text. Asks map() down the tree, moves no
 * byte.
 *
 * The tree must be open, its leaves at least probed, and be thrown away afterwards: targets count
 * what they have planned. Main thread only.
 */
#ifndef COMPOSER_EXPLAIN_H
#define COMPOSER_EXPLAIN_H

#include "tree.h"

#include <stdio.h>

/* "write", "write-zeroes", …: false if requests have no such kind. */
bool explain_kind(const char *word, enum io_kind *kind);

/* 0, or -1 with messages: out of the device's range, not in blocks, a kind that it hasn't. */
int explain_request(
	const struct tree *tree, const struct request *request, struct err *err, FILE *out);

#endif
