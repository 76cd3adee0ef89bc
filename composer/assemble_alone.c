// SPDX-License-Identifier: MIT
/*
 * --take-back: legs that went on alone and were given up are brought up to date like older copies, once
 * overlay.c has saved what they alone hold.
 *
 * Such a leg may have mirrors in it. Which of their legs has what was written last is told by the labels
 * of those that lived the same life: the given up leaves below the topmost leg that is lost. In that
 * leg's view (assembly->alone) they alone count, and accuse each other as the others do in the
 * device's. What their labels leave open there stays given up: nothing is guessed here either. Who stood by in
 * that life by its own label was never given up, and isn't of it; who was replaced in it has a label from before,
 * and is accused by the others.
 *
 * Which of those that are taken back stand by is the device's labels to say, as of all others (assemble_spares.c).
 * What they hold is saved then too: a spare may be taken in at any moment.
 *
 * The crash story. A start that takes back clears LABEL_GIVEN_UP leaf by leaf, and each label then says
 * what the device does, no more what its leg did. So those that have what was written last
 * are written last: a crash before leaves them given up, and the next start finds and saves the same
 * again; after it all is saved, and stale.
 */
#include "assemble_internal.h"

/* What is there of a given up leg's last state, below a node. */
enum own {
	OWN_NOTHING, /* nothing is given up there, or not any more */
	OWN_ALL,
	OWN_LESS, /* a part of it is missing, or missed writes */
};

static enum own look(const struct assembly *assembly, const struct node *node)
{
	unsigned counts[OWN_LESS + 1] = { 0 }, i;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		if (member->kind == MEMBER_RAW)
			return OWN_NOTHING;
		if (member->kind != MEMBER_OURS)
			return OWN_LESS;
		if (leaf_is_given_up(assembly, node->leaf->place)) /* in this view: it isn't of it */
			return OWN_NOTHING;
		return member->stale ? OWN_LESS : OWN_ALL;
	}
	for (i = 0; i < node->child_count; i++)
		counts[look(assembly, node->children[i])]++;
	if (node->type->redundant)
		return counts[OWN_ALL] ? OWN_ALL : counts[OWN_NOTHING] ? OWN_NOTHING : OWN_LESS;
	return counts[OWN_LESS] ? OWN_LESS : counts[OWN_ALL] ? OWN_ALL : OWN_NOTHING;
}

/* Whether the labels say of each mirror at or below the node which of its legs has what was written last. */
static bool can_tell(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (node->type->redundant) {
		enum own own = look(assembly, node);

		return own == OWN_NOTHING ||
		       (own == OWN_ALL &&
			       !(assemble_was_open(assembly) && node_is_unsure(assembly, node)));
	}
	for (i = 0; i < node->child_count; i++)
		if (!can_tell(assembly, node->children[i]))
			return false;
	return true;
}

static void take_below(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	assembly->has_own[node->index] = look(assembly, node) == OWN_ALL;
	if (node->leaf && !leaf_is_given_up(assembly, node->leaf->place))
		assembly->members[node->leaf->place].is_taken_back = true;
	for (i = 0; i < node->child_count; i++)
		take_below(assembly, node->children[i]);
}

static bool has_given_up(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (node->leaf)
		return assembly->members[node->leaf->place].kind == MEMBER_OURS &&
		       leaf_is_given_up(assembly, node->leaf->place);
	for (i = 0; i < node->child_count; i++)
		if (has_given_up(assembly, node->children[i]))
			return true;
	return false;
}

static void take_leg(struct assembly *assembly, struct node *leg)
{
	assembly->alone = leg;
	assemble_accuse(assembly);
	leg->is_taken_back = can_tell(assembly, leg);
	if (leg->is_taken_back)
		take_below(assembly, leg);
	else
		err_add(assembly->notes,
			"%s %s: leg %s is not taken back: nobody is left to say which of its own legs "
			"has what it alone holds",
			leg->parent->type->name, leg->parent->id, leg->id);
	assembly->alone = NULL;
	assemble_accuse(assembly);
}

static void find_legs(struct assembly *assembly, const struct node *node)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		struct node *child = node->children[i];

		if (node->type->redundant && node_is_lost(assembly, child) &&
			has_given_up(assembly, child))
			take_leg(assembly, child);
		else
			find_legs(assembly, child);
	}
}

void assemble_choose_taken_back(struct assembly *assembly)
{
	if (assembly->options->take_back)
		find_legs(assembly, assembly->tree->root);
}

void assemble_take_back(struct assembly *assembly)
{
	struct tree *tree = assembly->tree;
	bool any = false;
	unsigned i;

	tree->overlays = assembly->options->take_back;
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];

		if (!assembly->members[i].is_taken_back || node_has_failed(leaf->node))
			continue;
		any = leaf->is_old_copy = true;
		leaf->is_told_last = assembly->has_own[leaf->node->index];
		if (leaf->todo == LEAF_GIVE_UP)
			leaf->todo = LEAF_KEEP;
	}
	if (tree->overlays && !any)
		err_add(assembly->notes, "--take-back has nothing to do: no leg that is there was given up");
}
