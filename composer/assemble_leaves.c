// SPDX-License-Identifier: MIT
/* A tree from the labels of its leaves. Whether its legs can be used is assemble_legs.c's matter.
 */
#include "assemble_leaves.h"

#include "assemble_internal.h"
#include "operand.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX (2 * IDENTIFY_MAX)
#define UUID_TEXT 37

struct given {
	struct operand operand; /* closed once it has been looked at */
	struct label label;
};

/* 0, or -1 with a message. */
static int look(struct given *given, const char *path, struct err *err)
{
	char what[IDENTIFY_MAX], why[IDENTIFY_MAX] = "";
	const struct operand *leaf = &given->operand;
	int foreign;

	if (operand_open(&given->operand, path, OPERAND_LOOK, err) < 0)
		return -1;
	foreign = identify(leaf->fd, leaf->bytes, what, sizeof(what));
	if (foreign < 0)
		return err_add(err, "%s can't be read: %s", path, strerror(-foreign));
	if (foreign)
		return err_add(err, "%s holds %s", path, what);
	switch (label_read(leaf->fd, leaf->bytes, &given->label, why, sizeof(why))) {
	case LABEL_FOUND:
		if (given->label.flags & LABEL_FORMATTING)
			return err_add(err,
				"%s carries the label of a create that was interrupted: nothing "
				"was ever "
				"served from it",
				path);
		return 0;
	case LABEL_NONE:
		return err_add(err, "%s carries no label", path);
	case LABEL_CORRUPT:
		return err_add(err, "%s carries a damaged label: %s", path, why);
	default:
		return err_add(err, "%s: %s", path, why);
	}
}

/* Whether two leaves can be of one tree, each at its place. 0, or -1 with a message. */
static int compare(const struct given *a, const struct given *b, struct err *err)
{
	char names[2][TEXT_MAX], uuids[2][UUID_TEXT];
	const char *path = a->operand.path, *other = b->operand.path;

	if (operand_is_same(&a->operand, &b->operand))
		return err_add(err, "%s and %s are the same %s", path, other,
			a->operand.is_block ? "disk" : "file");
	label_tree_name(&a->label, names[0], sizeof(names[0]));
	label_tree_name(&b->label, names[1], sizeof(names[1]));
	uuid_unparse(a->label.tree_uuid, uuids[0]);
	uuid_unparse(b->label.tree_uuid, uuids[1]);
	if (uuid_compare(a->label.tree_uuid, b->label.tree_uuid) != 0)
		return err_add(err, "%s belongs to the tree %s (%s), but %s belongs to %s (%s)",
			path, names[0], uuids[0], other, names[1], uuids[1]);
	if (uuid_compare(a->label.leaf_uuid, b->label.leaf_uuid) == 0)
		return err_add(err, "%s is a copy of %s: both have the same label", path, other);
	if (a->label.place == b->label.place)
		return err_add(err, "%s and %s both claim to be leaf %" PRIu32 " of the tree %s",
			path, other, a->label.place, names[0]);
	return 0;
}

static bool is_accused(const struct given *givens, unsigned count, unsigned which)
{
	uint32_t place = givens[which].label.place;
	unsigned i;

	for (i = 0; i < count; i++)
		if (place < givens[i].label.leaf_count &&
			givens[i].label.peers[place].state != LABEL_PEER_IN_SYNC)
			return true;
	return false;
}

/* Whose document counts: one that missed nothing, as far as that is known; of these the latest. */
static const struct given *reference(const struct given *givens, unsigned count)
{
	bool best_accused = is_accused(givens, count, 0);
	unsigned i, best = 0;

	for (i = 1; i < count; i++) {
		bool accused = is_accused(givens, count, i);

		if (accused != best_accused
				? best_accused
				: givens[i].label.generation > givens[best].label.generation) {
			best = i;
			best_accused = accused;
		}
	}
	return &givens[best];
}

static char *absolute(const char *path)
{
	char *directory, *whole;

	if (*path == '/') {
		whole = strdup(path);
	} else {
		directory = getcwd(NULL, 0);
		if (!directory || asprintf(&whole, "%s/%s", directory, path) < 0)
			whole = NULL;
		free(directory);
	}
	if (!whole)
		abort(); /* nothing is live yet that could be harmed */
	return whole;
}

