// SPDX-License-Identifier: MIT
/*
 * Waiting: requests of the device that a node has put off, which hold nothing meanwhile, and are begun
 * again when it says so. It knows neither what they wait for nor for how long.
 */
#include "engine_internal.h"

static void list_init(struct io_list *list)
{
	*list = (struct io_list){ NULL, &list->first };
}

void waiting_init(struct engine *engine)
{
	list_init(&engine->waiting);
	list_init(&engine->again);
}

bool io_wait(struct io *io)
{
	struct engine *engine = io->engine;

	if (io->worker || !engine->is_live || engine->is_impatient)
		return false;
	assert(!io->held && !io->passed && !io->linked);
	engine_count(&engine->stats.put_off, 1);
	io->next_waiting = NULL;
	*engine->waiting.end = io;
	engine->waiting.end = &io->next_waiting;
	return true;
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
	waiting_go_on(engine);
	engine_leave(engine);
}

void engine_let_wait(struct engine *engine)
{
	engine->is_impatient = false;
}
