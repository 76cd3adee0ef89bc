// SPDX-License-Identifier: MIT
/*
 * Blank leaves in the place of those that a redundant node has lost. Each gets a label of the tree and
 * is stale: all that is there is copied to it.
 *
 * Who was there before may turn up again. The new label begins with a generation above all that
 * labels have seen of that place, which they note before anything is copied: from then on the old leaf is
 * an older copy; and when the new one is up to date, they know of a join of which the old one doesn't.
 *
 * The crash story is that of a format (assemble_write.c), on these leaves alone: until they say
 * LABEL_SERVED they are as good as blank. From then on all labels call them older copies until they
 * are up to date, so that whatever start comes next copies all again.
 */
#include "assemble_internal.h"

#include "leaf_internal.h"

#include <inttypes.h>

static bool is_below_redundant(const struct node *node)
{
	for (node = node->parent; node && !node->type->redundant; node = node->parent)
		;
	return node;
}

void assemble_find_added(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];

		member->is_added = (member->kind == MEMBER_BLANK || member->kind == MEMBER_FRESH) &&
				   is_below_redundant(tree->leaves[i]->node) && assemble_may_add(assembly, i);
	}
}

static void check_length(const struct assembly *assembly, struct leaf *leaf)
{
	uint64_t length = assemble_length_known(assembly, leaf->place);
	struct limits *limits = &leaf->node->limits;
	bool by_label = assembly->options->sizes_by_label || assembly->options->grow;

	if (length == 0)
		leaf_err(leaf, assembly->err,
			"%s can't be added: no label that is there says how long it has to be", leaf->path);
	else if (leaf->wanted && !by_label &&
		 (length > leaf->wanted || leaf->wanted - length >= LABEL_BLOCK))
		leaf_err(leaf, assembly->err,
			"%s can't be added: size %" PRIu64 " is not the %" PRIu64 " that is needed",
			leaf->path, leaf->wanted, length);
	else if (leaf->bytes < leaf_bytes_for(leaf, length))
		leaf_err(leaf, assembly->err,
			"%s can't be added: it has %" PRIu64 " bytes; %" PRIu64 " with its label need %"
			PRIu64, leaf->path, leaf->bytes, length, leaf_bytes_for(leaf, length));
	else if (length % limits->logical_block_size)
		leaf_err(leaf, assembly->err,
			"%s can't be added: its blocks have %" PRIu32 " bytes, and the length of %" PRIu64
			" that is needed is no multiple of that", leaf->path, limits->logical_block_size,
			length);
	limits->size = length;
}

int assemble_check_added(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].is_added)
			check_length(assembly, tree->leaves[i]);
	return assembly->err->count == before ? 0 : -1;
}

/* What the others' labels know of all places is where its own begins. */
static void learn(struct label *label, const struct label *from)
{
	unsigned i;

	for (i = 0; i < label->leaf_count; i++) {
		struct label_peer *peer = &label->peers[i];

		if (from->peers[i].generation > peer->generation)
			peer->generation = from->peers[i].generation;
		if (from->peers[i].joins > peer->joins)
			peer->joins = from->peers[i].joins;
	}
}

static int make(const struct assembly *assembly, struct leaf *leaf, const struct label *reference)
{
	const char *would = assembly->options->dry ? "would be" : "is";
	const struct tree *tree = assembly->tree;
	struct label *label = &leaf->label;
	unsigned i;

	if (assemble_label_make(leaf, assembly, reference->tree_uuid) < 0)
		return -1;
	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS)
			learn(label, &tree->leaves[i]->label);
	label->generation = label->peers[leaf->place].generation + LABEL_COPIES;
	leaf->data_offset = label->data_offset;
	leaf->todo = LEAF_FORMAT;
	leaf->is_old_copy = true;
	err_add(assembly->notes, "%s: %s %s formatted and added", leaf->node->id, leaf->path, would);
	return 0;
}

int assemble_make_added(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	const struct label *reference = NULL;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale)
			reference = &tree->leaves[i]->label;
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];

		if (!assembly->members[i].is_added)
			continue;
		if (node_has_failed(leaf->node)) { /* another leaf of its leg is not there */
			if (!assembly->options->dry)
				leaf_drop(leaf);
		} else if (make(assembly, leaf, reference) < 0) {
			return -1;
		}
	}
	return 0;
}
