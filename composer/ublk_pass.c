// SPDX-License-Identifier: MIT
/*
 * Requests handed down without a copy (ublk_cmd.h, AUTO_BUF_REG): the driver puts a request's own
 * pages into our ring's table of buffers, at the tag's place, and a sub-I/O is a READ_FIXED or
 * WRITE_FIXED on them, vectored where its bytes are one piece on the leaf and several in the
 * request, as a stripe's are. It knows no target.
 *
 * Where one sub-I/O is the whole request and nobody needs to know of its end, the commit is linked
 * behind it: its success is never seen here. All others are counted. If anything fails or falls
 * short, the request is begun again by the engine, on the tag's buffer: a WRITE's bytes are fetched
 * by a read of the char device, a READ's are put back by a write (USER_COPY), and then committed.
 */
#include "leaf.h"
#include "ublk_cmd.h"
#include "ublk_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <ubd_cmd.h>
#include <unistd.h>

/* READ_FIXED and WRITE_FIXED of several pieces: from 6.15, and so wherever pages are lent. */
#define OP_READV_FIXED 60
#define OP_WRITEV_FIXED 61

static uint64_t bytes_offset(const struct driver_queue *queue, unsigned tag)
{
	return UBLK_BYTES_OFFSET + ((uint64_t)queue->number << UBLK_BYTES_QUEUE_SHIFT) +
	       ((uint64_t)tag << UBLK_BYTES_TAG_SHIFT);
}

static const struct driver_descriptor *descriptor_of(const struct driver_queue *queue, unsigned tag)
{
	return &queue->descriptors[tag];
}

static uint32_t request_length(const struct driver_queue *queue, unsigned tag)
{
	return descriptor_of(queue, tag)->nr_sectors << 9;
}

static bool is_kind(const struct driver_queue *queue, unsigned tag, uint8_t op)
{
	return (descriptor_of(queue, tag)->op_flags & 0xff) == op;
}

static char *buffer_of(const struct driver_queue *queue, unsigned tag)
{
	return queue_buffer(&queue->queue, tag, queue->tree->device.max_io_size);
}

/* A result from the engine, which has worked on the tag's buffer. */
static void pass_commit(void *context, unsigned tag, int result, bool linked)
{
	struct driver_queue *queue = context;

	(void)linked; /* a device of this kind links only what it passes */
	if (result > 0 && is_kind(queue, tag, UBD_OP_READ) &&
		pwrite(queue->char_fd, buffer_of(queue, tag), (size_t)result,
			(off_t)bytes_offset(queue, tag)) != result)
		result = -EIO;
	ublk_answer(queue, tag, result);
}

/* Asks for a WRITE's bytes; the engine begins it again when they are there. */
static void pass_fetch(struct ublk_pass *pass)
{
	struct driver_queue *queue = &pass->queue->queue;
	struct io_uring_sqe *sqe = uring_sqe(&queue->queue.uring, &pass->event, 1);

	pass->is_fetching = true;
	sqe->opcode = IORING_OP_READ;
	sqe->fd = QUEUE_FILE_FRONTEND;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)buffer_of(queue, pass->tag);
	sqe->len = request_length(queue, pass->tag);
	sqe->off = bytes_offset(queue, pass->tag);
}

static void pass_fetched(struct ublk_pass *pass, int result)
{
	struct driver_queue *queue = &pass->queue->queue;

	pass->is_fetching = false;
	if (result == (int)request_length(queue, pass->tag)) {
		engine_restart(queue->queue.engine, pass->tag);
		return;
	}
	pass->has_ended = true;
	ublk_answer(queue, pass->tag, -EIO);
}

/* A sub-I/O has ended, or a WRITE's bytes have come. */
static void pass_event(struct event *event, int result)
{
	struct ublk_pass *pass = container_of(event, struct ublk_pass, event);
	struct driver_queue *queue = &pass->queue->queue;

	if (pass->is_fetching) {
		pass_fetched(pass, result);
		return;
	}
	if (result < 0)
		pass->error = result;
	else
		pass->left -= (uint32_t)result;
	if (--pass->waiting > 0)
		return;
	if (!pass->is_linked && !pass->error && pass->left == 0) {
		pass->has_ended = true;
		ublk_answer(queue, pass->tag, (int)request_length(queue, pass->tag));
	} else if (is_kind(queue, pass->tag, UBD_OP_WRITE)) {
		pass_fetch(pass);
	} else {
		engine_restart(queue->queue.engine, pass->tag);
	}
}

/* Whether it is bytes that move, in not too many pieces. */
static bool subs_can_pass(const struct sub_io *subs)
{
	const struct sub_io *sub, *part;
	unsigned count = 0;

	for (sub = subs; sub; sub = sub->next) {
		if (sub->kind != IO_READ && sub->kind != IO_WRITE)
			return false;
		for (part = sub; part; part = part->merged)
			count++;
	}
	return count <= UBLK_PARTS_MAX;
}

