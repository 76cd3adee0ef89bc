// SPDX-License-Identifier: MIT
/* A queue's ring, engine and buffers. It knows no driver. */
#include "queue.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define FIXED_BUFFER_MAX ((size_t)1 << 30) /* the kernel's limit for one registered buffer */
#define SQES_MIN 64u

/* Buffers begin at a huge page where they fill one, so that a large copy meets few pages. */
static int buffers_open(struct queue *queue, size_t length, struct err *err)
{
	size_t slack = length >= HUGE_PAGE ? HUGE_PAGE : 0;
	char *memory = mmap(
		NULL, length + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *begin;

	if (memory == MAP_FAILED)
		return err_add(err, "out of memory for buffers of %zu bytes", length);
	begin = memory;
	if (slack) {
		begin = (char *)(((uintptr_t)memory + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
		if (begin > memory)
			(void)munmap(memory, (size_t)(begin - memory)); /* only gives room back */
		if (begin - memory < (long)slack)
			(void)munmap(begin + length, slack - (size_t)(begin - memory));
		(void)madvise(begin, length, MADV_HUGEPAGE); /* a wish */
	}
	queue->buffers = begin;
	queue->buffers_length = length;
	return 0;
}

static int ring_open(struct queue *queue, const struct queue_config *config, struct err *err)
{
	unsigned leaves = config->tree->leaf_count;
	int *fds = calloc(leaves + 1, sizeof(*fds));
	const struct uring_config ring = {
		.entries = config->depth * 2 + SQES_MIN,
		.kept = config->depth, /* one for each tag's command */
		/* Of a shared engine also what is another queue's may be sent by this one. */
		.completions = engine_sub_ios_max(queue->engine) + config->depth,
		.fds = fds,
		.fd_count = leaves + 1,
	};
	unsigned i;
	int result;

	if (!fds)
		return err_add(err, "out of memory");
	fds[QUEUE_FILE_FRONTEND] = config->frontend_fd;
	for (i = 0; i < leaves; i++)
		fds[QUEUE_FILE_LEAVES + i] = config->tree->leaves[i]->timeout_ms
						     ? -1
						     : config->tree->leaves[i]->fd;
	result = uring_open(&queue->uring, &ring, err);
	free(fds);
	return result;
}

static int queue_engine_open(struct queue *queue, const struct queue_config *config, struct err *err)
{
	const struct device *device = &config->tree->device;
	struct engine_config engine = {
		.tree = config->tree,
		.backend = &queue->backend,
		.context = queue,
		.queues = tree_shares_engine(config->tree) ? config->queues : 1,
		.is_one_of_many = config->queues > 1 && !tree_shares_engine(config->tree),
		.depth = config->depth,
		.max_io = device->max_io_size,
		.fan_out = config->lends_pages || config->gathers ? FAN_OUT_GATHERED
								  : device->fan_out,
		.trace = config->trace,
	};

	queue->backend = config->backend;
	queue->backend.submit = backing_file_submit;
	queue->backend.now = queue_now;
	queue->backend.timer = queue_timer_set;
	queue->backend.wake = queue_wake;
	queue->engine = config->engine;
	if (config->engine)
		return 0;
	if (engine_open(&queue->engine, &engine, err) < 0)
		return -1;
	queue->has_joined = true;
	return 0;
}

int queue_open(struct queue *queue, const struct queue_config *config, struct err *err)
{
	size_t length = (size_t)config->depth * config->tree->device.max_io_size;

	queue->number = config->engine ? config->number : 0;
	if (queue_engine_open(queue, config, err) < 0 || ring_open(queue, config, err) < 0 ||
		buffers_open(queue, length, err) < 0)
		return -1;
	/* Without registered buffers (RLIMIT_MEMLOCK) all works, with more work per sub-I/O. */
	queue->is_registered = !config->lends_pages && length <= FIXED_BUFFER_MAX &&
			       uring_register_buffer(&queue->uring, queue->buffers, length) == 0;
	return 0;
}

void queue_close(struct queue *queue)
{
	uring_close(&queue->uring); /* first: the kernel writes into the buffers until then */
	if (queue->has_joined)
		engine_close(queue->engine);
	if (queue->buffers)
		(void)munmap(queue->buffers, queue->buffers_length);
	queue->engine = NULL;
	queue->buffers = NULL;
}

int queue_run(struct queue *queue)
{
	int result = uring_wait(&queue->uring);

	if (result < 0)
		return result;
	engine_lock(queue->engine, queue->number);
	uring_end(&queue->uring);
	engine_unlock(queue->engine);
	return 0;
}

bool queue_is_over(struct queue *queue)
{
	return engine_is_over(queue->engine, queue->number);
}

void queue_part(struct queue *queue)
{
	if (queue->has_joined)
		engine_part(queue->engine, queue->number);
}
