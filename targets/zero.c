// SPDX-License-Identifier: MIT
/* zero: reads as zeroes, forgets writes. For tests, for demonstrations, and as a hole in a linear. */
#include "target.h"

static int zero_open(struct node *node, struct err *err)
{
	(void)err; /* the schema has checked all there is */
	limits_join(node);
	node->limits.size = json_get_size(node->json, "size", 0);
	node->limits.size -= node->limits.size % node->limits.logical_block_size;
	node->needs = (struct needs){ .ops_fixed = 1 };
	return 0;
}

static void zero_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	if (request->kind == IO_READ)
		plan_clear(plan, request, 0, request->length);
}

const struct target_type zero_target = {
	.name = "zero",
	.open = zero_open,
	.map = zero_map,
};
