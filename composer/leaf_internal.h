/* SPDX-License-Identifier: MIT */
/* The leaf's parts among themselves: leaf.c, leaf_open.c, leaf_limits.c, leaf_stack.c. */
#ifndef COMPOSER_LEAF_INTERNAL_H
#define COMPOSER_LEAF_INTERNAL_H

#include "leaf.h"

/* How a leaf is to be opened. */
struct leaf_mode {
	bool serve; /* read-write and locked; else read only */
	bool make; /* a missing file is no fault: it will be made, or is only asked about */
	bool read_only; /* the device will be: a leaf without a label needs no write access */
};

/*
 * Looks at the path: kind, identity, and whether it is there. Opens and changes nothing. 0, or -1
 * with a message. A missing file that can be made has the identity of its directory.
 */
int leaf_find(struct leaf *leaf, const struct leaf_mode *mode, struct err *err);

/* Nothing of it is ever written; it is shared with others who only read. */
bool leaf_is_read_only(const struct leaf *leaf, const struct leaf_mode *mode);
/* Its file becomes longer as it is written; "size" is only the most that it may take. */
bool leaf_grows(const struct leaf *leaf, const struct leaf_mode *mode);

/* Opens what leaf_find() found, locks it, learns its size. 0, -1, or -EBUSY: others have it. */
int leaf_open(struct leaf *leaf, const struct leaf_mode *mode, struct err *err);

/* Makes, locks and opens a missing file, or gives an empty one its size, durably. 0, or < 0. */
int leaf_make(struct leaf *leaf, struct err *err);

/* The bytes that a file needs for `wanted` bytes of data; 0: over what files can have. */
uint64_t leaf_bytes_for(const struct leaf *leaf, uint64_t wanted);

/* Fills node->limits of an open leaf, or of a missing file with what is likely. 0, or -1. */
int leaf_limits(struct leaf *leaf, const struct leaf_mode *mode, struct err *err);

/* Refuses leaves that share bytes with one another, or that stand on our own device. 0, or -1. */
int leaves_check_stacks(struct tree *tree, struct err *err);

/* Say who has the leaf; return -EBUSY. */
int leaf_busy(const struct leaf *leaf, struct err *err);
int leaf_locked(const struct leaf *leaf, struct err *err);

/* The locks that QEMU's programs take on images (leaf_lock.c): takes ours; true: nobody's is against
 * them. */
bool leaf_lock_images(const struct leaf *leaf, bool writes);
/* Whether a writer of ours would be let in; takes none. */
bool leaf_is_imaged(const struct leaf *leaf);
int leaf_imaged(const struct leaf *leaf, struct err *err);

/* The first that holds a disk or one of its partitions: "/dev/sda1 is mounted on /home". */
void leaf_holder(dev_t disk, char *text, size_t size);

/* Reads a number from a file below /sys/dev/block/M:m, for partitions also from their disk's. */
bool sysfs_number(dev_t disk, const char *name, uint64_t *number);
/* The kernel's name of a disk, "sda1". False: there is no such disk. */
bool sysfs_name(dev_t disk, char *name, size_t size);

#endif
