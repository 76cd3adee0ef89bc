// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/ubdcN: one server's session, from open() to release(), the descriptors' mapping, and the
 * hooks that notice when the server is gone. It knows neither requests nor commands.
 */
#include <linux/fs.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "ubd.h"

/*
 * PF_EXITING is never taken back, and who has it doesn't return to user space. When the last user
 * of an exiting server's file table or memory comes here, the server's own bit has long been
 * visible. SIGNAL_GROUP_EXIT, its process', comes before that.
 */
static void ubd_char_look_for_the_dead(struct ubd_device *device)
{
	int i;

	for (i = 0; i < device->info.nr_hw_queues; i++) {
		/* against the first FETCH, which publishes it */
		struct task_struct *task = smp_load_acquire(&device->queues[i]->task);

		if (task && (READ_ONCE(task->flags) & PF_EXITING ||
			     READ_ONCE(task->signal->flags) & SIGNAL_GROUP_EXIT)) {
			ubd_device_kill(device);
			return;
		}
	}
}

/*
 * A dying task gives up its memory and files after it has waited for its ring, and what the ring has
 * may be waiting for one of our commands: a link behind a FETCH. From open() to release().
 */
static void ubd_char_watch(struct ubd_device *device)
{
	if (UBD_LOOK_MS)
		queue_delayed_work(ubd_workqueue, &device->watch_work, msecs_to_jiffies(UBD_LOOK_MS));
}

void ubd_char_watch_work(struct work_struct *work)
{
	struct ubd_device *device = container_of(work, struct ubd_device, watch_work.work);

	ubd_char_look_for_the_dead(device);
	ubd_char_watch(device);
}

/*
 * A server that was closed a moment ago may still be on its way out: wait for it, as whoever closes
 * and opens again expects that to work.
 */
static int ubd_char_open(struct inode *inode, struct file *file)
{
	struct ubd_device *device = container_of(inode->i_cdev, struct ubd_device, cdev);

	while (test_and_set_bit(UBD_DEVICE_OPEN, &device->flags)) {
		unsigned long flags = READ_ONCE(device->flags);

		if (file->f_flags & O_NONBLOCK ||
		    (flags & BIT(UBD_DEVICE_OPEN) && !(flags & BIT(UBD_DEVICE_CLOSED))))
			return -EBUSY;
		/* Again after a signal, or after task work of io_uring's that looks like one. */
		if (wait_event_interruptible(device->wait,
					     !ubd_device_is(device, UBD_DEVICE_CLOSED)))
			return -ERESTARTSYS;
	}
	if (ubd_device_is(device, UBD_DEVICE_DELETED)) {
		clear_bit(UBD_DEVICE_OPEN, &device->flags);
		return -ENODEV;
	}
	file->private_data = device;
	ubd_char_watch(device);
	return nonseekable_open(inode, file);
}

static int ubd_char_flush(struct file *file, fl_owner_t id)
{
	ubd_char_look_for_the_dead(file->private_data);
	return 0;
}

static int ubd_char_release(struct inode *inode, struct file *file)
{
	struct ubd_device *device = file->private_data;

	cancel_delayed_work_sync(&device->watch_work);
	set_bit(UBD_DEVICE_CLOSED, &device->flags);
	ubd_device_kill(device);
	return 0;
}

static void ubd_char_vm_open(struct vm_area_struct *vma)
{
	struct ubd_device *device = vma->vm_private_data;

	atomic_inc(&device->nr_mappings);
}

static void ubd_char_vm_close(struct vm_area_struct *vma)
{
	struct ubd_device *device = vma->vm_private_data;
	int i;

	if (!atomic_dec_and_test(&device->nr_mappings)) {
		ubd_char_look_for_the_dead(device);
		return;
	}
	for (i = 0; i < device->info.nr_hw_queues; i++) {
		if (READ_ONCE(device->queues[i]->task)) {
			ubd_device_kill(device);
			return;
		}
	}
}

static const struct vm_operations_struct ubd_char_vm_ops = {
	.open = ubd_char_vm_open,
	.close = ubd_char_vm_close,
};

/* What can be mapped: one area per queue and kind, each kind from an offset of its own on. */
struct ubd_char_area {
	void *memory; /* NULL: there is none */
	bool is_writable;
};

static struct ubd_char_area ubd_char_area(struct ubd_device *device, u64 offset, u64 length)
{
	u16 depth = device->info.queue_depth;
	struct ubd_char_area area = { };
	struct ubd_queue *queue;
	u64 base, stride, wanted;
	u64 id;

	area.is_writable = offset >= ubd_plan_offset(0);
	if (offset >= ubd_batch_offset(0)) {
		base = ubd_batch_offset(0);
		stride = ubd_batch_offset(1) - base;
		wanted = ubd_batch_length(depth, PAGE_SIZE);
	} else if (offset >= ubd_plan_offset(0)) {
		base = ubd_plan_offset(0);
		stride = ubd_plan_offset(1) - base;
		wanted = ubd_plan_length(depth, PAGE_SIZE);
	} else {
		base = 0;
		stride = ubd_desc_offset(1, PAGE_SIZE);
		wanted = ubd_desc_length(depth, PAGE_SIZE);
	}
	id = div64_u64(offset - base, stride);
	if (id >= device->info.nr_hw_queues || offset - base != id * stride || length != wanted)
		return area;
	queue = device->queues[id];
	area.memory = base == 0 ? (void *)queue->descs :
		      base == ubd_plan_offset(0) ? (void *)queue->slots : queue->batch;
	return area;
}

/*
 * A child gets no copy of the mapping: it could not serve, and would hide that its parent is gone.
 */
static int ubd_char_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ubd_device *device = file->private_data;
	struct ubd_char_area area;
	int error;

	area = ubd_char_area(device, (u64)vma->vm_pgoff << PAGE_SHIFT, vma->vm_end - vma->vm_start);
	if (!area.is_writable && vma->vm_flags & VM_WRITE)
		return -EPERM;
	if (!area.memory || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	ubd_vm_flags_change(vma, VM_DONTCOPY, area.is_writable ? 0 : VM_MAYWRITE);
	error = remap_vmalloc_range(vma, area.memory, 0);
	if (error)
		return error;
	vma->vm_private_data = device;
	vma->vm_ops = &ubd_char_vm_ops;
	ubd_char_vm_open(vma);
	return 0;
}

const struct file_operations ubd_char_fops = {
	.owner = THIS_MODULE,
	.open = ubd_char_open,
	.flush = ubd_char_flush,
	.release = ubd_char_release,
	.mmap = ubd_char_mmap,
	.uring_cmd = ubd_io_cmd,
};
