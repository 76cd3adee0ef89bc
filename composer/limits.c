// SPDX-License-Identifier: MIT
/* What a node inherits from its children, and the plan that asks them all. It knows no type. */
#include "tree.h"

#define BLOCK_MIN 512
#define CHILD_IO_MAX (1u << 20)

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* A granularity that suits both; 0 means that the thing can't be had. */
static uint32_t both(uint32_t a, uint32_t b)
{
	return a && b ? larger(a, b) : 0;
}

void limits_join(struct node *node)
{
	struct limits *limits = &node->limits;
	unsigned i;

	*limits = (struct limits){
		.logical_block_size = BLOCK_MIN,
		.physical_block_size = BLOCK_MIN,
		.io_min = BLOCK_MIN,
		.discard_granularity = BLOCK_MIN,
		.zeroes_granularity = BLOCK_MIN,
	};
	for (i = 0; i < node->child_count; i++) {
		const struct limits *child = &node->children[i]->limits;

		if (node->children[i]->failed)
			continue;
		limits->logical_block_size =
			larger(limits->logical_block_size, child->logical_block_size);
		limits->physical_block_size =
			larger(limits->physical_block_size, child->physical_block_size);
		limits->io_min = larger(limits->io_min, child->io_min);
		limits->io_opt = larger(limits->io_opt, child->io_opt);
		limits->discard_granularity =
			both(limits->discard_granularity, child->discard_granularity);
		limits->zeroes_granularity =
			both(limits->zeroes_granularity, child->zeroes_granularity);
		limits->rotational |= child->rotational;
		limits->read_only |= child->read_only;
		if (!limits->unmap_max || (child->unmap_max && child->unmap_max < limits->unmap_max))
			limits->unmap_max = child->unmap_max;
	}
}

uint32_t limits_max_io(const struct node *node)
{
	uint32_t device = node->tree->device.max_io_size;

	/* Who stands on it may have scratch of its own, and child I/O has pieces of that size. */
	return node->parent ? larger(device, CHILD_IO_MAX) : device;
}

int limits_open_sized(struct node *node, struct err *err)
{
	(void)err; /* the schema has checked all there is */
	limits_join(node);
	node->limits.size = json_get_size(node->json, "size", 0);
	node->limits.size -= node->limits.size % node->limits.logical_block_size;
	node->needs = (struct needs){ .ops_fixed = 1 };
	return 0;
}

void plan_all(struct plan *plan, const struct node *node, const struct request *request)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		plan_add(plan, i, *request);
}
