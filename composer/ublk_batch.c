// SPDX-License-Identifier: MIT
/*
 * A ublk queue without a command for each tag (ublk_cmd.h, BATCH_IO; Linux 7.0): one FETCH tells of
 * requests for as long as the device is served, and what a wake-up has ended is committed by one
 * command. A commit can't be the tail of a chain then, so requests are gathered or passed.
 *
 * A COMMIT reads its elements while it is submitted, and uring_run() goes on to events only once
 * all is submitted: so there is one list, filled by events and sent before the next wait.
 */
#include "ublk_queue.h"

#include "ublk_cmd.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <ubd_cmd.h>

#define LIST_MAX 128 /* tags of one list: the driver makes none longer */

static void element_put(struct ublk_queue *ublk, unsigned place, unsigned tag, int result)
{
	struct driver_queue *queue = &ublk->queue;
	struct ublk_element *element =
		(void *)(ublk->batch.elements + (size_t)place * ublk->batch.element_bytes);

	element->tag = (uint16_t)tag;
	element->place = (uint16_t)tag;
	element->result = result;
	if (!queue->type->lends_pages)
		element->addr = (uintptr_t)queue_buffer(
			&queue->queue, tag, queue->tree->device.max_io_size);
}

static struct io_uring_sqe *batch_command(
	struct ublk_queue *ublk, struct event *event, uint32_t code, unsigned count)
{
	struct io_uring_sqe *sqe = uring_sqe(&ublk->queue.queue.uring, event, 1);
	struct ublk_batch_io *command = (struct ublk_batch_io *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = QUEUE_FILE_FRONTEND;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->cmd_op = code;
	*command = (struct ublk_batch_io){
		.q_id = ublk->queue.number,
		.nr_elem = (uint16_t)count,
		.elem_bytes = (uint8_t)ublk->batch.element_bytes,
	};
	if (code == UBLK_IO_FETCH)
		return sqe;
	sqe->addr = (uintptr_t)ublk->batch.elements;
	command->flags = ublk->queue.type->lends_pages ? UBLK_BATCH_AUTO_BUF_FALLBACK
						       : UBLK_BATCH_HAS_BUFFER;
	return sqe;
}

static void fetch_send(struct ublk_queue *ublk)
{
	struct io_uring_sqe *sqe = batch_command(ublk, &ublk->batch.fetch, UBLK_IO_FETCH, 0);

	((struct ublk_batch_io *)sqe->cmd)->elem_bytes = sizeof(uint16_t);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->rw_flags = UBLK_FETCH_MULTISHOT;
	ublk->batch.is_fetching = true;
}

/* Each tag is answered at most once between two sendings, so there is always room. */
void ublk_answer(struct driver_queue *queue, unsigned tag, int result)
{
	struct ublk_queue *ublk = (struct ublk_queue *)queue;

	if (queue->type->send)
		element_put(ublk, ublk->batch.count++, tag, result);
	else
		driver_tag_send(&queue->tags[tag], queue->type->commit, result);
}

static void commit(void *context, unsigned tag, int result, bool linked)
{
	(void)linked; /* none is */
	ublk_answer(context, tag, result);
}

/* The driver serves us no more. What is in our hands is still worked on and committed. */
static void batch_end(struct ublk_queue *ublk, const char *what, int result)
{
	if (!ublk->batch.is_live)
		return;
	if (result != UBD_IO_RES_ABORT && ublk->queue.trace)
		fprintf(stderr, "queue %u: %s: %s\n", ublk->queue.number, what, strerror(-result));
	ublk->batch.is_live = false;
	ublk->queue.live_tags--;
	engine_quiesce(ublk->queue.queue.engine);
}

/* A list of tags whose requests wait in their descriptors; or the end. */
static void fetched(struct event *event, int result)
{
	struct ublk_queue *ublk = container_of(event, struct ublk_queue, batch.fetch);
	struct uring *uring = &ublk->queue.queue.uring;
	const uint16_t *tags = uring_buffers_taken(uring, &ublk->batch.buffers);
	int i;

	if (!uring_goes_on(uring))
		ublk->batch.is_fetching = false; /* it is sent again where that was for want of
						    buffers */
	if (tags) {
		for (i = 0; i < result / (int)sizeof(*tags); i++) {
			ublk->queue.live_tags++;
			driver_tag_start(&ublk->queue, tags[i]);
		}
		uring_buffers_give(&ublk->batch.buffers, tags);
	}
	if (result < 0 && result != -ENOBUFS)
		batch_end(ublk, "no more requests", result);
}

static void prepared(struct event *event, int result)
{
	if (result < 0)
		batch_end(container_of(event, struct ublk_queue, batch.prepare), "tags refused",
			result);
}

/* Told of failure, and after the end of all. */
static void committed(struct event *event, int result)
{
	struct ublk_queue *ublk = container_of(event, struct ublk_queue, batch.commit);

	if (result < 0)
		batch_end(ublk, "results refused", result);
	ublk->queue.live_tags -= ublk->batch.sent;
	ublk->batch.sent = 0;
}

/*
 * Only while the FETCH stands nobody needs to hear of a commit: afterwards it has to have reached
 * the driver before the queue may end.
 */
static void commit_send(struct ublk_queue *ublk)
{
	struct ublk_batch *batch = &ublk->batch;
	struct io_uring_sqe *sqe =
		batch_command(ublk, &batch->commit, UBLK_IO_COMMIT, batch->count);

	if (batch->is_live) {
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		ublk->queue.live_tags -= batch->count;
	} else {
		batch->sent = batch->count;
	}
	batch->count = 0;
}

static void batch_send(struct driver_queue *queue)
{
	struct ublk_queue *ublk = (struct ublk_queue *)queue;
	struct ublk_batch *batch = &ublk->batch;
	unsigned tag;

	if (!batch->is_prepared) {
		for (tag = 0; tag < queue->depth; tag++)
			element_put(ublk, tag, tag, 0);
		batch_command(ublk, &batch->prepare, UBLK_IO_PREP, queue->depth)->flags |=
			IOSQE_CQE_SKIP_SUCCESS;
		batch->is_prepared = true;
	}
	if (batch->count > 0 && batch->sent == 0)
		commit_send(ublk);
	if (batch->is_live && !batch->is_fetching)
		fetch_send(ublk);
}

static int batch_prepare(struct driver_queue *queue, struct queue_config *config)
{
	struct ublk_batch *batch = &((struct ublk_queue *)queue)->batch;

	batch->prepare.end = prepared;
	batch->fetch.end = fetched;
	batch->commit.end = committed;
	batch->is_live = true;
	batch->element_bytes = queue->type->lends_pages ? offsetof(struct ublk_element, addr)
							: sizeof(struct ublk_element);
	batch->elements = calloc(queue->depth, batch->element_bytes);
	if (!batch->elements)
		return err_add(&queue->err, "queue %u: out of memory", queue->number);
	config->gathers = true;
	if (queue->type->lends_pages)
		return ublk_pass_prepare(queue, config);
	config->backend.commit = commit;
	return 0;
}

static int batch_open(struct driver_queue *queue)
{
	struct ublk_queue *ublk = (struct ublk_queue *)queue;
	unsigned list = queue->depth < LIST_MAX ? queue->depth : LIST_MAX;
	/* A list has one tag at least, and what we have not yet looked at are no more than all. */
	int result = uring_buffers_open(&queue->queue.uring, &ublk->batch.buffers, queue->depth,
		list * (unsigned)sizeof(uint16_t));

	if (result < 0)
		return err_add(&queue->err, "queue %u: io_uring: %u buffers: %s", queue->number,
			queue->depth, strerror(-result));
	return queue->type->lends_pages ? ublk_pass_open(queue) : 0;
}

static void batch_close(struct driver_queue *queue)
{
	struct ublk_queue *ublk = (struct ublk_queue *)queue;

	uring_buffers_close(&ublk->batch.buffers);
	free(ublk->batch.elements);
	ublk->batch.elements = NULL;
	ublk_pass_close(queue);
}

const struct driver_queue_type ublk_queue_type_batch = {
	.size = sizeof(struct ublk_queue),
	.prepare = batch_prepare,
	.open = batch_open,
	.close = batch_close,
	.send = batch_send,
};

const struct driver_queue_type ublk_queue_type_batch_pass = {
	.size = sizeof(struct ublk_queue),
	.lends_pages = true,
	.prepare = batch_prepare,
	.open = batch_open,
	.close = batch_close,
	.send = batch_send,
};
