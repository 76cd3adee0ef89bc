// SPDX-License-Identifier: MIT
/* Sentences about legs: which are not used, why, and who says so. It decides nothing. */
#include "assemble_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX (2 * IDENTIFY_MAX)
#define TIME_TEXT 64

/* The first leaf because of which the node is lost. */
static const struct leaf *cause(const struct assembly *assembly, const struct node *node)
{
	unsigned i;

	while (!node->leaf) {
		for (i = 0; !node_is_lost(assembly, node->children[i]); i++)
			;
		node = node->children[i];
	}
	return node->leaf;
}

/* "missed writes", "is not there": why a leaf is not used. */
static const char *reason(const struct assembly *assembly, const struct leaf *leaf, char *text)
{
	const struct member *member = &assembly->members[leaf->place];

	if (member->removed)
		return "was removed";
	if (member->kind != MEMBER_OURS)
		return member_says(member, text, TEXT_MAX);
	if (leaf_is_given_up(assembly, leaf->place))
		return "is given up";
	return member->older ? "holds an older state than it had" : "missed writes";
}

static void accusation(const struct assembly *assembly, const struct leaf *leaf, FILE *out)
{
	const struct member *member = &assembly->members[leaf->place];
	const struct leaf *accuser = assembly->tree->leaves[member->accuser];
	time_t when = (time_t)accuser->label.updated;
	char text[TEXT_MAX], written[TIME_TEXT] = "";
	struct tm parts;

	if (accuser == leaf) {
		fprintf(out, "%s (%s) %s", leaf->node->id, leaf->path,
			leaf_is_given_up(assembly, leaf->place) ? "was given up"
								: "says itself that it missed writes");
		return;
	}
	if (when && gmtime_r(&when, &parts))
		(void)strftime(written, sizeof(written), ", written %Y-%m-%dT%H:%M:%SZ", &parts);
	fprintf(out,
		"%s (%s; generation %" PRIu64 "%s) says that %s (%s) %s, and last saw it at "
		"generation %" PRIu64,
		accuser->node->id, accuser->path, accuser->label.generation, written,
		leaf->node->id, leaf->path, reason(assembly, leaf, text),
		accuser->label.peers[leaf->place].generation);
}

/* What is said against the leaves below a node. */
static bool accusations(const struct assembly *assembly, const struct node *node, FILE *out)
{
	bool any = false;
	unsigned i;

	if (node->leaf) {
		if (!assembly->members[node->leaf->place].stale)
			return false;
		fprintf(out, "%s", ftell(out) ? "; " : "");
		accusation(assembly, node->leaf, out);
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
			"%s %s: its legs have diverged, none is known to have all writes: %s. "
			"--prefer=LEAF goes on with one of them and gives the others up",
			node->type->name, node->id, text);
	free(text);
	return any;
}

/* Why a node is lost, at the leaves that are the reason. */
void assemble_explain(const struct assembly *assembly, const struct node *node, struct err *err)
{
	char text[TEXT_MAX];
	unsigned i;

	if (!node_is_lost(assembly, node))
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
		assemble_explain(assembly, node->children[i], err);
}

void assemble_note_leg(const struct assembly *assembly, const struct node *node,
	const struct node *leg, unsigned in_sync)
{
	const struct leaf *leaf = cause(assembly, leg);
	bool is_saved = leg->is_taken_back && !leg->failed;
	const char *what = leg->rebuilding ? "brought up to date" : leg->failed ? "not used" : "standing by";
	const char *role = leg->spare ? "spare" : "leg";
	unsigned legs = node->child_count - node->spare_count;
	char text[TEXT_MAX];

	if (leg->leaf)
		err_add(assembly->notes, "%s %s: %s %s (%s) %s and is %s; %u of %u legs in sync",
			node->type->name, node->id, role, leg->id, leaf->path,
			reason(assembly, leaf, text), what, in_sync, legs);
	else
		err_add(assembly->notes,
			"%s %s: %s %s is %s, as its %s (%s) %s; %u of %u legs in sync",
			node->type->name, node->id, role, leg->id, what, leaf->node->id, leaf->path,
			reason(assembly, leaf, text), in_sync, legs);
	if (is_saved)
		err_add(assembly->notes, "what leg %s alone holds %s saved in %s first", leg->id,
			assembly->options->dry ? "would be" : "is", assembly->options->take_back);
}

/* The first leaf below the node that is there and used, and the first that is silent. */
static void find_both(const struct assembly *assembly, const struct node *node,
	const struct leaf **there, const struct leaf **away)
{
	const struct member *member;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		find_both(assembly, node->children[i], there, away);
	if (!node->leaf)
		return;
	member = &assembly->members[node->leaf->place];
	if (member->kind == MEMBER_OURS && !member->stale && !*there)
		*there = node->leaf;
	else if ((member->kind != MEMBER_OURS || member->older) && !*away)
		*away = node->leaf;
}

void assemble_explain_unsure(
	const struct assembly *assembly, const struct node *node, struct err *err)
{
	const struct leaf *there = NULL, *away = NULL;
	bool below = false;
	char text[TEXT_MAX];
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (!node_is_lost(assembly, node->children[i]) &&
			node_is_unsure(assembly, node->children[i])) {
			assemble_explain_unsure(assembly, node->children[i], err);
			below = true;
		}
	if (below || !node->type->redundant)
		return;
	find_both(assembly, node, &there, &away);
	if (there && away)
		json_err(node->json, err,
			"%s %s: %s was not stopped cleanly, and nobody is left to say whether %s "
			"(%s) "
			"missed writes before: %s (%s), which would know, %s. --prefer=%s goes on "
			"with "
			"it as it is",
			node->type->name, node->id, assembly->tree->name, there->node->id,
			there->path, away->node->id, away->path, reason(assembly, away, text),
			there->node->id);
}
