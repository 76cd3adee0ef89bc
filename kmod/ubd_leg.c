// SPDX-License-Identifier: GPL-2.0-only
/*
 * Legs: the block devices that plans may name. The table is made before the disk and taken apart
 * after it, so that plans read it without a lock. A leg cannot be the device's own disk, nor stand
 * above it, as that disk does not exist yet.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>

#include "ubd.h"

/* In a worker, fput() would be deferred; but who stops a device may want its legs at once. */
static void ubd_leg_put(struct file *file)
{
	if (current->flags & PF_KTHREAD)
		__fput_sync(file);
	else
		fput(file);
}

void ubd_legs_put(struct ubd_device *device)
{
	unsigned int i;

	for (i = 0; i < device->nr_legs; i++) {
		if (device->legs[i].file)
			ubd_leg_put(device->legs[i].file);
	}
	kfree(device->legs);
	device->legs = NULL;
	device->nr_legs = 0;
}

static int ubd_leg_get(struct ubd_leg *leg, int fd)
{
	struct file *file;

	if (fd == -1)
		return 0;
	file = fget(fd);
	if (!file)
		return -EBADF;
	if (!S_ISBLK(file_inode(file)->i_mode)) {
		fput(file);
		return -ENOTBLK;
	}
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE)) {
		fput(file);
		return -EACCES;
	}
	leg->file = file;
	leg->bdev = I_BDEV(file->f_mapping->host);
	return 0;
}

int ubd_legs_set(struct ubd_device *device, const s32 *fds, unsigned int count)
{
	unsigned int i;
	int error;

	ubd_legs_put(device);
	device->legs = kcalloc(count, sizeof(*device->legs), GFP_KERNEL);
	if (!device->legs)
		return -ENOMEM;
	device->nr_legs = count;
	for (i = 0; i < count; i++) {
		error = ubd_leg_get(&device->legs[i], fds[i]);
		if (error) {
			ubd_legs_put(device);
			return error;
		}
	}
	return 0;
}
