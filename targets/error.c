// SPDX-License-Identifier: MIT
/* error: every request fails with EIO. For tests, for demonstrations, and as a dead leg. */
#include "target.h"

#include <errno.h>

static int error_open(struct node *node, struct err *err)
{
	(void)err; /* the schema has checked all there is */
	limits_join(node);
	node->limits.size = json_get_size(node->json, "size", 0);
	node->limits.size -= node->limits.size % node->limits.logical_block_size;
	node->needs = (struct needs){ .ops_fixed = 1 };
	return 0;
}

static void error_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	(void)request;
	plan_end(plan, -EIO);
}

const struct target_type error_target = {
	.name = "error",
	.open = error_open,
	.map = error_map,
};
