// SPDX-License-Identifier: MIT
/*
 * Leaves that become longer. It knows nothing of what stands on them but whether there is room for it:
 * nodes learn of the new lengths as of any, in their open().
 *
 * The crash story is assemble_write.c's: each label says how long its own leaf is, and how long it takes
 * the others to be; the longest that is said of a leaf counts, as none ever becomes shorter.
 */
#include "assemble_internal.h"

#include <inttypes.h>

void assemble_complete_growth(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i, j;

	for (i = 0; i < tree->leaf_count; i++) {
		struct label *label = &tree->leaves[i]->label;

		for (j = 0; j < tree->leaf_count && assembly->members[i].kind == MEMBER_OURS; j++) {
			const struct label *other = &tree->leaves[j]->label;

			if (assembly->members[j].kind == MEMBER_OURS && other->lengths &&
				other->lengths[i] > label->data_length)
				label->data_length = other->lengths[i];
		}
	}
}

/*
 * It has to end where it ends: what lies behind it would move, or it is another's backing, whose end
 * reads as zeroes.
 */
static bool is_hemmed_in(const struct leaf *leaf)
{
	const struct node *node = leaf->node;

	for (; node->parent; node = node->parent)
		if (node->parent->type->appends && node->place + 1 < node->parent->child_count)
			return true;
	return leaf->is_backing;
}

/* Where nothing says how long it was, it may have become longer, and all behind it have moved. */
static int check_raw(const struct leaf *leaf, struct err *err)
{
	if (leaf->wanted || leaf->is_bare || !is_hemmed_in(leaf))
		return 0;
	return leaf_err(leaf, err,
		"%s has neither a label nor a \"size\", and others rely on where it ends: nobody could "
		"tell whether it has become longer", leaf->path);
}

/* The bytes for its node that the document wants, or else those that are there. */
static uint64_t length_wanted(const struct leaf *leaf)
{
	uint64_t around = leaf->data_offset + LABEL_TAIL, length;

	length = leaf->wanted ? leaf->wanted : leaf->bytes - around; /* assemble_sizes() has looked */
	return length - length % leaf->node->limits.logical_block_size;
}

static int leaf_grow(const struct assembly *assembly, struct leaf *leaf)
{
	uint64_t length = length_wanted(leaf), old = leaf->label.data_length;
	uint64_t end = leaf->data_offset + length + LABEL_TAIL;

	if (length <= old)
		return 0;
	if (is_hemmed_in(leaf) && leaf->wanted)
		return leaf_err(leaf, assembly->err,
			"it can't become larger than %" PRIu64 " bytes: others rely on where it ends",
			old);
	if (is_hemmed_in(leaf))
		return 0; /* its room stays unused */
	if (end > leaf->bytes && leaf->is_block)
		return leaf_err(leaf, assembly->err,
			"%s has %" PRIu64 " bytes; size %" PRIu64 " with its label needs %" PRIu64,
			leaf->path, leaf->bytes, leaf->wanted, end);
	leaf->label.data_length = leaf->node->limits.size = length;
	leaf->node->unused = leaf->bytes > end ? leaf->bytes - end : 0;
	err_add(assembly->notes, "%s: %s grows from %" PRIu64 " to %" PRIu64 " bytes",
		leaf->node->id, leaf->path, old, length);
	return 0;
}

int assemble_grow(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;

	if (!assembly->options->grow)
		return 0;
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];

		if (!leaf->labelled)
			continue;
		if (assembly->members[i].kind != MEMBER_OURS ||
			(leaf_is_stale(leaf) && leaf_peer_state(leaf) != LABEL_PEER_SPARE))
			leaf_err(leaf, assembly->err,
				"nothing grows while %s is missing or not up to date", leaf->path);
		else
			(void)leaf_grow(assembly, leaf); /* counted in err */
	}
	return assembly->err->count == before ? 0 : -1;
}

int assemble_let_grow(const struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		if (!tree->leaves[i]->labelled)
			(void)check_raw(tree->leaves[i], assembly->err); /* counted in err */
	for (i = 0; i < tree->node_count; i++)
		tree->nodes[i]->grows = true;
	return assembly->err->count == before ? 0 : -1;
}
