// SPDX-License-Identifier: MIT
/*
 * What a leaf stands on, and whether two leaves share bytes: the same file by any name, a loop
 * device and its file, a disk and its partition, a volume and the disk below it. It asks sysfs and
 * the loop driver; what those don't tell (a file server's other end) can't be known here.
 */
#include "leaf_internal.h"

#include "run_directory.h"
#include "tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BELOW_MAX 64 /* identities per leaf; deeper stacks are looked at as far as that */
#define PATH_TEXT 512

/* Bytes that a leaf can touch: of a disk, or of a file on a file system. */
struct identity {
	bool is_disk;
	dev_t device; /* the disk, or the file system */
	ino_t inode;
	uint64_t begin, end;
};

/* The first `own` are the leaf itself, by its names; the others are what it stands on. */
struct stack {
	struct identity identities[BELOW_MAX];
	unsigned own, count;
};

static void push(struct stack *stack, struct identity identity)
{
	if (identity.end == 0)
		identity.end = UINT64_MAX;
	if (stack->count < BELOW_MAX)
		stack->identities[stack->count++] = identity;
}

bool sysfs_name(dev_t disk, char *name, size_t size)
{
	char path[PATH_TEXT], target[PATH_TEXT];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(disk), minor(disk));
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return false;
	target[length] = '\0';
	snprintf(name, size, "%s", strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
	return true;
}

/* Reads "8:1" from a file of sysfs. */
static bool read_disk(const char *path, dev_t *disk)
{
	FILE *file = fopen(path, "re");
	unsigned major_number, minor_number;
	bool found;

	if (!file)
		return false;
	found = fscanf(file, "%u:%u", &major_number, &minor_number) == 2;
	fclose(file);
	*disk = makedev(major_number, minor_number);
	return found;
}

/* The disks right below one: the whole disk of a partition, the slaves of dm and md. */
static void push_below(struct stack *stack, dev_t disk)
{
	char path[PATH_TEXT];
	struct dirent *entry;
	dev_t below;
	DIR *slaves;
	int length;

	length = snprintf(
		path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(disk), minor(disk));
	if (access(path, F_OK) == 0) {
		snprintf(path + length - strlen("partition"), 16, "../dev");
		if (read_disk(path, &below))
			push(stack, (struct identity){ .is_disk = true, .device = below });
	}
	length = snprintf(
		path, sizeof(path), "/sys/dev/block/%u:%u/slaves", major(disk), minor(disk));
	slaves = opendir(path);
	while (slaves && (entry = readdir(slaves))) {
		snprintf(path + length, sizeof(path) - (size_t)length, "/%s/dev", entry->d_name);
		if (entry->d_name[0] != '.' && read_disk(path, &below))
			push(stack, (struct identity){ .is_disk = true, .device = below });
	}
	if (slaves)
		closedir(slaves);
}

