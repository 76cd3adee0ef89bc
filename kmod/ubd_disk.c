// SPDX-License-Identifier: GPL-2.0-only
/*
 * The disk: its limits from the device's parameters, START that adds it and STOP that takes it
 * away. It knows neither tags nor commands.
 */
#include <linux/log2.h>
#include <linux/module.h>

#include "ubd.h"

#define UBD_LOCK_CLASSES 8

static const struct block_device_operations ubd_disk_ops = {
	.owner = THIS_MODULE,
};

static bool ubd_is_block_size(u32 size)
{
	return is_power_of_2(size) && size >= SECTOR_SIZE && size <= PAGE_SIZE;
}

/* Fill in what zero stands for. */
void ubd_disk_effective_params(const struct ubd_device *device, struct ubd_params *params)
{
	*params = device->params;
	if (!params->logical_block_size) /* never set: what V2 does */
		*params = (struct ubd_params){
			.flags = UBD_PARAM_DEFAULT_FLAGS,
			.logical_block_size = device->info.block_size,
			.discard_granularity = PAGE_SIZE,
			.max_discard = (u64)(UINT_MAX >> SECTOR_SHIFT) << SECTOR_SHIFT,
			.max_write_zeroes = (u64)(UINT_MAX >> SECTOR_SHIFT) << SECTOR_SHIFT,
		};
	if (!params->physical_block_size)
		params->physical_block_size = params->logical_block_size;
	if (!params->io_min)
		params->io_min = params->physical_block_size;
	if (params->max_discard && !params->discard_granularity)
		params->discard_granularity = params->logical_block_size;
}

static int ubd_disk_check_recovery(const struct ubd_device *device, const struct ubd_params *params)
{
	if (!params->recovery_ms)
		return params->flags & UBD_PARAM_REISSUE ? -EINVAL : 0;
	if (!(device->info.flags[0] & UBD_F_RECOVERY))
		return -EOPNOTSUPP;
	return params->recovery_ms < 100 || params->recovery_ms > 86400000 ? -EINVAL : 0;
}

/* The block layer takes what it is given and warns, or worse: so all is checked here. */
int ubd_disk_check_params(const struct ubd_device *device, const struct ubd_params *params)
{
	u64 capacity = device->info.dev_blocks * device->info.block_size;
	u32 logical = params->logical_block_size;

	if (params->flags & ~UBD_PARAM_ALL_FLAGS || params->reserved0 ||
	    memchr_inv(params->reserved, 0, sizeof(params->reserved)))
		return -EINVAL;
	if (params->flags & UBD_PARAM_FUA && !(params->flags & UBD_PARAM_VOLATILE_CACHE))
		return -EINVAL;
	if (!ubd_is_block_size(logical) || capacity & (logical - 1) ||
	    ubd_device_request_size(device) & (logical - 1))
		return -EINVAL;
	if (params->physical_block_size &&
	    (!is_power_of_2(params->physical_block_size) || params->physical_block_size < logical))
		return -EINVAL;
	if (params->io_min & (logical - 1) || params->io_opt & (logical - 1))
		return -EINVAL;
	if (params->chunk_size &&
	    (!is_power_of_2(params->chunk_size) || params->chunk_size < PAGE_SIZE))
		return -EINVAL;
	if (params->discard_granularity &&
	    (!is_power_of_2(params->discard_granularity) || params->discard_granularity < logical))
		return -EINVAL;
	if (params->max_discard && params->max_discard < params->discard_granularity)
		return -EINVAL;
	if (params->max_discard & (logical - 1) || params->max_write_zeroes & (logical - 1))
		return -EINVAL;
	if (params->timeout_ms && (params->timeout_ms < 1000 || params->timeout_ms > 86400000))
		return -EINVAL;
	return ubd_disk_check_recovery(device, params);
}

static unsigned int ubd_sectors(u64 bytes)
{
	return min_t(u64, bytes, UINT_MAX) >> SECTOR_SHIFT;
}

/*
 * The end of a leg's flush may be the end of ours: then two flush queues' locks are held, the leg's
 * first. No circle can come of that, as a disk stands on its legs and not they on it. For lockdep
 * to see it our locks have a class of their own, and two of our disks, one as the other's leg,
 * mostly two.
 */
static void ubd_disk_set_lock_class(const struct ubd_device *device, struct gendisk *disk)
{
	static struct lock_class_key keys[UBD_LOCK_CLASSES];
	struct blk_mq_hw_ctx *hctx;
	unsigned long i;

	queue_for_each_hw_ctx(disk->queue, hctx, i)
		blk_mq_hctx_set_fq_lock_class(hctx, &keys[device->number % UBD_LOCK_CLASSES]);
}

static struct gendisk *ubd_disk_alloc(struct ubd_device *device)
{
	struct ubd_disk_limits limits;
	struct ubd_params params;
	struct gendisk *disk;

