// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server's commands: FETCH parks one, COMMIT ends a request. All of this runs in the server's
 * task or in an io_uring worker of it, hostile though it may be: the payload is copied once, each
 * step of a tag is one compare-and-exchange, and nothing that the tag's next owner may free is
 * touched after the step that hands it over. See ubd.h.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/sched/task.h>

#include "ubd_io.h"

void ubd_io_end(struct request *rq, blk_status_t status)
{
	local_bh_disable();
	blk_mq_end_request(rq, status);
	local_bh_enable();
}

/*
 * What the server's errno means to whoever sent the request. What would make ordinary I/O be tried
 * again, or means something else to a stack of block devices, is a plain I/O error here.
 */
static blk_status_t ubd_io_status(s32 error)
{
	switch (error) {
	case -EOPNOTSUPP:
		return BLK_STS_NOTSUPP;
	case -ETIMEDOUT:
		return BLK_STS_TIMEOUT;
	case -ENOSPC:
		return BLK_STS_NOSPC;
	case -ENOLINK:
		return BLK_STS_TRANSPORT;
	case -EREMOTEIO:
		return BLK_STS_TARGET;
	case -ENODATA:
		return BLK_STS_MEDIUM;
	case -EILSEQ:
		return BLK_STS_PROTECTION;
	default:
		return BLK_STS_IOERR;
	}
}

/*
 * Judge a result, and take a READ's data. Says in *done how many bytes that settles, if any. For
 * what is BUSY: the request's pages stay until its holder ends it. BLK_STS_AGAIN: the bytes that are
 * done are not all there, or their address is wrong.
 */
static blk_status_t ubd_io_judge(struct request *rq, s32 result, u64 addr, unsigned int *done)
{
	unsigned int length = blk_rq_bytes(rq);

	*done = length;
	if (unlikely(result < 0))
		return ubd_io_status(result);
	if (req_op(rq) != REQ_OP_READ && req_op(rq) != REQ_OP_WRITE)
		return BLK_STS_OK;
	if (unlikely(result != length)) {
		if (result > length)
			return BLK_STS_IOERR;
		*done = round_down(result, queue_logical_block_size(rq->q));
		if (!*done)
			return BLK_STS_IOERR;
	}
	if (req_op(rq) == REQ_OP_READ && unlikely(!ubd_copy_from_server(rq, addr, *done)))
		return BLK_STS_AGAIN;
	return BLK_STS_OK;
}

/* An answer that was taken: its tag is BUSY. */
struct ubd_verdict {
	struct request *rq; /* NULL: it is the next server's; ENDING keeps it off this tag */
	blk_status_t status;
	unsigned int done;
};

/* SERVER to BUSY, with a READ's bytes copied. Or what the command completes with. */
static int ubd_io_take_answer(struct ubd_queue *queue, struct ubd_io *io, s32 result, u64 addr,
			      struct ubd_verdict *verdict)
{
	bool faulty = false;
	int tries = 0;

	for (;;) {
		int state = ubd_io_step(io, UBD_IO_SERVER, UBD_IO_BUSY);

		if (unlikely(state != UBD_IO_SERVER))
			return state & UBD_IO_ABORT ? UBD_IO_RES_ABORT : -EINVAL;
		/* Each time: while it was the server's it may have been answered, and be another. */
		verdict->rq = io->rq;
		verdict->status = ubd_io_judge(io->rq, result, addr, &verdict->done);
		if (likely(verdict->status != BLK_STS_AGAIN))
			break;
		verdict->status = BLK_STS_IOERR;
		if (faulty || tries++ == UBD_COPY_TRIES)
			break;
		if (unlikely(ubd_io_step(io, UBD_IO_BUSY, UBD_IO_SERVER) != UBD_IO_BUSY)) {
			ubd_io_orphan(queue, verdict->rq, UBD_IO_RES_BACK);
			return UBD_IO_RES_ABORT;
		}
		faulty = !ubd_copy_fault_in(addr, verdict->done, false);
	}
	if (unlikely(verdict->status == BLK_STS_IOERR) && ubd_io_is_dying(queue) &&
	    ubd_io_keep(queue, verdict->rq, true))
		verdict->rq = NULL;
	return 0;
}

