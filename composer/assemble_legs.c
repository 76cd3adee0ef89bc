// SPDX-License-Identifier: MIT
/*
 * Which legs are not used: those that missed a write and those that are not there.
 *
 * A label accuses another leaf when it says LABEL_PEER_STALE of it, or when it has seen a
 * generation of it that it no longer has (somebody has put an older copy back): labels only name
 * generations that were durable. Every accusation counts, also by an accused leaf: legs that accuse
 * each other have both been written without the other, and no one can tell which is right.
 *
 * What a leg missed is recorded on its fellows below the same node alone. When one of them is not
 * there after an unclean stop, the others may have missed writes that nobody tells of: they are used
 * only where no other leg further up is surely in sync.
 *
 * A leaf is lost when it is accused or isn't there; a redundant node when all its children are; any
 * other node when one is. It knows no type of target but `redundant`.
 */
#include "assemble_internal.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (2 * IDENTIFY_MAX)

bool tree_is_redundant(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (tree->nodes[i]->type->redundant)
			return true;
	return false;
}

bool leaf_has_failed(const struct leaf *leaf)
{
	return node_has_failed(leaf->node);
}

bool leaf_is_used(const struct leaf *leaf)
{
	return leaf->labelled && leaf->fd >= 0 && !leaf_has_failed(leaf);
}

static void accuse(struct assembly *assembly, unsigned place, unsigned accuser)
{
	const struct leaf *leaf = assembly->tree->leaves[place];
	const struct label *label = &assembly->tree->leaves[accuser]->label;
	const struct label_peer *peer = &label->peers[place];
	struct member *member = &assembly->members[place];

	if (peer->state != LABEL_PEER_IN_SYNC) {
		member->older &= member->stale; /* the stronger reason */
		member->stale = true;
		member->accuser = accuser;
	} else if (accuser != place && peer->generation > leaf->label.generation &&
		   !member->stale) {
		member->stale = member->older = true;
		member->accuser = accuser;
	}
}

static bool is_lost(const struct assembly *assembly, const struct node *node)
{
	unsigned i, lost = 0;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		return member->kind != MEMBER_RAW && (member->kind != MEMBER_OURS || member->stale);
	}
	for (i = 0; i < node->child_count; i++)
		lost += is_lost(assembly, node->children[i]);
	return node->type->redundant ? lost == node->child_count : lost > 0;
}

/* The first leaf because of which the node is lost. */
static const struct leaf *cause(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	while (!node->leaf) {
		for (i = 0; !is_lost(assembly, node->children[i]); i++)
			;
		node = node->children[i];
	}
	return node->leaf;
}

/* "missed writes", "is not there": why a leaf is not used. */
static const char *reason(const struct assembly *assembly, const struct leaf *leaf, char *text)
{
	const struct member *member = &assembly->members[leaf->place];

	if (member->kind == MEMBER_OURS)
		return member->older ? "holds an older state than it had" : "missed writes";
	return member_says(member, text, TEXT_MAX);
}

/* "d0 (/a.img) says that d1 (/b.img) missed writes; …" for the leaves below a node. */
static bool accusations(const struct assembly *assembly, const struct node *node, FILE *out)
{
	bool any = false;
	unsigned i;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];
		const struct leaf *accuser = assembly->tree->leaves[member->accuser];

		if (!member->stale)
			return false;
		fprintf(out, "%s%s (%s) says that %s (%s) %s", ftell(out) ? "; " : "",
			accuser->node->id, accuser->path, node->id, node->leaf->path,
			member->older ? "holds an older state than it had" : "missed writes");
		return true;
	}
	for (i = 0; i < node->child_count; i++)
		any |= accusations(assembly, node->children[i], out);
	return any;
}

/* All legs of a redundant node are lost. True if that is because of what the labels say. */
static bool explain_redundant(
	const struct assembly *assembly, const struct node *node, struct err *err)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	bool any;

	if (!out)
		abort(); /* nothing is live yet that could be harmed */
	any = accusations(assembly, node, out);
	fclose(out);
	if (any)
		json_err(node->json, err,
			"%s %s: its legs have diverged, none is known to have all writes: %s. Make "
			"blank those that are to be given up, and use --degraded",
			node->type->name, node->id, text);
	free(text);
	return any;
}

/* Why a node is lost, at the leaves that are the reason. */
static void explain(const struct assembly *assembly, const struct node *node, struct err *err)
{
	char text[TEXT_MAX];
	unsigned i;

	if (!is_lost(assembly, node))
		return;
	if (node->type->redundant && explain_redundant(assembly, node, err))
		return;
	if (node->leaf && node->leaf->problem) {
		err_add(err, "%s", node->leaf->problem);
		return;
	}
	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		leaf_err(node->leaf, err, "%s %s%s%s, and there is no other leg to go on with",
			node->leaf->path, reason(assembly, node->leaf, text),
			member->stale ? ", says " : "",
			member->stale ? assembly->tree->leaves[member->accuser]->node->id : "");
		return;
	}
	for (i = 0; i < node->child_count; i++)
		explain(assembly, node->children[i], err);
}

