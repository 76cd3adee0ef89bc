// SPDX-License-Identifier: MIT
/* Finding, opening and making one leaf, and saying clearly why not. It knows no label's content. */
#include "leaf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MADE_MODE 0600

bool leaf_is_read_only(const struct leaf *leaf, const struct leaf_mode *mode)
{
	return (mode->read_only || (leaf->is_backing && !leaf->is_committed_to)) && !leaf->labelled;
}

bool leaf_grows(const struct leaf *leaf, const struct leaf_mode *mode)
{
	return leaf->is_bare && leaf->node->role == 0 && !leaf->is_block && !leaf->is_backing && !leaf_is_read_only(leaf, mode);
}

uint64_t leaf_bytes_for(const struct leaf *leaf, uint64_t wanted)
{
	uint64_t around = leaf->labelled ? LABEL_FRONT + LABEL_TAIL : 0;

	return wanted > INT64_MAX - around ? 0 : wanted + around;
}

static const char *kind_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "regular file";
	case S_IFBLK:
		return "block device";
	case S_IFDIR:
		return "directory";
	case S_IFCHR:
		return "character device";
	case S_IFIFO:
		return "FIFO";
	case S_IFSOCK:
		return "socket";
	default:
		return "thing of unknown kind";
	}
}

/* The path leads nowhere. */
static int find_missing(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	char *directory, *slash;
	struct stat stat_here;
	int result;

	if (lstat(leaf->path, &stat_here) == 0)
		return leaf_err(leaf, err, "%s is a symbolic link to nothing", leaf->path);
	if (leaf->is_block || !mode->make)
		return leaf_err(leaf, err, "%s does not exist", leaf->path);
	if (!leaf->wanted && !leaf_grows(leaf, mode))
		return leaf_err(leaf, err,
			"%s does not exist; it is made if the leaf has a \"size\"", leaf->path);
	directory = strdup(leaf->path);
	if (!directory)
		return leaf_err(leaf, err, "out of memory");
	slash = strrchr(directory, '/');
	slash[slash == directory] = '\0';
	result = stat(directory, &stat_here);
	free(directory);
	if (result < 0 || !S_ISDIR(stat_here.st_mode))
		return leaf_err(leaf, err, "the directory of %s does not exist", leaf->path);
	leaf->device = stat_here.st_dev;
	leaf->inode = stat_here.st_ino;
	leaf->bytes = leaf_grows(leaf, mode) ? 0 : leaf_bytes_for(leaf, leaf->wanted);
	return 0;
}

int leaf_find(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	struct stat found;

	leaf->exists = false;
	if (leaf->not_given)
		return leaf_err(leaf, err, "it is missing: none of the leaves given is leaf %u of the tree, which was %s",
			leaf->place, leaf->path);
	if (stat(leaf->path, &found) < 0) {
		if (errno == ENOENT)
			return find_missing(leaf, mode, err);
		if (errno == ELOOP)
			return leaf_err(leaf, err, "%s is a symbolic link that leads to itself",
				leaf->path);
		return leaf_err(leaf, err, "%s: %s", leaf->path, strerror(errno));
	}
	if (S_ISREG(found.st_mode) && leaf->is_block)
		return leaf_err(
			leaf, err, "%s is a regular file: its type is \"file\"", leaf->path);
	if (S_ISBLK(found.st_mode) && !leaf->is_block)
		return leaf_err(
			leaf, err, "%s is a block device: its type is \"block\"", leaf->path);
	if (!S_ISREG(found.st_mode) && !S_ISBLK(found.st_mode))
		return leaf_err(leaf, err, "%s is a %s, not a %s", leaf->path,
			kind_name(found.st_mode), kind_name(leaf->is_block ? S_IFBLK : S_IFREG));
	leaf->exists = true;
	leaf->device = leaf->is_block ? found.st_rdev : found.st_dev;
	leaf->inode = leaf->is_block ? 0 : found.st_ino;
	return 0;
}

static int open_failed(struct leaf *leaf, bool writes, int error, struct err *err)
{
	switch (error) {
	case EBUSY:
		return leaf_busy(leaf, err);
	case ETXTBSY:
		leaf_err(leaf, err, "%s is in use as a program or for swap", leaf->path);
		return -EBUSY;
	case EINVAL:
		if (leaf->direct)
			return leaf_err(leaf, err,
				"%s is on a file system without O_DIRECT; set \"direct\": false",
				leaf->path);
		break;
	case EACCES:
	case EPERM:
		return leaf_err(leaf, err, "no permission to %s %s",
			writes ? "read and write" : "read", leaf->path);
	case EROFS:
		return leaf_err(leaf, err,
			"%s can't be written: it is read-only, or its file system is", leaf->path);
	default:
		break;
	}
	return leaf_err(leaf, err, "opening %s: %s", leaf->path, strerror(error));
}

/* What was opened is what was found: nobody has put another file there in between. */
static bool is_same_file(const struct leaf *leaf, const struct stat *opened)
{
	if (leaf->is_block)
		return S_ISBLK(opened->st_mode) && opened->st_rdev == leaf->device;
	return S_ISREG(opened->st_mode) && opened->st_dev == leaf->device &&
	       opened->st_ino == leaf->inode;
}

