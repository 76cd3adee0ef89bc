// SPDX-License-Identifier: MIT
/*
 * Carrying out what assembly has decided, when the device goes live, and undoing it when it stops.
 *
 * The crash story. Everything goes in rounds over all leaves, each durable before the next begins:
 * - the labels as they were read, once more: that may be a killed daemon's last one, or one whose flush
 *   has failed, which its leaf's disk doesn't have. The other copy is about to be overwritten, and the
 *   others to say which generation they saw;
 * - files that are to be longer than they are get their length. A crash leaves bytes that nobody uses;
 * - format: labels that say LABEL_FORMATTING;
 * - two rounds that clear it, one for each copy. Until their end no label says LABEL_SERVED, so the
 *   next create finds leaves that nothing was served from and formats them anew;
 * - both copies of the labels of legs that the user has decided against. A crash among them leaves a
 *   question that his word has to answer again, or one that it has answered;
 * - two rounds that set LABEL_OPEN and LABEL_SERVED. A crash among them leaves whole labels of one
 *   tree, some open: an unclean stop of a device that nobody has seen yet. Where leaves become longer
 *   these say so, each of itself and of all: a crash leaves some that know of it and some that don't,
 *   and the next start tells those. Nodes above take the new room when all labels have it, and the
 *   device's users see it when that is durable too;
 * - the device is live;
 * - two rounds that clear LABEL_OPEN. A crash among them is an unclean stop with nothing in flight.
 * Each round notes the generations that its peers had before it, which were durable by then: a leaf
 * that later turns up with less has been put back from a copy. The second round is there so that
 * the rot of one copy brings back no other state than the one that it was in.
 */
#include "assemble_internal.h"

#include <stdlib.h>
#include <string.h>

static int write_failed(const struct leaf *leaf, int error, struct err *err)
{
	return leaf_err(leaf, err, "writing the label of %s: %s", leaf->path, strerror(-error));
}

/* What the label says of the others: as far as it is known and durable. */
static void note_peers(struct label *label, const struct tree *tree, const uint64_t *generations)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		if (leaf_is_used(tree->leaves[i]))
			label->peers[i].generation = generations[i];
		if (leaf_is_used(tree->leaves[i]))
			label->peers[i].joins = tree->leaves[i]->label.peers[i].joins;
		label->peers[i].state = leaf_peer_state(tree->leaves[i]);
	}
}

/* One copy of every label in use. */
static int write_round(struct tree *tree, uint32_t set, uint32_t clear, struct err *err)
{
	uint64_t *generations = calloc(tree->leaf_count + 1, sizeof(*generations));
	unsigned before = err->count, i;

	if (!generations)
		return err_add(err, "out of memory");
	for (i = 0; i < tree->leaf_count; i++)
		generations[i] = tree->leaves[i]->label.generation;
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result;

		if (!leaf_is_used(leaf))
			continue;
		leaf->label.flags = (leaf->label.flags & ~clear & ~LABEL_GIVEN_UP) | set;
		note_peers(&leaf->label, tree, generations);
		result = leaf->todo == LEAF_REFRESH ? label_update_texts(leaf->fd, &leaf->label)
						    : label_update(leaf->fd, &leaf->label);
		if (result < 0)
			write_failed(leaf, result, err);
	}
	free(generations);
	return err->count == before ? 0 : -1;
}

/* Both copies of every label in use, one after the other. */
static int write_rounds(struct tree *tree, uint32_t set, uint32_t clear, struct err *err)
{
	unsigned copy;

	for (copy = 0; copy < LABEL_COPIES; copy++)
		if (write_round(tree, set, clear, err) < 0)
			return -1;
	return 0;
}

static int format(struct tree *tree, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result = 0;

		if (leaf->todo == LEAF_WIPE_FORMAT)
			result = identify_wipe(leaf->fd, leaf->bytes);
		if (result == 0 && leaf->todo >= LEAF_FORMAT)
			result = label_format(leaf->fd, &leaf->label);
		if (result < 0)
			return write_failed(leaf, result, err);
	}
	return 0;
}

/* Nothing that it knows of the others changes: it may yet be asked. */
static int give_up(struct tree *tree, struct err *err)
{
	unsigned before = err->count, i, copy;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result = 0;

		if (leaf->todo != LEAF_GIVE_UP)
			continue;
		leaf->label.flags |= LABEL_GIVEN_UP;
		for (copy = 0; copy < LABEL_COPIES && result == 0; copy++)
			result = label_update_texts(leaf->fd, &leaf->label);
		if (result < 0)
			write_failed(leaf, result, err);
	}
	return err->count == before ? 0 : -1;
}

/* Of every leaf whose label is known and kept. */
static int settle_labels(struct tree *tree, struct err *err)
{
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result = 0;

		if ((leaf_is_used(leaf) && leaf->todo < LEAF_FORMAT) || leaf->todo == LEAF_GIVE_UP)
			result = label_rewrite(leaf->fd, leaf->label.generation);
		if (result < 0)
			write_failed(leaf, result, err);
	}
	return err->count == before ? 0 : -1;
}

static int lengthen(struct tree *tree, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		uint64_t end = leaf->data_offset + leaf->label.data_length + LABEL_TAIL;

		if (leaf_is_used(leaf) && leaf->todo == LEAF_REFRESH && !leaf->is_block &&
			leaf->bytes < end && leaf_lengthen(leaf, end, err) < 0)
			return -1;
	}
	return 0;
}

int assemble_start(struct tree *tree, struct err *err)
{
	bool formats = false;
	unsigned i;

	if (settle_labels(tree, err) < 0 || lengthen(tree, err) < 0)
		return -1;
	for (i = 0; i < tree->leaf_count; i++)
		formats |= tree->leaves[i]->todo >= LEAF_FORMAT;
	if (formats && (format(tree, err) < 0 || write_rounds(tree, 0, LABEL_FORMATTING, err) < 0))
		return -1;
	if (give_up(tree, err) < 0)
		return -1;
	if (write_rounds(tree, LABEL_OPEN | LABEL_SERVED, 0, err) < 0)
		return -1;
	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->todo = LEAF_KEEP;
	return 0;
}

int assemble_stop(struct tree *tree, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->todo != LEAF_KEEP)
			return 0; /* it never was live, and the labels say so or are not there */
	return write_rounds(tree, 0, LABEL_OPEN, err);
}
