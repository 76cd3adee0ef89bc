// SPDX-License-Identifier: MIT
/*
 * What becomes of legs that are not in sync: brought up to date where they are there, left out where
 * they are not. It knows no type of target but `redundant`; who is stale is assemble_legs.c's.
 */
#include "assemble_internal.h"

/*
 * Whether all that a node needs is there, stale or not. What the user has decided against stays as it
 * is, unless he takes it back: nobody else has what it alone holds.
 */
static bool is_present(const struct assembly *assembly, const struct node *node)
{
	unsigned i, present = 0;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		if (member->removed)
			return false;
		return member->kind == MEMBER_RAW || member->is_added ||
		       (member->kind == MEMBER_OURS &&
			       (member->is_taken_back ||
				       !leaf_is_given_up(assembly, node->leaf->place)));
	}
	for (i = 0; i < node->child_count; i++)
		present += is_present(assembly, node->children[i]);
	return node->type->redundant ? present > 0 : present == node->child_count;
}

/*
 * Whether a stale leg is in one state, that of when it left: then its parent may know what it has
 * missed since. Legs of its own may have left each at its own time.
 */
static bool is_of_one_time(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (node->leaf)
		return !assembly->members[node->leaf->place].is_copy &&
		       !assembly->members[node->leaf->place].is_added &&
		       !leaf_is_given_up(assembly, node->leaf->place) &&
		       !leaf_stood_by_elsewhere(assembly, node->leaf);
	for (i = 0; i < node->child_count; i++)
		if (node->type->redundant || !is_of_one_time(assembly, node->children[i]))
			return false;
	return true;
}

static bool is_below_rebuilding(const struct node *node)
{
	for (; node; node = node->parent)
		if (node->rebuilding || node->spare)
			return true;
	return false;
}

/* A leg that is not in sync: it is brought up to date if it is there. */
static void set_stale(const struct assembly *assembly, struct node *leg)
{
	leg->rebuilding = is_present(assembly, leg);
	leg->rebuild_all = leg->rebuilding &&
		(!is_of_one_time(assembly, leg) || !node_is_lost(assembly, leg));
	leg->failed = !leg->rebuilding;
	leg->removed = leg->failed && node_is_removed(assembly, leg);
}

/* How good a leg is of a node that is written anew: what is saved before is what the best one holds. */
static unsigned worth(const struct assembly *assembly, const struct node *leg)
{
	if (!is_present(assembly, leg))
		return 0;
	if (assembly->has_own[leg->index])
		return 3;
	return node_is_lost(assembly, leg) ? 1 : 2;
}

/* All below is written anew by the mirror above: one leg is the first to get it, the best one there. */
static void choose_first(const struct assembly *assembly, const struct node *node)
{
	unsigned i, best = 0;

	for (i = 1; i < node->child_count; i++)
		if (worth(assembly, node->children[i]) > worth(assembly, node->children[best]))
			best = i;
	for (i = 0; i < node->child_count; i++)
		if (i != best || worth(assembly, node->children[i]) == 0) {
			set_stale(assembly, node->children[i]);
			node->children[i]->rebuild_all = node->children[i]->rebuilding;
		}
}

static void note_unsure(const struct assembly *assembly, const struct node *node,
	const struct node *leg, unsigned in_sync)
{
	err_add(assembly->notes,
		"%s %s: leg %s is %s, as nobody is left to say whether it missed writes; %u of %u "
		"legs in sync",
		node->type->name, node->id, leg->id,
		leg->rebuilding ? "brought up to date" : "not used", in_sync,
		node->child_count - node->spare_count);
}

static unsigned count_sure(const struct assembly *assembly, const struct node *node,
	bool (*is_unsure)(const struct assembly *assembly, const struct node *node))
{
	unsigned i, sure = 0;

	for (i = 0; i < node->child_count; i++)
		sure += !node_is_lost(assembly, node->children[i]) &&
			!is_unsure(assembly, node->children[i]);
	return sure;
}

/* Of legs after an unclean stop: where some are surely in sync, only they are trusted. */
static void doubt_others(const struct assembly *assembly, const struct node *node)
{
	bool (*is_unsure)(const struct assembly *, const struct node *) = leg_is_unsure;
	unsigned i;

	if (count_sure(assembly, node, is_unsure) == 0)
		is_unsure = node_is_unsure;
	if (count_sure(assembly, node, is_unsure) == 0)
		return;
	for (i = 0; i < node->child_count; i++)
		if (is_unsure(assembly, node->children[i]))
			set_stale(assembly, node->children[i]);
}

void assemble_judge(const struct assembly *assembly, const struct node *node)
{
	unsigned i, in_sync = 0;

	if (!node->type->redundant || node_has_failed(node))
		return;
	if (is_below_rebuilding(node)) {
		choose_first(assembly, node);
		assemble_spares(assembly, node);
		return;
	}
	for (i = 0; i < node->child_count; i++)
		if (node_is_lost(assembly, node->children[i]))
			set_stale(assembly, node->children[i]);
	if (assemble_was_open(assembly))
		doubt_others(assembly, node);
	assemble_spares(assembly, node);
	for (i = 0; i < node->child_count; i++)
		in_sync += node_is_in_sync(node->children[i]);
	for (i = 0; i < node->child_count; i++) {
		const struct node *leg = node->children[i];

		if ((leg->failed || leg->rebuilding || leg->is_taken_back) && node_is_lost(assembly, leg))
			assemble_note_leg(assembly, node, leg, in_sync);
		else if (leg->failed || leg->rebuilding)
			note_unsure(assembly, node, leg, in_sync);
	}
}
