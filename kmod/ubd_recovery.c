// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a disk does without a server: it waits for the next one, for a limited time, or goes. The
 * fates and who may change them are in ubd.h. It knows tags by their state alone.
 */
#include <linux/delay.h>
#include <linux/rcupdate.h>

#include "ubd.h"

#define UBD_DRAIN_LOOK_MS 1

static void ubd_recovery_set_fate(struct ubd_device *device, enum ubd_fate fate, u16 state, int pid)
{
	WRITE_ONCE(device->fate, fate);
	WRITE_ONCE(device->info.state, state);
	WRITE_ONCE(device->info.pid, pid);
}

static void ubd_recovery_tick(struct ubd_device *device, unsigned long delay)
{
	ubd_device_get(device);
	if (!queue_delayed_work(ubd_workqueue, &device->recovery_work, delay))
		ubd_device_put(device);
}

/* The queue is quiesced, and no server there that could go on. */
static void ubd_recovery_wait(struct ubd_device *device)
{
	unsigned long delay = msecs_to_jiffies(device->params.recovery_ms);

	ubd_recovery_set_fate(device, UBD_FATE_WAIT, UBD_DEV_WAITING, -1);
	device->recovery_end = jiffies + delay;
	ubd_recovery_tick(device, delay);
}

/* If it runs just now, it sees that it is not wanted. */
static void ubd_recovery_untick(struct ubd_device *device)
{
	if (cancel_delayed_work(&device->recovery_work))
		ubd_device_put(device);
}

/* Nobody came. */
static void ubd_recovery_work(struct work_struct *work)
{
	struct ubd_device *device =
		container_of(work, struct ubd_device, recovery_work.work);
	bool over;

	mutex_lock(&device->lock);
	mutex_lock(&device->abort_lock);
	over = device->fate == UBD_FATE_WAIT;
	if (over && time_before(jiffies, device->recovery_end)) { /* it is another wait by now */
		ubd_recovery_tick(device, device->recovery_end - jiffies);
		over = false;
	}
	mutex_unlock(&device->abort_lock);
	if (over)
		ubd_disk_remove(device);
	mutex_unlock(&device->lock);
	ubd_device_put(device);
}

void ubd_recovery_init(struct ubd_device *device)
{
	device->fate = UBD_FATE_END;
	INIT_DELAYED_WORK(&device->recovery_work, ubd_recovery_work);
}

/*
 * From here on the disk is worth waiting for. Not before: nobody has used it yet but START, which
 * must not wait for a server that its sender would have to bring.
 */
void ubd_recovery_keep(struct ubd_device *device)
{
	mutex_lock(&device->abort_lock);
	if (device->params.recovery_ms && !ubd_device_is(device, UBD_DEVICE_ENDING))
		WRITE_ONCE(device->fate, UBD_FATE_KEEP);
	mutex_unlock(&device->abort_lock);
}

/* Called with ENDING set. The caller then waits for each queue_rq() that is under way. */
void ubd_recovery_hold(struct ubd_device *device)
{
	if (device->fate == UBD_FATE_KEEP)
		blk_mq_quiesce_queue_nowait(device->disk->queue);
	if (device->fate == UBD_FATE_KEEP || device->fate == UBD_FATE_DRAIN)
		ubd_recovery_wait(device);
}

void ubd_recovery_forget(struct ubd_device *device)
{
	enum ubd_fate fate;

	mutex_lock(&device->abort_lock);
	fate = device->fate;
	if (fate == UBD_FATE_WAIT) {
		set_bit(UBD_DEVICE_DOOMED, &device->flags);
		ubd_recovery_untick(device);
	}
	WRITE_ONCE(device->fate, UBD_FATE_END);
	if (fate == UBD_FATE_WAIT || fate == UBD_FATE_DRAIN)
		blk_mq_unquiesce_queue(device->disk->queue);
	mutex_unlock(&device->abort_lock);
	wake_up_all(&device->wait);
}

static int ubd_recovery_can_resume(struct ubd_device *device)
{
	int error = ubd_disk_can_start(device);

	if (error)
		return error;
	switch (device->fate) {
	case UBD_FATE_WAIT:
		return 0;
	case UBD_FATE_END:
		return -ENODEV;
	default:
		return -EBUSY;
	}
}

int ubd_recovery_resume(struct ubd_device *device, int pid)
{
	int error;

	mutex_lock(&device->lock);
	mutex_lock(&device->abort_lock);
	error = ubd_recovery_can_resume(device);
	if (!error) {
		ubd_recovery_untick(device);
		ubd_recovery_set_fate(device, UBD_FATE_KEEP, UBD_DEV_LIVE, pid);
		blk_mq_unquiesce_queue(device->disk->queue);
	}
	mutex_unlock(&device->abort_lock);
	mutex_unlock(&device->lock);
	return error;
}

/* Whether the server has nothing left to answer. */
static bool ubd_recovery_is_drained(const struct ubd_device *device)
{
	int i, tag;

	for (i = 0; i < device->info.nr_hw_queues; i++) {
		const struct ubd_queue *queue = device->queues[i];

		for (tag = 0; tag < queue->depth; tag++) {
			int state = atomic_read(&queue->ios[tag].state);

			if (state != UBD_IO_READY && state != UBD_IO_EMPTY)
				return false;
		}
	}
	return true;
}

/* 1: there is nothing to drain. */
static int ubd_recovery_begin_drain(struct ubd_device *device)
{
	int result = 0;

	mutex_lock(&device->abort_lock);
	if (device->fate == UBD_FATE_END || ubd_device_is(device, UBD_DEVICE_ENDING)) {
		result = -ENODEV;
	} else if (device->fate == UBD_FATE_DRAIN || !ubd_device_is(device, UBD_DEVICE_OPEN)) {
		result = -EBUSY;
	} else if (device->fate == UBD_FATE_KEEP) {
		blk_mq_quiesce_queue_nowait(device->disk->queue);
		WRITE_ONCE(device->fate, UBD_FATE_DRAIN);
	} else { /* a server that did not say RESUME gives up */
		ubd_device_kill(device);
		result = 1;
	}
	mutex_unlock(&device->abort_lock);
	return result;
}

/* -EAGAIN: look again. */
static int ubd_recovery_look(struct ubd_device *device, bool is_late)
{
	int result = -EAGAIN;

	mutex_lock(&device->abort_lock);
	if (device->fate != UBD_FATE_DRAIN || ubd_device_is(device, UBD_DEVICE_ENDING)) {
		result = -ENODEV;
	} else if (ubd_recovery_is_drained(device)) {
		ubd_recovery_wait(device);
		ubd_device_kill(device); /* gives the server its commands back */
		result = 0;
	} else if (is_late) {
		WRITE_ONCE(device->fate, UBD_FATE_KEEP);
		blk_mq_unquiesce_queue(device->disk->queue);
		result = -ETIMEDOUT;
	}
	mutex_unlock(&device->abort_lock);
	return result;
}

int ubd_recovery_hand_over(struct ubd_device *device, int timeout_ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(timeout_ms);
	int result = ubd_recovery_begin_drain(device);

	if (result)
		return result < 0 ? result : 0;
	synchronize_rcu_expedited(); /* each queue_rq() that came before is done */
	while ((result = ubd_recovery_look(device, time_after(jiffies, end))) == -EAGAIN)
		msleep(UBD_DRAIN_LOOK_MS);
	return result;
}