	ubd_disk_effective_params(device, &params);
	limits = (struct ubd_disk_limits){
		.logical_block_size = params.logical_block_size,
		.physical_block_size = params.physical_block_size,
		.io_min = params.io_min,
		.io_opt = params.io_opt,
		.max_sectors = ubd_device_request_size(device) >> SECTOR_SHIFT,
		.chunk_sectors = params.chunk_size >> SECTOR_SHIFT,
		.max_segments = device->info.flags[0] & UBD_F_PLANS ? UBD_PLAN_VECTORS : USHRT_MAX,
		.max_discard_sectors = ubd_sectors(params.max_discard),
		.discard_granularity = params.max_discard ? params.discard_granularity : 0,
		.max_write_zeroes_sectors = ubd_sectors(params.max_write_zeroes),
		.write_cache = params.flags & UBD_PARAM_VOLATILE_CACHE,
		.fua = params.flags & UBD_PARAM_FUA,
		.rotational = params.flags & UBD_PARAM_ROTATIONAL,
		/* Several legs read the same pages, each at its time: they must read the same. */
		.stable_writes = device->info.flags[0] & UBD_F_PLANS,
	};
	disk = ubd_alloc_disk(&device->tag_set, device, &limits);
	if (IS_ERR(disk))
		return disk;
	ubd_disk_set_lock_class(device, disk);
	blk_queue_rq_timeout(disk->queue,
			     msecs_to_jiffies(params.timeout_ms ?: UBD_LOOK_INTERVAL_MS));
	snprintf(disk->disk_name, sizeof(disk->disk_name), "ubdb%d", device->number);
	disk->fops = &ubd_disk_ops;
	set_capacity(disk, (device->info.dev_blocks * device->info.block_size) >> SECTOR_SHIFT);
	set_disk_ro(disk, params.flags & UBD_PARAM_READ_ONLY);
	return disk;
}

/* What to tell who wants to start: 0, or not yet, or never. */
int ubd_disk_can_start(const struct ubd_device *device)
{
	if (ubd_device_is(device, UBD_DEVICE_DELETED) || ubd_device_is(device, UBD_DEVICE_ENDING))
		return -ENODEV;
	return atomic_read(&device->nr_ready) == device->info.nr_hw_queues ? 0 : -EAGAIN;
}

/*
 * LIVE and device->disk come before the disk, as its partition table is read while it is added. If
 * the server dies during that, the reads fail, the disk is added all the same, and reap takes it
 * away.
 */
static int ubd_disk_add(struct ubd_device *device, int pid)
{
	struct gendisk *disk;
	int error = ubd_disk_can_start(device);

	if (error) /* once more under the lock: it may have been another session that was ready */
		return error;
	if (device->disk)
		return -EEXIST;
	disk = ubd_disk_alloc(device);
	if (IS_ERR(disk))
		return PTR_ERR(disk);
	WRITE_ONCE(device->info.pid, pid);
	WRITE_ONCE(device->info.state, UBD_DEV_LIVE);
	device->disk = disk;
	error = add_disk(disk);
	if (error) {
		device->disk = NULL;
		WRITE_ONCE(device->info.state, UBD_DEV_DEAD);
		WRITE_ONCE(device->info.pid, -1);
		put_disk(disk);
		return error;
	}
	ubd_recovery_keep(device);
	return ubd_disk_can_start(device);
}

int ubd_disk_start(struct ubd_device *device, int pid)
{
	int error;

	mutex_lock(&device->lock);
	error = ubd_disk_add(device, pid);
	mutex_unlock(&device->lock);
	return error;
}

/*
 * If the session is over, what is dirty is lost: say so to the file system, and don't write it
 * back. Nothing waits for a next server any more.
 */
void ubd_disk_remove(struct ubd_device *device)
{
	struct gendisk *disk = device->disk;

	if (!disk)
		return;
	ubd_recovery_forget(device);
	if (ubd_device_is(device, UBD_DEVICE_ENDING) || ubd_device_is(device, UBD_DEVICE_DOOMED))
		blk_mark_disk_dead(disk);
	del_gendisk(disk);
	device->disk = NULL;
	clear_bit(UBD_DEVICE_DOOMED, &device->flags);
	WRITE_ONCE(device->info.state, UBD_DEV_DEAD);
	WRITE_ONCE(device->info.pid, -1);
	put_disk(disk);
	ubd_legs_put(device); /* no request is left, and so no plan */
}

/* Under device->lock. */
int ubd_disk_resize(struct ubd_device *device, u64 dev_blocks)
{
	struct ubd_params params;

	if (!device->disk)
		return -ENODEV;
	ubd_disk_effective_params(device, &params);
	if (!dev_blocks || dev_blocks > (u64)LLONG_MAX / device->info.block_size ||
	    (dev_blocks * device->info.block_size) & (params.logical_block_size - 1))
		return -EINVAL;
	WRITE_ONCE(device->info.dev_blocks, dev_blocks);
	set_capacity_and_notify(device->disk,
				(dev_blocks * device->info.block_size) >> SECTOR_SHIFT);
	return 0;
}

struct ubd_watchdog {
	struct delayed_work work;
	struct ubd_device *device;
};

/* STOP of a server that does not answer: what it owes ends with an error, so that STOP can go on. */
static void ubd_watchdog_work(struct work_struct *work)
{
	ubd_device_abort(container_of(work, struct ubd_watchdog, work.work)->device);
}

/*
 * The watchdog is armed before the lock is asked for: a START may hold that while it waits for the
 * server, and only an abort ends it. Each STOP has its own, which nobody else can cancel.
 */
int ubd_disk_stop(struct ubd_device *device, int unused)
{
	struct ubd_watchdog watchdog = { .device = device };

	INIT_DELAYED_WORK_ONSTACK(&watchdog.work, ubd_watchdog_work);
	queue_delayed_work(ubd_workqueue, &watchdog.work, msecs_to_jiffies(UBD_STOP_TIMEOUT_MS));
	mutex_lock(&device->lock);
	ubd_disk_remove(device);
	if (ubd_device_is(device, UBD_DEVICE_OPEN) && !ubd_device_is(device, UBD_DEVICE_CLOSED))
		ubd_device_abort(device);
	mutex_unlock(&device->lock);
	cancel_delayed_work_sync(&watchdog.work);
	destroy_delayed_work_on_stack(&watchdog.work);
	return 0;
}
