// SPDX-License-Identifier: MIT
/*
 * Assembly: from what is on the leaves to what is to be done with them. It reads labels and writes
 * none; it knows no type of target.
 *
 *   no label that was ever served   all blank: format. Anything else: refuse, or with force format
 *   labels that fit, all there      recognise
 *   labels that fit, some missing   refuse, or degraded go on without; with force format, unless it
 *                                   could go on degraded
 *   labels that don't fit           refuse, or with force format
 */
#include "assemble_internal.h"

#include "leaf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (2 * IDENTIFY_MAX)

/* A label was left open, or one copy of it may hide that. */
static void find_unclean(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	bool open = false, damaged = false;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (!leaf_is_used(leaf))
			continue;
		open |= !leaf_is_stale(leaf) && leaf->label.flags & LABEL_OPEN;
		damaged |= leaf->label.damaged;
		if (leaf->label.damaged)
			err_add(assembly->notes, "%s: %s: %s; the other one is used",
				leaf->node->id, leaf->path, assembly->members[i].what);
	}
	if (open)
		err_add(assembly->notes, "%s was not stopped cleanly", tree->name);
	for (i = 0; i < tree->node_count; i++)
		tree->nodes[i]->unclean = open || damaged || node_is_stale(tree->nodes[i]);
}

/* Of leaves that have become longer. True: this label didn't know. */
static bool lengths_update(const struct assembly *assembly, struct label *label)
{
	const struct tree *tree = assembly->tree;
	bool is_news = false;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct label *other = &tree->leaves[i]->label;

		if (assembly->members[i].kind != MEMBER_OURS ||
			label->lengths[i] >= other->data_length)
			continue;
		label->lengths[i] = other->data_length;
		is_news = true;
	}
	return is_news;
}

/* Labels of the first days don't name the other leaves' lengths. True: now this one does. */
static bool lengths_learn(const struct assembly *assembly, struct label *label)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	if (label->lengths)
		return lengths_update(assembly, label);
	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->labelled && assembly->members[i].kind != MEMBER_OURS)
			return false; /* not all are known */
	label->lengths = calloc(tree->leaf_count, sizeof(*label->lengths));
	for (i = 0; label->lengths && i < tree->leaf_count; i++)
		if (tree->leaves[i]->labelled)
			label->lengths[i] = tree->leaves[i]->label.data_length;
	return label->lengths != NULL;
}

/* The labels carry the document: a new one replaces it. */
static int find_refresh(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		bool is_news;
		char *text;

		if (!leaf_is_used(leaf))
			continue;
		text = assemble_document(tree);
		if (!text)
			return err_add(assembly->err, "out of memory");
		is_news = lengths_learn(assembly, &leaf->label);
		if (is_news || strcmp(text, leaf->label.document) != 0 || leaf->label.damaged ||
			leaf->label.mixed)
			leaf->todo = LEAF_REFRESH;
		free(leaf->label.document);
		leaf->label.document = text;
	}
	return 0;
}

/* Who has a leaf may be serving the rest of the tree: nobody goes on without it, unless it isn't the tree's any more. */
static int check_busy(const struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->is_busy && !tree->leaves[i]->is_removed)
			err_add(assembly->err, "%s", tree->leaves[i]->problem);
	return assembly->err->count == before ? 0 : -1;
}

static int decide_recognise(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned i;

	assemble_place(assembly);
	assemble_complete_growth(assembly);
	if (assemble_sizes(assembly) < 0 || assemble_check_added(assembly) < 0 ||
		assemble_legs(assembly, assembly->err) < 0 || check_busy(assembly) < 0 ||
		assemble_check_leg(assembly) < 0 || assemble_make_added(assembly) < 0 ||
		assemble_grow(assembly) < 0)
		return -1;
	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->listed != i && tree->leaves[i]->fd >= 0)
			err_add(assembly->notes, "%s is served by %s (listed as %s)",
				tree->leaves[i]->node->id, tree->leaves[i]->path,
				tree->leaves[tree->leaves[i]->listed]->node->id);
	find_unclean(assembly);
	return find_refresh(assembly);
}

/* Labels that fit, and leaves among them that are not what they should be. */
static int refuse_incomplete(struct assembly *assembly, bool can_go_on)
{
	const struct tree *tree = assembly->tree;
	const char *remedy = assembly->options->leg	? "once it is wiped it can be added"
			     : can_go_on		? "use --degraded to go on without it"
			     : assembly->options->force ? "there is no other leg to go on with"
							: "--force makes a new tree of all leaves";
	const struct leaf *other = NULL;
	char text[TEXT_MAX], name[TEXT_MAX];
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (assembly->members[i].kind == MEMBER_OURS && !other)
			other = tree->leaves[i];
	label_tree_name(&other->label, name, sizeof(name));
	for (i = 0; i < tree->leaf_count; i++) {
		const struct member *member = &assembly->members[i];
		const struct leaf *leaf = tree->leaves[i];
		bool is_blank = member->kind == MEMBER_BLANK || member->kind == MEMBER_FRESH;

		if (member->kind == MEMBER_RAW || member->kind == MEMBER_OURS || member->excused)
			continue;
		if (leaf->problem)
			err_add(assembly->err, "%s", leaf->problem);
		else
			leaf_err(leaf, assembly->err,
				"%s %s, while %s of %s belongs to the tree %s; %s", leaf->path,
				leaf->exists ? member_says(member, text, sizeof(text))
					     : "was not there",
				other->path, other->node->id, name,
				can_go_on && is_blank ? "use --add to bring it up to date, or "
							"--degraded to go on without it"
						      : remedy);
	}
	return -1;
}