/* Which leaves are not among those given. 0, or -1 with messages. */
static int place(struct tree *tree, const struct given *givens, unsigned count, struct err *err)
{
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->not_given = tree->leaves[i]->labelled;
	for (i = 0; i < count; i++)
		tree->leaves[givens[i].label.place]->not_given = false;
	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (!leaf->labelled && *leaf->path != '/')
			leaf_err(leaf, err,
				"%s has no label to be known by, and its path is relative to a "
				"document "
				"that is not here; use create with that document",
				leaf->path);
	}
	return err->count == before ? 0 : -1;
}

/* One value of the document, and what stands there from now on. */
struct change {
	const struct json *value;
	struct json_object *by;
};

static int compare_places(const void *a, const void *b)
{
	size_t length;
	const char *first = json_text(((const struct change *)a)->value, &length);
	const char *second = json_text(((const struct change *)b)->value, &length);

	return (first > second) - (first < second);
}

static void change(
	struct change *changes, unsigned *count, const struct json *value, const char *text)
{
	changes[*count].value = value;
	changes[*count].by = json_object_new_string(text);
	if (!changes[(*count)++].by)
		abort(); /* nothing is live yet that could be harmed */
}

/* The document with these values changed, and all else as it was written. */
static char *rewritten(const struct json *document, struct change *changes, unsigned count)
{
	size_t length, gone, size;
	const char *from = json_text(document, &length), *end = from + length;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);
	unsigned i;

	if (!out)
		abort(); /* likewise */
	qsort(changes, count, sizeof(*changes), compare_places);
	for (i = 0; i < count; i++) {
		const char *at = json_text(changes[i].value, &gone);

		fprintf(out, "%.*s%s", (int)(at - from), from,
			json_object_to_json_string_ext(
				changes[i].by, JSON_C_TO_STRING_NOSLASHESCAPE));
		from = at + gone;
		json_object_put(changes[i].by);
	}
	fprintf(out, "%.*s", (int)(end - from), from);
	if (fclose(out) != 0)
		abort(); /* likewise */
	return text;
}

/* What the document says of leaves that were given is brought up to date, so that it is good for
 * create and recover too. */
static char *update(
	const struct tree *tree, const struct given *givens, unsigned count, const char *name)
{
	struct change *changes = calloc(2 * count + 1, sizeof(*changes));
	unsigned made = 0, i;
	char *text;

	if (!changes)
		abort();
	if (name)
		change(changes, &made, json_get(tree->document, "name"), name);
	for (i = 0; i < count; i++) {
		const struct leaf *leaf = tree->leaves[givens[i].label.place];
		const struct json *node = leaf->node->json;
		bool is_block = givens[i].operand.is_block;
		char *path = absolute(givens[i].operand.path);

		if (strcmp(path, json_get_string(node, "path", "")) != 0)
			change(changes, &made, json_get(node, "path"), path);
		if (is_block != leaf->is_block)
			change(changes, &made, json_get(node, "type"), is_block ? "block" : "file");
		free(path);
	}
	text = rewritten(tree->document, changes, made);
	free(changes);
	return text;
}

static struct tree *make(
	const struct given *givens, unsigned count, const char *name, struct err *err)
{
	const struct given *usual = reference(givens, count);
	struct tree *tree = tree_parse_label(usual->operand.path, usual->label.document, err);
	char *text;
	unsigned i;

	if (!tree)
		return NULL;
	for (i = 0; i < count; i++)
		if (givens[i].label.leaf_count != tree->leaf_count)
			err_add(err,
				"%s is one of %" PRIu32
				" leaves; the document in the label of %s has %u",
				givens[i].operand.path, givens[i].label.leaf_count,
				usual->operand.path, tree->leaf_count);
	if (err->count)
		goto fail;
	text = update(tree, givens, count, name);
	tree_destroy(tree);
	tree = tree_parse_label(usual->operand.path, text, err);
	free(text);
	if (tree && place(tree, givens, count, err) == 0)
		return tree;
fail:
	tree_destroy(tree);
	return NULL;
}

struct tree *assemble_leaves(char *const *paths, unsigned count, const char *name, struct err *err)
{
	struct given *givens = calloc(count, sizeof(*givens));
	unsigned before = err->count, i, j;
	struct tree *tree = NULL;

	if (!givens)
		abort();
	for (i = 0; i < count; i++) {
		(void)look(&givens[i], paths[i], err); /* counted in err */
		operand_close(&givens[i].operand);
	}
	for (i = 1; i < count && err->count == before; i++)
		for (j = 0; j < i && compare(&givens[i], &givens[j], err) == 0; j++)
			;
	if (err->count == before)
		tree = make(givens, count, name, err);
	for (i = 0; i < count; i++)
		label_finish(&givens[i].label);
	free(givens);
	return tree;
}
