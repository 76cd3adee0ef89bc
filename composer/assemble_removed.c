// SPDX-License-Identifier: MIT
/*
 * Legs that the user has removed. Unlike one that has only failed, such a leg isn't brought up to date by
 * the next start that finds it: labels say so of its leaves (label.h, `removed`), beside what they say of any stale
 * one, until he adds it again. It is as one that isn't there: nobody waits for it, nothing of it stays open, and what
 * its disk holds by now, or who has it, is nobody's business here.
 *
 * Only a leg that missed writes, or stands by, can be removed. Whether it is a start's wish or known from
 * labels, the labels that are written before the device goes live say it. A crash among them leaves some that do and
 * some that don't: one who missed nothing himself is enough, so that the next start completes it, or the
 * return of such a leg; either way it is stale, and which it was, nobody was told yet.
 */
#include "assemble_internal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct node *find_leg(const struct tree *tree, const char *id)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++) {
		const struct node *node = tree->nodes[i];

		if (node->parent && node->parent->type->redundant && !strcmp(node->id, id))
			return node;
	}
	return NULL;
}

static bool is_below_leg(const struct assembly *assembly, unsigned place, const char *id)
{
	const struct node *leg = find_leg(assembly->tree, id);

	return leg && node_is_below(assembly->tree->leaves[place]->node, leg);
}

/* By one who missed nothing himself. */
static bool is_called_removed(const struct assembly *assembly, unsigned place)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !assembly->members[i].stale &&
			tree->leaves[i]->label.peers[place].removed)
			return true;
	return false;
}

bool assemble_may_add(const struct assembly *assembly, unsigned place)
{
	const struct assemble_options *options = assembly->options;

	return options->add && (!options->leg || is_below_leg(assembly, place, options->leg));
}

bool assemble_is_removed(const struct assembly *assembly, unsigned place)
{
	const struct assemble_options *options = assembly->options;
	const struct member *member = &assembly->members[place];
	bool is_there = member->kind == MEMBER_OURS || member->is_added;

	if (options->remove && is_below_leg(assembly, place, options->remove))
		return true;
	return is_called_removed(assembly, place) &&
	       !(assemble_may_add(assembly, place) && (options->leg || is_there));
}

int assemble_find_removed(struct assembly *assembly, struct err *err)
{
	const struct assemble_options *options = assembly->options;
	const struct tree *tree = assembly->tree;
	const struct node *leg;
	unsigned i;

	leg = options->remove ? find_leg(tree, options->remove) : NULL;
	if (options->remove && !leg)
		return err_add(err, "\"%s\" is no leg of a mirror", options->remove);
	if (leg && !node_is_lost(assembly, leg))
		return err_add(err,
			"%s %s: leg %s is in sync by the labels; only one that has failed, or stands by, can be removed",
			leg->parent->type->name, leg->parent->id, leg->id);
	for (i = 0; i < tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];

		/* Of the leg that goes now all leaves do, whichever of them missed something. */
		member->removed = (member->kind != MEMBER_OURS || member->stale ||
					  (leg && node_is_below(tree->leaves[i]->node, leg))) &&
				  assemble_is_removed(assembly, i);
		tree->leaves[i]->is_removed = member->removed;
	}
	return 0;
}

bool node_is_removed(const struct assembly *assembly, const struct node *node)
{
	unsigned i, removed = 0;

	if (node->leaf)
		return assembly->members[node->leaf->place].removed;
	for (i = 0; i < node->child_count; i++)
		removed += node_is_removed(assembly, node->children[i]);
	return node->type->redundant ? removed == node->child_count : removed > 0;
}

/* What of the leg that is to be added can't be used. */
static void explain(const struct assembly *assembly, const struct node *node)
{
	const struct leaf *leaf = node->leaf;
	const struct member *member;
	char text[2 * IDENTIFY_MAX];
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		explain(assembly, node->children[i]);
	if (!leaf)
		return;
	member = &assembly->members[leaf->place];
	if (leaf->problem)
		err_add(assembly->err, "%s", leaf->problem);
	else if (member->kind == MEMBER_OURS && leaf_is_given_up(assembly, leaf->place))
		leaf_err(leaf, assembly->err,
			"%s was given up: `create --take-back` saves what it alone holds, and adds it", leaf->path);
	else if (member->kind != MEMBER_OURS && !member->is_added)
		leaf_err(leaf, assembly->err, "%s %s: it can't be added; once it is wiped it can", leaf->path,
			member_says(member, text, sizeof(text)));
}

int assemble_check_leg(const struct assembly *assembly)
{
	const struct assemble_options *options = assembly->options;
	const struct node *leg = options->leg ? find_leg(assembly->tree, options->leg) : NULL;

	if (!options->add || !options->leg)
		return 0;
	if (!leg)
		return err_add(assembly->err, "\"%s\" is no leg of a mirror", options->leg);
	if (!node_has_failed(leg))
		return 0;
	explain(assembly, leg);
	return err_add(assembly->err, "%s %s: leg %s is not added", leg->parent->type->name,
		leg->parent->id, leg->id);
}

/* Whether that label fits the document, and says that the leaf of that place was removed. */
static bool disowns(const struct assembly *assembly, unsigned by, unsigned place)
{
	const struct label *label = &assembly->tree->leaves[by]->label;

	return assembly->members[by].kind == MEMBER_OURS &&
	       label->leaf_count == assembly->tree->leaf_count &&
	       !strcmp(label->geometry, assembly->geometry) && label->peers[place].removed &&
	       uuid_compare(label->tree_uuid, assembly->tree->leaves[place]->label.tree_uuid) != 0;
}

void assemble_disown_removed(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i, j;

	for (i = 0; i < tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];
		char name[IDENTIFY_MAX / 2];

		for (j = 0; j < tree->leaf_count && member->kind == MEMBER_OURS; j++) {
			if (!disowns(assembly, j, i))
				continue;
			label_tree_name(&tree->leaves[i]->label, name, sizeof(name));
			(void)snprintf(member->what, sizeof(member->what), "a leaf of the tree %s", name);
			label_finish(&tree->leaves[i]->label);
			member->kind = MEMBER_FOREIGN;
			assembly->ours--;
		}
	}
}

static void expect_by(struct tree *tree, int fd)
{
	struct label label = { 0 };
	char why[IDENTIFY_MAX];
	unsigned i;

	if (label_read(fd, (uint64_t)lseek(fd, 0, SEEK_END), &label, why, sizeof(why)) != LABEL_FOUND)
		return;
	for (i = 0; i < tree->leaf_count && i < label.leaf_count; i++)
		tree->leaves[i]->is_removed |= label.peers[i].removed;
	label_finish(&label);
}

void assemble_expect_removed(struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		int fd = open(tree->leaves[i]->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0)
			continue;
		expect_by(tree, fd);
		close(fd);
	}
}