/* Whether all are there that somebody waits for. */
static bool is_complete(struct assembly *assembly)
{
	unsigned i, missing = 0;

	assemble_place(assembly);
	assemble_accuse(assembly);
	if (assembly->options->add)
		assemble_find_added(assembly);
	for (i = 0; i < assembly->tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];

		member->excused = member->is_added || place_is_spare_to_all(assembly, i) ||
				  assemble_is_removed(assembly, i);
		missing += member->kind != MEMBER_OURS && member->kind != MEMBER_RAW && !member->excused;
	}
	assemble_unplace(assembly);
	return missing == 0;
}

/* Some labels were served once. */
static int decide_ours(struct assembly *assembly)
{
	bool complete, can_go_on;
	struct err misfits = { 0 }, *err = assembly->err;
	int result;

	assembly->err = &misfits;
	result = assemble_compare(assembly);
	assembly->err = err;
	if (result < 0 && !assembly->options->force)
		err_move(err, &misfits);
	err_finish(&misfits);
	if (result < 0)
		return assembly->options->force ? assemble_format(assembly) : -1;
	complete = is_complete(assembly);
	if (complete || assembly->options->degraded)
		return decide_recognise(assembly);
	assemble_place(assembly);
	can_go_on = assemble_legs(assembly, NULL) == 0;
	assemble_unplace(assembly);
	if (assembly->options->force && !can_go_on)
		return assemble_format(assembly);
	return refuse_incomplete(assembly, can_go_on);
}

static int decide(struct assembly *assembly)
{
	if (assemble_look(assembly) < 0)
		return -1;
	if (assembly->ours > 0)
		return decide_ours(assembly);
	if (assembly->options->known_only && check_busy(assembly) < 0)
		return -1;
	if (assembly->options->known_only)
		return err_add(assembly->err, "none of the leaves has a label that was ever served");
	return assemble_format(assembly);
}

static void node_reset(struct node *node)
{
	node->failed = node->rebuilding = node->rebuild_all = node->spare = false;
	node->is_taken_back = node->removed = false;
	node->fresh = node->zeroed = node->unclean = node->grows = false;
	node->birth = 0;
}

/* What a target may know of the making of its leaves; children have greater indices than their parents. */
static void tell_nodes(struct tree *tree)
{
	const unsigned char *uuid = NULL;
	unsigned i, j;

	for (i = 0; i < tree->leaf_count && !uuid; i++)
		if (tree->leaves[i]->labelled && tree->leaves[i]->label.document)
			uuid = tree->leaves[i]->label.tree_uuid;
	for (i = tree->node_count; i-- > 0;) {
		struct node *node = tree->nodes[i];
		const struct leaf *leaf = node->leaf;

		if (uuid)
			memcpy(&node->birth, uuid, sizeof(node->birth));
		node->fresh = !leaf || leaf->todo >= LEAF_FORMAT;
		node->zeroed = !leaf || leaf->made || !leaf->exists;
		for (j = 0; j < node->child_count; j++) {
			node->fresh &= node->children[j]->fresh;
			node->zeroed &= node->children[j]->zeroed;
		}
	}
}

int assemble(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes)
{
	struct assembly assembly = {
		.tree = tree,
		.options = options,
		.err = err,
		.notes = notes,
		.members = calloc(tree->leaf_count + 1, sizeof(*assembly.members)),
		.decided = calloc(tree->node_count + 1, sizeof(*assembly.decided)),
		.has_own = calloc(tree->node_count + 1, sizeof(*assembly.has_own)),
		.geometry = tree_geometry(tree),
	};
	int result = -1;
	unsigned i;

	/* It may be asked again, as after a dry run. */
	for (i = 0; i < tree->node_count; i++)
		node_reset(tree->nodes[i]);
	for (i = 0; i < tree->leaf_count; i++) {
		label_finish(&tree->leaves[i]->label);
		tree->leaves[i]->todo = LEAF_KEEP;
		tree->leaves[i]->is_old_copy = tree->leaves[i]->is_removed = false;
		tree->leaves[i]->is_told_last = false;
	}
	if (!assembly.members || !assembly.decided || !assembly.has_own ||
		!assembly.geometry)
		err_add(err, "out of memory");
	else if (strlen(assembly.geometry) > LABEL_GEOMETRY_MAX)
		err_add(err,
			"%s: the tree's shape takes %zu bytes of text, a label has room for %zu",
			tree->file, strlen(assembly.geometry), LABEL_GEOMETRY_MAX);
	else
		result = decide(&assembly);
	if (result == 0 && options->grow)
		result = assemble_let_grow(&assembly);
	if (result == 0)
		tell_nodes(tree);
	free(assembly.members);
	free(assembly.decided);
	free(assembly.has_own);
	free(assembly.geometry);
	return result;
}
