// SPDX-License-Identifier: MIT
/*
 * Leaves: the node types "file" and "block", and bringing all leaves of a tree up and down.
 *
 * What is there is opened first and judged together; only when nothing is wrong are missing files
 * made. A crash in between leaves files of full size with no byte written, or empty ones: both are
 * blank for the next create.
 */
#include "leaf_internal.h"

#include "leaf_io.h"
#include "tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int leaf_err(const struct leaf *leaf, struct err *err, const char *format, ...)
{
	const struct json *place = json_get(leaf->node->json, "path");
	va_list arguments;
	char *text = NULL;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		abort();
	json_err(place ? place : leaf->node->json, err, "%s %s: %s", leaf->node->type->name,
		leaf->node->id, text);
	free(text);
	return -1;
}

static bool is_backing(const struct node *node)
{
	for (; node->parent; node = node->parent)
		if (node->parent->type->roles && node->role > 0 && !(node->parent->type->written >> node->role & 1))
			return true;
	return false;
}

/* Each of the roles that it stands in is one into which the node above writes back. */
static bool is_committed_to(const struct node *node)
{
	for (; node->parent; node = node->parent)
		if (node->parent->type->roles && node->place > 0 &&
			!json_get_boolean(node->parent->json, "commit", false))
			return false;
	return true;
}

static int leaf_parse(struct node *node, struct err *err)
{
	const struct json *size = json_get(node->json, "size");
	struct leaf *leaf = node->leaf;

	leaf->path = strdup(json_get_string(node->json, "path", ""));
	if (!leaf->path)
		return leaf_err(leaf, err, "out of memory");
	leaf->listed = leaf->place;
	leaf->wanted = json_get_size(node->json, "size", 0);
	leaf->is_bare = node->parent && node->parent->type->roles;
	leaf->labelled = json_get_boolean(node->json, "label", !leaf->is_bare);
	leaf->is_bare &= !leaf->labelled;
	leaf->is_backing = is_backing(node);
	leaf->is_committed_to = leaf->is_backing && is_committed_to(node);
	leaf->direct = json_get_boolean(node->json, "direct", true);
	leaf->is_block = !strcmp(node->type->name, "block");
	if (size && leaf->wanted == 0)
		return json_err(size, err, "%s: size 0, the least is one block", node->type->name);
	if (leaf->wanted && leaf_bytes_for(leaf, leaf->wanted) == 0)
		return json_err(size, err, "%s: size %" PRIu64 " is more than a file can have",
			node->type->name, leaf->wanted);
	return 0;
}

/* leaves_open() has learnt the limits, and assembly has set the size that the label says. */
static int leaf_type_open(struct node *node, struct err *err)
{
	struct limits *limits = &node->limits;

	limits->size -= limits->size % limits->logical_block_size;
	if (limits->size == 0)
		return leaf_err(node->leaf, err, "%s has no room for a block of %" PRIu32 " bytes",
			node->leaf->path, limits->logical_block_size);
	node->needs = (struct needs){ .ops_fixed = 1 };
	return 0;
}

static void leaf_type_close(struct node *node)
{
	free(node->leaf->path);
	free(node->leaf->problem);
	node->leaf->path = NULL;
	node->leaf->problem = NULL;
}

/* Relative paths are relative to the document. */
static int make_absolute(struct leaf *leaf, const struct tree *tree, struct err *err)
{
	char *path;

	if (leaf->path[0] == '/' || leaf->not_given)
		return 0;
	if (asprintf(&path, "%s/%s", tree->directory, leaf->path) < 0)
		return leaf_err(leaf, err, "out of memory");
	free(leaf->path);
	leaf->path = path;
	return 0;
}

/*
 * What was said of this leaf becomes its problem, which a degraded tree may go on with. 0, or -1 when err has
 * it too.
 */
static int settle(struct leaf *leaf, int result, bool degraded, struct err *own, struct err *err)
{
	bool tell = result < 0 && !degraded;

	leaf->is_busy |= result == -EBUSY;
	if (own->count)
		own->text[own->length - 1] = '\0'; /* err_add() sets its own newline */
	if (result < 0 && own->count)
		leaf->problem = own->text;
	else
		free(own->text);
	if (tell)
		err_add(err, "%s", leaf->problem);
	return tell ? -1 : 0;
}

