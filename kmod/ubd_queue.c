// SPDX-License-Identifier: GPL-2.0-only
/*
 * The block layer's side of a queue: requests come in, the server is notified. It knows no user
 * memory and no command's payload. The tag's states, and why the order of things below matters, are
 * in ubd.h.
 */
#include <linux/file.h>
#include <linux/fs.h>

#include "ubd_io.h"

/* What a parked command remembers while it carries a notification. */
struct ubd_notification {
	struct ubd_queue *queue;
};

bool ubd_queue_server_is_gone(const struct ubd_queue *queue)
{
	return current != queue->task || current->flags & (PF_EXITING | PF_KTHREAD) ||
	       percpu_ref_is_dying(&queue->ring->refs);
}

static void ubd_queue_deliver(struct ubd_queue *queue, bool gone, unsigned int issue_flags)
{
	struct llist_node *node = llist_reverse_order(llist_del_all(&queue->pending));
	struct ubd_io *io, *next;

	llist_for_each_entry_safe(io, next, node, pending)
		ubd_io_deliver(queue, io, gone, issue_flags);
}

/*
 * The notification: a task work in the server, or if that is gone, in a worker. The commands that
 * it completes hold the file, and with it the device and this code: so it takes a reference of its
 * own. The loop is bounded by the queue's depth, as no tag comes back while the server does not
 * run.
 */
static void ubd_queue_notified(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_queue *queue = ubd_cmd_pdu(cmd, struct ubd_notification)->queue;
	bool gone = ubd_queue_server_is_gone(queue);
	struct file *file = get_file(cmd->file);

	if (unlikely(gone))
		ubd_device_kill(queue->device);
	do {
		ubd_queue_deliver(queue, gone, issue_flags);
		clear_bit(UBD_NOTIFIED, &queue->notified);
		smp_mb__after_atomic(); /* who adds a tag then looks at the bit */
	} while (!llist_empty(&queue->pending) &&
		 !test_and_set_bit(UBD_NOTIFIED, &queue->notified));
	fput(file);
}

UBD_TASK_WORK(ubd_queue_notification, ubd_queue_notified)

/*
 * Send a notification unless one is under way. With the bit set, nobody else takes tags off the
 * list, so that its first one's command stays parked until the notification itself delivers it.
 */
void ubd_queue_notify(struct ubd_queue *queue)
{
	if (queue->batch) {
		ubd_batch_notify(queue);
		return;
	}
	while (!llist_empty(&queue->pending) && !test_and_set_bit(UBD_NOTIFIED, &queue->notified)) {
		struct llist_node *first = READ_ONCE(queue->pending.first);

		if (likely(first)) {
			struct io_uring_cmd *cmd = llist_entry(first, struct ubd_io, pending)->cmd;

			ubd_cmd_pdu(cmd, struct ubd_notification)->queue = queue;
			io_uring_cmd_complete_in_task(cmd, ubd_queue_notification);
			return;
		}
		clear_bit(UBD_NOTIFIED, &queue->notified);
		smp_mb__after_atomic(); /* as in the notification */
	}
}

/*
 * Hand a request, BUSY or RUNNING, (back) to the server. False: the session is over, and the tag
 * still the caller's. Any context. As in queue_rq(), an abort waits for those who missed ENDING.
 */
bool ubd_queue_return(struct ubd_queue *queue, struct ubd_io *io, enum ubd_io_state from,
		      int notice)
{
	bool returned = false;

	io->notice = notice;
	rcu_read_lock();
	if (likely(!ubd_device_is(queue->device, UBD_DEVICE_ENDING)) &&
	    likely(atomic_cmpxchg(&io->state, from, UBD_IO_QUEUED) == (int)from)) {
		llist_add(&io->pending, &queue->pending);
		ubd_queue_notify(queue);
		returned = true;
	}
	rcu_read_unlock();
	return returned;
}

#define UBD_REQ_FLAGS \
	(REQ_FAILFAST_DEV | REQ_FAILFAST_TRANSPORT | REQ_FAILFAST_DRIVER | REQ_META | \
	 REQ_INTEGRITY | REQ_FUA | REQ_PREFLUSH | REQ_NOUNMAP | REQ_SWAP)

static u32 ubd_queue_io_flags(const struct request *rq)
{
	static const struct {
		blk_opf_t req;
		u32 io;
	} flags[] = {
		{ REQ_FAILFAST_DEV, UBD_IO_F_FAILFAST_DEV },
		{ REQ_FAILFAST_TRANSPORT, UBD_IO_F_FAILFAST_TRANSPORT },
		{ REQ_FAILFAST_DRIVER, UBD_IO_F_FAILFAST_DRIVER },
		{ REQ_META, UBD_IO_F_META },
		{ REQ_INTEGRITY, UBD_IO_F_INTEGRITY },
		{ REQ_FUA, UBD_IO_F_FUA },
		{ REQ_PREFLUSH, UBD_IO_F_PREFLUSH },
		{ REQ_NOUNMAP, UBD_IO_F_NOUNMAP },
		{ REQ_SWAP, UBD_IO_F_SWAP },
	};
	u32 result = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		if (rq->cmd_flags & flags[i].req)
			result |= flags[i].io;
	}
	return result;
}

