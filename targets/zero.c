// SPDX-License-Identifier: MIT
/* zero: reads as zeroes, forgets writes. For tests, for demonstrations, and as a hole in a linear. */
#include "target.h"

static void zero_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	if (request->kind == IO_READ)
		plan_clear(plan, request, 0, request->length);
}

const struct target_type zero_target = {
	.name = "zero",
	.open = limits_open_sized,
	.map = zero_map,
};
