// SPDX-License-Identifier: MIT
/*
 * Which legs are not in sync: those that missed a write and those that are not there.
 *
 * A label accuses another leaf when it says LABEL_PEER_STALE of it, or when it has seen a
 * generation of it that it no longer has (somebody has put an older copy back): labels only name
 * generations that were durable. Every accusation counts, also by an accused leaf: legs that accuse
 * each other have both been written without the other, and no one can tell which is right.
 *
 * What a leg missed is recorded on its fellows below the same node alone. When one of them is not
 * there after an unclean stop, the others may have missed writes that nobody tells of: a leg further
 * up that is surely in sync is used in their place; where there is none, they are refused. Only the
 * user can vouch for them, or decide between legs that accuse each other (assemble_prefer.c).
 *
 * A leaf is lost when it is accused or isn't there; a redundant node when all its children are; any
 * other node when one is. It knows no type of target but `redundant`.
 */
#include "assemble_internal.h"

#include <stdlib.h>
#include <string.h>

bool tree_is_redundant(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (tree->nodes[i]->type->redundant)
			return true;
	return false;
}

bool leaf_is_stale(const struct leaf *leaf)
{
	return node_is_stale(leaf->node);
}

bool leaf_is_used(const struct leaf *leaf)
{
	return leaf->labelled && leaf->fd >= 0 && !node_has_failed(leaf->node);
}

bool node_is_below(const struct node *node, const struct node *above)
{
	while (node && node != above)
		node = node->parent;
	return node;
}

/* Likewise while a leg's own view is asked for: what is not of that leg's life. */
bool leaf_is_given_up(const struct assembly *assembly, unsigned place)
{
	const struct member *member = &assembly->members[place];
	const struct leaf *leaf = assembly->tree->leaves[place];
	bool is_given_up = member->given_up ||
			   (leaf->label.flags & LABEL_GIVEN_UP && !member->vouched);

	if (assembly->alone)
		return !is_given_up || !node_is_below(leaf->node, assembly->alone);
	return is_given_up;
}

/* Whether one whom `by` calls in sync, or one whom such a one does, and so on, knows of more joins. */
static bool knows_more(const struct assembly *assembly, unsigned by, unsigned place, uint32_t joins,
	bool *asked)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	asked[by] = true;
	for (i = 0; i < tree->leaf_count; i++) {
		const struct label_peer *peer;

		if (i == place || asked[i] || assembly->members[i].kind != MEMBER_OURS ||
			leaf_is_given_up(assembly, i) ||
			tree->leaves[by]->label.peers[i].state != LABEL_PEER_IN_SYNC)
			continue;
		peer = &tree->leaves[i]->label.peers[place];
		if ((peer->state == LABEL_PEER_IN_SYNC && peer->joins > joins) ||
			knows_more(assembly, i, place, joins, asked))
			return true;
	}
	return false;
}

/*
 * Whether what a label says of a leaf is from before the leaf was brought up to date: those that it
 * calls in sync itself know of that. Legs that went on alone call nobody so.
 */
static bool is_superseded(const struct assembly *assembly, unsigned place, unsigned accuser)
{
	const struct tree *tree = assembly->tree;
	uint32_t joins = tree->leaves[accuser]->label.peers[place].joins;
	bool asked[TREE_LEAVES_MAX] = { false };

	return tree->leaves[place]->label.peers[place].joins > joins &&
	       knows_more(assembly, accuser, place, joins, asked);
}

/*
 * Whether the label of another leaf knows a later state of that one, or a leaf that has been brought up
 * to date in its place: itself at another time, or one that was added when it had been lost.
 */
static bool is_of_another(const struct leaf *leaf, const struct label *label, unsigned accuser)
{
	const struct label_peer *own = &leaf->label.peers[leaf->place];
	const struct label_peer *peer = &label->peers[leaf->place];

	return accuser != leaf->place &&
	       (peer->generation > leaf->label.generation ||
		       (peer->state == LABEL_PEER_IN_SYNC && peer->joins > own->joins));
}

/* Whether the user vouches for another of the node's legs than the leaf's. */
static bool vouches_for_another(const struct assembly *assembly, const struct node *node, const struct node *leaf)
{
	struct leaf **leaves = assembly->tree->leaves;
	unsigned i;

	while (leaf->parent != node)
		leaf = leaf->parent;
	for (i = 0; i < assembly->tree->leaf_count; i++)
		if (assembly->members[i].vouched && node_is_below(leaves[i]->node, node) && !node_is_below(leaves[i]->node, leaf))
			return true;
	return false;
}

