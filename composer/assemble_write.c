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
 *
 * A leg whose label can't be written at a start is left out, where its mirror has another one in sync:
 * rounds go on until two of them have told all others, so that this is durable in both copies of each
 * before the first byte is written that it misses. A crash before that leaves it called stale, though it
 * has missed nothing, or not. Where a start formats, or leaves grow, it is refused instead: that can wait.
 */
#include "assemble_internal.h"

#include <stdlib.h>
#include <string.h>

/* One start, or stop. */
struct writing {
	struct tree *tree;
	struct err *err;
	struct err *notes; /* NULL: no leg can be left out */
	bool has_left_out; /* a leg: those written before it don't say so */
};

static bool has_fellow_in_sync(const struct node *leg)
{
	const struct node *above = leg->parent;
	unsigned i;

	for (i = 0; i < above->child_count; i++)
		if (above->children[i] != leg && node_is_in_sync(above->children[i]))
			return true;
	return false;
}

/* The nearest leg above that its mirror can do without; NULL: there is none. */
static struct node *leg_to_spare(const struct leaf *leaf)
{
	struct node *node;

	for (node = leaf->node; node->parent; node = node->parent)
		if (node->parent->type->redundant && has_fellow_in_sync(node))
			return node;
	return NULL;
}

static void write_failed(struct writing *writing, const struct leaf *leaf, int error)
{
	struct node *leg = writing->notes && leaf_is_used(leaf) ? leg_to_spare(leaf) : NULL;

	if (!leg) {
		leaf_err(leaf, writing->err, "writing the label of %s: %s", leaf->path,
			strerror(-error));
		return;
	}
	leg->failed = true;
	leg->rebuilding = leg->rebuild_all = false;
	writing->has_left_out = true;
	err_add(writing->notes, "%s %s: leg %s is left out: writing the label of %s: %s",
		leg->parent->type->name, leg->parent->id, leg->id, leaf->path, strerror(-error));
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
		label->peers[i].removed = tree->leaves[i]->is_removed;
	}
}

static void write_one(struct writing *writing, struct leaf *leaf, const uint64_t *generations,
	uint32_t set, uint32_t clear)
{
	int result;

	leaf->label.flags = (leaf->label.flags & ~clear & ~LABEL_GIVEN_UP) | set;
	note_peers(&leaf->label, writing->tree, generations);
	result = leaf->todo == LEAF_REFRESH ? label_update_texts(leaf->fd, &leaf->label)
					    : label_update(leaf->fd, &leaf->label);
	if (result < 0)
		write_failed(writing, leaf, result);
}

/* One copy of every label in use. */
static int write_round(struct writing *writing, uint32_t set, uint32_t clear)
{
	struct tree *tree = writing->tree;
	uint64_t *generations = calloc(tree->leaf_count + 1, sizeof(*generations));
	unsigned before = writing->err->count, i, last;

	if (!generations)
		return err_add(writing->err, "out of memory");
	for (i = 0; i < tree->leaf_count; i++)
		generations[i] = tree->leaves[i]->label.generation;
	for (last = 0; last < 2; last++)
		for (i = 0; i < tree->leaf_count; i++)
			if (tree->leaves[i]->is_told_last == (last == 1) &&
				leaf_is_used(tree->leaves[i]))
				write_one(writing, tree->leaves[i], generations, set, clear);
	free(generations);
	return writing->err->count == before ? 0 : -1;
}

/* Both copies of every label in use, one after the other, by what is known when that begins. */
static int write_rounds(struct writing *writing, uint32_t set, uint32_t clear)
{
	unsigned copies = 0;

	while (copies < LABEL_COPIES) {
		writing->has_left_out = false;
		if (write_round(writing, set, clear) < 0)
			return -1;
		copies = writing->has_left_out ? 0 : copies + 1; /* with a leg less each time */
	}
	return 0;
}

static int format(struct writing *writing)
{
	struct tree *tree = writing->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result = 0;

		if (leaf->todo == LEAF_WIPE_FORMAT)
			result = identify_wipe(leaf->fd, leaf->bytes);
		if (result == 0 && leaf->todo >= LEAF_FORMAT)
			result = label_format(leaf->fd, &leaf->label);
		if (result < 0) {
			write_failed(writing, leaf, result);
			return -1;
		}
	}
	return 0;
}

/* Nothing that it knows of the others changes: it may yet be asked. */
static int give_up(struct writing *writing)
{
	unsigned before = writing->err->count, i, copy;
	struct tree *tree = writing->tree;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result = 0;

		if (leaf->todo != LEAF_GIVE_UP)
			continue;
		leaf->label.flags |= LABEL_GIVEN_UP;
		for (copy = 0; copy < LABEL_COPIES && result == 0; copy++)
			result = label_update_texts(leaf->fd, &leaf->label);
		if (result < 0)
			write_failed(writing, leaf, result);
	}
	return writing->err->count == before ? 0 : -1;
}

/* Of every leaf whose label is known and kept. */
static int settle_labels(struct writing *writing)
{
	unsigned before = writing->err->count, i;
	struct tree *tree = writing->tree;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		int result = 0;

		if ((leaf_is_used(leaf) && leaf->todo < LEAF_FORMAT) || leaf->todo == LEAF_GIVE_UP)
			result = label_rewrite(leaf->fd, leaf->label.generation);
		if (result < 0)
			write_failed(writing, leaf, result);
	}
	return writing->err->count == before ? 0 : -1;
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

int assemble_start(struct tree *tree, struct err *err, struct err *notes)
{
	struct writing writing = { .tree = tree, .err = err };
	bool formats = false;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		formats |= tree->leaves[i]->todo >= LEAF_FORMAT;
	if (!formats && !tree->root->grows)
		writing.notes = notes;
	if (settle_labels(&writing) < 0 || lengthen(tree, err) < 0)
		return -1;
	if (formats && (format(&writing) < 0 || write_rounds(&writing, 0, LABEL_FORMATTING) < 0))
		return -1;
	if (give_up(&writing) < 0 || write_rounds(&writing, LABEL_OPEN | LABEL_SERVED, 0) < 0)
		return -1;
	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->todo = LEAF_KEEP;
	return 0;
}

int assemble_stop(struct tree *tree, struct err *err)
{
	struct writing writing = { .tree = tree, .err = err };
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->todo != LEAF_KEEP)
			return 0; /* it never was live, and the labels say so or are not there */
	return write_rounds(&writing, 0, LABEL_OPEN);
}
