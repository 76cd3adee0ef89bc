// SPDX-License-Identifier: MIT
/* The engine's clock, and its timer as a timeout in the ring: one at most, which is moved. */
#include "queue.h"

#include <time.h>

#define SECOND UINT64_C(1000000000)

uint64_t queue_now(void *context)
{
	struct timespec now;

	(void)context;
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* can't fail with this clock */
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void timer_ended(struct event *event, int result)
{
	struct queue *queue = container_of(event, struct queue, timer.event);

	(void)result; /* -ETIME */
	queue->timer.is_set = false;
	engine_tick(queue->engine);
}

/* Moved, or it has ended in the meantime and the tick will set it anew. */
static void timer_moved(struct event *event, int result)
{
	(void)event;
	(void)result;
}

void queue_timer_set(void *context, uint64_t when)
{
	struct queue *queue = context;
	struct queue_timer *timer = &queue->timer;
	struct event *event = timer->is_set ? &timer->moved : &timer->event;
	struct io_uring_sqe *sqe = uring_sqe(&queue->uring, event, 1);

	timer->event.end = timer_ended;
	timer->moved.end = timer_moved;
	/* The kernel copies it when the SQE is submitted; of two, the later call's is the earlier time. */
	timer->when = (struct __kernel_timespec){
		.tv_sec = (long long)(when / SECOND),
		.tv_nsec = (long long)(when % SECOND),
	};
	if (timer->is_set) {
		io_uring_prep_timeout_update(sqe, &timer->when, (uintptr_t)&timer->event,
			IORING_TIMEOUT_ABS);
		sqe->user_data = (uintptr_t)event;
		return;
	}
	io_uring_prep_timeout(sqe, &timer->when, 0, IORING_TIMEOUT_ABS);
	sqe->user_data = (uintptr_t)event;
	timer->is_set = true;
}
