// SPDX-License-Identifier: MIT
/* Whether labels and document fit: tree, shape, places, sizes. It doesn't know who missed a write.
 */
#include "assemble_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_TEXT 256
#define UUID_TEXT 37

static bool is_ours(const struct assembly *assembly, unsigned place)
{
	return assembly->members[place].kind == MEMBER_OURS;
}

static bool same_tree(const struct label *a, const struct label *b)
{
	return uuid_compare(a->tree_uuid, b->tree_uuid) == 0;
}

/* The label whose tree most leaves belong to, the first among equals. */
static const struct leaf *reference(const struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	const struct leaf *best = NULL;
	unsigned i, j, votes, most = 0;

	for (i = 0; i < tree->leaf_count; i++) {
		votes = 0;
		for (j = 0; j < tree->leaf_count && is_ours(assembly, i); j++)
			votes += is_ours(assembly, j) &&
				 same_tree(&tree->leaves[i]->label, &tree->leaves[j]->label);
		if (votes > most) {
			most = votes;
			best = tree->leaves[i];
		}
	}
	return best;
}

static void other_tree(const struct leaf *leaf, const struct leaf *usual, struct err *err)
{
	char name[NAME_MAX_TEXT], usual_name[NAME_MAX_TEXT];
	char uuid[UUID_TEXT], usual_uuid[UUID_TEXT];

	label_tree_name(&leaf->label, name, sizeof(name));
	label_tree_name(&usual->label, usual_name, sizeof(usual_name));
	uuid_unparse(leaf->label.tree_uuid, uuid);
	uuid_unparse(usual->label.tree_uuid, usual_uuid);
	leaf_err(leaf, err, "%s belongs to the tree %s (%s), but %s of %s belongs to %s (%s)",
		leaf->path, name, uuid, usual->path, usual->node->id, usual_name, usual_uuid);
}

static void check_shape(const struct assembly *assembly, const struct leaf *leaf)
{
	const struct label *label = &leaf->label;
	char name[NAME_MAX_TEXT];

	label_tree_name(label, name, sizeof(name));
	if (label->leaf_count != assembly->tree->leaf_count)
		leaf_err(leaf, assembly->err,
			"%s is one of %" PRIu32 " leaves of the tree %s; this document has %u",
			leaf->path, label->leaf_count, name, assembly->tree->leaf_count);
	else if (strcmp(label->geometry, assembly->geometry) != 0)
		leaf_err(leaf, assembly->err,
			"the label of %s says %.512s; this document says %.512s", leaf->path,
			label->geometry, assembly->geometry);
	else if (!assembly->tree->leaves[label->place]->labelled)
		leaf_err(leaf, assembly->err,
			"%s belongs to %s by its label, which has \"label\": false in this "
			"document",
			leaf->path, assembly->tree->leaves[label->place]->node->id);
}

/* Each place is claimed once. */
static void check_claim(const struct assembly *assembly, unsigned place)
{
	const struct tree *tree = assembly->tree;
	const struct leaf *leaf = tree->leaves[place];
	unsigned i;

	for (i = 0; i < place; i++) {
		const struct leaf *other = tree->leaves[i];

		if (!is_ours(assembly, i) || !same_tree(&leaf->label, &other->label))
			continue;
		if (uuid_compare(leaf->label.leaf_uuid, other->label.leaf_uuid) == 0)
			leaf_err(leaf, assembly->err,
				"%s is a copy of %s (%s): both have the same label", leaf->path,
				other->path, other->node->id);
		else if (leaf->label.place == other->label.place)
			leaf_err(leaf, assembly->err,
				"%s and %s (%s) both claim to be leaf %" PRIu32 " of the tree",
				leaf->path, other->path, other->node->id, leaf->label.place);
	}
}

int assemble_compare(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;
	const struct leaf *usual;

	assemble_disown_removed(assembly);
	usual = reference(assembly);
	for (i = 0; i < tree->leaf_count; i++) {
		if (!is_ours(assembly, i))
			continue;
		if (!same_tree(&tree->leaves[i]->label, &usual->label)) {
			other_tree(tree->leaves[i], usual, assembly->err);
			continue;
		}
		check_shape(assembly, tree->leaves[i]);
		check_claim(assembly, i);
	}
	return assembly->err->count == before ? 0 : -1;
}

/* The nodes, their places and what the document says of them stay; all that was opened changes
 * over. */
static void exchange(struct assembly *assembly, unsigned a, unsigned b)
{
	struct leaf *first = assembly->tree->leaves[a], *second = assembly->tree->leaves[b];
	struct leaf opened = *first;
	struct member member = assembly->members[a];
	struct limits limits = first->node->limits;
	const struct target_type *type = first->node->type;

	*first = *second;
	first->node = opened.node;
	first->place = opened.place;
	first->wanted = opened.wanted;
	opened.node = second->node;
	opened.place = second->place;
	opened.wanted = second->wanted;
	*second = opened;
	assembly->members[a] = assembly->members[b];
	assembly->members[b] = member;
	first->node->limits = second->node->limits;
	second->node->limits = limits;
	first->node->type = second->node->type;
	second->node->type = type;
}

/* Each exchange brings a leaf to where it goes, so both loops end. */
void assemble_place(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		while (is_ours(assembly, i) && tree->leaves[i]->label.place != i)
			exchange(assembly, i, tree->leaves[i]->label.place);
}

void assemble_unplace(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		while (tree->leaves[i]->listed != i)
			exchange(assembly, i, tree->leaves[i]->listed);
}

/* The document may name the size, which is then rounded to the block size of that day. */
static bool size_fits(const struct assembly *assembly, const struct leaf *leaf)
{
	uint64_t length = leaf->label.data_length;

	if (leaf->wanted == 0 || assembly->options->sizes_by_label)
		return true;
	return length <= leaf->wanted &&
	       (leaf->wanted - length < LABEL_BLOCK || assembly->options->grow);
}

static void refuse_size(const struct leaf *leaf, struct err *err)
{
	uint64_t length = leaf->label.data_length;

	leaf_err(leaf, err, "size %" PRIu64 " is not the %" PRIu64 " that %s has by its label%s",
		leaf->wanted, length, leaf->path,
		leaf->wanted > length ? "; --grow makes it so" : ", and no leaf becomes smaller");
}

int assemble_sizes(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];
		struct leaf *leaf = tree->leaves[i];
		uint64_t end = leaf->label.data_offset + leaf->label.data_length + LABEL_TAIL;

		if (!is_ours(assembly, i))
			continue;
		leaf->data_offset = leaf->label.data_offset;
		leaf->node->limits.size = leaf->label.data_length;
		leaf->node->unused = leaf->bytes > end ? leaf->bytes - end : 0;
		if (!size_fits(assembly, leaf))
			refuse_size(leaf, assembly->err);
		if (leaf->bytes >= end)
			continue;
		snprintf(member->what, sizeof(member->what),
			"it has %" PRIu64 " bytes and needs %" PRIu64, leaf->bytes, end);
		member->kind = MEMBER_SHRUNK;
		if (!assembly->options->degraded)
			leaf_err(
				leaf, assembly->err, "%s has shrunk: %s", leaf->path, member->what);
	}
	return assembly->err->count == before ? 0 : -1;
}
