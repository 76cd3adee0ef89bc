// SPDX-License-Identifier: MIT
/*
 * Several queues on one engine: who is in it, what is left for other queues' threads, and when all may
 * go. It knows no plan and no ring.
 */
#include "engine_internal.h"

void ports_open(struct engine *engine)
{
	unsigned i;

	for (i = 0; i < engine->port_count; i++) {
		struct port *port = &engine->ports[i];

		port->answered_end = &port->answered;
		list_init(&port->again);
		port->is_idle = port->is_gone = true;
	}
	engine->port = engine->ports;
	(void)pthread_mutex_init(&engine->mutex, NULL); /* can't fail on Linux, nor its use below */
	engine_join(engine, 0, engine->config.context);
}

void engine_join(struct engine *engine, unsigned queue, void *context)
{
	struct port *port = &engine->ports[queue];

	engine_lock(engine, queue);
	port->context = context;
	port->is_idle = port->is_gone = false;
	engine->users++;
	engine_unlock(engine);
}

void engine_lock(struct engine *engine, unsigned queue)
{
	assert(queue < engine->port_count);
	if (engine->port_count > 1)
		(void)pthread_mutex_lock(&engine->mutex);
	engine->port = &engine->ports[queue];
}

/* Those that have something to do, or all. */
static void wake_others(struct engine *engine, bool all)
{
	unsigned i;

	for (i = 0; i < engine->port_count; i++) {
		struct port *port = &engine->ports[i];

		if (port->is_gone || port == engine->port || !(all || (port_has_work(engine, port) && !port->is_woken)))
			continue;
		port->is_woken = true;
		engine->config.backend->wake(port->context);
	}
}

void engine_unlock(struct engine *engine)
{
	assert(engine->depth == 0);
	if (engine->wakes)
		wake_others(engine, false);
	engine->wakes = false;
	if (engine->port_count > 1)
		(void)pthread_mutex_unlock(&engine->mutex);
}

void engine_look(struct engine *engine)
{
	engine->port->is_woken = false;
	engine_enter(engine);
	engine_leave(engine);
}

/* Only he by whom all are idle may wake the others: once they know, they go. */
static bool is_over(struct engine *engine)
{
	bool before = engine->is_over;
	unsigned i;

	engine->is_over = engine->working == 0;
	for (i = 0; i < engine->port_count; i++)
		engine->is_over &= engine->ports[i].is_idle;
	if (engine->is_over && !before)
		wake_others(engine, true);
	return engine->is_over;
}

bool engine_is_over(struct engine *engine, unsigned queue)
{
	bool result;

	engine_lock(engine, queue);
	engine->port->is_idle = true;
	result = is_over(engine);
	engine_unlock(engine);
	return result;
}

void engine_part(struct engine *engine, unsigned queue)
{
	engine_lock(engine, queue);
	engine->port->is_idle = engine->port->is_gone = true;
	(void)is_over(engine); /* others may wait for nobody else */
	engine_unlock(engine);
}

void port_wake(struct engine *engine, struct port *port)
{
	engine->wakes |= port != engine->port;
}

void port_make_dirty(struct io *io)
{
	struct port *port = io->port;

	if (io->dirty)
		return;
	io->dirty = true;
	io->next_dirty = port->dirty;
	port->dirty = io;
	port_wake(io->engine, port);
}

void port_answer(struct io *io, int result)
{
	struct engine *engine = io->engine;
	struct port *port = io->port;

	if (port == engine->port) {
		engine->config.backend->commit(port->context, io->tag, result, false);
		return;
	}
	io->result = result;
	io->next_answered = NULL;
	*port->answered_end = io;
	port->answered_end = &io->next_answered;
	port_wake(engine, port);
}

void port_commit(struct engine *engine)
{
	struct port *port = engine->port;
	struct io *io = port->answered;

	port->answered = io->next_answered;
	if (!port->answered)
		port->answered_end = &port->answered;
	engine->config.backend->commit(port->context, io->tag, io->result, false);
}