/* Finds every leaf; what stands on what is known before a lock of ours could be in the way. */
static void find_all(
	struct tree *tree, const struct leaf_mode *mode, bool degraded, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		struct err own = { 0 };
		int result = make_absolute(leaf, tree, &own);

		if (result == 0)
			result = leaf_find(leaf, mode, &own);
		(void)settle(leaf, result, degraded, &own, err); /* counted in err */
	}
	(void)leaves_check_stacks(tree, err); /* likewise */
}

static void open_found(
	struct tree *tree, const struct leaf_mode *mode, bool degraded, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		struct err own = { 0 };
		int result = 0;

		if (leaf->problem)
			continue;
		if (leaf->exists)
			result = leaf_open(leaf, mode, &own);
		if (result == 0 && (leaf->exists || !mode->serve))
			result = leaf_limits(leaf, mode, &own);
		(void)settle(leaf, result, degraded, &own, err); /* counted in err */
		if (leaf->problem && leaf->fd >= 0) {
			close(leaf->fd); /* nothing was written */
			leaf->fd = -1;
		}
	}
}

static void make_missing(struct tree *tree, const struct leaf_mode *mode, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		bool empty = leaf->exists && leaf->fd >= 0 && leaf->bytes == 0;

		if ((leaf->exists && !empty) || leaf->problem)
			continue;
		if (leaf_make(leaf, err) == 0)
			(void)leaf_limits(leaf, mode, err); /* counted in err */
	}
}

int leaves_open(struct tree *tree, enum leaf_access access, struct err *err)
{
	bool degraded = access == LEAF_PROBE_DEGRADED || access == LEAF_SERVE_DEGRADED;
	struct leaf_mode mode = {
		.serve = access == LEAF_SERVE || access == LEAF_SERVE_DEGRADED,
		.make = !degraded,
		.read_only = tree->device.read_only,
	};
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++) { /* of an earlier try */
		free(tree->leaves[i]->problem);
		tree->leaves[i]->problem = NULL;
		tree->leaves[i]->is_busy = false;
	}
	find_all(tree, &mode, degraded, err);
	open_found(tree, &mode, degraded, err);
	if (err->count == before && mode.serve && mode.make)
		make_missing(tree, &mode, err);
	for (i = 0; i < tree->leaf_count && err->count == before; i++) {
		struct leaf *leaf = tree->leaves[i];

		leaf->data_offset = leaf->labelled ? LABEL_FRONT : 0;
		if (!leaf->labelled)
			continue;
		leaf->label_memory = leaf_io_memory(LABEL_UPDATE_MAX);
		if (!leaf->label_memory)
			leaf_err(leaf, err, "out of memory");
	}
	if (err->count == before)
		return 0;
	leaves_close(tree, true);
	return -1;
}

/* Takes back what this run has made, if that file is still there. */
static void unmake(struct leaf *leaf)
{
	struct stat named;
	bool is_there = lstat(leaf->path, &named) == 0 && named.st_dev == leaf->device &&
			named.st_ino == leaf->inode;

	leaf->made = false;
	if (is_there && leaf->exists) /* it was there, and empty */
		(void)!truncate(leaf->path, 0); /* if that fails nothing more can be done */
	else if (is_there)
		(void)unlink(leaf->path); /* likewise */
}

void leaf_drop(struct leaf *leaf)
{
	if (leaf->made)
		unmake(leaf);
	if (leaf->fd >= 0)
		close(leaf->fd);
	leaf->fd = -1;
}

void leaves_close(struct tree *tree, bool undo)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];

		leaf->made &= undo;
		leaf_drop(leaf);
		label_finish(&leaf->label);
		free(leaf->label_memory);
		leaf->label_memory = NULL;
	}
}

extern const struct target_type file_leaf, block_leaf; /* targets/table.c names them */

const struct target_type file_leaf = {
	.name = "file",
	.leaf = true,
	.parse = leaf_parse,
	.open = leaf_type_open,
	.close = leaf_type_close,
};

const struct target_type block_leaf = {
	.name = "block",
	.leaf = true,
	.parse = leaf_parse,
	.open = leaf_type_open,
	.close = leaf_type_close,
};
