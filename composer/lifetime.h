/* SPDX-License-Identifier: MIT */
/*
 * From a tree that was read to one that may serve, and back: the steps that the daemon and replay
 * share. Main thread only; blocks.
 */
#ifndef COMPOSER_LIFETIME_H
#define COMPOSER_LIFETIME_H

#include "assemble.h"

/*
 * Leaves, labels, limits. All that can be refused is refused before the first label is written:
 * when this returns -1, with messages, no byte of a leaf has changed unless writing it has failed,
 * and files made on the way are gone. What was formatted or left out goes to notes.
 */
int lifetime_start(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes);

/*
 * Nothing was served since lifetime_start(): closes all and removes files that it made.
 */
void lifetime_undo(struct tree *tree);

/*
 * All requests have ended: flushes the leaves, marks the labels clean and closes. If a leaf can't
 * be flushed the labels stay as they are, so that the next start knows. 0, or -1 with messages.
 */
int lifetime_stop(struct tree *tree, struct err *err);

#endif