/* For a labelled leaf its label has a say on the size: assembly compares that. */
static int check_room(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	uint64_t around = leaf->labelled ? LABEL_FRONT + LABEL_TAIL : 0;

	if (leaf->bytes == 0 && mode->make && (leaf->wanted || leaf_grows(leaf, mode)))
		return 0; /* an empty file gets its size, or grows */
	if (leaf->bytes == 0)
		return leaf_err(leaf, err, "%s is empty%s", leaf->path,
			leaf->is_block ? "" : "; it gets its size if the leaf has a \"size\"");
	if (leaf_grows(leaf, mode))
		return 0;
	if (leaf->wanted && !leaf->labelled && leaf->bytes < leaf->wanted)
		return leaf_err(leaf, err, "%s has %" PRIu64 " bytes, less than the size %" PRIu64,
			leaf->path, leaf->bytes, leaf->wanted);
	if (leaf->bytes <= around)
		return leaf_err(leaf, err,
			"%s has %" PRIu64 " bytes, too small for a label: it takes %" PRIu64,
			leaf->path, leaf->bytes, around);
	return 0;
}

/* Sees that the open file is the right one, and takes it. */
static int take(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	bool shared = leaf_is_read_only(leaf, mode);
	struct stat opened;
	int flags;

	if (fstat(leaf->fd, &opened) < 0 || !is_same_file(leaf, &opened))
		return leaf_err(leaf, err, "%s was replaced while it was opened", leaf->path);
	flags = fcntl(leaf->fd, F_GETFL);
	if (flags < 0 || fcntl(leaf->fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return leaf_err(leaf, err, "%s: %s", leaf->path, strerror(errno));
	if (mode->serve && flock(leaf->fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
		return leaf_locked(leaf, err);
	if (mode->serve && !leaf_lock_images(leaf, !shared))
		return leaf_imaged(leaf, err);
	if (!leaf->is_block)
		leaf->bytes = (uint64_t)opened.st_size;
	else if (ioctl(leaf->fd, BLKGETSIZE64, &leaf->bytes) < 0)
		return leaf_err(
			leaf, err, "asking %s for its size: %s", leaf->path, strerror(errno));
	return check_room(leaf, mode, err);
}

int leaf_open(struct leaf *leaf, const struct leaf_mode *mode, struct err *err)
{
	bool writes = mode->serve && !leaf_is_read_only(leaf, mode);
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (writes ? O_RDWR : O_RDONLY);

	if (leaf->direct)
		flags |= O_DIRECT;
	if (leaf->is_block && mode->serve)
		flags |= O_EXCL;
	/* An access time at each read costs, and tells nobody anything; but only owners may do without. */
	leaf->fd = open(leaf->path, flags | O_NOATIME);
	if (leaf->fd < 0 && errno == EPERM)
		leaf->fd = open(leaf->path, flags);
	if (leaf->fd < 0)
		return open_failed(leaf, writes, errno, err);
	return take(leaf, mode, err);
}

static int sync_directory(const char *path)
{
	char *directory = strdup(path), *slash;
	int fd, result = -1;

	if (!directory)
		return -1;
	slash = strrchr(directory, '/');
	slash[slash == directory] = '\0';
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		result = fsync(fd);
		close(fd);
	}
	free(directory);
	return result;
}

/* Sets the size without the signal that a file over RLIMIT_FSIZE would bring. */
static int set_size(int fd, uint64_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes > limit.rlim_cur) {
		errno = EFBIG;
		return -1;
	}
	return ftruncate(fd, (off_t)bytes);
}

/*
 * A file of nobody's yet. It counts as made by us only with our lock on it: another daemon may come
 * upon it before, and then it is that one's, which we must not remove.
 */
static int make_locked(struct leaf *leaf, struct err *err)
{
	struct stat made;

	leaf->fd = open(leaf->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MADE_MODE);
	if (leaf->fd < 0)
		return leaf_err(leaf, err, "making %s: %s", leaf->path, strerror(errno));
	if (flock(leaf->fd, LOCK_EX | LOCK_NB) < 0)
		return leaf_locked(leaf, err);
	if (fstat(leaf->fd, &made) < 0)
		return leaf_err(leaf, err, "%s: %s", leaf->path, strerror(errno));
	if (!leaf_lock_images(leaf, true))
		return leaf_imaged(leaf, err);
	leaf->device = made.st_dev;
	leaf->inode = made.st_ino;
	leaf->made = true;
	if (leaf->direct && fcntl(leaf->fd, F_SETFL, fcntl(leaf->fd, F_GETFL) | O_DIRECT) < 0)
		return open_failed(leaf, true, errno, err);
	return 0;
}

int leaf_make(struct leaf *leaf, struct err *err)
{
	uint64_t bytes = leaf->is_bare && leaf->node->role == 0 ? 0 : leaf_bytes_for(leaf, leaf->wanted);
	int result = leaf->exists ? 0 : make_locked(leaf, err);

	if (result < 0)
		return result;
	leaf->made = true;
	if (set_size(leaf->fd, bytes) < 0)
		return leaf_err(leaf, err, "giving %s its %" PRIu64 " bytes: %s", leaf->path, bytes,
			strerror(errno));
	if (fsync(leaf->fd) < 0 || sync_directory(leaf->path) < 0)
		return leaf_err(leaf, err, "making %s durable: %s", leaf->path, strerror(errno));
	leaf->bytes = bytes;
	return 0;
}

int leaf_lengthen(struct leaf *leaf, uint64_t bytes, struct err *err)
{
	if (set_size(leaf->fd, bytes) < 0 || fsync(leaf->fd) < 0)
		return leaf_err(leaf, err, "making %s longer, from %" PRIu64 " to %" PRIu64 " bytes: %s",
			leaf->path, leaf->bytes, bytes, strerror(errno));
	leaf->bytes = bytes;
	return 0;
}
