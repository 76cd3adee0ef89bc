// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device's life: made by ADD, its sessions ended, removed by DEL. Sessions, and why ending one
 * takes no lock, are explained in ubd.h.
 */
#include <linux/fs.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "ubd.h"

void ubd_device_abort(struct ubd_device *device)
{
	int i;

	mutex_lock(&device->abort_lock);
	if (!ubd_device_is(device, UBD_DEVICE_OPEN)) { /* reset meanwhile: nothing is left to end */
		mutex_unlock(&device->abort_lock);
		return;
	}
	set_bit(UBD_DEVICE_ENDING, &device->flags);
	wake_up_all(&device->wait);
	ubd_recovery_hold(device);
	synchronize_rcu_expedited(); /* each queue_rq() that missed the bit is done */
	for (i = 0; i < device->info.nr_hw_queues; i++)
		ubd_queue_abort_requests(device->queues[i]);
	for (i = 0; i < device->info.nr_hw_queues; i++)
		ubd_queue_abort_commands(device->queues[i]);
	mutex_unlock(&device->abort_lock);
}

static void ubd_device_queue_reap(struct ubd_device *device)
{
	ubd_device_get(device);
	if (!queue_work(ubd_workqueue, &device->reap_work))
		ubd_device_put(device);
}

void ubd_device_kill(struct ubd_device *device)
{
	/* CLOSED asks for a second round where the first one found the file still open. */
	if (test_and_set_bit(UBD_DEVICE_ENDING, &device->flags) &&
	    !ubd_device_is(device, UBD_DEVICE_CLOSED))
		return;
	ubd_device_queue_reap(device);
}

/* Nobody has the file, and no disk refers to the queues: nothing can reach them. */
static void ubd_device_reset(struct ubd_device *device)
{
	int i;

	mutex_lock(&device->abort_lock);
	for (i = 0; i < device->info.nr_hw_queues; i++)
		ubd_queue_reset(device->queues[i]);
	ubd_legs_put(device); /* of a session that was never started, or whose disk waits */
	atomic_set(&device->nr_ready, 0);
	/* All three at once, and after all of the reset: then the next open() can come. */
	set_mask_bits(&device->flags, BIT(UBD_DEVICE_OPEN) | BIT(UBD_DEVICE_ENDING) |
				      BIT(UBD_DEVICE_CLOSED), 0);
	mutex_unlock(&device->abort_lock);
	wake_up_all(&device->wait);
}

static void ubd_device_reap(struct work_struct *work)
{
	struct ubd_device *device = container_of(work, struct ubd_device, reap_work);

	/* If CLOSED came amid the last round, that saw to all: spare the next session. */
	if (ubd_device_is(device, UBD_DEVICE_ENDING)) {
		ubd_device_abort(device);
		mutex_lock(&device->lock);
		if (READ_ONCE(device->fate) != UBD_FATE_WAIT) /* only changed to or from under lock */
			ubd_disk_remove(device);
		if (ubd_device_is(device, UBD_DEVICE_CLOSED))
			ubd_device_reset(device);
		mutex_unlock(&device->lock);
	}
	ubd_device_put(device);
}

/* The last reference is gone. Accepts a device that was created half-way. */
static void ubd_device_release(struct device *dev)
{
	struct ubd_device *device = container_of(dev, struct ubd_device, dev);
	int i;

	for (i = 0; device->queues && i < device->info.nr_hw_queues; i++)
		ubd_queue_destroy(device->queues[i]);
	kvfree(device->queues);
	ubd_legs_put(device);
	if (device->tag_set.tags)
		blk_mq_free_tag_set(&device->tag_set);
	kfree(device);
}

static int ubd_device_alloc_queues(struct ubd_device *device)
{
	struct blk_mq_tag_set *set = &device->tag_set;
	int error, i;

	set->ops = &ubd_mq_ops;
	set->nr_hw_queues = device->info.nr_hw_queues;
	set->queue_depth = device->info.queue_depth;
	set->numa_node = NUMA_NO_NODE;
	set->flags = UBD_MQ_FLAGS;
	set->driver_data = device;
	error = blk_mq_alloc_tag_set(set);
	if (error)
		return error;
	/* It may have settled for fewer of either: no more than there are CPUs, or memory for. */
	device->info.nr_hw_queues = set->nr_hw_queues;
	device->info.queue_depth = set->queue_depth;
	device->queues = kvcalloc(set->nr_hw_queues, sizeof(*device->queues), GFP_KERNEL);
	if (!device->queues)
		return -ENOMEM;
	for (i = 0; i < set->nr_hw_queues; i++) {
		device->queues[i] = ubd_queue_create(device, i);
		if (!device->queues[i])
			return -ENOMEM;
	}
	return 0;
}

static struct ubd_device *ubd_device_alloc(const struct ubd_dev_info *info, int number)
{
	struct ubd_device *device = kzalloc(sizeof(*device), GFP_KERNEL);

	if (!device)
		return NULL;
	device->info = *info;
	device->info.dev_id = number;
	device->number = number;
	mutex_init(&device->lock);
	init_waitqueue_head(&device->wait);
	INIT_WORK(&device->reap_work, ubd_device_reap);
	INIT_WORK(&device->bury_work, ubd_plan_bury_work);
	INIT_DEFERRABLE_WORK(&device->watch_work, ubd_char_watch_work);
	mutex_init(&device->abort_lock);
	ubd_recovery_init(device);
	device_initialize(&device->dev);
	device->dev.class = &ubd_class;
	device->dev.devt = ubd_char_devt(number);
	device->dev.release = ubd_device_release;
	cdev_init(&device->cdev, &ubd_char_fops);
	device->cdev.owner = THIS_MODULE;
	return device;
}

struct ubd_device *ubd_device_create(struct ubd_dev_info *info)
{
	struct ubd_device *device;
	int number, error;

	number = ubd_devices_reserve((int)info->dev_id);
	if (number < 0)
		return ERR_PTR(number);
	device = ubd_device_alloc(info, number);
	error = -ENOMEM;
	if (!device)
		goto fail_number;
	error = dev_set_name(&device->dev, "ubdc%d", number);
	if (error)
		goto fail_device;
	error = ubd_device_alloc_queues(device);
	if (error)
		goto fail_device;
	*info = device->info;
	error = cdev_device_add(&device->cdev, &device->dev);
	if (error)
		goto fail_device;
	ubd_devices_publish(number, device);
	return device;

fail_device:
	ubd_device_put(device);
fail_number:
	ubd_devices_publish(number, NULL);
	return ERR_PTR(error);
}

/*
 * A START that waits is woken, one that adds the disk is waited for. Sessions that are open go on
 * until their server closes the file; it gets ENODEV for whatever it sends. Called with a
 * reference.
 */
int ubd_device_delete(struct ubd_device *device, int unused)
{
	if (test_and_set_bit(UBD_DEVICE_DELETED, &device->flags))
		return -ENODEV;
	wake_up_all(&device->wait);
	(void)ubd_disk_stop(device, 0); /* does not fail */
	cdev_device_del(&device->cdev, &device->dev);
	ubd_devices_publish(device->number, NULL);
	ubd_device_put(device); /* the table's */
	return 0;
}
