// SPDX-License-Identifier: MIT
/*
 * Backing files: a sub-I/O becomes an SQE. It knows no request, no target and no label; what comes
 * back goes to the sub-I/O's own event.
 */
#include "leaf.h"
#include "queue.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>

/* One vector within the registered buffers needs no page look-up by the kernel. */
static bool is_fixed(const struct queue *queue, const struct sub_io *sub)
{
	const char *base = sub->vectors->iov_base;

	return queue->is_registered && sub->vector_count == 1 && base >= queue->buffers &&
		base < queue->buffers + queue->buffers_length;
}

static void prepare_bytes(const struct queue *queue, struct io_uring_sqe *sqe,
	const struct sub_io *sub)
{
	bool is_write = sub->kind == IO_WRITE;

	if (sub->vector_count > 1) {
		sqe->opcode = is_write ? IORING_OP_WRITEV : IORING_OP_READV;
		sqe->addr = (uintptr_t)sub->vectors;
		sqe->len = sub->vector_count;
	} else {
		if (is_fixed(queue, sub))
			sqe->opcode = is_write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
		else
			sqe->opcode = is_write ? IORING_OP_WRITE : IORING_OP_READ;
		sqe->addr = (uintptr_t)sub->vectors->iov_base;
		sqe->len = (unsigned)sub->vectors->iov_len;
	}
	sqe->off = sub->offset;
	if (is_write && sub->flags & IO_FUA)
		sqe->rw_flags = RWF_DSYNC;
}

static void prepare_fallocate(struct io_uring_sqe *sqe, const struct sub_io *sub)
{
	bool keep = sub->kind == IO_WRITE_ZEROES && sub->flags & IO_NOUNMAP;

	sqe->opcode = IORING_OP_FALLOCATE;
	sqe->off = sub->offset;
	sqe->addr = sub->length; /* the operation's length goes here, its mode into len */
	sqe->len = FALLOC_FL_KEEP_SIZE | (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
}

void backing_file_submit(void *context, struct sub_io *sub)
{
	struct queue *queue = context;
	struct io_uring_sqe *sqe = uring_sqe(&queue->uring, &sub->event, sub->linked ? 2 : 1);

	if (sub->leaf->timeout_ms) { /* what hangs must not keep the ring's table, with the other files */
		sqe->fd = sub->leaf->fd;
	} else {
		sqe->fd = (int)(QUEUE_FILE_LEAVES + sub->leaf->place);
		sqe->flags = IOSQE_FIXED_FILE;
	}
	if (sub->linked)
		sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	switch (sub->kind) {
	case IO_READ:
	case IO_WRITE:
		prepare_bytes(queue, sqe, sub);
		break;
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		prepare_fallocate(sqe, sub);
		break;
	default:
		assert(sub->kind == IO_FLUSH);
		sqe->opcode = IORING_OP_FSYNC;
		sqe->fsync_flags = IORING_FSYNC_DATASYNC;
	}
}
