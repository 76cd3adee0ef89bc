// SPDX-License-Identifier: GPL-2.0-only
/*
 * Batches: one command per queue that hands in a list of answers and then waits for requests. It
 * knows the shared lists and the one command that waits; what an answer means is ubd_io.c's and
 * ubd_plan.c's.
 *
 * queue->waiter is the command that waits, or NULL. Whoever takes it from there, by an atomic step,
 * has it alone: a notification to be, an abort, or the command's own submission if something came
 * just before it was put there. Who adds a tag or ends the session looks for the waiter afterwards,
 * and who puts a waiter there looks for tags and the session's end afterwards; each look comes
 * behind a full barrier, so that one of the two sees the other.
 *
 * Tags have no command of their own here (ubd_io.cmd is NULL). A tag that is RUNNING holds the file
 * by itself, so that the session cannot be reset under it.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/vmalloc.h>

#include "ubd_io.h"

/* The two lists in the memory that is shared with the server. */
static struct ubd_batch_answer *ubd_batch_answers(const struct ubd_queue *queue)
{
	return queue->batch;
}

static struct ubd_batch_event *ubd_batch_events(const struct ubd_queue *queue)
{
	return queue->batch + (size_t)queue->depth * sizeof(struct ubd_batch_answer);
}

/* Gives the server all that is pending. Says how many events that makes: a tag is pending once. */
static unsigned int ubd_batch_collect(struct ubd_queue *queue, bool gone)
{
	struct llist_node *node = llist_reverse_order(llist_del_all(&queue->pending));
	struct ubd_batch_event *events = ubd_batch_events(queue);
	unsigned int count = 0;
	struct ubd_io *io, *next;

	llist_for_each_entry_safe(io, next, node, pending) {
		int notice = ubd_io_hand_over(queue, io, gone);

		if (unlikely(notice == UBD_IO_NO_NOTICE || notice == UBD_IO_RES_ABORT))
			continue;
		WRITE_ONCE(events[count].tag, io - queue->ios);
		WRITE_ONCE(events[count].notice, notice);
		count++;
	}
	return count;
}

/* Completes the command with what is pending, or leaves it waiting. */
static void ubd_batch_wait(struct ubd_queue *queue, struct io_uring_cmd *cmd, bool gone,
			   unsigned int issue_flags)
{
	unsigned int count;

	do {
		count = llist_empty(&queue->pending) ? 0 : ubd_batch_collect(queue, gone);
		if (unlikely(gone || ubd_device_is(queue->device, UBD_DEVICE_ENDING))) {
			ubd_cmd_abort(cmd, issue_flags);
			return;
		}
		if (count) {
			ubd_cmd_done(cmd, count, issue_flags);
			return;
		}
		ubd_cmd_mark_cancelable(cmd, issue_flags);
		if (unlikely(cmpxchg(&queue->waiter, NULL, cmd))) {
			ubd_cmd_done(cmd, -EBUSY, issue_flags);
			return;
		}
		if (likely(llist_empty(&queue->pending)) &&
		    likely(!ubd_device_is(queue->device, UBD_DEVICE_ENDING)))
			return;
	} while (cmpxchg(&queue->waiter, cmd, NULL) == cmd);
}

static void ubd_batch_notified(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_queue *queue = *ubd_cmd_pdu(cmd, struct ubd_queue *);
	struct file *file = get_file(cmd->file); /* keeps the device, and this code */
	bool gone = ubd_queue_server_is_gone(queue);

	if (unlikely(gone))
		ubd_device_kill(queue->device);
	ubd_batch_wait(queue, cmd, gone, issue_flags);
	fput(file);
}

UBD_TASK_WORK(ubd_batch_notification, ubd_batch_notified)

/* Something is pending: inside rcu_read_lock(), as ubd_queue_notify(). */
void ubd_batch_notify(struct ubd_queue *queue)
{
	struct io_uring_cmd *cmd;

	if (!READ_ONCE(queue->waiter))
		return; /* the server is at work, and looks when it has done */
	cmd = xchg(&queue->waiter, NULL);
	if (unlikely(!cmd))
		return;
	*ubd_cmd_pdu(cmd, struct ubd_queue *) = queue;
	io_uring_cmd_complete_in_task(cmd, ubd_batch_notification);
}

