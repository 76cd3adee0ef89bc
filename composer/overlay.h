/* SPDX-License-Identifier: MIT */
/*
 * Overlays: what a leg alone holds that the user has given up (--prefer), saved in files before the leg
 * is brought up to date and so overwritten (--take-back). overlay.c has the files' format and the
 * crash story. Main thread; blocks.
 */
#ifndef COMPOSER_OVERLAY_H
#define COMPOSER_OVERLAY_H

#include "err.h"

struct tree;

/*
 * Saves what every leg holds of its own that assembly has taken back, in tree->overlays. After
 * tree_open(), before assemble_start(). 0, or -1 with messages: then what was made is gone again, and
 * nothing else has been changed.
 */
int overlays_save(struct tree *tree, struct err *err);

#endif
