/* SPDX-License-Identifier: MIT */
/*
 * From a tree that was read to one that may serve, and back: the steps that the daemon and replay
 * share. Main thread only; blocks.
 */
#ifndef COMPOSER_LIFETIME_H
#define COMPOSER_LIFETIME_H

#include "assemble.h"

/*
 * For who only looks: the same leaves, labels and limits, of leaves that nobody else has; nothing is
 * made or locked. options->dry is set. 0, or -1 with messages.
 */
int lifetime_probe(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes);

/*
 * Leaves, labels, limits: decides all and writes nothing. When this returns -1, with messages,
 * files made on the way are gone. What will be formatted or left out goes to notes.
 */
int lifetime_prepare(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes);

/*
 * Formats what is to be, marks the labels as open, and has the nodes load what they keep: requests
 * may follow. Legs that can't be written to are left out where a mirror can do without, and noted. 0, or
 * -1 with messages; then lifetime_undo() is next.
 */
int lifetime_start(struct tree *tree, struct err *err, struct err *notes);

/*
 * No request was ever served: closes all and removes files that were made. With `started`, after
 * lifetime_start() whatever it returned, labels are marked as clean first if all nodes have loaded;
 * else they must not be: they may tell of an unclean stop, which nobody has mended yet.
 */
void lifetime_undo(struct tree *tree, bool started);

/*
 * All requests have ended: has the nodes unload, flushes the leaves, marks the labels clean and
 * closes. If a node can't unload or a leaf can't be flushed the labels stay as they are, so that the
 * next start knows. 0, or -1 with messages.
 */
int lifetime_stop(struct tree *tree, struct err *err);

#endif
