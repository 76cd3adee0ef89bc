// SPDX-License-Identifier: MIT
/*
 * What a leaf can do: block sizes, offloads, room. Asked of the open file, changing nothing of it.
 */
#include "leaf_internal.h"

#include "leaf_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BLOCK_MIN 512u
#define BLOCK_MAX 4096u /* the largest logical block that the kernel takes everywhere */
#define PATH_TEXT 128
#define GROWTH_MAX (UINT64_C(1) << 56) /* of a file without a "size": no format asks for more */

bool sysfs_number(dev_t disk, const char *name, uint64_t *number)
{
	static const char *const places[] = { "", "../" }; /* a partition's queue is its disk's */
	char path[PATH_TEXT];
	unsigned i;

	for (i = 0; i < sizeof(places) / sizeof(*places); i++) {
		FILE *file;
		bool found;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s%s", major(disk), minor(disk),
			places[i], name);
		file = fopen(path, "re");
		if (!file)
			continue;
		found = fscanf(file, "%" SCNu64, number) == 1;
		fclose(file);
		if (found)
			return true;
	}
	return false;
}

/* The alignment that O_DIRECT wants, by asking, or else by trying. 0: it takes none of ours. */
static uint32_t direct_block(const struct leaf *leaf)
{
	uint32_t block = 0;
	struct statx answer;
	void *memory;

#ifdef STATX_DIOALIGN
	if (statx(leaf->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) == 0 &&
		answer.stx_mask & STATX_DIOALIGN) {
		block = answer.stx_dio_offset_align;
		if (answer.stx_dio_mem_align > BLOCK_MAX || block > BLOCK_MAX)
			return 0;
		return block && block < BLOCK_MIN ? BLOCK_MIN : block;
	}
#else
	(void)answer;
#endif
	memory = leaf_io_memory(BLOCK_MAX);
	for (block = BLOCK_MIN; memory && block <= BLOCK_MAX; block *= 2)
		if (pread(leaf->fd, memory, block, block) >= 0 || errno != EINVAL)
			break;
	free(memory);
	return block > BLOCK_MAX ? 0 : block;
}

static uint32_t clamped(uint64_t value, uint32_t low, uint32_t high)
{
	if (value < low)
		return low;
	return value > high ? high : (uint32_t)value;
}

/*
 * Whether holes can be punched, by punching one after the end, where nothing is. Who only looks
 * can't ask, and takes the likely answer.
 */
static bool can_punch(const struct leaf *leaf, const struct leaf_mode *mode)
{
	off_t end = (off_t)((leaf->bytes + BLOCK_MAX - 1) / BLOCK_MAX * BLOCK_MAX);

	if (!mode->serve || leaf->fd < 0)
		return true;
	return fallocate(leaf->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, BLOCK_MAX) == 0;
}

static int file_limits(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	struct limits *limits = &leaf->node->limits;
	uint64_t rotational = 0;
	struct stat stat_here = { .st_blksize = BLOCK_MAX };

	if (leaf->fd >= 0 && fstat(leaf->fd, &stat_here) < 0)
		return leaf_err(leaf, err, "%s: %s", leaf->path, strerror(errno));
	limits->logical_block_size = BLOCK_MIN;
	if (leaf->direct && leaf->fd >= 0)
		limits->logical_block_size = direct_block(leaf);
	if (limits->logical_block_size == 0)
		return leaf_err(leaf, err,
			"O_DIRECT on %s needs blocks over %u; set \"direct\": false", leaf->path,
			BLOCK_MAX);
	limits->physical_block_size =
		clamped((uint64_t)stat_here.st_blksize, limits->logical_block_size, BLOCK_MAX);
	limits->io_min = limits->physical_block_size;
	if (can_punch(leaf, mode)) {
		limits->discard_granularity = limits->physical_block_size;
		limits->zeroes_granularity = limits->logical_block_size;
	}
	(void)sysfs_number(leaf->device, "queue/rotational", &rotational); /* or none: 0 */
	limits->rotational = rotational != 0;
	return 0;
}

