// SPDX-License-Identifier: MIT
/* Whether others have a leaf, and who. A moment later it may be otherwise: opening decides. */
#include "leaf_internal.h"

#include "holders.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define PATH_TEXT 512
#define NAME_TEXT 256
#define PAUSE_MS 10

/* The whole disk that a partition is of; a disk that is none is its own. */
static dev_t whole_disk(dev_t disk)
{
	char path[PATH_TEXT];
	unsigned major_number, minor_number;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(disk), minor(disk));
	if (access(path, F_OK) < 0)
		return disk;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(disk), minor(disk));
	file = fopen(path, "re");
	if (!file)
		return disk;
	if (fscanf(file, "%u:%u", &major_number, &minor_number) == 2)
		disk = makedev(major_number, minor_number);
	fclose(file);
	return disk;
}

void leaf_holder(dev_t disk, char *text, size_t size)
{
	char name[NAME_TEXT], whole[NAME_TEXT], wanted[PATH_TEXT];
	struct err holders = { 0 };
	char *rest, *line;

	snprintf(text, size, "a program has it for itself");
	if (!sysfs_name(disk, name, sizeof(name)) ||
		!sysfs_name(whole_disk(disk), whole, sizeof(whole)))
		return;
	snprintf(wanted, sizeof(wanted), "/dev/%s%s", name, strcmp(name, whole) ? " " : "");
	(void)holders_find(&holders_roots_real, whole, &holders);
	for (rest = holders.text; rest && (line = strsep(&rest, "\n"));)
		if (!strncmp(line, wanted, strlen(wanted))) { /* a disk's partitions too */
			snprintf(text, size, "%s", line);
			break;
		}
	err_finish(&holders);
}

int leaf_busy(const struct leaf *leaf, struct err *err)
{
	size_t length = strlen(leaf->path);
	char holder[PATH_TEXT];

	leaf_holder(leaf->device, holder, sizeof(holder));
	if (!strncmp(holder, leaf->path, length) && holder[length] == ' ')
		leaf_err(leaf, err, "%s", holder); /* it names the disk as the document does */
	else
		leaf_err(leaf, err, "%s is in use: %s", leaf->path, holder);
	return -EBUSY;
}

int leaf_locked(const struct leaf *leaf, struct err *err)
{
	leaf_err(leaf, err, "%s is locked: another daemon serves it, or a program uses it",
		leaf->path);
	return -EBUSY;
}

int leaf_imaged(const struct leaf *leaf, struct err *err)
{
	leaf_err(leaf, err, "%s is open in QEMU or one of its tools", leaf->path);
	return -EBUSY;
}

static bool is_busy(const struct leaf *leaf)
{
	int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | (leaf->is_block ? O_EXCL : 0);
	int fd = open(leaf->path, flags);
	bool busy;

	if (fd < 0)
		return errno == EBUSY;
	busy = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return busy;
}

void leaves_await(const struct tree *tree, unsigned timeout_ms)
{
	const struct timespec pause = { 0, PAUSE_MS * 1000000 };
	unsigned waited, i;

	for (waited = 0; waited < timeout_ms; waited += PAUSE_MS) {
		for (i = 0; i < tree->leaf_count; i++)
			if (!tree->leaves[i]->is_removed && is_busy(tree->leaves[i]))
				break;
		if (i == tree->leaf_count)
			return;
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	}
}

int leaves_check_free(const struct tree *tree, struct err *err)
{
	const struct leaf_mode mode = { .read_only = tree->device.read_only };
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];
		int lock = leaf_is_read_only(leaf, &mode) ? LOCK_SH : LOCK_EX;

		if (leaf->fd < 0)
			continue;
		if (leaf->is_block) {
			int fd = open(leaf->path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);

			if (fd >= 0)
				close(fd);
			else if (errno == EBUSY)
				(void)leaf_busy(leaf, err); /* counted in err */
		} else if (flock(leaf->fd, lock | LOCK_NB) == 0) {
			(void)flock(leaf->fd, LOCK_UN); /* closing does the same */
			if (leaf_is_imaged(leaf))
				(void)leaf_imaged(leaf, err); /* counted in err */
		} else if (errno == EWOULDBLOCK) {
			(void)leaf_locked(leaf, err); /* counted in err */
		}
	}
	return err->count == before ? 0 : -1;
}
