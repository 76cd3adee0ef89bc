// SPDX-License-Identifier: MIT
/* The tree: takes a document apart into nodes. It opens no file; what follows is tree_open.c's. */
#include "tree.h"

#include "schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_DEPTH_DEFAULT 128
#define MAX_IO_DEFAULT (512u << 10)
#define RECOVERY_TIMEOUT_DEFAULT 60

static const char *const driver_names[] = { "auto", "ubd", "ublk" };
static const char *const recovery_names[] = { "none", "reissue", "fail" };
static const char *const fan_out_names[] = { "auto", "linked", "gathered", "passthrough" };

const char *driver_name(enum driver driver)
{
	return driver_names[driver];
}

const char *fan_out_name(enum fan_out fan_out)
{
	return fan_out_names[fan_out];
}

static unsigned name_index(const char *const *names, unsigned count, const char *name)
{
	unsigned i;

	for (i = 0; i < count && strcmp(names[i], name); i++)
		;
	return i;
}

static int device_read(struct tree *tree, struct err *err)
{
	const struct json *json = json_get(tree->document, "device");
	struct device *device = &tree->device;
	uint64_t max_io;

	device->driver = name_index(driver_names, 3, json_get_string(json, "driver", "auto"));
	device->fan_out = name_index(fan_out_names, 4, json_get_string(json, "fan_out", "auto"));
	device->queues = (unsigned)json_get_unsigned(json, "queues", 1);
	device->queue_depth =
		(unsigned)json_get_unsigned(json, "queue_depth", QUEUE_DEPTH_DEFAULT);
	device->logical_block_size =
		(uint32_t)json_get_unsigned(json, "logical_block_size", 0);
	device->read_only = json_get_boolean(json, "read_only", false);
	device->recovery = name_index(recovery_names, 3, json_get_string(json, "recovery", "none"));
	device->recovery_timeout = (unsigned)json_get_unsigned(
		json, "recovery_timeout", RECOVERY_TIMEOUT_DEFAULT);
	if (device->recovery == RECOVERY_NONE && json_get(json, "recovery_timeout"))
		json_err(json_get(json, "recovery_timeout"), err,
			"recovery_timeout needs \"recovery\": \"reissue\" or \"fail\"");
	device->hook = json_get_string(json, "hook", NULL);
	max_io = json_get_size(json, "max_io_size", MAX_IO_DEFAULT);
	if (max_io < 4096 || max_io > 4u << 20 || max_io % 4096)
		json_err(json_get(json, "max_io_size"), err,
			"max_io_size %" PRIu64 " is not a multiple of 4096 from 4096 to 4194304", max_io);
	device->max_io_size = (uint32_t)max_io;
	return 0;
}

static const struct target_type *type_find(const char *name)
{
	const struct target_type *const *type;

	for (type = target_types; *type; type++)
		if (!strcmp((*type)->name, name))
			return *type;
	return NULL;
}

static int node_keep(struct tree *tree, struct node *node)
{
	struct node **nodes =
		realloc(tree->nodes, (tree->node_count + 1) * sizeof(*tree->nodes));

	if (!nodes)
		return -1;
	tree->nodes = nodes;
	node->index = tree->node_count;
	tree->nodes[tree->node_count++] = node;
	return 0;
}

static struct leaf *leaf_keep(struct tree *tree, struct node *node)
{
	struct leaf **leaves =
		realloc(tree->leaves, (tree->leaf_count + 1) * sizeof(*tree->leaves));
	struct leaf *leaf;

	if (!leaves)
		return NULL;
	tree->leaves = leaves;
	leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return NULL;
	leaf->node = node;
	leaf->fd = -1;
	leaf->place = tree->leaf_count;
	tree->leaves[tree->leaf_count++] = leaf;
	return leaf;
}

/* The id that the document gives, or one made of type and index. */
static const char *node_id(const struct node *node)
{
	const char *given = json_get_string(node->json, "id", NULL);
	char *id = NULL;

	if (given)
		return strdup(given);
	if (asprintf(&id, "%s%u", node->type->name, node->index) < 0)
		return NULL;
	return id;
}

