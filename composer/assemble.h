/* SPDX-License-Identifier: MIT */
/*
 * Assembly: whether the opened leaves are what the document means, and the labels that say so.
 *
 * Blank leaves are formatted; leaves with labels of one tree are recognised wherever their paths
 * now lead (identity is in the label: leaves given in another order are put where they belong); all
 * else is refused, by name. Main thread only, after leaves_open() and before tree_open().
 */
#ifndef COMPOSER_ASSEMBLE_H
#define COMPOSER_ASSEMBLE_H

#include "tree.h"

struct assemble_options {
	bool force; /* overwrite what is found on the leaves */
	bool degraded; /* go on without missing legs where a redundant node can */
	/*
	 * Take blank leaves in where a redundant node has lost those that were there, and legs that were
	 * removed; or that one leg, by its id, and then it has to be there.
	 */
	bool add;
	const char *leg;
	/*
	 * The id of a redundant node's leg that is left out from now on though it is there, and closed, until
	 * it is added again. It must not be in sync. NULL: none.
	 */
	const char *remove;
	bool known_only; /* format nothing, not even blank leaves */
	bool dry; /* for `check`: says what would be done */
	/*
	 * Leaves become as long as the document says or, where it says nothing, as what is there
	 * allows, and nodes as large as that lets them. All leaves have to be there, none stale.
	 */
	bool grow;
	/*
	 * The document is the last daemon's own, which may have died while it grew: where labels say
	 * other sizes, they count.
	 */
	bool sizes_by_label;
	/*
	 * Ids or paths of leaves whose legs are used where labels can't tell which one has all
	 * writes: legs that have diverged, or a leg that nobody vouches for after an unclean stop.
	 */
	const char *const *prefer;
	unsigned prefer_count;
	/*
	 * Legs that the user has given up, now or earlier, are brought up to date like other stale
	 * ones, once what they alone hold is saved in that directory (overlay.h). NULL: they stay as they
	 * are.
	 */
	const char *take_back;
};

/*
 * Decides, and writes nothing: what is to be written is done by assemble_start(), once tree_open()
 * and the front-end have accepted the tree too. Sets node->failed for stale and missing legs and
 * node->unclean, and brings each leaf to the node of its place. Notes (what is formatted,
 * reordered, left out) go to `notes`, one per line; `dry` only changes their tense. 0, or -1 with
 * messages.
 *
 * `force` overwrites what is on the leaves where they don't fit; leaves that fit are recognised as
 * without it, and a tree that could go on degraded is refused rather than overwritten.
 */
int assemble(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes);

/*
 * Sets leaf->is_removed of closed leaves, as far as labels say so: who has one by now is not waited for. It
 * decides nothing. Blocks.
 */
void assemble_expect_removed(struct tree *tree);

/*
 * The device is about to go live: formats what assemble() has decided to, and marks every label as
 * open, durably. A crash before its end leaves leaves that the next create takes as they were
 * meant. A leg in use whose label can't be written is left out where its mirror has another one in sync,
 * unless this start formats, or lets leaves grow: node->failed is set, all other labels say so durably, and `notes` does. 0, or
 * -1 with messages.
 *
 * assemble_stop() is its end: the device has stopped and all is flushed; marks the labels as clean.
 * It may be called after a start that failed. Both leave failed legs alone.
 */
int assemble_start(struct tree *tree, struct err *err, struct err *notes);
int assemble_stop(struct tree *tree, struct err *err);

#endif
