/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing a child as a whole, for a target's probe(), load() and unload(): its metadata's
 * way into memory and back. The requests go through the child's own map() and resume(), so that a
 * mirror below is written on all legs and read from one.
 *
 * Main thread only, from within those hooks only (assert); all block. 0, or -errno. Offsets and
 * lengths are multiples of the child's logical_block_size; the memory needs no alignment. Nothing is
 * durable before child_flush(). In probe() all but child_read() give -EROFS, and leaves that are
 * still to be made or formatted read as zeroes.
 *
 * While a child serves these requests its plan->now is 0, and its work() isn't asked.
 */
#ifndef COMPOSER_CHILD_IO_H
#define COMPOSER_CHILD_IO_H

#include <stdint.h>

struct node;

int child_read(struct node *child, uint64_t offset, void *memory, uint32_t length);
int child_write(struct node *child, uint64_t offset, const void *memory, uint32_t length);

/* Reads as zeroes afterwards; by the child's own write-zeroes, else by writing them. */
int child_zero(struct node *child, uint64_t offset, uint64_t length);

/* A hint; what is read afterwards is undefined. 0 where the child has no such thing. */
int child_discard(struct node *child, uint64_t offset, uint64_t length);

/* All that was written is durable. */
int child_flush(struct node *child);

#endif
