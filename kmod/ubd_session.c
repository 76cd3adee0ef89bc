// SPDX-License-Identifier: GPL-2.0-only
/*
 * A queue from one session to the next: made with its device, aborted at a session's end, reset for
 * the next server. What aborts may rely on, and who waits for whom, is in ubd.h.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/sched/task.h>
#include <linux/vmalloc.h>

#include "ubd_io.h"

/*
 * An abort has two passes, each over all queues: first every request ends, then commands complete;
 * not here but in their task, or if that is gone, in a worker. For completing a command takes its
 * ring's lock, whose holder may be waiting for a page of the server's buffer, for as long as user
 * space likes.
 */
void ubd_queue_abort_requests(struct ubd_queue *queue)
{
	int i;

	for (i = 0; i < queue->depth; i++) {
		struct ubd_io *io = &queue->ios[i];

		switch (atomic_fetch_or(UBD_IO_ABORT, &io->state)) {
		case UBD_IO_READY:
			if (!queue->batch) /* else there is no command of its own */
				llist_add(&io->pending, &queue->aborted);
			break;
		case UBD_IO_QUEUED:
			if (!ubd_io_keep(queue, io->rq, io->notice != UBD_IO_RES_OK))
				ubd_io_end(io->rq, BLK_STS_IOERR);
			break;
		case UBD_IO_SERVER:
			if (!ubd_io_keep(queue, io->rq, true))
				ubd_io_end(io->rq, BLK_STS_IOERR);
			break;
		default: /* nothing to take, or it was taken before */
			break;
		}
		cond_resched();
	}
}

static void ubd_queue_command_aborted(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct file *file = get_file(cmd->file); /* keeps this code */

	ubd_cmd_abort(cmd, issue_flags);
	fput(file);
}

UBD_TASK_WORK(ubd_queue_command_is_over, ubd_queue_command_aborted)

void ubd_queue_abort_command(struct io_uring_cmd *cmd)
{
	io_uring_cmd_complete_in_task(cmd, ubd_queue_command_is_over);
}

static void ubd_queue_abort_list(struct llist_head *list)
{
	struct ubd_io *io, *next;

	llist_for_each_entry_safe(io, next, llist_del_all(list), pending) {
		ubd_queue_abort_command(io->cmd);
		cond_resched();
	}
}

/*
 * Nothing is queued any more, and nobody notifies. If no notification is under way none will come,
 * and the commands of what is pending are ours; the bit stays set. Otherwise it will deliver all
 * that is pending, to nobody, as soon as the server or its exit runs it.
 */
void ubd_queue_abort_commands(struct ubd_queue *queue)
{
	if (queue->batch) {
		ubd_batch_abort(queue);
		return;
	}
	if (!test_and_set_bit(UBD_NOTIFIED, &queue->notified))
		ubd_queue_abort_list(&queue->pending);
	ubd_queue_abort_list(&queue->aborted);
}

void ubd_queue_reset(struct ubd_queue *queue)
{
	struct task_struct *task;
	int i;

	for (i = 0; i < queue->depth; i++) {
		queue->ios[i].cmd = NULL;
		queue->ios[i].rq = NULL;
		atomic_set(&queue->ios[i].state, UBD_IO_EMPTY);
	}
	/* The next server may be another program. */
	memset(queue->descs, 0, ubd_desc_length(queue->depth, PAGE_SIZE));
	if (queue->batch)
		memset(queue->batch, 0, ubd_batch_length(queue->depth, PAGE_SIZE));
	if (queue->slots)
		memset(queue->slots, 0, ubd_plan_length(queue->depth, PAGE_SIZE));
	init_llist_head(&queue->pending); /* with batches, nobody has emptied it */
	queue->notified = 0;
	queue->nr_fetched = 0;
	queue->ring = NULL;
	spin_lock(&queue->lock); /* against ubd_timeout() */
	task = queue->task;
	queue->task = NULL;
	spin_unlock(&queue->lock);
	if (task)
		put_task_struct(task);
}

struct ubd_queue *ubd_queue_create(struct ubd_device *device, u16 id)
{
	struct ubd_queue *queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	u16 depth = device->info.queue_depth;

	if (!queue)
		return NULL;
	queue->device = device;
	queue->id = id;
	queue->depth = depth;
	spin_lock_init(&queue->lock);
	init_llist_head(&queue->pending);
	init_llist_head(&queue->aborted);
	queue->ios = kvcalloc(depth, sizeof(*queue->ios), GFP_KERNEL);
	queue->descs = vmalloc_user(ubd_desc_length(depth, PAGE_SIZE));
	if (!queue->ios || !queue->descs || ubd_plans_create(queue) || ubd_batch_create(queue)) {
		ubd_queue_destroy(queue);
		return NULL;
	}
	return queue;
}

void ubd_queue_destroy(struct ubd_queue *queue)
{
	if (!queue)
		return;
	if (queue->task)
		put_task_struct(queue->task);
	ubd_batch_destroy(queue);
	ubd_plans_destroy(queue);
	vfree(queue->descs);
	kvfree(queue->ios);
	kfree(queue);
}
