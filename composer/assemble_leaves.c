// SPDX-License-Identifier: MIT
/* A tree from the labels of its leaves. Whether its legs can be used is assemble_legs.c's matter.
 */
#include "assemble_leaves.h"

#include "assemble_internal.h"
#include "operand.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX (2 * IDENTIFY_MAX)
#define UUID_TEXT 37

extern const struct target_type file_leaf, block_leaf; /* leaf.c */

struct given {
	struct operand operand; /* closed once it has been looked at */
	struct label label;
};

/* 0, or -1 with a message. */
static int look(struct given *given, const char *path, struct err *err)
{
	char what[IDENTIFY_MAX], why[IDENTIFY_MAX] = "";
	const struct operand *leaf = &given->operand;
	int foreign;

	if (operand_open(&given->operand, path, OPERAND_LOOK, err) < 0)
		return -1;
	foreign = identify(leaf->fd, leaf->bytes, what, sizeof(what));
	if (foreign < 0)
		return err_add(err, "%s can't be read: %s", path, strerror(-foreign));
	if (foreign)
		return err_add(err, "%s holds %s", path, what);
	switch (label_read(leaf->fd, leaf->bytes, &given->label, why, sizeof(why))) {
	case LABEL_FOUND:
		if (given->label.flags & LABEL_FORMATTING)
			return err_add(err,
				"%s carries the label of a create that was interrupted: nothing "
				"was ever "
				"served from it",
				path);
		return 0;
	case LABEL_NONE:
		return err_add(err, "%s carries no label", path);
	case LABEL_CORRUPT:
		return err_add(err, "%s carries a damaged label: %s", path, why);
	default:
		return err_add(err, "%s: %s", path, why);
	}
}

/* Whether two leaves can be of one tree, each at its place. 0, or -1 with a message. */
static int compare(const struct given *a, const struct given *b, struct err *err)
{
	char names[2][TEXT_MAX], uuids[2][UUID_TEXT];
	const char *path = a->operand.path, *other = b->operand.path;

	if (operand_is_same(&a->operand, &b->operand))
		return err_add(err, "%s and %s are the same %s", path, other,
			a->operand.is_block ? "disk" : "file");
	label_tree_name(&a->label, names[0], sizeof(names[0]));
	label_tree_name(&b->label, names[1], sizeof(names[1]));
	uuid_unparse(a->label.tree_uuid, uuids[0]);
	uuid_unparse(b->label.tree_uuid, uuids[1]);
	if (uuid_compare(a->label.tree_uuid, b->label.tree_uuid) != 0)
		return err_add(err, "%s belongs to the tree %s (%s), but %s belongs to %s (%s)",
			path, names[0], uuids[0], other, names[1], uuids[1]);
	if (uuid_compare(a->label.leaf_uuid, b->label.leaf_uuid) == 0)
		return err_add(err, "%s is a copy of %s: both have the same label", path, other);
	if (a->label.place == b->label.place)
		return err_add(err, "%s and %s both claim to be leaf %" PRIu32 " of the tree %s",
			path, other, a->label.place, names[0]);
	return 0;
}

static bool is_accused(const struct given *givens, unsigned count, unsigned which)
{
	uint32_t place = givens[which].label.place;
	unsigned i;

	for (i = 0; i < count; i++)
		if (place < givens[i].label.leaf_count &&
			givens[i].label.peers[place].state != LABEL_PEER_IN_SYNC)
			return true;
	return false;
}

/* Whose document counts: one that missed nothing, as far as that is known; of these the latest. */
static const struct given *reference(const struct given *givens, unsigned count)
{
	bool best_accused = is_accused(givens, count, 0);
	unsigned i, best = 0;

	for (i = 1; i < count; i++) {
		bool accused = is_accused(givens, count, i);

		if (accused != best_accused
				? best_accused
				: givens[i].label.generation > givens[best].label.generation) {
			best = i;
			best_accused = accused;
		}
	}
	return &givens[best];
}

static char *absolute(const char *path)
{
	char *directory, *whole;

	if (*path == '/') {
		whole = strdup(path);
	} else {
		directory = getcwd(NULL, 0);
		if (!directory || asprintf(&whole, "%s/%s", directory, path) < 0)
			whole = NULL;
		free(directory);
	}
	if (!whole)
		abort(); /* nothing is live yet that could be harmed */
	return whole;
}

/* Puts each leaf where its label says it goes. 0, or -1 with messages. */
static int place(struct tree *tree, const struct given *givens, unsigned count, struct err *err)
{
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->not_given = tree->leaves[i]->labelled;
	for (i = 0; i < count; i++) {
		struct leaf *leaf = tree->leaves[givens[i].label.place];

		free(leaf->path);
		leaf->path = absolute(givens[i].operand.path);
		leaf->not_given = false;
		leaf->is_block = givens[i].operand.is_block;
		leaf->node->type = leaf->is_block ? &block_leaf : &file_leaf;
	}
	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (!leaf->labelled && *leaf->path != '/')
			leaf_err(leaf, err,
				"%s has no label to be known by, and its path is relative to a "
				"document "
				"that is not here; use create with that document",
				leaf->path);
	}
	return err->count == before ? 0 : -1;
}

static struct tree *make(const struct given *givens, unsigned count, struct err *err)
{
	const struct given *usual = reference(givens, count);
	struct tree *tree = tree_parse_label(usual->operand.path, usual->label.document, err);
	unsigned i;

	if (!tree)
		return NULL;
	for (i = 0; i < count; i++)
		if (givens[i].label.leaf_count != tree->leaf_count)
			err_add(err,
				"%s is one of %" PRIu32
				" leaves; the document in the label of %s has %u",
				givens[i].operand.path, givens[i].label.leaf_count,
				usual->operand.path, tree->leaf_count);
	if (!err->count && place(tree, givens, count, err) == 0)
		return tree;
	tree_destroy(tree);
	return NULL;
}

struct tree *assemble_leaves(char *const *paths, unsigned count, struct err *err)
{
	struct given *givens = calloc(count, sizeof(*givens));
	unsigned before = err->count, i, j;
	struct tree *tree = NULL;

	if (!givens)
		abort();
	for (i = 0; i < count; i++) {
		(void)look(&givens[i], paths[i], err); /* counted in err */
		operand_close(&givens[i].operand);
	}
	for (i = 1; i < count && err->count == before; i++)
		for (j = 0; j < i && compare(&givens[i], &givens[j], err) == 0; j++)
			;
	if (err->count == before)
		tree = make(givens, count, err);
	for (i = 0; i < count; i++)
		label_finish(&givens[i].label);
	free(givens);
	return tree;
}
