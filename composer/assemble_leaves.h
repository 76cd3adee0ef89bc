/* SPDX-License-Identifier: MIT */
/*
 * A tree from leaves alone: the document is in their labels, and so is each one's place, so that it
 * makes no difference what their paths are now or were then.
 */
#ifndef COMPOSER_ASSEMBLE_LEAVES_H
#define COMPOSER_ASSEMBLE_LEAVES_H

#include "tree.h"

/*
 * Reads the labels of `count` leaves and makes their tree. Its document has each leaf's path and type
 * as they are now, and `name`, if that isn't NULL; the labels get it at the start. Leaves that are not among them are left for leaves_open() to refuse, or to leave out where
 * that may go on degraded. Nothing is written, nothing stays open. NULL with messages: no label,
 * leaves of different trees, two for one place. Main thread; blocks.
 */
struct tree *assemble_leaves(
	char *const *paths, unsigned count, const char *name, struct err *err);

#endif
