/* SPDX-License-Identifier: MIT */
/*
 * Assembly: whether the opened leaves are what the document means, and the labels that say so.
 *
 * Blank leaves are formatted; leaves with labels of one tree are recognised wherever their paths now
 * lead (identity is in the label: leaves given in another order are put where they belong); all else
 * is refused, by name. Main thread only, after leaves_open() and before tree_open().
 */
#ifndef COMPOSER_ASSEMBLE_H
#define COMPOSER_ASSEMBLE_H

#include "tree.h"

struct assemble_options {
	bool force;    /* overwrite what is found on the leaves */
	bool degraded; /* go on without missing legs where a redundant node can */
	bool dry;      /* for `check`: decide and report, write nothing */
};

/*
 * Decides, and unless dry writes labels. Sets node->failed for stale legs and node->unclean. Notes
 * (what was formatted, reordered, left out) go to `notes`, one per line. 0, or -1 with messages, in
 * which case no byte of any leaf has been changed.
 */
int assemble(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes);

/*
 * The device is about to go live: marks every label as open, durably. 0, or -1 with messages.
 * assemble_stop() is its end: the device has stopped and all is flushed; marks the labels as clean.
 */
int assemble_start(struct tree *tree, struct err *err);
int assemble_stop(struct tree *tree, struct err *err);

#endif
