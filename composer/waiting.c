// SPDX-License-Identifier: MIT
/*
 * Waiting: requests of the device that a node has put off, which hold nothing meanwhile, and are begun
 * again when it says so. It knows neither what they wait for nor for how long.
 *
 * A suspended engine begins nothing, so that what waits, and what comes, can be left to another server.
 */
#include "engine_internal.h"

void list_init(struct io_list *list)
{
	*list = (struct io_list){ NULL, &list->first };
}

static void list_add(struct io_list *list, struct io *io)
{
	io->next_waiting = NULL;
	*list->end = io;
	list->end = &io->next_waiting;
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
	list_add(&io->port->again, io);
}

/* Whoever is put off once more waits for the next time. */
void waiting_go_on(struct engine *engine)
{
	struct io *io, *next;

	for (io = engine->waiting.first; io; io = next) {
		next = io->next_waiting;
		list_add(&io->port->again, io);
		port_wake(engine, io->port);
	}
	list_init(&engine->waiting);
}

struct io *waiting_next(struct port *port)
{
	struct io *io = port->again.first;

	port->again.first = io->next_waiting;
	if (!port->again.first)
		list_init(&port->again);
	return io;
}

void engine_end_waiting(struct engine *engine)
{
	engine_enter(engine);
	engine->is_impatient = true;
	engine->is_suspended = false;
	engine->wakes = true; /* others may have been held back */
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
	unsigned i;

	if (!engine->is_suspended)
		return false;
	engine_enter(engine);
	engine_reap_all(engine); /* what was handed down ends unseen */
	sub_ios_flush(engine);
	engine_leave(engine);
	for (i = 0; i < engine->port_count; i++)
		if (port_has_work(engine, &engine->ports[i]))
			return false; /* an answer that another queue is to give */
	for (i = 0; i < engine->tag_count; i++)
		if (io_is_under_way(&engine->ios[i]))
			return false;
	engine->is_live = false;
	return engine->working == 0;
}

void engine_let_wait(struct engine *engine)
{
	bool was_suspended = engine->is_suspended;

	engine->is_impatient = engine->is_suspended = false;
	engine->wakes = true; /* others may have been held back */
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
	unsigned count = list_count(&engine->waiting), i;

	for (i = 0; i < engine->port_count; i++)
		count += list_count(&engine->ports[i].again);
	return count;
}