/*
 * The SQE of a sub-I/O: `count` vectors on the request's pages, one piece on the leaf. Vectors are read
 * when it is submitted, before which nobody else is told of this request.
 */
static void run_send(
	struct ublk_pass *pass, const struct sub_io *sub, const struct iovec *vectors, unsigned count)
{
	struct io_uring_sqe *sqe =
		uring_sqe(&pass->queue->queue.queue.uring, &pass->event, pass->is_linked ? 2 : 1);
	bool is_write = sub->kind == IO_WRITE;

	if (count > 1) {
		sqe->opcode = is_write ? OP_WRITEV_FIXED : OP_READV_FIXED;
		sqe->addr = (uintptr_t)vectors;
		sqe->len = count;
	} else {
		sqe->opcode = is_write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
		sqe->addr = (uintptr_t)vectors->iov_base;
		sqe->len = (uint32_t)vectors->iov_len;
	}
	sqe->fd = (int)(QUEUE_FILE_LEAVES + sub->leaf->place);
	sqe->flags = IOSQE_FIXED_FILE;
	if (pass->is_linked)
		sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	sqe->off = sub->offset;
	sqe->buf_index = pass->tag;
	if (is_write && sub->flags & IO_FUA)
		sqe->rw_flags = RWF_DSYNC;
	pass->left += (uint32_t)sub->length;
	pass->waiting++;
}

/* Lists where a sub-I/O's bytes are in the request's pages, which begin at 0. How many pieces. */
static unsigned sub_list(const struct sub_io *sub, struct iovec *vectors)
{
	const struct sub_io *part;
	unsigned count = 0;
	size_t end = 0;

	for (part = sub; part; part = part->merged) {
		if (count > 0 && part->data_offset == end)
			vectors[count - 1].iov_len += part->vector.iov_len;
		else
			vectors[count++] = (struct iovec){
				(void *)(uintptr_t)part->data_offset, part->vector.iov_len };
		end = part->data_offset + part->vector.iov_len;
	}
	return count;
}

static bool pass_start(void *context, unsigned tag, const struct sub_io *subs)
{
	struct ublk_queue *queue = context;
	struct ublk_pass *pass = &queue->passes[tag];
	struct iovec *vectors = pass->vectors;
	const struct sub_io *sub;

	pass->is_linked = pass->is_fetching = pass->has_ended = false;
	pass->waiting = pass->left = 0;
	pass->error = 0;
	if (!subs) {
		pass_fetch(pass);
		return true;
	}
	if (descriptor_of(&queue->queue, tag)->op_flags & UBLK_IO_F_NEED_REG_BUF)
		return false; /* the driver could not put the pages into the table */
	if (!subs_can_pass(subs))
		return false;
	pass->is_linked = subs->linked && !queue->queue.type->send;
	for (sub = subs; sub; sub = sub->next) {
		unsigned count = sub_list(sub, vectors);

		run_send(pass, sub, vectors, count);
		vectors += count;
	}
	if (pass->is_linked)
		ublk_answer(&queue->queue, tag, (int)request_length(&queue->queue, tag));
	return true;
}

static bool pass_ended(void *context, unsigned tag)
{
	const struct ublk_queue *queue = context;

	return queue->passes[tag].has_ended;
}

int ublk_pass_prepare(struct driver_queue *queue, struct queue_config *config)
{
	struct ublk_queue *ublk = (struct ublk_queue *)queue;
	unsigned i;

	ublk->passes = calloc(queue->depth, sizeof(*ublk->passes));
	if (!ublk->passes)
		return err_add(&queue->err, "queue %u: out of memory", queue->number);
	for (i = 0; i < queue->depth; i++)
		ublk->passes[i] = (struct ublk_pass){
			.event.end = pass_event,
			.queue = ublk,
			.tag = (uint16_t)i,
		};
	config->backend.commit = pass_commit;
	config->backend.pass = pass_start;
	config->backend.ended = pass_ended;
	config->backend.poll = driver_queue_poll;
	config->lends_pages = true;
	return 0;
}

int ublk_pass_open(struct driver_queue *queue)
{
	int result = uring_register_places(&queue->queue.uring, queue->depth);

	if (result < 0)
		return err_add(&queue->err, "queue %u: io_uring: a table of %u buffers: %s",
			queue->number, queue->depth, strerror(-result));
	return 0;
}

void ublk_pass_close(struct driver_queue *queue)
{
	struct ublk_queue *ublk = (struct ublk_queue *)queue;

	free(ublk->passes);
	ublk->passes = NULL;
}

const struct driver_queue_type ublk_queue_type_pass = {
	.size = sizeof(struct ublk_queue),
	.fetch = UBLK_IO_FETCH_REQ,
	.commit = UBLK_IO_COMMIT_AND_FETCH_REQ,
	.lends_pages = true,
	.prepare = ublk_pass_prepare,
	.open = ublk_pass_open,
	.close = ublk_pass_close,
};
