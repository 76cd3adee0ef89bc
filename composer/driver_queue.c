// SPDX-License-Identifier: MIT
/*
 * A driver's queue: descriptors in, commits out. One command per tag is always either the driver's
 * (a request may come) or ours (a request is being worked on).
 *
 * A linked commit that is cancelled, since the sub-I/O before it failed, never reached the driver:
 * the sub-I/O's own event tells the engine, which commits again. Its -ECANCELED is no news.
 *
 * Layouts and numbers are read from ubd_cmd.h; that ublk's are the same is checked in ublk_queue.c.
 */
#include "driver_queue.h"

#include "ublk_cmd.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ubd_cmd.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#define STACK_BYTES (512u << 10) /* all of it is locked memory */
#define JOIN_MS 2000 /* how soon is looked whether the thread can't go */
#define POLL_NS 200000 /* how long somebody waits at least for a passed request's end */

_Static_assert(sizeof(struct driver_descriptor) == sizeof(struct ubd_io_desc) &&
		       offsetof(struct driver_descriptor, nr_sectors) ==
			       offsetof(struct ubd_io_desc, nr_sectors) &&
		       offsetof(struct driver_descriptor, start_sector) ==
			       offsetof(struct ubd_io_desc, start_sector),
	"one layout");

void driver_tag_send(struct driver_tag *tag, uint32_t code, int result)
{
	struct driver_queue *queue = tag->queue;
	struct io_uring_sqe *sqe = uring_sqe_kept(&queue->queue.uring, &tag->event, tag->number);
	struct ubd_io_cmd *command = (struct ubd_io_cmd *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = QUEUE_FILE_FRONTEND;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->cmd_op = code;
	command->q_id = queue->number;
	command->tag = tag->number;
	command->result = result;
	command->addr = 0;
	if (queue->type->lends_pages)
		sqe->addr = UBLK_AUTO_BUF(tag->number, UBLK_AUTO_BUF_FALLBACK);
	else
		command->addr = (uintptr_t)queue_buffer(
			&queue->queue, tag->number, queue->tree->device.max_io_size);
}

static void commit(void *context, unsigned tag, int result, bool linked)
{
	struct driver_queue *queue = context;

	(void)linked; /* what makes it one is the flag on the SQE before it */
	driver_tag_send(&queue->tags[tag], queue->type->commit, result);
}

static void poll_ended(struct event *event, int result)
{
	struct driver_queue *queue = container_of(event, struct driver_queue, poll);

	(void)result; /* -ETIME */
	queue->is_polling = false;
	engine_poll(queue->queue.engine);
}

void driver_queue_poll(void *context)
{
	static const struct __kernel_timespec pause = { .tv_nsec = POLL_NS };
	struct driver_queue *queue = context;
	struct io_uring_sqe *sqe;

	if (queue->is_polling)
		return;
	queue->is_polling = true;
	queue->poll.end = poll_ended;
	sqe = uring_sqe(&queue->queue.uring, &queue->poll, 1);
	sqe->opcode = IORING_OP_TIMEOUT;
	sqe->fd = -1;
	sqe->addr = (uintptr_t)&pause;
	sqe->len = 1;
}

static const enum io_kind kinds[] = {
	[UBD_OP_READ] = IO_READ,
	[UBD_OP_WRITE] = IO_WRITE,
	[UBD_OP_FLUSH] = IO_FLUSH,
	[UBD_OP_DISCARD] = IO_DISCARD,
	[UBD_OP_WRITE_ZEROES] = IO_WRITE_ZEROES,
};

/* False: an operation that we don't know. */
static bool request_read(struct request *request, const struct driver_descriptor *descriptor)
{
	uint8_t op = descriptor->op_flags & 0xff;

	if (op >= sizeof(kinds) / sizeof(*kinds) || op == UBD_OP_WRITE_SAME)
		return false;
	*request = (struct request){
		.kind = kinds[op],
		.offset = descriptor->start_sector << 9,
		.length = (uint64_t)descriptor->nr_sectors << 9,
	};
	if (op == UBD_OP_READ || op == UBD_OP_WRITE)
		request->data.home = DATA_REQUEST;
	if (descriptor->op_flags & UBD_IO_F_FUA)
		request->flags |= IO_FUA;
	if (descriptor->op_flags & UBD_IO_F_NOUNMAP)
		request->flags |= IO_NOUNMAP;
	return true;
}

void driver_tag_start(struct driver_queue *queue, unsigned tag)
{
	struct request request;

	if (request_read(&request, &queue->descriptors[tag]))
		engine_start(queue->queue.engine, tag, &request,
			queue_buffer(&queue->queue, tag, queue->tree->device.max_io_size));
	else
		queue->queue.backend.commit(queue, tag, -EOPNOTSUPP, false);
}

/* A command has come back: a request waits, or the tag is not served any more. */
static void tag_ended(struct event *event, int result)
{
	struct driver_tag *tag = container_of(event, struct driver_tag, event);
	struct driver_queue *queue = tag->queue;

	if (result == -ECANCELED)
		return;
	if (result < 0) {
		if (result != UBD_IO_RES_ABORT && queue->trace)
			fprintf(stderr, "queue %u tag %u: command refused: %s\n", queue->number,
				tag->number, strerror(-result));
		queue->live_tags--;
		engine_quiesce(queue->queue.engine);
		return;
	}
	driver_tag_start(queue, tag->number);
}

static int descriptors_map(struct driver_queue *queue)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, ubd_desc_length(queue->depth, page), PROT_READ, MAP_SHARED,
		queue->char_fd, (off_t)ubd_desc_offset(queue->number, page));

	if (memory == MAP_FAILED)
		return err_add(&queue->err,
			"queue %u: the driver's descriptors can't be mapped: %s", queue->number,
			strerror(errno));
	queue->descriptors = memory;
	return 0;
}

