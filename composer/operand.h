/* SPDX-License-Identifier: MIT */
/*
 * A leaf that the command line names, without a document: opening it, to look or to write. For
 * examine, wipe and assemble. Main thread; blocks.
 */
#ifndef COMPOSER_OPERAND_H
#define COMPOSER_OPERAND_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum operand_access {
	OPERAND_LOOK, /* read only; it may be in use */
	OPERAND_WRITE, /* read-write and for us alone: refused while a daemon, a mount, … has it */
};

struct operand {
	const char *path; /* as it was given */
	int fd; /* -1: not open */
	bool is_block;
	dev_t device; /* is_block: the disk; else the file system that the file is on */
	ino_t inode; /* regular files */
	uint64_t bytes;
};

/* 0, or -1 with a message; operand_close() is fine in both cases. */
int operand_open(
	struct operand *operand, const char *path, enum operand_access access, struct err *err);
void operand_close(struct operand *operand);

/* Whether both are one file or disk, under whatever name. */
bool operand_is_same(const struct operand *a, const struct operand *b);

#endif
