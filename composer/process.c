// SPDX-License-Identifier: MIT
/* What a process must be to serve a block device: namespace, memory, limits, capabilities. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
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

#define NOFILE_WANTED 65536

int process_isolate(struct err *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_add(err, "can't have a mount namespace of its own: %s", strerror(errno));
	/* EINVAL: the root is a chroot's. What matters is done: we mount and unmount nothing. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 && errno != EINVAL)
		return err_add(err, "can't detach the mount namespace: %s", strerror(errno));
	return 0;
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

/*
 * All that is mapped now is locked and read in: the program and its libraries. What comes later is
 * locked once it is touched, as threads' stacks are mostly room that nobody uses.
 */
static int lock_memory(void)
{
	if (!MEMORY_CAN_BE_LOCKED)
		return 0;
	if (mlockall(MCL_CURRENT) < 0 || mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
		return -errno;
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
	result = write_file("/proc/self/oom_score_adj", "-1000");
	if (result < 0)
		err_add(notes,
			"the daemon may be killed when memory is short: "
			"/proc/self/oom_score_adj: %s",
			strerror(-result));
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
	if (syscall(SYS_capset, &header, data) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		return;
fail:
	err_add(notes, "capabilities are not dropped: %s", strerror(errno));
}
