// SPDX-License-Identifier: MIT
/*
 * How much memory one request can need: the sum, down the tree, of frames, ops and sub-I/Os, from
 * what each node says in its `needs`. It is an upper bound, taken once before the device is live,
 * and the reason why nothing allocates afterwards.
 */
#include "engine_internal.h"

static struct arena_need node_need(const struct node *node, uint32_t length)
{
	struct arena_need need = { 0, 0 }, most = { 0, 0 };
	uint64_t ops = node->needs.ops_fixed;
	uint32_t piece = length;
	unsigned i;

	if (node->leaf)
		return (struct arena_need){
			arena_aligned(sizeof(struct sub_io)) + arena_aligned(sizeof(struct iovec)), 1
		};
	if (node->needs.ops_per) {
		ops += length / node->needs.ops_per;
		piece = length < node->needs.ops_per ? length : node->needs.ops_per;
	}
	for (i = 0; i < node->child_count; i++) {
		struct arena_need child = node_need(node->children[i], piece);

		if (child.bytes > most.bytes)
			most.bytes = child.bytes;
		if (child.sub_ios > most.sub_ios)
			most.sub_ios = child.sub_ios;
	}
	need.bytes = arena_aligned(sizeof(struct frame)) + arena_aligned(node->type->io_state_size) +
		arena_aligned(ops * sizeof(struct op)) + ops * most.bytes;
	need.sub_ios = ops * most.sub_ios;
	return need;
}

struct arena_need arena_need(const struct tree *tree, uint32_t max_io)
{
	return node_need(tree->root, max_io);
}
