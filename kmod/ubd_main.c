// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module, and the table of its devices by number.
 */
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "ubd.h"

struct workqueue_struct *ubd_workqueue, *ubd_leg_workqueue, *ubd_job_workqueue;

static dev_t ubd_first_devt;

/* A number that is reserved and not yet, or no longer, published has no device. */
static struct {
	spinlock_t lock; /* on the idr */
	struct idr idr;
} ubd_devices = {
	.lock = __SPIN_LOCK_UNLOCKED(ubd_devices.lock),
	.idr = IDR_INIT(ubd_devices.idr),
};

struct class ubd_class = {
	.name = "ubd-char",
};

int ubd_devices_reserve(int wanted)
{
	int number;

	if (wanted < -1 || wanted >= UBD_MAX_DEVICES)
		return -EINVAL;
	idr_preload(GFP_KERNEL);
	spin_lock(&ubd_devices.lock);
	if (wanted == -1)
		number = idr_alloc(&ubd_devices.idr, NULL, 0, UBD_MAX_DEVICES, GFP_NOWAIT);
	else
		number = idr_alloc(&ubd_devices.idr, NULL, wanted, wanted + 1, GFP_NOWAIT);
	spin_unlock(&ubd_devices.lock);
	idr_preload_end();
	return number == -ENOSPC && wanted != -1 ? -EEXIST : number;
}

/*
 * With a device: it gets the table's reference, beside the caller's. Without: the number is free.
 */
void ubd_devices_publish(int number, struct ubd_device *device)
{
	spin_lock(&ubd_devices.lock);
	if (device) {
		ubd_device_get(device);
		idr_replace(&ubd_devices.idr, device, number);
	} else {
		idr_remove(&ubd_devices.idr, number);
	}
	spin_unlock(&ubd_devices.lock);
}

struct ubd_device *ubd_devices_get(u32 number)
{
	struct ubd_device *device;

	spin_lock(&ubd_devices.lock);
	device = idr_find(&ubd_devices.idr, number);
	if (device)
		ubd_device_get(device);
	spin_unlock(&ubd_devices.lock);
	return device;
}

dev_t ubd_char_devt(int number)
{
	return MKDEV(MAJOR(ubd_first_devt), MINOR(ubd_first_devt) + number);
}

static const struct file_operations ubd_control_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.uring_cmd = ubd_control_cmd,
};

static struct miscdevice ubd_control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ubd-control",
	.fops = &ubd_control_fops,
	.mode = 0600,
};

static int __init ubd_init(void)
{
	int error;

	ubd_workqueue = alloc_workqueue("ubd", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ubd_workqueue)
		return -ENOMEM;
	error = -ENOMEM;
	ubd_leg_workqueue = alloc_workqueue("ubd-leg", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ubd_leg_workqueue)
		goto fail_workqueue;
	ubd_job_workqueue = alloc_workqueue("ubd-job", WQ_UNBOUND, 0);
	if (!ubd_job_workqueue)
		goto fail_legs;
	error = alloc_chrdev_region(&ubd_first_devt, 0, UBD_MAX_DEVICES, "ubd-char");
	if (error)
		goto fail_jobs;
	error = class_register(&ubd_class);
	if (error)
		goto fail_chrdev;
	error = misc_register(&ubd_control);
	if (error)
		goto fail_class;
	return 0;

fail_class:
	class_unregister(&ubd_class);
fail_chrdev:
	unregister_chrdev_region(ubd_first_devt, UBD_MAX_DEVICES);
fail_jobs:
	destroy_workqueue(ubd_job_workqueue);
fail_legs:
	destroy_workqueue(ubd_leg_workqueue);
fail_workqueue:
	destroy_workqueue(ubd_workqueue);
	return error;
}

/*
 * Nobody has a file of ours open, or the module would be in use; so no command runs, no server is
 * there, and no disk. Reaps of the last servers may be under way, each with its reference.
 */
static void __exit ubd_exit(void)
{
	struct ubd_device *device;
	int number;

	misc_deregister(&ubd_control);
	destroy_workqueue(ubd_job_workqueue); /* of senders that were killed */
	flush_workqueue(ubd_workqueue);
	for (number = 0; idr_get_next(&ubd_devices.idr, &number); number++) {
		device = ubd_devices_get(number);
		(void)ubd_device_delete(device, 0);
		ubd_device_put(device);
	}
	destroy_workqueue(ubd_workqueue);
	destroy_workqueue(ubd_leg_workqueue);
	class_unregister(&ubd_class);
	unregister_chrdev_region(ubd_first_devt, UBD_MAX_DEVICES);
	idr_destroy(&ubd_devices.idr);
}

module_init(ubd_init);
module_exit(ubd_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Block devices served by user space over io_uring");