/* The operation's number in a descriptor, or -1. */
static int ubd_queue_op(const struct request *rq)
{
	switch (req_op(rq)) {
	case REQ_OP_READ:
		return UBD_OP_READ;
	case REQ_OP_WRITE:
		return UBD_OP_WRITE;
	case REQ_OP_FLUSH:
		return UBD_OP_FLUSH;
	case REQ_OP_DISCARD:
		return UBD_OP_DISCARD;
	case REQ_OP_WRITE_ZEROES:
		return UBD_OP_WRITE_ZEROES;
	default:
		return -1;
	}
}

/* Of a kept disk, the next server's turn comes soon: the queue is just about to be quiesced. */
static blk_status_t ubd_queue_refuse(const struct ubd_device *device)
{
	if (ubd_device_is(device, UBD_DEVICE_ENDING) && READ_ONCE(device->fate) != UBD_FATE_END)
		return BLK_STS_RESOURCE;
	return BLK_STS_IOERR;
}

/*
 * READY to QUEUED: only the block layer's owner of the tag gets here, and no abort before it is
 * out.
 */
static blk_status_t ubd_queue_take(struct ubd_queue *queue, struct request *rq)
{
	struct ubd_io_desc *desc = &queue->descs[rq->tag];
	struct ubd_io *io = &queue->ios[rq->tag];
	int op = ubd_queue_op(rq);

	if (unlikely(op < 0))
		return BLK_STS_NOTSUPP;
	if (unlikely(READ_ONCE(queue->device->flags) &
			     (BIT(UBD_DEVICE_ENDING) | BIT(UBD_DEVICE_DOOMED)) ||
		     atomic_read(&io->state) != UBD_IO_READY))
		return ubd_queue_refuse(queue->device);
	desc->op_flags = op;
	if (unlikely(rq->cmd_flags & UBD_REQ_FLAGS))
		desc->op_flags |= ubd_queue_io_flags(rq);
	desc->nr_sectors = blk_rq_sectors(rq);
	desc->start_sector = op == UBD_OP_FLUSH ? 0 : blk_rq_pos(rq);
	desc->addr = io->addr;
	io->rq = rq;
	io->notice = UBD_IO_RES_OK;
	io->is_write = op == UBD_OP_WRITE;
	blk_mq_start_request(rq);
	atomic_set(&io->state, UBD_IO_QUEUED);
	return BLK_STS_OK;
}

static blk_status_t ubd_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct ubd_queue *queue = hctx->driver_data;
	blk_status_t status = ubd_queue_take(queue, bd->rq);

	if (likely(status == BLK_STS_OK))
		llist_add(&queue->ios[bd->rq->tag].pending, &queue->pending);
	if (bd->last)
		ubd_queue_notify(queue);
	return status;
}

static void ubd_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	ubd_queue_notify(hctx->driver_data);
}

/*
 * A plug's list may span queues, if its task moved to another CPU. It is pushed in runs of one
 * queue.
 */
static void ubd_queue_rqs(UBD_RQ_LIST *list)
{
	struct request *rq = ubd_rq_list_take(list);
	struct llist_node *first = NULL, *last = NULL; /* as on pending: newest first */
	struct ubd_queue *queue = NULL;
	struct request *next;

	for (; rq; rq = next) {
		blk_status_t status;
		struct ubd_io *io;

		next = rq->rq_next;
		rq->rq_next = NULL;
		if (unlikely(queue != rq->mq_hctx->driver_data)) {
			if (first) {
				llist_add_batch(first, last, &queue->pending);
				ubd_queue_notify(queue);
			}
			first = NULL;
			queue = rq->mq_hctx->driver_data;
		}
		status = ubd_queue_take(queue, rq);
		if (unlikely(status == BLK_STS_RESOURCE)) {
			blk_mq_requeue_request(rq, true);
			continue;
		}
		if (unlikely(status != BLK_STS_OK)) {
			ubd_io_end(rq, status);
			continue;
		}
		io = &queue->ios[rq->tag];
		if (!first)
			last = &io->pending;
		io->pending.next = first;
		first = &io->pending;
	}
	if (first) {
		llist_add_batch(first, last, &queue->pending);
		ubd_queue_notify(queue);
	}
}

/*
 * A request went unanswered. That is the server's affair, unless it is exiting and nobody noticed,
 * or the device was given a time limit, which is what the timer was then set to. If the session was
 * reset meanwhile, the request is the next one's; a kill that comes then would be too early.
 */
static enum blk_eh_timer_return ubd_timeout(struct request *rq)
{
	struct ubd_queue *queue = rq->mq_hctx->driver_data;
	unsigned int tag = READ_ONCE(rq->tag); /* none any more, if it was requeued */

	spin_lock(&queue->lock);
	if (queue->task && tag < queue->depth &&
	    atomic_read(&queue->ios[tag].state) > UBD_IO_READY &&
	    (queue->device->params.timeout_ms || READ_ONCE(queue->task->flags) & PF_EXITING))
		ubd_device_kill(queue->device);
	spin_unlock(&queue->lock);
	return BLK_EH_RESET_TIMER;
}

static int ubd_init_hctx(struct blk_mq_hw_ctx *hctx, void *data, unsigned int index)
{
	struct ubd_device *device = data;

	hctx->driver_data = device->queues[index];
	return 0;
}

const struct blk_mq_ops ubd_mq_ops = {
	.queue_rq = ubd_queue_rq,
	.queue_rqs = ubd_queue_rqs,
	.commit_rqs = ubd_commit_rqs,
	.timeout = ubd_timeout,
	.init_hctx = ubd_init_hctx,
};
