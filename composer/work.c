// SPDX-License-Identifier: MIT
/*
 * Work: requests that nodes make in the background, on ios of their own. It knows when a node is to
 * be asked, and nothing of what it then wants.
 */
#include "engine_internal.h"

#define BURST 32 /* requests begun before the kernel's have their turn again */

/* An io of the worker's that is free; there is one. */
static struct io *io_free(const struct worker *worker)
{
	struct io *io = worker->ios;

	while (io->is_working)
		io++;
	return io;
}

/* Asks one node until it has nothing to do or enough. False: its turn is over for now. */
static bool worker_ask(struct engine *engine, struct worker *worker)
{
	const struct target_type *type = worker->node->type;
	unsigned begun;

	for (begun = 0; worker->running < worker->count; begun++) {
		struct request request = { .kind = IO_SELF };
		uint64_t again = UINT64_MAX;
		struct io *io;

		if (begun == BURST)
			return false;
		if (!type->work(worker->node, engine_now(engine), &request, &again)) {
			worker->again = again;
			return true;
		}
		io = io_free(worker);
		io->is_working = true;
		worker->running++;
		engine->working++;
		io_work(io, &request);
	}
	worker->again = UINT64_MAX; /* asked when one of them has ended */
	return true;
}

void engine_timer(struct engine *engine, uint64_t when)
{
	if (when >= engine->timer_at)
		return;
	engine->timer_at = when;
	engine->config.backend->timer(engine->port->context, when);
}

/* The earliest time at which some worker wants to be asked. */
static void timer_ask(struct engine *engine)
{
	uint64_t earliest = UINT64_MAX;
	unsigned i;

	for (i = 0; i < engine->worker_count; i++)
		if (engine->workers[i].again < earliest)
			earliest = engine->workers[i].again;
	engine_timer(engine, earliest);
}

void work_ask(struct engine *engine)
{
	unsigned i;

	engine->work_is_wanted = false;
	if (!engine->is_live)
		return;
	engine_reap_all(engine); /* else nodes wait in vain for what the driver ended unseen */
	for (i = 0; i < engine->worker_count; i++) {
		struct worker *worker = &engine->workers[i];

		if (!worker->is_wanted)
			continue;
		worker->is_wanted = false;
		if (!worker_ask(engine, worker))
			worker->again = engine_now(engine);
		worker->is_wanted = false; /* what has ended meanwhile was followed by another question */
	}
	timer_ask(engine);
}

static void worker_wake(struct engine *engine, struct worker *worker)
{
	worker->is_wanted = engine->work_is_wanted = true;
}

void work_ended(struct io *io)
{
	struct engine *engine = io->engine;

	io->is_working = false;
	io->worker->running--;
	engine->working--;
	worker_wake(engine, io->worker);
}

static bool is_at_or_below(const struct node *node, const struct node *top)
{
	while (node && node != top)
		node = node->parent;
	return node;
}

void work_wake(struct engine *engine, const struct node *node)
{
	unsigned i;

	for (i = 0; i < engine->worker_count; i++)
		if (is_at_or_below(engine->workers[i].node, node))
			worker_wake(engine, &engine->workers[i]);
}

void engine_wake(struct engine *engine, const struct node *node)
{
	engine_enter(engine);
	work_wake(engine, node);
	engine_leave(engine);
}

bool engine_grow(struct engine *engine, struct node *child, uint64_t size)
{
	struct node *node = child->parent;
	uint64_t before = child->limits.size;

	assert(child->limits.is_extensible && size >= before);
	child->limits.size = size;
	if (node->type->grew && !node->type->grew(node, child->place)) {
		child->limits.size = before;
		return false;
	}
	engine_wake(engine, node);
	return true;
}

void engine_begin(struct engine *engine)
{
	unsigned i;

	engine_enter(engine);
	engine->is_live = true;
	for (i = 0; i < engine->worker_count; i++)
		worker_wake(engine, &engine->workers[i]);
	engine_leave(engine);
}

void engine_quiesce(struct engine *engine)
{
	engine->is_live = false;
	engine_end_waiting(engine);
}

bool engine_is_working(const struct engine *engine)
{
	return engine->working > 0;
}

void engine_tick(struct engine *engine)
{
	unsigned i;

	engine->timer_at = UINT64_MAX;
	engine_enter(engine);
	for (i = 0; i < engine->worker_count; i++)
		if (engine->workers[i].again <= engine_now(engine))
			worker_wake(engine, &engine->workers[i]);
	if (engine->watches)
		watches_look(engine);
	engine->work_is_wanted = true; /* for the next time, if that one came too early */
	engine_leave(engine);
}
