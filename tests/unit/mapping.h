/* SPDX-License-Identifier: MIT */
/* Every request of a small device against a map of its sectors: for tests of pure mappings. */
#ifndef TESTS_MAPPING_H
#define TESTS_MAPPING_H

#include "fixture.h"

#define MAPPING_SECTOR 512u
#define MAPPING_SECTORS_MAX 1024

/* Where a sector of the node stands. */
struct mapped {
	unsigned child;
	uint64_t sector;
};

/*
 * Maps every request of `kind` on a node of `count` sectors; each sector has to be asked of the
 * child and at the place that map[] names, exactly once and with its own bytes, and no op leaves
 * its child.
 */
void mapping_check(struct node *node, const struct mapped *map, unsigned count, enum io_kind kind);

#endif
