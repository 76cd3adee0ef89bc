// SPDX-License-Identifier: MIT
/* error: every request fails with EIO. For tests, for demonstrations, and as a dead leg. */
#include "target.h"

#include <errno.h>

static void error_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	(void)request;
	plan_end(plan, -EIO);
}

const struct target_type error_target = {
	.name = "error",
	.open = limits_open_sized,
	.map = error_map,
};
