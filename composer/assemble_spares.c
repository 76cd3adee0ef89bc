// SPDX-License-Identifier: MIT
/*
 * Spares: which legs of a redundant node are in use or wanted to be, and which stand by. It knows no type
 * of target but `redundant`.
 *
 * Of a node's children as many stand by as its document has "spares", always; one less for as long as one that
 * replaces another is in sync with it (mirror_replace.c). In a new tree they are
 * those of the document. Then labels say which (LABEL_PEER_SPARE): a spare that is taken in for a leg that
 * has failed changes places with it, on all labels at once, so that after a crash the same one goes on being
 * brought up to date. What a crash between two labels leaves is one choice or the other: both are stale, and
 * what the taken one still misses is its parent's to know, by what it keeps on its legs itself.
 *
 * A spare holds nothing: it isn't written, nobody waits for it, and what its label says of others, which is
 * written at starts and clean stops alone, doesn't count.
 */
#include "assemble_internal.h"

bool leaf_stands_by(const struct leaf *leaf)
{
	return leaf->label.peers && leaf->label.peers[leaf->label.place].state == LABEL_PEER_SPARE;
}

/*
 * Legs that went on alone name the same number of starts in their superblocks, each by its own count: one that stood
 * by with those who are given up now, and was brought up to date there once, could pass for one of which it is known
 * what it misses.
 */
bool leaf_stood_by_elsewhere(const struct assembly *assembly, const struct leaf *leaf)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count && leaf_stands_by(leaf); i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale &&
			leaf->label.peers[i].state != LABEL_PEER_IN_SYNC)
			return true;
	return false;
}

/* Whether somebody who missed nothing calls it a spare. */
static bool is_called_spare(const struct assembly *assembly, unsigned place)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale &&
			tree->leaves[i]->label.peers[place].state == LABEL_PEER_SPARE)
			return true;
	return false;
}

/* All leaves of a leg have the same role: one is asked. */
static bool was_spare(const struct assembly *assembly, const struct node *leg)
{
	while (!leg->leaf)
		leg = leg->children[0];
	return is_called_spare(assembly, leg->leaf->place);
}

/* How much a leg is wanted in use: the lowest ones are. */
static unsigned rank(const struct assembly *assembly, const struct node *leg)
{
	if (!leg->failed && !leg->rebuilding)
		return 0;
	return (leg->failed ? 3 : 1) + (leg->removed || was_spare(assembly, leg));
}

static void stand_by(const struct assembly *assembly, const struct node *node, struct node *leg)
{
	if (!leg->failed && !was_spare(assembly, leg))
		err_add(assembly->notes, "%s %s: leg %s stands by as a spare from now on", node->type->name,
			node->id, leg->id);
	leg->spare = true;
	leg->rebuilding = false; /* who is to be copied to all the same learns what set_stale() knew */
}

void assemble_spares(const struct assembly *assembly, const struct node *node)
{
	unsigned wanted = node->child_count - node->spare_count, level, i;

	for (level = 0; level <= 4 && node->spare_count; level++)
		for (i = 0; i < node->child_count; i++) {
			struct node *leg = node->children[i];

			if (leg->spare || rank(assembly, leg) != level)
				continue;
			if (wanted == 0 && level > 0) {
				stand_by(assembly, node, leg);
				continue;
			}
			wanted -= wanted > 0;
			if (level == 2)
				err_add(assembly->notes, "%s %s: spare %s is taken in", node->type->name,
					node->id, leg->id);
		}
}

void assemble_first_spares(struct tree *tree)
{
	unsigned i, j;

	for (i = 0; i < tree->node_count; i++) {
		const struct node *node = tree->nodes[i];

		for (j = node->child_count - node->spare_count; j < node->child_count; j++)
			node->children[j]->spare = true;
	}
}

bool place_is_spare_to_all(const struct assembly *assembly, unsigned place)
{
	unsigned i, count = 0;

	for (i = 0; i < assembly->tree->leaf_count; i++) {
		if (assembly->members[i].kind != MEMBER_OURS || assembly->members[i].stale)
			continue;
		if (assembly->tree->leaves[i]->label.peers[place].state != LABEL_PEER_SPARE)
			return false;
		count++;
	}
	return count > 0;
}