static void tags_fetch(struct driver_queue *queue)
{
	unsigned i;

	for (i = 0; i < queue->depth; i++) {
		queue->tags[i] = (struct driver_tag){
			.event.end = tag_ended,
			.queue = queue,
			.number = (uint16_t)i,
		};
		driver_tag_send(&queue->tags[i], queue->type->fetch, 0);
	}
	queue->live_tags = queue->depth;
}

static int queue_setup(struct driver_queue *queue)
{
	struct queue_config config = {
		.tree = queue->tree,
		.depth = queue->depth,
		.number = queue->number,
		.queues = queue->count,
		.engine = tree_shares_engine(queue->tree) && queue->number ? queue->first->queue.engine : NULL,
		.frontend_fd = queue->char_fd,
		.trace = queue->trace,
		.backend = { .commit = commit },
	};
	const struct driver_queue_type *type = queue->type;
	int result;

	if ((type->prepare && type->prepare(queue, &config) < 0) ||
		queue_open(&queue->queue, &config, &queue->err) < 0 ||
		queue_listen(&queue->queue, &queue->err) < 0 || descriptors_map(queue) < 0 ||
		(type->open && type->open(queue) < 0))
		return -1;
	if (type->send) {
		queue->live_tags = 1;
		type->send(queue);
	} else {
		tags_fetch(queue);
	}
	result = uring_submit(&queue->queue.uring);
	if (result < 0)
		return err_add(
			&queue->err, "queue %u: io_uring: %s", queue->number, strerror(-result));
	queue->is_ready = true;
	return 0;
}

/*
 * The C library has the kernel write down at each switch to this thread on which processor it runs.
 * Nobody here asks, and at depth 1 there is a switch for each request. Where it can't be ended it goes on.
 */
static void rseq_end(void)
{
#ifdef RSEQ_SIG
	if (__rseq_size)
		(void)syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset,
			sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
#endif
}

static void tell_end(struct driver_queue *queue)
{
	uint64_t one = 1;

	if (!queue->has_told && write(queue->ended_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd that nobody overfills */
	queue->has_told = true;
}

/* Of one that shares its engine others may go on: the main thread is to know at once. */
static bool goes_on(struct driver_queue *queue)
{
	if (queue->live_tags > 0)
		return true;
	if (queue->count > 1)
		tell_end(queue);
	return !queue_is_over(&queue->queue);
}

static void *queue_thread(void *argument)
{
	struct driver_queue *queue = argument;
	bool is_ready;

	rseq_end();
	is_ready = queue_setup(queue) == 0;

	(void)sem_post(&queue->ready); /* can't overflow: posted once */
	while (is_ready && goes_on(queue) && queue_run(&queue->queue) == 0)
		if (queue->type->send)
			queue->type->send(queue);
	queue_part(&queue->queue);
	queue_deafen(&queue->queue);
	if (is_ready)
		tell_end(queue);
	__atomic_store_n(&queue->is_over, true, __ATOMIC_RELEASE); /* the kernel alone may keep it now */
	uring_close(&queue->queue.uring); /* only this thread may: it is the ring's single issuer */
	return NULL;
}

static void queue_finish(struct driver_queue *queue)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	queue_forget(&queue->queue);
	queue_close(&queue->queue);
	if (queue->type->close)
		queue->type->close(queue);
	if (queue->descriptors)
		(void)munmap((void *)queue->descriptors, ubd_desc_length(queue->depth, page));
	queue->descriptors = NULL;
	free(queue->tags);
	queue->tags = NULL;
	err_finish(&queue->err);
	(void)sem_destroy(&queue->ready);
}

static int thread_make(struct driver_queue *queue)
{
	pthread_attr_t attributes;
	int result = pthread_attr_init(&attributes);

	if (result != 0)
		return result;
	result = pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (result == 0)
		result = pthread_create(&queue->thread, &attributes, queue_thread, queue);
	(void)pthread_attr_destroy(&attributes); /* it can't fail */
	return result;
}

int driver_queue_start(struct driver_queue *queue, struct err *err)
{
	int result;

	queue->tags = calloc(queue->depth, sizeof(*queue->tags));
	if (!queue->tags || sem_init(&queue->ready, 0, 0) < 0)
		return err_add(err, "queue %u: out of memory", queue->number);
	result = thread_make(queue);
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

bool driver_queue_ends_within(struct driver_queue *queue, unsigned ms)
{
	struct timespec until;

	if (!queue->is_running)
		return true;
	(void)clock_gettime(CLOCK_REALTIME, &until); /* the only clock that can be waited by */
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (pthread_timedjoin_np(queue->thread, NULL, &until) != 0)
		return false; /* not yet: nothing else is possible */
	queue->is_running = false;
	return true;
}

static bool has_late(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (leaf_late(tree->leaves[i]) > 0)
			return true;
	return false;
}

bool driver_queue_join(struct driver_queue *queue)
{
	while (!driver_queue_ends_within(queue, JOIN_MS))
		if (__atomic_load_n(&queue->is_over, __ATOMIC_ACQUIRE) && has_late(queue->tree)) {
			(void)pthread_detach(queue->thread); /* it exists and is ours */
			return false;
		}
	queue_finish(queue);
	return true;
}
