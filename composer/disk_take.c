// SPDX-License-Identifier: MIT
/* Takes a disk: exclusively, and with a look at who has it open without that. */
#include "disk_take.h"

#include "holders.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 2000 /* udev looks at new disks: what only has them open may go by itself */

static void sleep_ms(unsigned ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	(void)nanosleep(&time, NULL); /* shorter is no harm */
}

int disk_take(const char *name, const char *path, struct err *err)
{
	const char *disk = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	struct err holders = { 0 };
	unsigned waited, found;
	int fd;

	for (waited = 0;; waited += 100) {
		fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
		found = holders_find(&holders_roots_real, disk, &holders);
		if (!found && (fd >= 0 || errno != EBUSY))
			return fd;
		if (fd < 0 || waited >= BUSY_TIMEOUT_MS)
			break;
		close(fd);
		err_finish(&holders);
		sleep_ms(100);
	}
	if (fd >= 0)
		close(fd);
	err_add(err, "%s is in use and stays as it is", name);
	if (found)
		err_add(err, "%.*s", (int)holders.length - 1, holders.text);
	else
		err_add(err,
			"%s is held exclusively by the kernel or by a process that can't be seen",
			path);
	err_finish(&holders);
	return -2;
}
