// SPDX-License-Identifier: MIT
/*
 * Several queues, in turn: their tags, whose thread is in the engine, and which are to be woken, or to
 * look for what was handed down, in a moment. Each entry into the engine is one queue's.
 */
#include "sim.h"

#include <string.h>

static struct queue_state {
	bool is_woken, polls;
} queues[QUEUES_MAX];
static unsigned queue_count = 1;

bool queues_choose(uint64_t seed)
{
	unsigned draw = (unsigned)((seed * UINT64_C(0xda942042e4dd58b5) >> 33) % 4);

	queue_count = draw < 2 ? 1 : draw == 2 ? 2 : 4;
	totals.of_queues += queue_count > 1;
	return queue_count > 1;
}

unsigned queues_open(bool is_shared)
{
	memset(queues, 0, sizeof(queues));
	if (!is_shared)
		queue_count = 1; /* else each would have an engine of its own */
	return queue_count;
}

void queues_close(void)
{
	unsigned i;

	for (i = 0; i < queue_count; i++)
		engine_close(backend.engine);
}

unsigned queue_depth(void)
{
	return TAGS / queue_count;
}

void *queue_context(unsigned queue)
{
	return &queues[queue];
}

unsigned queue_of(const void *context)
{
	return (unsigned)((const struct queue_state *)context - queues);
}

unsigned queue_of_tag(unsigned tag)
{
	return tag / queue_depth();
}

void queue_enter(unsigned queue)
{
	engine_lock(backend.engine, queue);
}

void queue_leave(void)
{
	engine_unlock(backend.engine);
}

void queue_wake_node(const struct node *node)
{
	queue_enter(0);
	engine_wake(backend.engine, node);
	queue_leave();
}

void queue_wakes(void *context)
{
	struct queue_state *queue = context;

	if (backend.engine->port->context == context)
		sim_fail("queue %u is woken by itself", queue_of(context));
	totals.woken++;
	queue->is_woken = true;
}

void queue_polls(void *context)
{
	struct queue_state *queue = context;

	queue->polls = true;
}

unsigned queues_pending(void)
{
	unsigned i, count = 0;

	for (i = 0; i < queue_count; i++)
		count += queues[i].is_woken + queues[i].polls;
	return count;
}

static unsigned any_queue(void)
{
	return queue_count > 1 ? random_below(queue_count) : 0;
}

bool queues_poll(bool is_idle)
{
	unsigned i, from = any_queue();

	for (i = 0; i < queue_count; i++) {
		struct queue_state *queue = &queues[(from + i) % queue_count];

		if (!queue->polls || !(is_idle || random_one_in(4)))
			continue;
		queue->polls = false;
		queue_enter((from + i) % queue_count);
		engine_poll(backend.engine);
		queue_leave();
		return true;
	}
	return false;
}

bool queues_look(bool is_idle)
{
	unsigned i, from = any_queue();

	for (i = 0; i < queue_count; i++) {
		struct queue_state *queue = &queues[(from + i) % queue_count];

		if (!queue->is_woken || !(is_idle || random_one_in(4)))
			continue;
		queue->is_woken = false;
		queue_enter((from + i) % queue_count);
		engine_look(backend.engine);
		queue_leave();
		return true;
	}
	return false;
}
