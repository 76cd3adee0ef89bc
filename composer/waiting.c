// SPDX-License-Identifier: MIT
/*
 * Waiting: requests of the device that a node has put off, which hold nothing meanwhile, and are begun
 * again when it says so. It knows neither what they wait for nor for how long.
 *
 * A suspended engine begins nothing, so that what waits, and what comes, can be left to another server.
 */
#include "engine_internal.h"

static void list_init(struct io_list *list)
{
	*list = (struct io_list){ NULL, &list->first };
}

static void list_add(struct io_list *list, struct io *io)
{
	io->next_waiting = NULL;
	*list->end = io;
	list->end = &io->next_waiting;
}

void waiting_init(struct engine *engine)
{
	list_init(&engine->waiting);
	list_init(&engine->again);
}

bool io_wait(struct io *io)
{
	struct engine *engine = io->engine;

	if (io->worker || engine->is_impatient || !(engine->is_live || engine->is_suspended))
		return false;
	assert(!io->held && !io->passed && !io->linked);
	engine_count(&engine->stats.put_off, 1);
	list_add(&engine->waiting, io);
	return true;
}

void waiting_hold_back(struct io *io)
{
	list_add(&io->engine->again, io);
}

/* Whoever is put off once more waits for the next time. */
void waiting_go_on(struct engine *engine)
{
	if (!engine->waiting.first)
		return;
	*engine->again.end = engine->waiting.first;
	engine->again.end = engine->waiting.end;
	list_init(&engine->waiting);
}

struct io *waiting_next(struct engine *engine)
{
	struct io *io = engine->again.first;

	if (!io)
		return NULL;
	engine->again.first = io->next_waiting;
	if (!engine->again.first)
		list_init(&engine->again);
	return io;
}

void engine_end_waiting(struct engine *engine)
{
	engine_enter(engine);
	engine->is_impatient = true;
	engine->is_suspended = false;
	waiting_go_on(engine);
	engine_leave(engine);
}

void engine_suspend(struct engine *engine)
{
	engine->is_suspended = true;
}

/* Its own sub-I/Os, a hold, or that a node is told of its end. */
static bool io_is_under_way(const struct io *io)
{
	return io->held || (io->passed ? io->flushes : io->sub_count > 0 && !io->linked);
}

bool engine_rests(struct engine *engine)
{
	unsigned tag;

	if (!engine->is_suspended)
		return false;
	engine_enter(engine);
	engine_reap_all(engine); /* what was handed down ends unseen */
	sub_ios_flush(engine);
	engine_leave(engine);
	for (tag = 0; tag < engine->config.depth; tag++)
		if (io_is_under_way(&engine->ios[tag]))
			return false;
	engine->is_live = false;
	return engine->working == 0;
}

void engine_let_wait(struct engine *engine)
{
	bool was_suspended = engine->is_suspended;

	engine->is_impatient = engine->is_suspended = false;
	if (was_suspended)
		engine_begin(engine);
}

static unsigned list_count(const struct io_list *list)
{
	const struct io *io;
	unsigned count = 0;

	for (io = list->first; io; io = io->next_waiting)
		count++;
	return count;
}

unsigned engine_waiting(const struct engine *engine)
{
	return list_count(&engine->waiting) + list_count(&engine->again);
}
