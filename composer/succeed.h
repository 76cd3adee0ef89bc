/* SPDX-License-Identifier: MIT */
/* One daemon after another for a disk that stays: what recover and resize share. */
#ifndef COMPOSER_SUCCEED_H
#define COMPOSER_SUCCEED_H

#include "tree.h"

/* Whether the device of this tree can have another daemon. 0, or -1 with a message. */
int succeed_check(const struct tree *tree, struct err *err);

/*
 * Ends the daemon of that name, if one lives, and leaves its disk waiting. Blocks until its leaves are
 * closed. 0: no daemon has the device any more; -1 with a message: it serves on, or has not ended yet.
 */
int succeed_end(const char *name, struct err *err);

#endif
