// SPDX-License-Identifier: GPL-2.0-only
/*
 * A request's way to the server: a QUEUED tag is handed over, with a WRITE's bytes, or if the server
 * is gone, its request is an orphan (ubd.h). It runs in the server's task, or where that is gone, in
 * a worker. As in ubd_io.c, each step of a tag is one compare-and-exchange.
 */
#include "ubd_io.h"

bool ubd_io_keep(struct ubd_queue *queue, struct request *rq, bool seen)
{
	const struct ubd_device *device = queue->device;

	if (READ_ONCE(device->fate) == UBD_FATE_END)
		return false;
	if (seen && !(device->params.flags & UBD_PARAM_REISSUE))
		return false;
	blk_mq_requeue_request(rq, true);
	return true;
}

void ubd_io_orphan(struct ubd_queue *queue, struct request *rq, int notice)
{
	if (!ubd_io_keep(queue, rq, notice != UBD_IO_RES_OK))
		ubd_io_end(rq, BLK_STS_IOERR);
}

bool ubd_io_is_dying(struct ubd_queue *queue)
{
	if (!fatal_signal_pending(current))
		return false;
	ubd_device_kill(queue->device); /* it will come to that: don't give this server more */
	return true;
}

int ubd_io_copy_out(struct ubd_queue *queue, struct ubd_io *io, u64 addr, enum ubd_io_state back)
{
	int tries, state;

	for (tries = 0; tries < UBD_COPY_TRIES; tries++) {
		struct request *rq = io->rq; /* each time: SERVER may have been answered meanwhile */
		unsigned int length = blk_rq_bytes(rq);

		if (likely(req_op(rq) != REQ_OP_WRITE || ubd_copy_to_server(rq, addr)))
			return 0;
		if (unlikely(ubd_io_step(io, UBD_IO_BUSY, back) != UBD_IO_BUSY)) {
			ubd_io_orphan(queue, rq,
				      back == UBD_IO_QUEUED ? io->notice : UBD_IO_RES_BACK);
			return UBD_IO_RES_ABORT;
		}
		if (!ubd_copy_fault_in(addr, length, true))
			return -EFAULT;
		state = ubd_io_step(io, back, UBD_IO_BUSY);
		if (unlikely(state != back))
			return state & UBD_IO_ABORT ? UBD_IO_RES_ABORT : -EINVAL;
	}
	state = ubd_io_step(io, UBD_IO_BUSY, back);
	if (likely(state == UBD_IO_BUSY))
		return -EFAULT;
	ubd_io_orphan(queue, io->rq, UBD_IO_RES_BACK);
	return UBD_IO_RES_ABORT;
}

/* QUEUED to SERVER, with a WRITE's bytes copied on the way. An aborted tag's request may be gone. */
static int ubd_io_hand_over_bytes(struct ubd_queue *queue, struct ubd_io *io, struct request *rq,
				  int notice)
{
	bool dying;
	int error;

	if (ubd_io_step(io, UBD_IO_QUEUED, UBD_IO_BUSY) != UBD_IO_QUEUED)
		return UBD_IO_RES_ABORT;
	error = ubd_io_copy_out(queue, io, io->addr, UBD_IO_QUEUED);
	if (likely(!error)) {
		if (likely(ubd_io_step(io, UBD_IO_BUSY, UBD_IO_SERVER) == UBD_IO_BUSY))
			return notice;
		ubd_io_orphan(queue, rq, notice);
		return UBD_IO_RES_ABORT;
	}
	if (error != -EFAULT)
		return UBD_IO_RES_ABORT;
	/* The server never hears of it; the tag waits for the next request. */
	dying = ubd_io_is_dying(queue);
	if (ubd_io_step(io, UBD_IO_QUEUED, UBD_IO_READY) != UBD_IO_QUEUED)
		return UBD_IO_RES_ABORT;
	if (dying)
		ubd_io_orphan(queue, rq, notice);
	else
		ubd_io_end(rq, BLK_STS_IOERR);
	return UBD_IO_NO_NOTICE;
}

/*
 * Give a QUEUED tag to the server, or if that is gone, fail it. Returns what the server is to be
 * told, and then the tag is its own; UBD_IO_NO_NOTICE: nothing, the tag is READY again;
 * UBD_IO_RES_ABORT: the session is over.
 */
int ubd_io_hand_over(struct ubd_queue *queue, struct ubd_io *io, bool gone)
{
	struct request *rq = io->rq;
	int notice = io->notice;

	if (unlikely(gone)) {
		if (ubd_io_step(io, UBD_IO_QUEUED, UBD_IO_EMPTY) == UBD_IO_QUEUED)
			ubd_io_orphan(queue, rq, notice);
		return UBD_IO_RES_ABORT;
	}
	/* An aborted tag's request may be gone: not a look at it before the step. */
	if (io->is_write && (!queue->plans || notice == UBD_IO_RES_BACK))
		return ubd_io_hand_over_bytes(queue, io, rq, notice);
	if (ubd_io_step(io, UBD_IO_QUEUED, UBD_IO_SERVER) != UBD_IO_QUEUED)
		return UBD_IO_RES_ABORT;
	return notice;
}

/* The same for a tag with a command of its own. */
void ubd_io_deliver(struct ubd_queue *queue, struct ubd_io *io, bool gone, unsigned int issue_flags)
{
	struct io_uring_cmd *cmd = io->cmd;
	int notice = ubd_io_hand_over(queue, io, gone);

	if (unlikely(gone))
		ubd_cmd_abort(cmd, issue_flags);
	else if (likely(notice != UBD_IO_NO_NOTICE))
		ubd_cmd_done(cmd, notice, issue_flags);
}