/* The document's object for a child, by its place among the "children" and "spares" or by its role. */
static const struct json *child_json(const struct node *node, unsigned place)
{
	const struct json *children = json_get(node->json, "children");
	const struct json *spares = json_get(node->json, "spares");
	size_t count = json_count(children);
	const char *const *role;
	const struct json *json;

	if (!node->type->roles && place < count)
		return json_at(children, place);
	if (!node->type->roles)
		return place - count < json_count(spares) ? json_at(spares, place - count) : NULL;
	for (role = node->type->roles; *role; role++) /* those that are left out take no place */
		if ((json = json_get(node->json, *role)) && place-- == 0)
			return json;
	return NULL;
}

static struct node *node_make(struct tree *tree, const struct json *json, struct node *parent,
	unsigned place)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node || node_keep(tree, node) < 0) {
		free(node);
		return NULL;
	}
	node->json = json;
	node->tree = tree;
	node->parent = parent;
	node->place = place;
	while (parent && parent->type->roles && json_get(parent->json, parent->type->roles[node->role]) != json)
		node->role++;
	node->type = type_find(json_get_string(json, "type", ""));
	if (!node->type)
		return NULL;
	node->id = node_id(node);
	node->state = calloc(1, node->type->state_size + 1);
	while (child_json(node, node->child_count))
		node->child_count++;
	node->spare_count = (unsigned)json_count(json_get(json, "spares"));
	node->children = calloc(node->child_count + 1, sizeof(*node->children));
	if (!node->id || !node->state || !node->children)
		return NULL;
	if (node->type->leaf && !(node->leaf = leaf_keep(tree, node)))
		return NULL;
	return node;
}

static struct node *node_read(struct tree *tree, const struct json *json, struct node *parent,
	unsigned place, unsigned depth, struct err *err)
{
	struct node *node;
	unsigned i;

	if (depth > TREE_DEPTH_MAX) {
		json_err(json, err, "nodes are nested deeper than the limit of %d", TREE_DEPTH_MAX);
		return NULL;
	}
	if (tree->node_count >= TREE_NODES_MAX || tree->leaf_count >= TREE_LEAVES_MAX) {
		json_err(json, err, "the tree has more than %d nodes or %d leaves", TREE_NODES_MAX,
			TREE_LEAVES_MAX);
		return NULL;
	}
	node = node_make(tree, json, parent, place);
	if (!node) {
		json_err(json, err, "out of memory, or a type that the schema knows and we don't");
		return NULL;
	}
	if (node->type->parse)
		(void)node->type->parse(node, err); /* counted in err; the others have their say */
	for (i = 0; i < node->child_count; i++) {
		node->children[i] =
			node_read(tree, child_json(node, i), node, i, depth + 1, err);
		if (!node->children[i])
			return NULL;
	}
	return node;
}

static void check_ids(const struct tree *tree, struct err *err)
{
	unsigned i, j;

	for (i = 0; i < tree->node_count; i++)
		for (j = 0; j < i; j++)
			if (!strcmp(tree->nodes[i]->id, tree->nodes[j]->id))
				json_err(tree->nodes[i]->json, err,
					"id \"%s\" is in use by the node of line %u",
					tree->nodes[i]->id, json_line(tree->nodes[j]->json));
}

/*
 * The schema has found faults: what the targets have to say of the nodes that are sound is told in
 * the same run. The tree is good for nothing else.
 */
