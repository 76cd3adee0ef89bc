// SPDX-License-Identifier: MIT
/* Whole transfers to and from a leaf. It knows no label. */
#include "leaf_io.h"

#include "label.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ZERO_PIECE ((size_t)1 << 20)
#define SECTOR 512

void *leaf_io_memory(size_t size)
{
	void *memory;

	if (posix_memalign(&memory, LABEL_BLOCK, size) != 0)
		return NULL;
	return memset(memory, 0, size);
}

int leaf_io_read(int fd, void *memory, size_t length, uint64_t offset)
{
	char *bytes = memory;

	while (length) {
		ssize_t got = pread(fd, bytes, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO;
		bytes += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return 0;
}

int leaf_io_read_end(int fd, void *memory, size_t length, uint64_t offset)
{
	char *bytes = memory;

	while (length) {
		ssize_t got = pread(fd, bytes, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		bytes += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
		if (got == 0 || offset % SECTOR) { /* O_DIRECT can't ask again from there */
			memset(bytes, 0, length);
			return 0;
		}
	}
	return 0;
}

int leaf_io_write(int fd, const void *memory, size_t length, uint64_t offset)
{
	const char *bytes = memory;

	while (length) {
		ssize_t put = pwrite(fd, bytes, length, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (put == 0)
			return -EIO;
		bytes += put;
		offset += (uint64_t)put;
		length -= (size_t)put;
	}
	return 0;
}

int leaf_io_zero(int fd, uint64_t length, uint64_t offset)
{
	void *zeroes = leaf_io_memory(ZERO_PIECE);
	int result = zeroes ? 0 : -ENOMEM;

	while (length && result == 0) {
		size_t piece = length < ZERO_PIECE ? (size_t)length : ZERO_PIECE;

		result = leaf_io_write(fd, zeroes, piece, offset);
		offset += piece;
		length -= piece;
	}
	free(zeroes);
	return result;
}

int leaf_io_punch(int fd, uint64_t length, uint64_t offset)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	while (fallocate(fd, mode, (off_t)offset, (off_t)length) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int leaf_io_flush(int fd)
{
	return fdatasync(fd) == 0 ? 0 : -errno;
}
