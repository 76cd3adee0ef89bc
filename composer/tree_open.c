// SPDX-License-Identifier: MIT
/*
 * Nodes on their way to a live device and back: limits derived upwards, and the hooks that meet what
 * nodes keep on their children. It opens no file.
 */
#include "tree.h"

/* Settings of the device that only the open tree can judge. */
static void device_check(struct tree *tree, struct err *err)
{
	struct limits *limits = &tree->root->limits;
	struct device *device = &tree->device;
	const struct json *json = json_get(tree->document, "device");

	if (device->logical_block_size == 0)
		device->logical_block_size = limits->logical_block_size;
	if (device->logical_block_size < limits->logical_block_size)
		json_err(json_get(json, "logical_block_size"), err,
			"logical_block_size %u is below the %u that the leaves need",
			device->logical_block_size, limits->logical_block_size);
	limits->logical_block_size = device->logical_block_size;
	if (limits->physical_block_size < limits->logical_block_size)
		limits->physical_block_size = limits->logical_block_size;
	limits->size -= limits->size % limits->logical_block_size;
	limits->read_only |= device->read_only;
	if (limits->size == 0)
		json_err(tree->root->json, err, "%s: the device would have no block",
			tree->name);
}

bool tree_shares_engine(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (tree->nodes[i]->type->stateful)
			return true;
	return false;
}

bool node_has_failed(const struct node *node)
{
	for (; node; node = node->parent)
		if (node->failed)
			return true;
	return false;
}

enum label_peer_state leaf_peer_state(const struct leaf *leaf)
{
	const struct node *node;

	if (!node_is_stale(leaf->node))
		return LABEL_PEER_IN_SYNC;
	for (node = leaf->node; node; node = node->parent)
		if (node->spare)
			return LABEL_PEER_SPARE;
	return leaf->is_old_copy ? LABEL_PEER_OLD_COPY : LABEL_PEER_STALE;
}

static void forget_copies(const struct node *node)
{
	unsigned i;

	if (node->leaf)
		node->leaf->is_old_copy = false;
	for (i = 0; i < node->child_count && !node->type->redundant; i++)
		forget_copies(node->children[i]);
}

void child_tracked(struct node *child)
{
	child->rebuild_all = false;
	forget_copies(child);
}

/* Calls a hook that may reach the node's children. */
static int node_hook(struct node *node, int (*hook)(struct node *node, struct err *err),
	enum child_io_phase phase, struct err *err)
{
	int result;

	node->tree->child_io = phase;
	result = hook(node, err);
	node->tree->child_io = CHILD_IO_NONE;
	return result;
}

static int node_probe(struct node *node, struct err *err)
{
	if (!node->type->probe || node_has_failed(node))
		return 0;
	return node_hook(node, node->type->probe, CHILD_IO_PROBE, err);
}

int tree_open(struct tree *tree, struct err *err)
{
	unsigned before = err->count, i;

	(void)tree_set_timeouts(tree);
	/* Children stand after their parent in document order: backwards is upwards. */
	for (i = tree->node_count; i > 0; i--) {
		struct node *node = tree->nodes[i - 1];

		if (node_probe(node, err) < 0 || node->type->open(node, err) < 0)
			return -1; /* what stands on it would only repeat the fault */
	}
	device_check(tree, err);
	return err->count == before ? 0 : -1;
}

int tree_load(struct tree *tree, struct err *err)
{
	unsigned i;

	for (i = tree->node_count; i > 0; i--) {
		struct node *node = tree->nodes[i - 1];

		if (!node->type->load || node_has_failed(node))
			continue;
		if (node_hook(node, node->type->load, CHILD_IO_FULL, err) < 0)
			return -1;
		node->loaded = true;
	}
	return 0;
}

bool tree_is_loaded(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++) {
		const struct node *node = tree->nodes[i];

		if (node->type->load && !node->loaded && !node_has_failed(node))
			return false;
	}
	return true;
}

int tree_unload(struct tree *tree, struct err *err)
{
	int result = 0;
	unsigned i;

	for (i = 0; i < tree->node_count; i++) {
		struct node *node = tree->nodes[i];

		if (node->loaded && node->type->unload && !node_has_failed(node) &&
			node_hook(node, node->type->unload, CHILD_IO_FULL, err) < 0)
			result = -1;
		node->loaded = false;
	}
	return result;
}