static void note_leg(const struct assembly *assembly, const struct node *node,
	const struct node *leg, unsigned in_sync)
{
	const struct leaf *leaf = cause(assembly, leg);
	char text[TEXT_MAX];

	if (leg->leaf)
		err_add(assembly->notes,
			"%s %s: leg %s (%s) %s and is not used; %u of %u legs in sync",
			node->type->name, node->id, leg->id, leaf->path,
			reason(assembly, leaf, text), in_sync, node->child_count);
	else
		err_add(assembly->notes,
			"%s %s: leg %s is not used, as its %s (%s) %s; %u of %u legs in sync",
			node->type->name, node->id, leg->id, leaf->node->id, leaf->path,
			reason(assembly, leaf, text), in_sync, node->child_count);
}

/* Whether what a leaf below the node knew when the device stopped is not to be had. */
static bool is_silent(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	if (node->leaf) {
		const struct member *member = &assembly->members[node->leaf->place];

		return member->kind != MEMBER_RAW && (member->kind != MEMBER_OURS || member->older);
	}
	for (i = 0; i < node->child_count; i++)
		if (is_silent(assembly, node->children[i]))
			return true;
	return false;
}

/*
 * Whether legs below the node may have missed writes unseen: what a leg missed is recorded on its
 * fellows, of which one is silent. (A clean stop records it on all leaves.)
 */
static bool is_unsure(const struct assembly *assembly, const struct node *node)
{
	unsigned i, sure = 0;

	if (node->leaf)
		return false;
	for (i = 0; i < node->child_count; i++) {
		if (node->type->redundant && is_lost(assembly, node->children[i]) &&
			is_silent(assembly, node->children[i]))
			return true;
		sure += !is_lost(assembly, node->children[i]) &&
			!is_unsure(assembly, node->children[i]);
	}
	return node->type->redundant ? sure == 0 : sure < node->child_count;
}

/* The label of a leaf that had failed is open for ever: only the others were told of the stop. */
static bool was_open(const struct assembly *assembly)
{
	unsigned i;

	for (i = 0; i < assembly->tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale &&
			assembly->tree->leaves[i]->label.flags & LABEL_OPEN)
			return true;
	return false;
}

/* Where there are legs that are surely in sync, only they are used. */
static void fail_legs(const struct assembly *assembly, const struct node *node)
{
	bool open = was_open(assembly);
	unsigned i, sure = 0, in_sync = 0;

	if (!node->type->redundant || is_lost(assembly, node))
		return;
	for (i = 0; i < node->child_count; i++)
		sure += !is_lost(assembly, node->children[i]) &&
			!(open && is_unsure(assembly, node->children[i]));
	for (i = 0; i < node->child_count; i++) {
		struct node *leg = node->children[i];

		leg->failed = is_lost(assembly, leg) ||
			(sure && open && is_unsure(assembly, leg));
		in_sync += !leg->failed;
	}
	for (i = 0; i < node->child_count; i++) {
		const struct node *leg = node->children[i];

		if (leg->failed && is_lost(assembly, leg))
			note_leg(assembly, node, leg, in_sync);
		else if (leg->failed)
			err_add(assembly->notes,
				"%s %s: leg %s is not used, as nobody is left to say whether it missed "
				"writes; %u of %u legs in sync",
				node->type->name, node->id, leg->id, in_sync, node->child_count);
	}
}

/* How long the leaf of a place is by the labels that are there; 0: they don't say. */
static uint64_t length_known(const struct assembly *assembly, unsigned place)
{
	unsigned i;

	for (i = 0; i < assembly->tree->leaf_count; i++) {
		const struct label *label = &assembly->tree->leaves[i]->label;

		if (assembly->members[i].kind == MEMBER_OURS && label->lengths &&
			label->lengths[place])
			return label->lengths[place];
	}
	return 0;
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

		if (!leaf->labelled || assembly->members[i].kind == MEMBER_OURS)
			continue;
		if (!assembly->options->dry)
			leaf_drop(leaf);
		label_finish(&leaf->label);
		leaf->node->limits = limits;
		/* The device must not grow while its smallest leg is away. */
		if (length_known(assembly, i))
			leaf->node->limits.size = length_known(assembly, i);
		else if (leaf->wanted)
			leaf->node->limits.size = leaf->wanted;
	}
}

int assemble_legs(struct assembly *assembly, struct err *err)
{
	const struct tree *tree = assembly->tree;
	unsigned i, j;

	for (i = 0; i < tree->leaf_count; i++)
		for (j = 0; j < tree->leaf_count; j++)
			if (assembly->members[i].kind == MEMBER_OURS &&
				assembly->members[j].kind == MEMBER_OURS)
				accuse(assembly, i, j);
	if (is_lost(assembly, tree->root)) {
		if (err)
			explain(assembly, tree->root, err);
		return -1;
	}
	if (!err)
		return 0;
	for (i = 0; i < tree->node_count; i++)
		fail_legs(assembly, tree->nodes[i]);
	stand_in(assembly);
	return 0;
}