static void ubd_plug_finish(struct blk_plug_cb *cb, bool from_schedule)
{
	struct ubd_plug *plug = container_of(cb, struct ubd_plug, cb);
	struct io_comp_batch batch = plug->batch;
	struct file *file = cb->data;

	memset(&plug->batch, 0, sizeof(plug->batch));
	smp_store_release(&plug->task, NULL); /* against the next owner's cmpxchg() */
	if (batch.complete) {
		local_bh_disable();
		batch.complete(&batch);
		local_bh_enable();
	}
	fput(file); /* the last: it may be what keeps the queue and this code */
}

struct ubd_plug *ubd_plug_take(struct ubd_queue *queue, struct io_uring_cmd *cmd)
{
	struct ubd_plug *plug = &queue->plug;

	if (current != queue->task)
		return NULL;
	if (plug->task != current) {
		if (cmpxchg(&plug->task, NULL, current))
			return NULL;
		plug->cb.callback = ubd_plug_finish;
		plug->cb.data = get_file(cmd->file);
		list_add(&plug->cb.list, &current->plug->cb_list);
	}
	return plug;
}

/* The tag is another's by now: touch nothing but the request, and an armed plug. */
void ubd_io_finish(struct request *rq, blk_status_t status, unsigned int done,
		   struct ubd_plug *plug)
{
	if (unlikely(status == BLK_STS_OK && done != blk_rq_bytes(rq))) {
		local_bh_disable();
		blk_update_request(rq, BLK_STS_OK, done);
		local_bh_enable();
		blk_mq_requeue_request(rq, true);
	} else if (!plug || !blk_mq_add_to_batch(rq, &plug->batch, status != BLK_STS_OK,
						 blk_mq_end_request_batch)) {
		ubd_io_end(rq, status);
	}
}

/*
 * Put a command on a BUSY tag. It can be cancelled, completed and freed by others as soon as the
 * tag is READY; if the session ended meanwhile, we complete it ourselves, since it counts as
 * pending now.
 */
static int ubd_io_park(struct ubd_io *io, struct io_uring_cmd *cmd, u64 addr,
		       unsigned int issue_flags)
{
	io->addr = addr;
	io->cmd = cmd;
	ubd_cmd_mark_cancelable(cmd, issue_flags);
	if (unlikely(ubd_io_step(io, UBD_IO_BUSY, UBD_IO_READY) != UBD_IO_BUSY)) {
		ubd_cmd_done(cmd, UBD_IO_RES_ABORT, issue_flags);
		return UBD_IO_RES_ABORT;
	}
	return 0;
}

static int ubd_io_commit(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
			 struct io_uring_cmd *cmd, unsigned int issue_flags, bool fetch)
{
	struct ubd_io *io = &queue->ios[payload->tag];
	struct ubd_verdict verdict;
	struct ubd_plug *plug;
	int error;

	if (unlikely(ubd_cmd_ring(cmd) != queue->ring || ubd_cmd_task(cmd) != queue->task))
		return -EINVAL;
	if (unlikely(fetch && !payload->addr))
		return -EINVAL;
	error = ubd_io_take_answer(queue, io, payload->result, fetch ? payload->addr : io->addr,
				   &verdict);
	if (unlikely(error))
		return error;
	plug = ubd_plug_arm(queue, cmd);
	if (fetch)
		ubd_io_park(io, cmd, payload->addr, issue_flags);
	else
		ubd_io_step(io, UBD_IO_BUSY, UBD_IO_EMPTY);
	if (likely(verdict.rq))
		ubd_io_finish(verdict.rq, verdict.status, verdict.done, plug);
	return fetch ? -EIOCBQUEUED : UBD_IO_RES_OK;
}

/* A tag without a command of its own: it is fetched again by being answered. */
int ubd_io_answer(struct ubd_queue *queue, unsigned int tag, s32 result, struct io_uring_cmd *cmd)
{
	struct ubd_io *io = &queue->ios[tag];
	struct ubd_verdict verdict;
	struct ubd_plug *plug;
	int error;

	error = ubd_io_take_answer(queue, io, result, io->addr, &verdict);
	if (unlikely(error))
		return error;
	plug = ubd_plug_arm(queue, cmd);
	ubd_io_step(io, UBD_IO_BUSY, UBD_IO_READY); /* or ABORT has made it nobody's */
	if (likely(verdict.rq))
		ubd_io_finish(verdict.rq, verdict.status, verdict.done, plug);
	return UBD_IO_RES_OK;
}

