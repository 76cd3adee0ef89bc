// SPDX-License-Identifier: MIT
/* How long leaves may take, by the document's "timeout_ms", and what that rules out. */
#include "tree.h"

bool tree_set_timeouts(struct tree *tree)
{
	bool any = false;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		const struct node *above = leaf->node->parent;

		leaf->timeout_ms = 0;
		for (; above && !leaf->timeout_ms; above = above->parent)
			if (above->type->redundant)
				leaf->timeout_ms = json_get_unsigned(above->json, "timeout_ms", 0);
		any |= leaf->timeout_ms > 0;
	}
	return any;
}

/*
 * Nothing times what a driver carries out, or a commit that goes on behind a sub-I/O by itself: `auto` has
 * neither then.
 */
void tree_check_timeouts(struct tree *tree, struct err *err)
{
	struct device *device = &tree->device;

	if (!tree_set_timeouts(tree))
		return;
	if (device->fan_out == FAN_OUT_AUTO)
		device->fan_out = FAN_OUT_GATHERED;
	if (device->fan_out != FAN_OUT_GATHERED)
		json_err(json_get(json_get(tree->document, "device"), "fan_out"), err,
			"fan_out \"%s\": with a mirror's \"timeout_ms\" it can only be \"gathered\", "
			"which \"auto\" is then", fan_out_name(device->fan_out));
}