void ubd_batch_abort(struct ubd_queue *queue)
{
	struct io_uring_cmd *cmd = xchg(&queue->waiter, NULL);

	if (cmd)
		ubd_queue_abort_command(cmd);
}

/* The queue's first command: all tags are fetched at once. */
static int ubd_batch_fetch(struct ubd_queue *queue, struct io_uring_cmd *cmd, u64 addr)
{
	u64 size = ubd_device_request_size(queue->device);
	bool is_first;
	int error, i;

	if (ubd_cmd_ring(cmd)->flags & IORING_SETUP_SQPOLL)
		return -EOPNOTSUPP;
	if (!addr || addr > U64_MAX - size * queue->depth)
		return -EINVAL;
	error = ubd_queue_bind(queue, cmd);
	if (error)
		return error;
	spin_lock(&queue->lock);
	is_first = !queue->nr_fetched;
	queue->nr_fetched = queue->depth;
	spin_unlock(&queue->lock);
	if (!is_first)
		return -EBUSY; /* two at once */
	for (i = 0; i < queue->depth; i++) {
		queue->ios[i].addr = addr + i * size;
		atomic_cmpxchg(&queue->ios[i].state, UBD_IO_EMPTY, UBD_IO_READY);
	}
	ubd_queue_is_fetched(queue);
	return 0;
}

static int ubd_batch_answer(struct ubd_queue *queue, const struct ubd_batch_answer *answer,
			    struct io_uring_cmd *cmd)
{
	unsigned int tag = READ_ONCE(answer->tag);
	u16 kind = READ_ONCE(answer->kind);

	if (unlikely(tag >= queue->depth))
		return -EINVAL;
	tag = array_index_nospec(tag, queue->depth);
	if (likely(kind == UBD_ANSWER_PLAN))
		return ubd_plan_answer(queue, tag, cmd);
	if (kind == UBD_ANSWER_RESULT)
		return ubd_io_answer(queue, tag, READ_ONCE(answer->result), cmd);
	return -EINVAL;
}

/* Several. Those that are wrong are passed over, and make the command fail. */
static noinline int ubd_batch_answer_list(struct ubd_queue *queue,
					  const struct ubd_batch_answer *answers,
					  unsigned int count, struct io_uring_cmd *cmd)
{
	struct blk_plug plug;
	int error = 0;

	blk_start_plug(&plug);
	for (; count; answers++, count--) {
		int refused = ubd_batch_answer(queue, answers, cmd);

		if (unlikely(refused && !error))
			error = refused;
	}
	blk_finish_plug(&plug);
	return error;
}

/* All answers of a command. */
static int ubd_batch_answer_all(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
				struct io_uring_cmd *cmd)
{
	const struct ubd_batch_answer *answers = ubd_batch_answers(queue);
	unsigned int first = payload->tag, count = payload->result;

	if (unlikely(first > queue->depth || count > queue->depth - first))
		return -EINVAL;
	if (count == 1) /* a plug is dearer than it */
		return ubd_batch_answer(queue, answers + first, cmd);
	return count ? ubd_batch_answer_list(queue, answers + first, count, cmd) : 0;
}

int ubd_batch_cmd(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
		  struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct file *file;
	int error;

	if (unlikely(!queue->batch))
		return -EOPNOTSUPP;
	if (unlikely(!READ_ONCE(queue->task) && cmd->cmd_op == UBD_IO_ANSWER_AND_WAIT)) {
		error = ubd_batch_fetch(queue, cmd, payload->addr);
		if (error)
			return error;
	}
	if (unlikely(ubd_cmd_ring(cmd) != queue->ring || ubd_cmd_task(cmd) != queue->task))
		return -EINVAL;
	error = ubd_batch_answer_all(queue, payload, cmd);
	if (unlikely(error) || cmd->cmd_op == UBD_IO_ANSWER)
		return error;
	file = get_file(cmd->file); /* once it waits, others may complete it */
	ubd_batch_wait(queue, cmd, false, issue_flags);
	fput(file);
	return -EIOCBQUEUED;
}

int ubd_batch_create(struct ubd_queue *queue)
{
	if (!(queue->device->info.flags[0] & UBD_F_BATCHES))
		return 0;
	queue->batch = vmalloc_user(ubd_batch_length(queue->depth, PAGE_SIZE));
	return queue->batch ? 0 : -ENOMEM;
}

void ubd_batch_destroy(struct ubd_queue *queue)
{
	vfree(queue->batch);
}
