// SPDX-License-Identifier: MIT
/*
 * A ubd queue: descriptors in, commits out. One command per tag is always either the driver's (a
 * request may come) or ours (a request is being worked on).
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

void ubd_tag_send(struct ubd_tag *tag, uint32_t code, int result)
{
	struct ubd_queue *queue = tag->queue;
	struct io_uring_sqe *sqe = uring_sqe(&queue->queue.uring, &tag->event, 1);
	struct ubd_io_cmd *command = (struct ubd_io_cmd *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = QUEUE_FILE_FRONTEND;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->cmd_op = code;
	command->q_id = queue->number;
	command->tag = tag->number;
	command->result = result;
	command->addr = (uintptr_t)queue_buffer(&queue->queue, tag->number,
		queue->tree->device.max_io_size);
}

static void ubd_commit(void *context, unsigned tag, int result, bool linked)
{
	struct ubd_queue *queue = context;

	(void)linked; /* what makes it one is the flag on the SQE before it */
	ubd_tag_send(&queue->tags[tag], UBD_IO_COMMIT_AND_FETCH_REQ, result);
}

static const enum io_kind kinds[] = {
	[UBD_OP_READ] = IO_READ,
	[UBD_OP_WRITE] = IO_WRITE,
	[UBD_OP_FLUSH] = IO_FLUSH,
	[UBD_OP_DISCARD] = IO_DISCARD,
	[UBD_OP_WRITE_ZEROES] = IO_WRITE_ZEROES,
};

/* False: an operation that we don't know. */
static bool request_read(struct request *request, const struct ubd_io_desc *descriptor)
{
	uint8_t op = ubd_desc_op(descriptor);
	uint32_t flags = ubd_desc_flags(descriptor);

	if (op >= sizeof(kinds) / sizeof(*kinds) || op == UBD_OP_WRITE_SAME)
		return false;
	*request = (struct request){
		.kind = kinds[op],
		.offset = descriptor->start_sector << 9,
		.length = (uint64_t)descriptor->nr_sectors << 9,
	};
	if (op == UBD_OP_READ || op == UBD_OP_WRITE)
		request->data.home = DATA_REQUEST;
	if (flags & UBD_IO_F_FUA)
		request->flags |= IO_FUA;
	if (flags & UBD_IO_F_NOUNMAP)
		request->flags |= IO_NOUNMAP;
	return true;
}

/* A command has come back: a request waits, or the tag is not served any more. */
static void tag_ended(struct event *event, int result)
{
	struct ubd_tag *tag = container_of(event, struct ubd_tag, event);
	struct ubd_queue *queue = tag->queue;
	struct request request;

	if (result == -ECANCELED)
		return;
	if (result == UBD_IO_RES_BACK && queue->has_plans) {
		engine_restart(queue->queue.engine, tag->number);
		return;
	}
	if (result < 0) {
		if (result != UBD_IO_RES_ABORT && queue->trace)
			fprintf(stderr, "ubd queue %u tag %u: command refused: %s\n",
				queue->number, tag->number, strerror(-result));
		queue->live_tags--;
		return;
	}
	if (request_read(&request, &queue->descriptors[tag->number]))
		engine_start(queue->queue.engine, tag->number, &request,
			queue_buffer(&queue->queue, tag->number, queue->tree->device.max_io_size));
	else
		ubd_commit(queue, tag->number, -EOPNOTSUPP, false);
}

/* The memory that is shared with the driver. */
static int areas_map(struct ubd_queue *queue)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, ubd_desc_length(queue->depth, page), PROT_READ, MAP_SHARED,
		queue->char_fd, (off_t)ubd_desc_offset(queue->number, page));

	if (memory == MAP_FAILED)
		return err_add(&queue->err, "queue %u: the driver's descriptors can't be mapped: %s",
			queue->number, strerror(errno));
	queue->descriptors = memory;
	if (!queue->has_plans)
		return 0;
	memory = mmap(NULL, ubd_plan_length(queue->depth, page), PROT_READ | PROT_WRITE, MAP_SHARED,
		queue->char_fd, (off_t)ubd_plan_offset(queue->number));
	if (memory == MAP_FAILED)
		return err_add(&queue->err, "queue %u: the driver's plans can't be mapped: %s",
			queue->number, strerror(errno));
	queue->slots = memory;
	return 0;
}

static int queue_setup(struct ubd_queue *queue)
{
	struct queue_config config = {
		.tree = queue->tree,
		.depth = queue->depth,
		.frontend_fd = queue->char_fd,
		.trace = queue->trace,
		.backend = { .commit = ubd_commit },
	};
	unsigned i;
	int result;

	if (queue->has_plans) {
		config.backend.pass = ubd_plan_pass;
		config.backend.ended = ubd_plan_ended;
		config.backend.poll = ubd_plan_poll;
	}
	if (queue_open(&queue->queue, &config, &queue->err) < 0 || areas_map(queue) < 0)
		return -1;
	for (i = 0; i < queue->depth; i++) {
		queue->tags[i] = (struct ubd_tag){
			.event.end = tag_ended,
			.queue = queue,
			.number = (uint16_t)i,
		};
		ubd_tag_send(&queue->tags[i], UBD_IO_FETCH_REQ, 0);
	}
	result = uring_submit(&queue->queue.uring);
	if (result < 0)
		return err_add(&queue->err, "queue %u: io_uring: %s", queue->number,
			strerror(-result));
	queue->live_tags = queue->depth;
	queue->is_ready = true;
	return 0;
}

static void *queue_thread(void *argument)
{
	struct ubd_queue *queue = argument;
	uint64_t one = 1;
	bool is_ready = queue_setup(queue) == 0;

	(void)sem_post(&queue->ready); /* can't overflow: posted once */
	while (is_ready && queue->live_tags > 0 && uring_run(&queue->queue.uring) == 0)
		;
	uring_close(&queue->queue.uring); /* only this thread may: it is the ring's single issuer */
	if (is_ready && write(queue->ended_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd that nobody overfills */
	return NULL;
}

static void queue_finish(struct ubd_queue *queue)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	queue_close(&queue->queue);
	if (queue->descriptors)
		(void)munmap((void *)queue->descriptors, ubd_desc_length(queue->depth, page));
	if (queue->slots)
		(void)munmap(queue->slots, ubd_plan_length(queue->depth, page));
	queue->descriptors = NULL;
	queue->slots = NULL;
	free(queue->tags);
	queue->tags = NULL;
	err_finish(&queue->err);
	(void)sem_destroy(&queue->ready);
}

int ubd_queue_start(struct ubd_queue *queue, struct err *err)
{
	int result;

	queue->tags = calloc(queue->depth, sizeof(*queue->tags));
	if (!queue->tags || sem_init(&queue->ready, 0, 0) < 0)
		return err_add(err, "queue %u: out of memory", queue->number);
	result = pthread_create(&queue->thread, NULL, queue_thread, queue);
	if (result != 0)
		return err_add(err, "queue %u: its thread can't be made: %s", queue->number,
			strerror(result));
	queue->is_running = true;
	while (sem_wait(&queue->ready) < 0)
		; /* EINTR */
	if (queue->is_ready)
		return 0;
	err_add(err, "%.*s", (int)(queue->err.length ? queue->err.length - 1 : 0),
		queue->err.text ? queue->err.text : "");
	return -1;
}

void ubd_queue_join(struct ubd_queue *queue)
{
	if (queue->is_running)
		(void)pthread_join(queue->thread, NULL); /* it exists and is ours */
	queue->is_running = false;
	queue_finish(queue);
}
