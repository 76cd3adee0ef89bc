/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing a leaf from the main thread, outside of any request: labels, wiping, probing.
 *
 * Whole transfers or -errno. Callers keep to memory of leaf_io_memory() and to offsets and lengths
 * that are multiples of LABEL_BLOCK, so that it makes no difference whether the file is open with
 * O_DIRECT. All block.
 */
#ifndef COMPOSER_LEAF_IO_H
#define COMPOSER_LEAF_IO_H

#include <stddef.h>
#include <stdint.h>

/* Aligned and zeroed; NULL when there is none. free() it. */
void *leaf_io_memory(size_t size);

/* 0, or -errno; the end of the file within the range is -EIO. */
int leaf_io_read(int fd, void *memory, size_t length, uint64_t offset);
int leaf_io_write(int fd, const void *memory, size_t length, uint64_t offset);
int leaf_io_zero(int fd, uint64_t length, uint64_t offset);

/* The same; what lies behind the file's end reads as zeroes. */
int leaf_io_read_end(int fd, void *memory, size_t length, uint64_t offset);

/* The range reads as zeroes, its space is given back. -EOPNOTSUPP where files can't. */
int leaf_io_punch(int fd, uint64_t length, uint64_t offset);

/* All that was written is durable. */
int leaf_io_flush(int fd);

#endif
