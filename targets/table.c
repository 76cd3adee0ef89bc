// SPDX-License-Identifier: MIT
/* The table of node types: a new target adds its line here. */
#include "target.h"

extern const struct target_type file_leaf, block_leaf; /* composer/leaf.c */
extern const struct target_type linear_target, stripe_target, mirror_target;
extern const struct target_type thin_target, zero_target, error_target;

const struct target_type *const target_types[] = {
	&file_leaf,
	&block_leaf,
	&linear_target,
	&stripe_target,
	&mirror_target,
	&thin_target,
	&zero_target,
	&error_target,
	NULL,
};