/*
 * Against a leaf that the user vouches for only those are heard that he vouches for as well, below a node
 * of which he has said which legs to use: if he names several, they still tell of each other, and each of itself.
 */
static bool is_heard(const struct assembly *assembly, unsigned place, unsigned accuser)
{
	const struct tree *tree = assembly->tree;
	const struct node *node = tree->leaves[place]->node;

	if (!assembly->members[place].vouched)
		return true;
	if (!assembly->members[accuser].vouched)
		return false;
	for (; node; node = node->parent)
		if (assembly->decided[node->index] && node_is_below(tree->leaves[accuser]->node, node) &&
			(accuser != place || vouches_for_another(assembly, node, tree->leaves[place]->node)))
			return true;
	return false;
}

static void accuse(struct assembly *assembly, unsigned place, unsigned accuser)
{
	const struct leaf *leaf = assembly->tree->leaves[place];
	const struct label *label = &assembly->tree->leaves[accuser]->label;
	const struct label_peer *peer = &label->peers[place];
	struct member *member = &assembly->members[place];

	if (!is_heard(assembly, place, accuser))
		return;
	member->is_copy |= is_of_another(leaf, label, accuser);
	if (peer->state != LABEL_PEER_IN_SYNC && is_superseded(assembly, place, accuser))
		return;
	member->is_copy |= peer->state == LABEL_PEER_OLD_COPY;
	if (peer->state != LABEL_PEER_IN_SYNC) {
		member->older &= member->stale; /* the stronger reason */
		member->stale = true;
		member->accuser = accuser;
	} else if (is_of_another(leaf, label, accuser) && !member->stale) {
		member->stale = member->older = true;
		member->accuser = accuser;
	}
}

void assemble_accuse(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i, j;

	for (i = 0; i < tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];

		member->stale = member->kind == MEMBER_OURS && leaf_is_given_up(assembly, i);
		member->older = member->is_copy = false;
		member->accuser = i;
		for (j = 0; j < tree->leaf_count; j++)
			if (member->kind == MEMBER_OURS && !leaf_is_given_up(assembly, i) &&
				!leaf_is_given_up(assembly, j) &&
				(i == j || !leaf_stands_by(tree->leaves[j])) &&
				assembly->members[j].kind == MEMBER_OURS)
				accuse(assembly, i, j);
	}
}

bool node_is_lost(const struct assembly *assembly, const struct node *node)
{
	unsigned i, lost = 0;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		return member->kind != MEMBER_RAW && (member->kind != MEMBER_OURS || member->stale);
	}
	for (i = 0; i < node->child_count; i++)
		lost += node_is_lost(assembly, node->children[i]);
	return node->type->redundant ? lost == node->child_count : lost > 0;
}

/*
 * Whether somebody who missed nothing himself says that the leaf has. From then on it was told
 * nothing, so that there is nothing that it alone could tell. Only its fellows below the nearest
 * redundant node count: they alone were told if it was brought up to date since.
 */
static bool is_known_stale(const struct assembly *assembly, unsigned place)
{
	const struct tree *tree = assembly->tree;
	const struct node *nearest = tree->leaves[place]->node->parent;
	unsigned i;

	while (nearest && !nearest->type->redundant)
		nearest = nearest->parent;
	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale &&
			node_is_below(tree->leaves[i]->node, nearest) &&
			tree->leaves[i]->label.peers[place].state != LABEL_PEER_IN_SYNC)
			return true;
	return false;
}

/* Whether what a leaf below the node knew when the device stopped is not to be had. */
static bool is_silent(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		return member->kind != MEMBER_RAW &&
		       (member->kind != MEMBER_OURS || member->older) &&
		       !is_known_stale(assembly, node->leaf->place);
	}
	for (i = 0; i < node->child_count; i++)
		if (is_silent(assembly, node->children[i]))
			return true;
	return false;
}

static bool can_tell(const struct assembly *assembly, const struct node *node);

/* What only this leg was told of its fellows, of those who were in use to the end, is not to be had. */
static bool is_witness_lost(const struct assembly *assembly, const struct node *leg)
{
	return !can_tell(assembly, leg) && is_silent(assembly, leg);
}

/*
 * Whether a leaf below the node surely was in use to the end, and so was told what others missed.
 * One below a redundant node may have missed writes itself, if a fellow's witness is lost.
 */