static int block_limits(struct leaf *leaf, struct err *err)
{
	struct limits *limits = &leaf->node->limits;
	int logical = 0, read_only = 0;
	unsigned physical = 0, io_min = 0, io_opt = 0;
	unsigned short rotational = 0;
	uint64_t zeroes = 0;

	if (ioctl(leaf->fd, BLKSSZGET, &logical) < 0 ||
		ioctl(leaf->fd, BLKPBSZGET, &physical) < 0 ||
		ioctl(leaf->fd, BLKIOMIN, &io_min) < 0 || ioctl(leaf->fd, BLKIOOPT, &io_opt) < 0 ||
		ioctl(leaf->fd, BLKROTATIONAL, &rotational) < 0 ||
		ioctl(leaf->fd, BLKROGET, &read_only) < 0)
		return leaf_err(
			leaf, err, "asking %s for its limits: %s", leaf->path, strerror(errno));
	if (logical < (int)BLOCK_MIN || logical > (int)BLOCK_MAX)
		return leaf_err(leaf, err, "%s has blocks of %d bytes, not of %u to %u", leaf->path,
			logical, BLOCK_MIN, BLOCK_MAX);
	limits->logical_block_size = (uint32_t)logical;
	limits->physical_block_size = physical < (unsigned)logical ? (unsigned)logical : physical;
	limits->io_min = io_min < (unsigned)logical ? (unsigned)logical : io_min;
	limits->io_opt = io_opt;
	limits->rotational = rotational != 0;
	limits->read_only = read_only != 0;
	/* A disk's fallocate() punches by its write-zeroes, and fails where it has none. */
	if (sysfs_number(leaf->device, "queue/write_zeroes_max_bytes", &zeroes) && zeroes) {
		limits->discard_granularity = limits->physical_block_size;
		limits->zeroes_granularity = limits->logical_block_size;
	}
	if (limits->read_only && leaf->labelled)
		return leaf_err(
			leaf, err, "%s is read-only, and its label must be written", leaf->path);
	return 0;
}

/* Another format's file: it may end within a block, and grow. */
static void bare_limits(struct leaf *leaf, const struct leaf_mode *mode)
{
	struct limits *limits = &leaf->node->limits;
	uint64_t mask = BLOCK_MAX - 1;

	limits->present = leaf->bytes;
	limits->is_growing = leaf_grows(leaf, mode);
	limits->size = leaf->bytes;
	if (limits->is_growing && (leaf->wanted > leaf->bytes || !leaf->wanted))
		limits->size = leaf->wanted ? leaf->wanted : GROWTH_MAX;
	limits->size = (limits->size + mask) & ~mask;
}

uint64_t leaf_bytes_now(const struct leaf *leaf)
{
	uint64_t bytes;

	if (leaf->fd < 0 || !leaf->is_block || ioctl(leaf->fd, BLKGETSIZE64, &bytes) < 0)
		return 0;
	return bytes;
}

int leaf_limits(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	struct limits *limits = &leaf->node->limits;
	uint64_t around = leaf->labelled ? LABEL_FRONT + LABEL_TAIL : 0;

	*limits = (struct limits){ 0 };
	if ((leaf->is_block ? block_limits(leaf, err) : file_limits(leaf, mode, err)) < 0)
		return -1;
	limits->read_only |= leaf_is_read_only(leaf, mode);
	if (leaf->is_bare && !leaf->is_block) {
		bare_limits(leaf, mode);
		return 0;
	}
	limits->size = leaf->wanted ? leaf->wanted : leaf->bytes - around;
	limits->size -= limits->size % limits->logical_block_size;
	limits->is_extensible = leaf->is_bare && !leaf->is_backing && !leaf->wanted && !limits->read_only;
	if (limits->size == 0)
		return leaf_err(leaf, err, "%s has no room for a block of %" PRIu32 " bytes",
			leaf->path, limits->logical_block_size);
	return 0;
}
