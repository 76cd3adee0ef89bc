// SPDX-License-Identifier: MIT
/* Opening a leaf by its path alone. It knows no document and no label. */
#include "operand.h"

#include "leaf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLDER_TEXT 512
#define LOOPS "/sys/block/loop*/loop/backing_file"

static int refuse(const struct operand *operand, bool writes, int error, struct err *err)
{
	char holder[HOLDER_TEXT];

	switch (error) {
	case EBUSY:
		leaf_holder(operand->device, holder, sizeof(holder));
		return err_add(err, "%s is in use: %s", operand->path, holder);
	case ETXTBSY:
		return err_add(err, "%s is in use as a program or for swap", operand->path);
	case EACCES:
	case EPERM:
		return err_add(err, "no permission to %s %s", writes ? "read and write" : "read",
			operand->path);
	default:
		return err_add(err, "%s: %s", operand->path, strerror(error));
	}
}

/* What is served with O_DIRECT is read so too: the page cache may be older. */
static int open_as(const char *path, int flags)
{
	static const int ways[] = { O_DIRECT | O_NOATIME, O_DIRECT, O_NOATIME, 0 };
	unsigned i;
	int fd = -1;

	for (i = 0; i < sizeof(ways) / sizeof(*ways) && fd < 0; i++) {
		fd = open(path, flags | ways[i] | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0 && errno != EINVAL && errno != EPERM)
			break;
	}
	return fd;
}

/* Whether the file that this sysfs attribute names is the operand. */
static bool is_behind(const char *attribute, const struct operand *operand)
{
	char path[HOLDER_TEXT * 8];
	struct stat found;
	FILE *file = fopen(attribute, "re");
	bool is_it = false;

	if (file && fgets(path, sizeof(path), file)) {
		path[strcspn(path, "\n")] = '\0';
		is_it = stat(path, &found) == 0 && found.st_dev == operand->device &&
			found.st_ino == operand->inode;
	}
	if (file)
		fclose(file);
	return is_it;
}

/* A loop device takes no lock on its file. 0, or -1 with a message. */
static int check_loops(const struct operand *operand, struct err *err)
{
	size_t i, name = strlen("/sys/block/");
	unsigned before = err->count;
	glob_t loops;

	if (operand->is_block || glob(LOOPS, 0, NULL, &loops) != 0)
		return 0;
	for (i = 0; i < loops.gl_pathc && err->count == before; i++)
		if (is_behind(loops.gl_pathv[i], operand))
			err_add(err, "%s is in use: it is behind /dev/%.*s", operand->path,
				(int)strcspn(loops.gl_pathv[i] + name, "/"),
				loops.gl_pathv[i] + name);
	globfree(&loops);
	return err->count == before ? 0 : -1;
}

static int learn(struct operand *operand, const struct stat *found, bool writes, struct err *err)
{
	struct stat opened;

	if (fstat(operand->fd, &opened) < 0 || opened.st_mode != found->st_mode ||
		opened.st_dev != found->st_dev || opened.st_ino != found->st_ino)
		return err_add(err, "%s was replaced while it was opened", operand->path);
	if (writes && flock(operand->fd, LOCK_EX | LOCK_NB) < 0)
		return err_add(err, "%s is locked: a daemon serves it, or a program uses it",
			operand->path);
	if (writes && check_loops(operand, err) < 0)
		return -1;
	operand->bytes = (uint64_t)opened.st_size;
	if (operand->is_block && ioctl(operand->fd, BLKGETSIZE64, &operand->bytes) < 0)
		return err_add(err, "asking %s for its size: %s", operand->path, strerror(errno));
	return 0;
}

int operand_open(
	struct operand *operand, const char *path, enum operand_access access, struct err *err)
{
	bool writes = access == OPERAND_WRITE;
	struct stat found;

	*operand = (struct operand){ .path = path, .fd = -1 };
	if (stat(path, &found) < 0)
		return refuse(operand, writes, errno, err);
	operand->is_block = S_ISBLK(found.st_mode);
	if (!operand->is_block && !S_ISREG(found.st_mode))
		return err_add(err, "%s is neither a regular file nor a block device", path);
	operand->device = operand->is_block ? found.st_rdev : found.st_dev;
	operand->inode = operand->is_block ? 0 : found.st_ino;
	operand->fd = open_as(
		path, (writes ? O_RDWR : O_RDONLY) | (writes && operand->is_block ? O_EXCL : 0));
	if (operand->fd < 0)
		return refuse(operand, writes, errno, err);
	if (learn(operand, &found, writes, err) == 0)
		return 0;
	operand_close(operand);
	return -1;
}

void operand_close(struct operand *operand)
{
	if (operand->fd >= 0)
		close(operand->fd);
	operand->fd = -1;
}

bool operand_is_same(const struct operand *a, const struct operand *b)
{
	return a->is_block == b->is_block && a->device == b->device && a->inode == b->inode;
}
