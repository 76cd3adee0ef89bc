// SPDX-License-Identifier: MIT
/*
 * A disk that a living daemon leaves to the next one. It knows no node, and not what requests wait for.
 *
 * Most often by the driver's word, hand_over(): no request comes any more, all that came are answered, and the disk
 * waits. That all are can't be where some wait for room that the next daemon may have. With "recovery": "reissue" those stay
 * unanswered, and we end as if we had been killed:
 *
 *   suspended   no engine begins a request: neither those put off nor those that come. What had been begun is answered.
 *   at rest     the queues' threads do nothing any more, and have tags in their hands. The caller unloads nodes, flushes leaves
 *               and marks labels clean, as at any stop: whoever has requests with us sees one that takes its time.
 *   gone        the process ends, and with it the driver's session. What is unanswered comes again to the next one.
 *
 * Of those no byte was written, but what a first try may have left in clusters that nothing refers to: so nothing is done
 * twice. What we are killed in, before or after, is an end as any other: all that is unanswered comes again. While suspended
 * we can still go on as before.
 */
#include "frontend_type.h"
#include "log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define REST_MS 3000 /* as hand_over(): less than who asked for it waits … */
#define REST_AFTER_MS 1500 /* … and so with what that has taken before */
#define REST_LOOK_MS 5
#define MS UINT64_C(1000000) /* in ns */
#define LEAVE_MS 50 /* how often the driver is asked again for commands that have come to it since */

static void end_waiting(struct engine *engine, void *argument)
{
	(void)argument;
	engine_end_waiting(engine);
}

void frontend_end_waiting(struct frontend *frontend)
{
	frontend_call_all(frontend, end_waiting, NULL);
}

static void let_wait(struct engine *engine, void *argument)
{
	(void)argument;
	engine_let_wait(engine);
}

static void suspend(struct engine *engine, void *argument)
{
	(void)argument;
	engine_suspend(engine);
}

static void count(struct engine *engine, void *argument)
{
	unsigned *waiting = argument;

	*waiting += engine_waiting(engine);
}

static unsigned waiting_count(struct frontend *frontend)
{
	unsigned waiting = 0;

	frontend_call_all(frontend, count, &waiting);
	return waiting;
}

struct rest {
	struct queue *queue;
	bool stays; /* its thread, if it is at rest */
	bool is_there;
};

static void rest(struct engine *engine, void *argument)
{
	struct rest *asked = argument;

	asked->is_there = engine_rests(engine);
	if (asked->is_there && asked->stays)
		queue_stay(asked->queue);
}

static bool all_rest(struct frontend *frontend, bool stays)
{
	unsigned i;

	for (i = 0; i < frontend->queue_count; i++) {
		struct rest asked = { .queue = &frontend->queues[i]->queue, .stays = stays };

		if (!queue_call(asked.queue, rest, &asked) || !asked.is_there)
			break;
	}
	return i == frontend->queue_count;
}

static void all_go_on(struct frontend *frontend)
{
	unsigned i;

	for (i = 0; i < frontend->queue_count; i++)
		queue_go_on(&frontend->queues[i]->queue);
}

/* 0, or -ETIMEDOUT: somebody's request takes too long, and all is as before. */
static int come_to_rest(struct frontend *frontend, unsigned ms)
{
	const struct timespec pause = { .tv_nsec = REST_LOOK_MS * MS };
	uint64_t end = queue_now(NULL) + ms * MS;

	frontend_call_all(frontend, suspend, NULL);
	while (!all_rest(frontend, false) || !all_rest(frontend, true)) {
		all_go_on(frontend); /* who rests already, beside one whose last request has failed just now */
		if (queue_now(NULL) >= end) {
			frontend_call_all(frontend, let_wait, NULL);
			return -ETIMEDOUT;
		}
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	}
	return 0;
}

/* The driver waits for all that we have. */
static int hand_over_answered(struct frontend *frontend)
{
	int result;

	frontend_end_waiting(frontend);
	result = frontend->type->hand_over(&frontend->control, frontend->id);
	if (result < 0)
		frontend_call_all(frontend, let_wait, NULL);
	frontend->is_left = result >= 0;
	return result;
}

/* Somebody may come to wait while the driver does: then it is late for nothing else. */
static int hand_over_unanswered(struct frontend *frontend)
{
	unsigned waiting = waiting_count(frontend), ms = REST_MS;
	int result;

	if (!waiting) {
		result = frontend->type->hand_over(&frontend->control, frontend->id);
		frontend->is_left = result >= 0;
		waiting = result == -ETIMEDOUT ? waiting_count(frontend) : 0;
		if (!waiting)
			return result;
		ms = REST_AFTER_MS;
	}
	result = come_to_rest(frontend, ms);
	frontend->is_unanswered = result >= 0;
	if (result >= 0)
		log_say("%u requests that wait for room are left to the next daemon", waiting);
	return result;
}

int frontend_hand_over(struct frontend *frontend, struct err *err)
{
	int result = -EOPNOTSUPP;

	if (frontend->type->hand_over && frontend->tree->device.recovery == RECOVERY_REISSUE)
		result = hand_over_unanswered(frontend);
	else if (frontend->type->hand_over && frontend->tree->device.recovery != RECOVERY_NONE)
		result = hand_over_answered(frontend);
	if (result < 0)
		return err_add(err, "%s: the driver can't leave the disk to another daemon: %s",
			frontend->path, strerror(-result));
	frontend->is_added = false;
	return 0;
}

bool frontend_is_unanswered(const struct frontend *frontend)
{
	return frontend->is_unanswered;
}

void frontend_leave(struct frontend *frontend)
{
	unsigned i;

	for (i = 0; i < frontend->queue_count; i++)
		while (!driver_queue_ends_within(frontend->queues[i], LEAVE_MS))
			(void)frontend->type->hand_over(&frontend->control, frontend->id);
}
