// SPDX-License-Identifier: MIT
/*
 * A plugin for nbdkit: serves files as disks and logs what is written to them, all in one order.
 *
 * nbdkit build/replay/nbd_log.so directory=DIR disks=a,b,c : export "a" is DIR/a.img, and so on; the
 * log is DIR/log (log.h). A request is logged before it is carried out and answered; they come one
 * at a time. Whatever fails ends the server: a log with a gap would be worse than none.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS
#define DISKS_MAX 32

struct disk {
	char name[64];
	uint32_t place;
	int fd;
	uint64_t size;
};

static const char *directory;
static struct disk disks[DISKS_MAX];
static uint32_t disk_count;
static int log_fd = -1;

static int nbd_log_config(const char *key, const char *value)
{
	char *names, *name, *rest = NULL;

	if (!strcmp(key, "directory")) {
		directory = value;
		return 0;
	}
	if (strcmp(key, "disks") != 0) {
		nbdkit_error("unknown parameter %s", key);
		return -1;
	}
	names = strdup(value);
	for (name = strtok_r(names, ",", &rest); name && disk_count < DISKS_MAX;
		name = strtok_r(NULL, ",", &rest)) {
		disks[disk_count].place = disk_count;
		snprintf(disks[disk_count].name, sizeof(disks->name), "%s", name);
		disk_count++;
	}
	free(names);
	return 0;
}

static int open_in(const char *name, const char *suffix, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s%s", directory, name, suffix);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		nbdkit_error("%s: %s", path, strerror(errno));
	return fd;
}

static int nbd_log_get_ready(void)
{
	uint32_t i;

	if (!directory || disk_count == 0) {
		nbdkit_error("directory= and disks= are wanted");
		return -1;
	}
	log_fd = open_in("log", "", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
	for (i = 0; i < disk_count && log_fd >= 0; i++) {
		struct stat status;

		disks[i].fd = open_in(disks[i].name, ".img", O_RDWR);
		if (disks[i].fd < 0 || fstat(disks[i].fd, &status) < 0)
			return -1;
		disks[i].size = (uint64_t)status.st_size;
	}
	return log_fd < 0 ? -1 : 0;
}

static void *nbd_log_open(int readonly)
{
	const char *name = nbdkit_export_name();
	uint32_t i;

	(void)readonly;
	for (i = 0; i < disk_count; i++)
		if (!strcmp(name, disks[i].name))
			return &disks[i];
	nbdkit_error("no disk is called %s", name);
	return NULL;
}

static int64_t nbd_log_get_size(void *handle)
{
	const struct disk *disk = handle;

	return (int64_t)disk->size;
}

static int always(void *handle)
{
	(void)handle;
	return 1;
}

static int fua_native(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static void write_log(const struct disk *disk, enum log_kind kind, const void *data,
	uint64_t length, uint64_t offset, uint32_t flags)
{
	struct log_entry entry = { disk->place, kind, offset, length,
		flags & NBDKIT_FLAG_FUA ? LOG_FUA : 0, 0 };
	struct iovec parts[2] = { { &entry, sizeof(entry) }, { (void *)data, data ? length : 0 } };
	ssize_t want = (ssize_t)(parts[0].iov_len + parts[1].iov_len);

	if (writev(log_fd, parts, 2) != want) {
		perror("nbd_log: the log can't be written");
		_exit(1);
	}
}

static int nbd_log_pread(void *handle, void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
	const struct disk *disk = handle;

	(void)flags;
	if (pread(disk->fd, data, count, (off_t)offset) == (ssize_t)count)
		return 0;
	nbdkit_error("pread: %s", strerror(errno));
	return -1;
}

static int nbd_log_pwrite(void *handle, const void *data, uint32_t count, uint64_t offset,
	uint32_t flags)
{
	const struct disk *disk = handle;

	write_log(disk, LOG_WRITE, data, count, offset, flags);
	if (pwrite(disk->fd, data, count, (off_t)offset) == (ssize_t)count)
		return 0;
	nbdkit_error("pwrite: %s", strerror(errno));
	return -1;
}

static int punch(const struct disk *disk, uint32_t count, uint64_t offset)
{
	if (fallocate(disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, count) == 0)
		return 0;
	nbdkit_error("fallocate: %s", strerror(errno));
	return -1;
}

static int nbd_log_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	write_log(handle, LOG_ZERO, NULL, count, offset, flags);
	return punch(handle, count, offset);
}

static int nbd_log_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	write_log(handle, LOG_TRIM, NULL, count, offset, flags);
	return punch(handle, count, offset);
}

static int nbd_log_flush(void *handle, uint32_t flags)
{
	write_log(handle, LOG_FLUSH, NULL, 0, 0, flags);
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "ubd-log",
	.description = "files as disks, with one log of all writes",
	.config = nbd_log_config,
	.get_ready = nbd_log_get_ready,
	.open = nbd_log_open,
	.get_size = nbd_log_get_size,
	.can_write = always,
	.can_flush = always,
	.can_trim = always,
	.can_zero = always,
	.can_fua = fua_native,
	.pread = nbd_log_pread,
	.pwrite = nbd_log_pwrite,
	.zero = nbd_log_zero,
	.trim = nbd_log_trim,
	.flush = nbd_log_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
