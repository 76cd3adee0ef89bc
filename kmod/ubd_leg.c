// SPDX-License-Identifier: GPL-2.0-only
/*
 * Legs: the block devices and files that plans may name. The table is made before the disk and taken
 * apart after it, or between two sessions of a disk that waits, so that plans read it without a
 * lock. A leg must not be the device's own disk, nor a file on it. Who stacks a leg on a disk that
 * waits for its next server is root, and waits for himself.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>

#include "ubd_plan.h"

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
		if (!device->legs[i].file)
			continue;
		cancel_work_sync(&device->legs[i].work); /* it may be just about to return */
		ubd_leg_put(device->legs[i].file);
	}
	kfree(device->legs);
	device->legs = NULL;
	device->nr_legs = 0;
}

static int ubd_leg_open_block(struct ubd_leg *leg, struct file *file)
{
	leg->bdev = I_BDEV(file->f_mapping->host);
	leg->block_mask = bdev_logical_block_size(leg->bdev) - 1;
	leg->can_nowait = bdev_nowait(leg->bdev);
	/* A disk made of disks may wait in a flush for those, whatever it promises of other bios. */
	leg->can_flush_nowait = leg->can_nowait && queue_is_mq(bdev_get_queue(leg->bdev));
	return 0;
}

/*
 * A file that may be read and written past the page cache. One that is swapped to has its blocks
 * written by others.
 */
static int ubd_leg_open_file(struct ubd_leg *leg, struct file *file)
{
	if (!(file->f_flags & O_DIRECT) || !(file->f_mode & FMODE_CAN_ODIRECT) ||
	    !file->f_op->read_iter || !file->f_op->write_iter || IS_SWAPFILE(file_inode(file)))
		return -EINVAL;
	leg->block_mask = SECTOR_SIZE - 1; /* where it needs more, it says so each time */
	leg->can_nowait = file->f_mode & FMODE_NOWAIT;
	return 0;
}

static bool ubd_leg_is_own_disk(const struct ubd_device *device, const struct ubd_leg *leg)
{
	struct block_device *bdev = leg->bdev;

	if (!bdev)
		bdev = file_inode(leg->file)->i_sb->s_bdev;
	return bdev && device->disk && bdev->bd_disk == device->disk;
}

static int ubd_leg_get(struct ubd_device *device, struct ubd_leg *leg, int fd)
{
	struct file *file;
	int error;

	if (fd == -1)
		return 0;
	file = fget(fd);
	if (!file)
		return -EBADF;
	error = -EACCES;
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE))
		goto fail;
	if (S_ISBLK(file_inode(file)->i_mode))
		error = ubd_leg_open_block(leg, file);
	else if (S_ISREG(file_inode(file)->i_mode))
		error = ubd_leg_open_file(leg, file);
	else
		error = -ENOTBLK;
	if (error)
		goto fail;
	init_llist_head(&leg->late);
	INIT_WORK(&leg->work, ubd_leg_work);
	leg->file = file;
	return ubd_leg_is_own_disk(device, leg) ? -ELOOP : 0;

fail:
	fput(file);
	return error;
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
		error = ubd_leg_get(device, &device->legs[i], fds[i]);
		if (error) {
			ubd_legs_put(device);
			return error;
		}
	}
	return 0;
}
