// SPDX-License-Identifier: MIT
/* What each leaf is, by its label and by libblkid. It decides nothing about the tree. */
#include "assemble_internal.h"

#include <stdlib.h>
#include <string.h>

void label_tree_name(const struct label *label, char *text, size_t size)
{
	struct err ignored = { 0 }; /* an unreadable text is only a name less in a message */
	struct json *document =
		json_parse("label", label->document, strlen(label->document), &ignored);

	snprintf(text, size, "%s", "(unnamed)");
	if (document && json_kind(document) == JSON_OBJECT) {
		const struct json *name = json_get(document, "name");

		if (name && json_kind(name) == JSON_STRING)
			snprintf(text, size, "%s", json_string(name));
	}
	json_destroy(document);
	err_finish(&ignored);
}

const char *member_says(const struct member *member, char *text, size_t size)
{
	switch (member->kind) {
	case MEMBER_BLANK:
		return "carries no label";
	case MEMBER_FRESH:
		return "carries the label of a create that was interrupted";
	case MEMBER_FOREIGN:
		snprintf(text, size, "holds %s", member->what);
		return text;
	case MEMBER_NEWER:
		snprintf(text, size, "is one of a newer ubd-compose's: %s", member->what);
		return text;
	case MEMBER_CORRUPT:
		snprintf(text, size, "carries a damaged label: %s", member->what);
		return text;
	case MEMBER_SHRUNK:
		snprintf(text, size, "has shrunk: %s", member->what);
		return text;
	case MEMBER_MISSING:
		return "is not there";
	case MEMBER_UNREADABLE:
		snprintf(text, size, "can't be read: %s", member->what);
		return text;
	default:
		return "is in place";
	}
}

const char *member_over(const struct member *member, char *text, size_t size)
{
	switch (member->kind) {
	case MEMBER_FOREIGN:
		snprintf(text, size, " over %s", member->what);
		return text;
	case MEMBER_NEWER:
		return " over the label of a newer ubd-compose";
	case MEMBER_CORRUPT:
		return " over a damaged label";
	case MEMBER_OURS:
		return " over the label of a tree";
	default:
		return "";
	}
}

/* libblkid first: whoever has put a file system over a label has taken the leaf for himself. */
static void look_at(const struct leaf *leaf, struct label *label, struct member *member)
{
	int foreign = identify(leaf->fd, leaf->bytes, member->what, sizeof(member->what));
	char why[sizeof(member->what)];

	if (foreign < 0) {
		snprintf(member->what, sizeof(member->what), "%s", strerror(-foreign));
		member->kind = MEMBER_UNREADABLE;
		return;
	}
	switch (label_read(leaf->fd, leaf->bytes, label, why, sizeof(why))) {
	case LABEL_NONE:
		member->kind = MEMBER_BLANK;
		break;
	case LABEL_FOUND:
		member->kind = MEMBER_OURS;
		break;
	case LABEL_NEWER:
		member->kind = MEMBER_NEWER;
		break;
	case LABEL_CORRUPT:
		member->kind = MEMBER_CORRUPT;
		break;
	case LABEL_UNREADABLE:
		member->kind = MEMBER_UNREADABLE;
		break;
	}
	if (foreign && member->kind != MEMBER_UNREADABLE)
		member->kind = MEMBER_FOREIGN;
	else
		memcpy(member->what, why, sizeof(why));
}

/* A leaf without a label is nobody's business but the user's, unless it is another tree's. */
static void look_at_raw(struct assembly *assembly, const struct leaf *leaf, struct member *member)
{
	struct label label = { 0 };
	char name[IDENTIFY_MAX];

	if (leaf->fd >= 0)
		look_at(leaf, &label, member);
	if (leaf->fd >= 0 && assembly->options->dry && *member->what &&
		member->kind == MEMBER_FOREIGN)
		err_add(assembly->notes, "%s: %s is mapped raw and holds %s", leaf->node->id,
			leaf->path, member->what);
	else if (leaf->fd >= 0 && assembly->options->dry && member->kind == MEMBER_BLANK)
		err_add(assembly->notes, "%s: %s is mapped raw; nothing known is on it",
			leaf->node->id, leaf->path);
	if (member->kind == MEMBER_OURS && !assembly->options->force) {
		label_tree_name(&label, name, sizeof(name));
		leaf_err(leaf, assembly->err,
			"%s carries a label of the tree %s, which \"label\": false would expose to "
			"writes; use --force if that is meant",
			leaf->path, name);
	}
	label_finish(&label);
	member->kind = leaf->problem ? MEMBER_MISSING : MEMBER_RAW;
}

/* A label that was never served is as good as none, once a leaf beside it shows that a create broke
 * off. */
static void find_fresh(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	bool broken_off = false;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct member *member = &assembly->members[i];
		uint32_t flags = tree->leaves[i]->label.flags;

		broken_off |= member->kind == MEMBER_BLANK;
		broken_off |= member->kind == MEMBER_OURS && flags & LABEL_FORMATTING;
	}
	for (i = 0; i < tree->leaf_count && broken_off; i++)
		if (assembly->members[i].kind == MEMBER_OURS &&
			!(tree->leaves[i]->label.flags & LABEL_SERVED)) {
			label_finish(&tree->leaves[i]->label);
			assembly->members[i].kind = MEMBER_FRESH;
		}
}

/* What remembers which leg missed a write is the label. */
static void check_redundant(const struct leaf *leaf, struct err *err)
{
	const struct node *node;
	bool is_said = json_get(leaf->node->json, "label");

	for (node = leaf->node->parent; node && !node->type->redundant; node = node->parent)
		;
	if (node)
		leaf_err(leaf, err,
			"a %s needs labels to remember which leg missed a write: %s %s below %s%s",
			node->type->name, leaf->node->id,
			is_said ? "can't have \"label\": false" : "needs \"label\": true", node->id,
			is_said ? "" : "; right below a thin a leaf has none by itself");
}

int assemble_look(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	unsigned before = assembly->err->count, i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct member *member = &assembly->members[i];
		struct leaf *leaf = tree->leaves[i];

		if (!leaf->labelled) {
			check_redundant(leaf, assembly->err);
			look_at_raw(assembly, leaf, member);
			continue;
		}
		if (leaf->problem)
			member->kind = MEMBER_MISSING;
		else if (leaf->fd < 0) /* only asked about, and not there yet */
			member->kind = MEMBER_BLANK;
		else
			look_at(leaf, &leaf->label, member);
	}
	find_fresh(assembly);
	for (i = 0; i < tree->leaf_count; i++)
		assembly->ours += assembly->members[i].kind == MEMBER_OURS;
	return assembly->err->count == before ? 0 : -1;
}
