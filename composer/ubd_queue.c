// SPDX-License-Identifier: MIT
/*
 * A ubd queue. One command of ours waits in the driver for requests; what a wake-up brings is all
 * worked on first, then its answers go down together, with the command that waits again. Answers
 * that come while it waits (leaves were slower) go down by themselves.
 *
 * A linked commit that is cancelled, since the sub-I/O before it failed, never reached the driver:
 * the sub-I/O's own event tells the engine, which commits again. Its -ECANCELED is no news.
 */
#include "ubd_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void command_send(struct ubd_queue *ubd, struct event *event, uint32_t code, unsigned tag,
	int result)
{
	struct queue *queue = &ubd->queue.queue;
	struct io_uring_sqe *sqe = code == UBD_IO_COMMIT_REQ
					   ? uring_sqe_kept(&queue->uring, event, tag)
					   : uring_sqe(&queue->uring, event, 1);
	struct ubd_io_cmd *command = (struct ubd_io_cmd *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = QUEUE_FILE_FRONTEND;
	sqe->flags = IOSQE_FIXED_FILE;
	if (code == UBD_IO_ANSWER)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->cmd_op = code;
	command->q_id = ubd->queue.number;
	command->tag = (uint16_t)tag;
	command->result = result;
	command->addr = (uintptr_t)queue->buffers;
}

/* Each tag is answered at most once between two sendings, so there is always room. */
void ubd_queue_answer(struct ubd_queue *ubd, unsigned tag, uint16_t kind, int result)
{
	ubd->answers[ubd->answer_count++] = (struct ubd_batch_answer){
		.tag = (uint16_t)tag,
		.kind = kind,
		.result = result,
	};
	ubd->queue.live_tags--;
}

static void commit(void *context, unsigned tag, int result, bool linked)
{
	struct ubd_queue *ubd = context;

	if (linked)
		command_send(ubd, &ubd->commit, UBD_IO_COMMIT_REQ, tag, result);
	else
		ubd_queue_answer(ubd, tag, UBD_ANSWER_RESULT, result);
}

static void commit_ended(struct event *event, int result)
{
	struct ubd_queue *ubd = container_of(event, struct ubd_queue, commit);

	if (result != -ECANCELED)
		ubd->queue.live_tags--;
}

static void tag_happened(struct ubd_queue *ubd, unsigned tag, int notice)
{
	ubd->queue.live_tags++;
	if (notice == UBD_IO_RES_OK) {
		driver_tag_start(&ubd->queue, tag);
	} else if (notice == UBD_IO_RES_BACK) {
		ubd_plan_failed(ubd, tag);
		engine_restart(ubd->queue.queue.engine, tag);
	} else { /* a plan was refused: it has to come back with its bytes */
		if (ubd->queue.trace)
			fprintf(stderr, "queue %u tag %u: plan refused: %s\n", ubd->queue.number,
				tag, strerror(-notice));
		(void)ubd_plan_pass(ubd, tag, NULL); /* an empty one always can */
	}
}

/* The driver serves us no more. What is in our hands is still worked on, and dropped then. */
static void ubd_end(struct ubd_queue *ubd, int result)
{
	if (!ubd->is_live)
		return;
	if (result != UBD_IO_RES_ABORT && ubd->queue.trace)
		fprintf(stderr, "queue %u: answers refused: %s\n", ubd->queue.number,
			strerror(-result));
	ubd->is_live = false;
	ubd->queue.live_tags--;
	engine_quiesce(ubd->queue.queue.engine);
}

/* Some events, or the end. */
static void wait_ended(struct event *event, int result)
{
	struct ubd_queue *ubd = container_of(event, struct ubd_queue, wait);
	int i;

	ubd->is_waiting = false;
	for (i = 0; i < result; i++)
		tag_happened(ubd, ubd->events[i].tag, ubd->events[i].notice);
	if (result < 0)
		ubd_end(ubd, result);
}

/* Told only of failure. */
static void answer_ended(struct event *event, int result)
{
	ubd_end(container_of(event, struct ubd_queue, answer), result);
}

static void batch_send(struct driver_queue *queue)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;

	if (ubd->is_live && !ubd->is_waiting) {
		command_send(ubd, &ubd->wait, UBD_IO_ANSWER_AND_WAIT, 0, (int)ubd->answer_count);
		ubd->is_waiting = true;
	} else if (ubd->is_live && ubd->answer_count > 0) {
		command_send(ubd, &ubd->answer, UBD_IO_ANSWER, 0, (int)ubd->answer_count);
	}
	ubd->answer_count = 0;
}

static int batch_prepare(struct driver_queue *queue, struct queue_config *config)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;

	ubd->wait.end = wait_ended;
	ubd->answer.end = answer_ended;
	ubd->commit.end = commit_ended;
	ubd->is_live = true;
	config->backend.commit = commit;
	return 0;
}

static int plans_prepare(struct driver_queue *queue, struct queue_config *config)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;

	ubd->lives = calloc(queue->depth, sizeof(*ubd->lives));
	if (!ubd->lives)
		return err_add(&queue->err, "queue %u: out of memory", queue->number);
	config->backend.pass = ubd_plan_pass;
	config->backend.ended = ubd_plan_ended;
	config->backend.poll = driver_queue_poll;
	return batch_prepare(queue, config);
}

/* NULL: there is a message. */
static void *area_map(
	struct driver_queue *queue, const char *what, uint64_t offset, uint64_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, queue->char_fd,
		(off_t)offset);

	if (memory != MAP_FAILED)
		return memory;
	err_add(&queue->err, "queue %u: the driver's %s can't be mapped: %s", queue->number, what,
		strerror(errno));
	return NULL;
}

static int batch_open(struct driver_queue *queue)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	ubd->answers = area_map(queue, "batches", ubd_batch_offset(queue->number),
		ubd_batch_length(queue->depth, page));
	if (!ubd->answers)
		return -1;
	ubd->events = (const struct ubd_batch_event *)(ubd->answers + queue->depth);
	return 0;
}

static int plans_open(struct driver_queue *queue)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	ubd->slots = area_map(queue, "plans", ubd_plan_offset(queue->number),
		ubd_plan_length(queue->depth, page));
	return ubd->slots ? batch_open(queue) : -1;
}

static void areas_close(struct driver_queue *queue)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	if (ubd->slots)
		(void)munmap(ubd->slots, ubd_plan_length(queue->depth, page));
	if (ubd->answers)
		(void)munmap(ubd->answers, ubd_batch_length(queue->depth, page));
	ubd->slots = NULL;
	ubd->answers = NULL;
	free(ubd->lives);
	ubd->lives = NULL;
}

const struct driver_queue_type ubd_queue_type = {
	.size = sizeof(struct ubd_queue),
	.prepare = batch_prepare,
	.open = batch_open,
	.close = areas_close,
	.send = batch_send,
};

const struct driver_queue_type ubd_queue_type_plans = {
	.size = sizeof(struct ubd_queue),
	.prepare = plans_prepare,
	.open = plans_open,
	.close = areas_close,
	.send = batch_send,
};
