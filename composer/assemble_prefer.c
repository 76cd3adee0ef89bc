// SPDX-License-Identifier: MIT
/*
 * --prefer: what the labels can't decide, the user does.
 *
 * A preferred leaf vouches for its leg of each redundant node above it that can't do by itself: as
 * all its legs accuse each other, or as nobody is left to say whether they missed writes. Against
 * it only other legs count that are vouched for as well: where the user names leaves of two legs, what
 * they say of each other still holds, and what each says of itself, also when he has decided something
 * further below. The legs of that node that have no preferred leaf are given up: their accusations don't
 * count any more, and LABEL_GIVEN_UP on their leaves says so also at later starts. Nothing else is
 * written to them: what they alone hold stays readable until the user takes them back (--take-back):
 * then they are brought up to date like an older copy, once overlay.c has saved it.
 *
 * It decides no more than it must: where the labels agree, a preference changes nothing.
 */
#include "assemble_internal.h"

#include <string.h>
#include <sys/stat.h>

static bool is_meant(const struct leaf *leaf, const char *word)
{
	struct stat found;

	if (!strcmp(leaf->node->id, word) || !strcmp(leaf->path, word))
		return true;
	if (leaf->fd < 0 || stat(word, &found) < 0)
		return false;
	if (leaf->is_block)
		return S_ISBLK(found.st_mode) && found.st_rdev == leaf->device;
	return S_ISREG(found.st_mode) && found.st_dev == leaf->device &&
	       found.st_ino == leaf->inode;
}

/* Finds the leaves that are meant. 0, or -1 with messages. */
static int find_preferred(struct assembly *assembly, struct err *err)
{
	const struct tree *tree = assembly->tree;
	unsigned before = err->count, i, place;

	for (i = 0; i < assembly->options->prefer_count; i++) {
		const char *word = assembly->options->prefer[i];
		struct member *member = NULL;

		for (place = 0; place < tree->leaf_count && !member; place++)
			if (is_meant(tree->leaves[place], word))
				member = &assembly->members[place];
		if (!member)
			err_add(err, "--prefer=%s: it is no leaf of this tree", word);
		else if (member->kind != MEMBER_OURS)
			err_add(err,
				"--prefer=%s: it carries no label of this tree, or is not there",
				word);
		else if (leaf_stands_by(tree->leaves[place - 1]))
			err_add(err, "--prefer=%s: by its label it stands by as a spare, and holds nothing",
				word);
		else
			member->preferred = true;
	}
	return err->count == before ? 0 : -1;
}

static bool has_preferred(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (node->leaf)
		return assembly->members[node->leaf->place].preferred;
	for (i = 0; i < node->child_count; i++)
		if (has_preferred(assembly, node->children[i]))
			return true;
	return false;
}

/* `vouched` for the leaves below a leg that is used; else they are given up. */
static void set_below(struct assembly *assembly, const struct node *node, bool vouched)
{
	unsigned i;

	if (node->leaf && assembly->members[node->leaf->place].kind == MEMBER_OURS &&
		!leaf_stands_by(node->leaf)) {
		assembly->members[node->leaf->place].given_up = !vouched;
		assembly->members[node->leaf->place].vouched = vouched;
	}
	for (i = 0; i < node->child_count; i++)
		set_below(assembly, node->children[i], vouched);
}

/* Whether the node can't be used, or not without a word of the user's. */
static bool is_open_question(const struct assembly *assembly, const struct node *node)
{
	return node_is_lost(assembly, node) ||
	       (assemble_was_open(assembly) && node_is_unsure(assembly, node));
}

static void decide(struct assembly *assembly, const struct node *node);

/* What is lost below it is another leg's to replace, as soon as one can be used. */
static void decide_legs(struct assembly *assembly, const struct node *node, bool lost)
{
	unsigned i;

	for (i = 0; i < node->child_count && is_open_question(assembly, node); i++)
		if (node_is_lost(assembly, node->children[i]) == lost)
			decide(assembly, node->children[i]);
}

static void decide(struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (!is_open_question(assembly, node) || !has_preferred(assembly, node))
		return;
	if (!node->type->redundant) {
		for (i = 0; i < node->child_count; i++)
			decide(assembly, node->children[i]);
		return;
	}
	for (i = 0; i < node->child_count; i++)
		set_below(assembly, node->children[i], has_preferred(assembly, node->children[i]));
	assembly->decided[node->index] = true;
	assemble_accuse(assembly);
	decide_legs(assembly, node, false);
	decide_legs(assembly, node, true);
}

int assemble_prefer(struct assembly *assembly, struct err *err)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	if (find_preferred(assembly, err) < 0)
		return -1;
	if (assembly->options->prefer_count && !is_open_question(assembly, tree->root))
		err_add(assembly->notes, "--prefer has decided nothing: the labels agree");
	decide(assembly, tree->root);
	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].given_up && tree->leaves[i]->todo == LEAF_KEEP)
			tree->leaves[i]->todo = LEAF_GIVE_UP;
	return 0;
}