/* A loop device is a window of another file or disk: by that name its bytes are found too. */
static bool loop_target(const struct leaf *leaf, struct identity *identity)
{
	struct loop_info64 info;
	bool found;
	int fd;

	if (!leaf->is_block || major(leaf->device) != LOOP_MAJOR)
		return false;
	fd = open(leaf->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	found = fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0;
	if (fd >= 0)
		close(fd);
	if (!found)
		return false;
	*identity = (struct identity){
		.is_disk = info.lo_rdevice != 0,
		.device = info.lo_rdevice ? info.lo_rdevice : info.lo_device,
		.inode = info.lo_rdevice ? 0 : info.lo_inode,
		.begin = info.lo_offset,
		.end = info.lo_sizelimit ? info.lo_offset + info.lo_sizelimit : 0,
	};
	return true;
}

static void stack_fill(struct stack *stack, const struct leaf *leaf)
{
	struct identity loop;
	unsigned i;

	*stack = (struct stack){ 0 };
	if (leaf->exists)
		push(stack, (struct identity){ leaf->is_block, leaf->device, leaf->inode, 0, 0 });
	if (loop_target(leaf, &loop))
		push(stack, loop);
	stack->own = stack->count;
	if (!leaf->is_block) /* the disk that its file system is on */
		push(stack, (struct identity){ .is_disk = true, .device = leaf->device });
	for (i = 0; i < stack->count; i++)
		if (stack->identities[i].is_disk)
			push_below(stack, stack->identities[i].device);
		else if (leaf->is_block) /* a loop device's file */
			push(stack, (struct identity){ .is_disk = true,
					    .device = stack->identities[i].device });
}

static bool overlap(const struct identity *a, const struct identity *b)
{
	return a->is_disk == b->is_disk && a->device == b->device && a->inode == b->inode &&
	       a->begin < b->end && b->begin < a->end;
}

/* Whether one is the other, or stands on it. Two that stand on a third may well be apart. */
static bool share_bytes(const struct stack *a, const struct stack *b)
{
	unsigned i, j;

	for (i = 0; i < a->count; i++)
		for (j = 0; j < b->count; j++)
			if ((i < a->own || j < b->own) &&
				overlap(&a->identities[i], &b->identities[j]))
				return true;
	return false;
}

static const char *file_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* Files that are to be made have the identity of their directory: their names tell them apart. */
static bool is_same_missing(const struct leaf *a, const struct leaf *b)
{
	return a->device == b->device && a->inode == b->inode &&
	       !strcmp(file_name(a->path), file_name(b->path));
}

static void check_pair(const struct leaf *leaf, const struct stack *stack, const struct leaf *other,
	const struct stack *other_stack, struct err *err)
{
	if (!leaf->exists && !other->exists) {
		if (is_same_missing(leaf, other))
			leaf_err(leaf, err, "%s is given to %s too", leaf->path, other->node->id);
		return;
	}
	if (leaf->exists && other->exists &&
		overlap(&stack->identities[0], &other_stack->identities[0]))
		leaf_err(leaf, err, "%s is the same %s as %s of %s", leaf->path,
			leaf->is_block ? "disk" : "file", other->path, other->node->id);
	else if (share_bytes(stack, other_stack))
		leaf_err(leaf, err, "%s shares bytes with %s of %s: one stands on the other",
			leaf->path, other->path, other->node->id);
}

/* ubd serves nobody but us; ublk has other servers, whose disks are as good as any. */
static bool is_own(const char *disk)
{
	unsigned id;

	return !strncmp(disk, "ubdb", 4) ||
	       (sscanf(disk, "ublkb%u", &id) == 1 && run_has_device("ublk", id));
}

static void check_own(const struct leaf *leaf, const struct stack *stack, struct err *err)
{
	char name[PATH_TEXT], on[PATH_TEXT + 16] = "";
	unsigned i;

	for (i = 0; i < stack->count; i++)
		if (stack->identities[i].is_disk &&
			sysfs_name(stack->identities[i].device, name, sizeof(name)) &&
			is_own(name))
			break;
	if (i == stack->count)
		return;
	if (i > 0 || !leaf->exists)
		snprintf(on, sizeof(on), "on /dev/%s, ", name);
	leaf_err(leaf, err,
		"%s is %sa device of ubd-compose; put its tree into this document instead",
		leaf->path, on);
}

int leaves_check_stacks(struct tree *tree, struct err *err)
{
	struct stack *stacks = calloc(tree->leaf_count + 1, sizeof(*stacks));
	unsigned before = err->count, i, j;

	if (!stacks)
		return err_add(err, "out of memory");
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		unsigned so_far = err->count;

		if (leaf->problem)
			continue;
		stack_fill(&stacks[i], leaf);
		check_own(leaf, &stacks[i], err);
		for (j = 0; j < i; j++)
			if (!tree->leaves[j]->problem)
				check_pair(leaf, &stacks[i], tree->leaves[j], &stacks[j], err);
		if (err->count != so_far) /* opening it would only find our own lock on the other */
			leaf->problem = strdup("it can't be a leaf here");
	}
	free(stacks);
	return err->count == before ? 0 : -1;
}
