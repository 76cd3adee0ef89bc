/* SPDX-License-Identifier: MIT */
/* What create would do with a tree: what check and assemble --check share. */
#ifndef COMPOSER_CHECK_H
#define COMPOSER_CHECK_H

#include "assemble.h"

/* Looks at the leaves, touches nothing, prints; the tree is destroyed. Returns the exit status. */
int check_tree(struct tree *tree, const struct assemble_options *assembly, bool as_json);

#endif
