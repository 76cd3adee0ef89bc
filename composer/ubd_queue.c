// SPDX-License-Identifier: MIT
/* A ubd queue: what it shares with the driver for plans. The rest is driver_queue.c's. */
#include "ubd_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int plans_prepare(struct driver_queue *queue, struct queue_config *config)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;

	ubd->lives = calloc(queue->depth, sizeof(*ubd->lives));
	if (!ubd->lives)
		return err_add(&queue->err, "queue %u: out of memory", queue->number);
	config->backend.pass = ubd_plan_pass;
	config->backend.ended = ubd_plan_ended;
	config->backend.poll = ubd_plan_poll;
	return 0;
}

static int plans_open(struct driver_queue *queue)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, ubd_plan_length(queue->depth, page), PROT_READ | PROT_WRITE,
		MAP_SHARED, queue->char_fd, (off_t)ubd_plan_offset(queue->number));

	if (memory == MAP_FAILED)
		return err_add(&queue->err, "queue %u: the driver's plans can't be mapped: %s",
			queue->number, strerror(errno));
	ubd->slots = memory;
	return 0;
}

static void plans_close(struct driver_queue *queue)
{
	struct ubd_queue *ubd = (struct ubd_queue *)queue;
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);

	if (ubd->slots)
		(void)munmap(ubd->slots, ubd_plan_length(queue->depth, page));
	ubd->slots = NULL;
	free(ubd->lives);
	ubd->lives = NULL;
}

/* A request that had been handed down is ours again. */
static bool plans_answered(struct driver_queue *queue, struct driver_tag *tag, int result)
{
	if (result != UBD_IO_RES_BACK)
		return false;
	engine_restart(queue->queue.engine, tag->number);
	return true;
}

const struct driver_queue_type ubd_queue_type = {
	.size = sizeof(struct ubd_queue),
	.fetch = UBD_IO_FETCH_REQ,
	.commit = UBD_IO_COMMIT_AND_FETCH_REQ,
};

const struct driver_queue_type ubd_queue_type_plans = {
	.size = sizeof(struct ubd_queue),
	.fetch = UBD_IO_FETCH_REQ,
	.commit = UBD_IO_COMMIT_AND_FETCH_REQ,
	.prepare = plans_prepare,
	.open = plans_open,
	.close = plans_close,
	.answered = plans_answered,
};