static bool can_tell(const struct assembly *assembly, const struct node *node)
{
	bool can = false;
	unsigned i;

	if (node->leaf)
		return !node_is_lost(assembly, node);
	for (i = 0; i < node->child_count; i++) {
		if (node->type->redundant && !assembly->decided[node->index] &&
			is_witness_lost(assembly, node->children[i]))
			return false;
		can |= can_tell(assembly, node->children[i]);
	}
	return can;
}

/*
 * Whether legs below the node may have missed writes unseen: what a leg missed is recorded on its
 * fellows, of which one is silent. (A clean stop records it on all leaves.) `as_leg`: all below may
 * have, as somebody else has everything. Else one who is left has: had he failed another who is
 * left, he would say so.
 */
static bool is_unsure(const struct assembly *assembly, const struct node *node, bool as_leg)
{
	unsigned i, sure = 0;

	if (node->leaf)
		return false;
	for (i = 0; i < node->child_count; i++) {
		const struct node *child = node->children[i];

		if (node->type->redundant && !assembly->decided[node->index] &&
			(as_leg ? is_witness_lost(assembly, child)
				: node_is_lost(assembly, child) && is_silent(assembly, child)))
			return true;
		sure += !node_is_lost(assembly, child) && !is_unsure(assembly, child, as_leg);
	}
	return node->type->redundant ? sure == 0 : sure < node->child_count;
}

bool node_is_unsure(const struct assembly *assembly, const struct node *node)
{
	return is_unsure(assembly, node, false);
}

bool leg_is_unsure(const struct assembly *assembly, const struct node *leg)
{
	return is_unsure(assembly, leg, true);
}

/* The label of a leaf that had failed is open for ever: only the others were told of the stop. */
bool assemble_was_open(const struct assembly *assembly)
{
	unsigned i;

	for (i = 0; i < assembly->tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale &&
			assembly->tree->leaves[i]->label.flags & LABEL_OPEN)
			return true;
	return false;
}

uint64_t assemble_length_known(const struct assembly *assembly, unsigned place)
{
	uint64_t longest = 0;
	unsigned i;

	for (i = 0; i < assembly->tree->leaf_count; i++) {
		const struct label *label = &assembly->tree->leaves[i]->label;

		if (assembly->members[i].kind == MEMBER_OURS && label->lengths &&
			label->lengths[place] > longest)
			longest = label->lengths[place]; /* the others are from before it grew */
	}
	return longest;
}

/* One that was removed goes, too; not before it says that the user has decided against it, if he has. */
static bool is_away(const struct assembly *assembly, const struct leaf *leaf)
{
	const struct member *member = &assembly->members[leaf->place];

	return member->kind != MEMBER_OURS || (member->removed && leaf->todo != LEAF_GIVE_UP);
}

/* What isn't there has no limits: give it some that disturb nobody who stands on it. */
static void stand_in(const struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	struct limits limits = { .size = 0 };
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS &&
			tree->leaves[i]->node->limits.size > limits.size)
			limits = tree->leaves[i]->node->limits;
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];

		if (!leaf->labelled || !is_away(assembly, leaf) || assembly->members[i].is_added)
			continue;
		if (assembly->members[i].removed)
			assembly->members[i].kind = MEMBER_MISSING;
		if (!assembly->options->dry)
			leaf_drop(leaf);
		label_finish(&leaf->label);
		leaf->node->limits = limits;
		/* The device must not grow while its smallest leg is away. */
		if (assemble_length_known(assembly, i))
			leaf->node->limits.size = assemble_length_known(assembly, i);
		else if (leaf->wanted)
			leaf->node->limits.size = leaf->wanted;
	}
}

int assemble_legs(struct assembly *assembly, struct err *err)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	assemble_accuse(assembly);
	if (!err)
		return node_is_lost(assembly, tree->root) ? -1 : 0;
	if (assemble_prefer(assembly, err) < 0)
		return -1;
	if (node_is_lost(assembly, tree->root)) {
		assemble_explain(assembly, tree->root, err);
		return -1;
	}
	if (assemble_was_open(assembly) && node_is_unsure(assembly, tree->root)) {
		assemble_explain_unsure(assembly, tree->root, err);
		return -1;
	}
	if (assemble_find_removed(assembly, err) < 0)
		return -1;
	assemble_choose_taken_back(assembly);
	for (i = 0; i < tree->node_count; i++)
		assemble_judge(assembly, tree->nodes[i]);
	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->is_old_copy = assembly->members[i].is_copy;
	assemble_take_back(assembly);
	stand_in(assembly);
	return 0;
}