/* The first FETCH decides which task and which ring serve this queue. */
int ubd_queue_bind(struct ubd_queue *queue, struct io_uring_cmd *cmd)
{
	struct task_struct *task = ubd_cmd_task(cmd);
	struct io_ring_ctx *ring = ubd_cmd_ring(cmd);
	int error = 0;

	spin_lock(&queue->lock);
	if (queue->nr_fetched == queue->depth) {
		error = -EBUSY;
	} else if (!queue->task) {
		queue->ring = ring;
		get_task_struct(task);
		smp_store_release(&queue->task, task); /* for who looks without the lock */
	} else if (queue->task != task || queue->ring != ring) {
		error = -EINVAL;
	}
	spin_unlock(&queue->lock);
	return error;
}

void ubd_queue_is_fetched(struct ubd_queue *queue)
{
	struct ubd_device *device = queue->device;

	if (atomic_inc_return(&device->nr_ready) == device->info.nr_hw_queues)
		wake_up_all(&device->wait);
}

static void ubd_queue_fetched(struct ubd_queue *queue)
{
	bool ready;

	spin_lock(&queue->lock);
	ready = ++queue->nr_fetched == queue->depth;
	spin_unlock(&queue->lock);
	if (ready)
		ubd_queue_is_fetched(queue);
}

static int ubd_io_fetch(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
			struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_io *io = &queue->ios[payload->tag];
	struct file *file = cmd->file;
	int error;

	if (ubd_cmd_ring(cmd)->flags & IORING_SETUP_SQPOLL)
		return -EOPNOTSUPP;
	if (!payload->addr)
		return -EINVAL;
	error = ubd_queue_bind(queue, cmd);
	if (error)
		return error;
	error = ubd_io_step(io, UBD_IO_EMPTY, UBD_IO_BUSY);
	if (error != UBD_IO_EMPTY)
		return error & UBD_IO_ABORT ? UBD_IO_RES_ABORT : -EBUSY;
	get_file(file); /* parked, the command may be gone, and the file with it */
	if (!ubd_io_park(io, cmd, payload->addr, issue_flags))
		ubd_queue_fetched(queue);
	fput(file);
	return -EIOCBQUEUED;
}

static int ubd_io_batched_cmd(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
			      struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	switch (cmd->cmd_op) {
	case UBD_IO_ANSWER_AND_WAIT:
	case UBD_IO_ANSWER:
		return ubd_batch_cmd(queue, payload, cmd, issue_flags);
	case UBD_IO_COMMIT_REQ:
		if (unlikely(ubd_cmd_ring(cmd) != queue->ring || ubd_cmd_task(cmd) != queue->task))
			return -EINVAL;
		return ubd_io_answer(queue, payload->tag, payload->result, cmd);
	default:
		return -EOPNOTSUPP;
	}
}

/*
 * The char device's uring_cmd(): called with the ring's lock held, or in an io_uring worker
 * without.
 */
int ubd_io_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_device *device = cmd->file->private_data;
	struct ubd_queue *queue;
	struct ubd_io_cmd payload;

	if (unlikely(ubd_cmd_is_cancel(issue_flags))) {
		ubd_device_kill(device); /* and leave the command to the abort that follows */
		return 0;
	}
	if (unlikely(!(issue_flags & IO_URING_F_SQE128)))
		return -EINVAL;
	if (unlikely(ubd_device_is(device, UBD_DEVICE_ENDING)))
		return UBD_IO_RES_ABORT;
	memcpy(&payload, ubd_cmd_payload(cmd), sizeof(payload));
	barrier(); /* the copy is what we go by, not what user space may change it to */
	if (unlikely(payload.q_id >= device->info.nr_hw_queues ||
		     payload.tag >= device->info.queue_depth))
		return -EINVAL;
	payload.q_id = array_index_nospec(payload.q_id, device->info.nr_hw_queues);
	payload.tag = array_index_nospec(payload.tag, device->info.queue_depth);
	queue = device->queues[payload.q_id];

	if (queue->batch)
		return ubd_io_batched_cmd(queue, &payload, cmd, issue_flags);
	switch (cmd->cmd_op) {
	case UBD_IO_COMMIT_AND_FETCH_REQ:
		return ubd_io_commit(queue, &payload, cmd, issue_flags, true);
	case UBD_IO_COMMIT_PLAN_AND_FETCH:
		return ubd_plan_commit(queue, &payload, cmd, issue_flags);
	case UBD_IO_COMMIT_REQ:
		return ubd_io_commit(queue, &payload, cmd, issue_flags, false);
	case UBD_IO_FETCH_REQ:
		return ubd_io_fetch(queue, &payload, cmd, issue_flags);
	default:
		return -EOPNOTSUPP;
	}
}
