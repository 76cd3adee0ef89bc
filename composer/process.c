// SPDX-License-Identifier: MIT
/* What a process must be to serve a block device: namespace, memory, limits, capabilities. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* AddressSanitizer maps terabytes of shadow that can't be locked. */
#ifdef __SANITIZE_ADDRESS__
#define MEMORY_CAN_BE_LOCKED 0
#else
#define MEMORY_CAN_BE_LOCKED 1
#endif

#define OOM_PATH "/proc/self/oom_score_adj"
#define OOM_NEVER "-1000"
#define OOM_FIRST "1000"
#define LINE_TEXT 256
#define NOFILE_WANTED 65536
#define MOUNTS_MAX 256 /* of one disk */

bool process_may_administrate(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return syscall(SYS_capget, &header, data) == 0 &&
	       data[0].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
}

int process_isolate(struct err *err)
{
	if (!process_may_administrate())
		return 0; /* who isn't root can neither mount his disk nor be in the way of who does */
	if (unshare(CLONE_NEWNS) < 0)
		return err_add(err, "can't have a mount namespace of its own: %s", strerror(errno));
	/* EINVAL: the root is a chroot's. What matters is done: we mount and unmount nothing. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 && errno != EINVAL)
		return err_add(err, "can't detach the mount namespace: %s", strerror(errno));
	return 0;
}

/* "\040" and its like, as the kernel writes them, in place. */
static void unescape(char *text)
{
	char *out = text;

	while (*text) {
		unsigned code;

		if (*text == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
			*out++ = (char)code;
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

/* Whether the source of a mount is the disk or its partition. */
static bool is_of_disk(const char *source, const char *disk)
{
	size_t length = strlen(disk);

	return !strncmp(source, disk, length) && (source[length] == '\0' || source[length] == 'p');
}

void process_leave_mounts(const char *disk)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *points[MOUNTS_MAX];
	unsigned count = 0;
	size_t size = 0;

	if (!file)
		return; /* no /proc: then nobody finds our mounts either */
	/* ID PARENT MAJOR:MINOR ROOT POINT OPTIONS... - TYPE SOURCE OPTIONS */
	while (count < MOUNTS_MAX && getline(&line, &size, file) > 0) {
		char *rest = strstr(line, " - "), point[PATH_MAX], source[PATH_MAX];

		if (!rest || sscanf(rest, " - %*s %4095s", source) != 1 ||
			sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		unescape(source);
		unescape(point);
		if (is_of_disk(source, disk))
			points[count++] = strdup(point);
	}
	free(line);
	fclose(file);
	while (count-- > 0) { /* the last mounted first */
		if (points[count])
			(void)umount2(points[count], MNT_DETACH); /* one that stays keeps it in use */
		free(points[count]);
	}
}

static void raise_limit(int resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0 ||
		(limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur >= wanted))
		return;
	limit.rlim_cur = wanted;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < wanted)
		limit.rlim_max = wanted;
	if (setrlimit(resource, &limit) == 0)
		return;
	/* Not ours to raise: take what there is; who needs more will say so. */
	(void)getrlimit(resource, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(resource, &limit);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t count;

	if (fd < 0)
		return -errno;
	count = write(fd, text, strlen(text));
	if (count < 0)
		count = -errno;
	close(fd);
	return count < 0 ? (int)count : 0;
}

static bool memory_is_locked;

/*
 * All that is mapped now is locked and read in: the program and its libraries. What comes later is
 * locked once it is touched, until process_protect() has all of it read in.
 */
static int lock_memory(void)
{
	struct rlimit limit;

	if (!MEMORY_CAN_BE_LOCKED)
		return 0;
	/* Under a limit what is mapped later would count against it, and threads could not be made. */
	if (!process_may_administrate() && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
		limit.rlim_cur != RLIM_INFINITY)
		return -EPERM;
	if (mlockall(MCL_CURRENT) < 0 || mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
		return -errno;
	memory_is_locked = true;
	return 0;
}

void process_harden(struct err *notes)
{
	int result;

	raise_limit(RLIMIT_NOFILE, NOFILE_WANTED);
	raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	result = lock_memory();
	if (result < 0)
		err_add(notes, "memory is not locked: %s", strerror(-result));
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		err_add(notes,
			"the kernel may make us wait for our own device when memory is short: "
			"PR_SET_IO_FLUSHER: %s",
			strerror(errno));
	result = write_file(OOM_PATH, OOM_NEVER); /* so that it may be that low again */
	if (result < 0)
		err_add(notes, "the daemon may be killed when memory is short: " OOM_PATH ": %s",
			strerror(-result));
}

/* A request that is the first to touch a page would wait for memory, perhaps until somebody has written to us. */
static void fill_memory(void)
{
	if (!memory_is_locked)
		return;
	(void)mlockall(MCL_CURRENT); /* what can't be had now is asked for when it is touched */
	(void)mlockall(MCL_FUTURE | MCL_ONFAULT); /* as before, for what comes later */
}

void process_protect(void)
{
	fill_memory();
	if (write_file(OOM_PATH, OOM_NEVER) < 0)
		(void)write_file(OOM_PATH, "0"); /* process_harden() has said so */
}

int process_check_memory(uint64_t bytes, struct err *err)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[LINE_TEXT];
	uint64_t available = 0;

	while (file && !available && fgets(line, sizeof(line), file))
		(void)sscanf(line, "MemAvailable: %" SCNu64 " kB", &available);
	if (file)
		fclose(file);
	if (!available || bytes / 1024 <= available)
		return 0; /* or it can't be told */
	return err_add(err,
		"the buffers need %" PRIu64 " MiB of memory, %" PRIu64
		" MiB are available; lower device.queue_depth, max_io_size or queues",
		bytes >> 20, available >> 10);
}

void process_drop_capabilities(struct err *notes)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	const __u32 kept = CAP_TO_MASK(CAP_SYS_ADMIN) | CAP_TO_MASK(CAP_DAC_OVERRIDE);
	int i;

	if (syscall(SYS_capget, &header, data) < 0)
		goto fail;
	for (i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective &= i == 0 ? kept : 0;
		data[i].permitted &= i == 0 ? kept : 0;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		goto fail;
	/* Not earlier: raised with CAP_SYS_RESOURCE it could not be lowered again without. */
	(void)write_file(OOM_PATH, OOM_FIRST); /* raising is always allowed */
	return;
fail:
	err_add(notes, "capabilities are not dropped: %s", strerror(errno));
}