static void read_sound(struct tree *tree, const struct json *value,
	const struct schema_faults *faults, struct err *err)
{
	bool is_list = json_kind(value) == JSON_ARRAY || json_kind(value) == JSON_OBJECT;
	const struct json *type = json_kind(value) == JSON_OBJECT ? json_get(value, "type") : NULL;
	size_t i;

	if (tree->node_count >= TREE_NODES_MAX || tree->leaf_count >= TREE_LEAVES_MAX)
		return;
	if (type && json_kind(type) == JSON_STRING && type_find(json_string(type)) &&
		schema_is_sound(faults, value)) {
		struct node *node = node_make(tree, value, NULL, 0);

		if (!node)
			abort(); /* out of memory, and nothing is live yet that could be harmed */
		if (node->type->parse)
			(void)node->type->parse(node, err); /* counted in err */
	}
	for (i = 0; is_list && i < json_count(value); i++)
		if (!json_key(json_at(value, i)) || strcmp(json_key(json_at(value, i)), "annotations"))
			read_sound(tree, json_at(value, i), faults, err);
}

static void tell_more(struct tree *tree, const struct schema_faults *faults, struct err *err)
{
	const struct json *document = tree->document, *device;

	if (json_kind(document) != JSON_OBJECT)
		return;
	device = json_get(document, "device");
	if (device && json_kind(device) == JSON_OBJECT && schema_is_sound(faults, device))
		(void)device_read(tree, err); /* counted in err */
	if (json_get(document, "root"))
		read_sound(tree, json_get(document, "root"), faults, err);
	check_ids(tree, err);
}

static struct tree *tree_build(struct tree *tree, struct err *err)
{
	struct schema_faults faults = { 0 };
	unsigned before = err->count;

	if (!tree->document)
		goto fail;
	if (schema_check_noting(tree->document, &faults, err) < 0) {
		tell_more(tree, &faults, err);
		schema_faults_finish(&faults);
		goto fail;
	}
	tree->name = json_get_string(tree->document, "name", "");
	(void)device_read(tree, err); /* counted in err */
	tree->root = node_read(tree, json_get(tree->document, "root"), NULL, 0, 1, err);
	if (tree->root) {
		check_ids(tree, err);
		tree_check_timeouts(tree, err);
	}
	if (err->count == before)
		return tree;
fail:
	tree_destroy(tree);
	return NULL;
}

/* A tree that knows where its document is: name and absolute directory. */
static struct tree *tree_begin(const char *path, struct err *err)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	const char *slash = strrchr(path, '/');
	char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

	if (tree && directory) {
		tree->file = strdup(path);
		tree->directory = realpath(directory, NULL);
	}
	free(directory);
	if (tree && tree->file && tree->directory)
		return tree;
	err_add(err, "%s: its directory can't be found", path);
	tree_destroy(tree);
	return NULL;
}

struct tree *tree_read(const char *path, struct err *err)
{
	struct tree *tree = tree_begin(path, err);

	if (!tree)
		return NULL;
	tree->document = json_read_file(path, err);
	return tree_build(tree, err);
}

struct tree *tree_parse(const char *path, const char *text, size_t length, struct err *err)
{
	struct tree *tree = tree_begin(path, err);

	if (!tree)
		return NULL;
	tree->document = json_parse(path, text, length, err);
	return tree_build(tree, err);
}

struct tree *tree_parse_label(const char *leaf, const char *text, struct err *err)
{
	struct tree *tree = tree_begin(leaf, err);
	char *name;

	if (!tree)
		return NULL;
	if (asprintf(&name, "label of %s", leaf) < 0)
		abort();
	free(tree->file);
	tree->file = name;
	tree->document = json_parse(name, text, strlen(text), err);
	return tree_build(tree, err);
}

static void node_destroy(struct node *node)
{
	if (node->type && node->type->close && node->state)
		node->type->close(node);
	free((void *)node->id);
	free(node->state);
	free(node->children);
	free(node);
}

void tree_destroy(struct tree *tree)
{
	unsigned i;

	if (!tree)
		return;
	leaves_close(tree, false);
	for (i = tree->node_count; i > 0; i--)
		node_destroy(tree->nodes[i - 1]);
	for (i = 0; i < tree->leaf_count; i++)
		free(tree->leaves[i]);
	free(tree->nodes);
	free(tree->leaves);
	json_destroy(tree->document);
	free(tree->file);
	free(tree->directory);
	free(tree);
}
