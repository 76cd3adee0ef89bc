// SPDX-License-Identifier: MIT
/*
 * The locks by which QEMU's programs keep off each other's images, and we off them and they off us:
 * one byte of the file, locked for reading by the open file description, for each thing that
 *
 *   100 + n   somebody does
 *   200 + n   somebody does not bear others doing
 *
 * with n: 0 reading what is consistent, 1 writing, 2 writing what was there already, 3 changing the
 * size. Who comes locks all his bytes first and then looks for those of others that are against them,
 * so that of two who come at once at least one gives way. The bytes need not exist.
 *
 * Advice, as all such locks are: a file system that has none is no fault.
 */
#include "leaf_internal.h"

#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define DOES 100
#define DOES_NOT_BEAR 200

enum { READING = 1u << 0, WRITING = 1u << 1, RESIZING = 1u << 3 };
#define KINDS 4

static unsigned done_by(bool writes)
{
	return writes ? READING | WRITING | RESIZING : READING;
}

static struct flock byte_of(unsigned base, unsigned kind, short type)
{
	return (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = base + kind,
		.l_len = 1,
	};
}

static void lock_bytes(int fd, unsigned base, unsigned kinds)
{
	unsigned kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct flock byte = byte_of(base, kind, F_RDLCK);

		/* Nobody locks them for writing: it fails where there are no such locks. */
		if (kinds >> kind & 1)
			(void)fcntl(fd, F_OFD_SETLK, &byte);
	}
}

/* Whether somebody else has locked one of the bytes. */
static bool are_locked(int fd, unsigned base, unsigned kinds)
{
	unsigned kind;

	for (kind = 0; kind < KINDS; kind++) {
		struct flock byte = byte_of(base, kind, F_WRLCK);

		if (kinds >> kind & 1 && fcntl(fd, F_OFD_GETLK, &byte) == 0 && byte.l_type != F_UNLCK)
			return true;
	}
	return false;
}

static bool has_others(int fd, unsigned does)
{
	return are_locked(fd, DOES, WRITING | RESIZING) || are_locked(fd, DOES_NOT_BEAR, does);
}

bool leaf_lock_images(const struct leaf *leaf, bool writes)
{
	unsigned does = done_by(writes);

	lock_bytes(leaf->fd, DOES, does);
	lock_bytes(leaf->fd, DOES_NOT_BEAR, WRITING | RESIZING);
	return !has_others(leaf->fd, does);
}

bool leaf_is_imaged(const struct leaf *leaf)
{
	const struct leaf_mode mode = { .read_only = leaf->node->tree->device.read_only };

	return has_others(leaf->fd, done_by(!leaf_is_read_only(leaf, &mode)));
}
