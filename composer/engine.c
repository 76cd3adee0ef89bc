// SPDX-License-Identifier: MIT
/*
 * The engine's outside: tags, start and commit. Plans are frame.c's, leaves sub_io.c's, work work.c's,
 * and memory engine_memory.c's.
 */
#include "engine_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void trace_request(const struct io *io, const char *what, int result)
{
	fprintf(stderr, "%s tag=%u %s offset=%" PRIu64 " length=%" PRIu64 " flags=%u result=%d\n",
		what, io->tag, io_kind_name(io->request.kind), io->request.offset,
		io->request.length, io->request.flags, result);
}

static void io_start(struct io *io);

/*
 * Granted frames go on; of this queue's what was put off is begun again, what others have ended is
 * committed, and what was added is submitted.
 */
static void settle(struct engine *engine)
{
	struct port *port = engine->port;

	while (engine->ready || port_has_work(engine, port) || engine->given_up) {
		struct frame *frame = engine->ready;
		struct io *io = port->dirty;

		if (frame) {
			engine->ready = frame->next_ready;
			if (!engine->ready)
				engine->ready_end = &engine->ready;
			if (!frame->io->passed) /* else its bytes are fetched: all is planned again then */
				frame_go(frame);
			continue;
		}
		if (port_begins_again(engine, port)) {
			io_start(waiting_next(port));
			continue;
		}
		if (engine->given_up) {
			given_up_end(engine);
			continue;
		}
		if (port->answered) {
			port_commit(engine);
			continue;
		}
		port->dirty = io->next_dirty;
		io->dirty = false;
		sub_io_submit(io);
	}
}

void engine_settle(struct engine *engine)
{
	settle(engine);
	while (engine->work_is_wanted) {
		work_ask(engine);
		settle(engine);
	}
}

void io_ended(struct io *io, int result)
{
	struct engine *engine = io->engine;

	io_let_go(io);
	if (io->put_off && io->put_off == result && io_wait(io))
		return;
	if (result < 0)
		engine_count(&engine->stats.errors, 1);
	else if (io->request.kind == IO_READ || io->request.kind == IO_WRITE)
		result = (int)io->request.length;
	if (engine->config.trace)
		trace_request(io, "ended", result);
	if (io->worker)
		work_ended(io);
	else
		port_answer(io, result);
}

/* What the driver should never hand us, as it knows our limits; a leaf must not see it. */
static int request_check(const struct engine *engine, const struct request *request)
{
	const struct limits *limits = &engine->config.root->limits;
	uint64_t mask = limits->logical_block_size - 1;

	if (request->kind == IO_FLUSH)
		return 0;
	if (request->offset > limits->size || request->length > limits->size - request->offset)
		return -EINVAL;
	if ((request->offset | request->length) & mask || request->length == 0)
		return -EINVAL;
	if (request->data.home == DATA_REQUEST && request->length > engine->config.max_io)
		return -EINVAL;
	if (limits->read_only && request->kind != IO_READ)
		return -EROFS;
	return 0;
}

void io_reset(struct io *io)
{
	io->used = io->scratch_used = 0;
	io->sub_count = 0;
	io->unsettled = 0;
	io->put_off = 0;
	io->linked = io->cleared = io->must_fetch = false;
}

static void io_begin(struct io *io)
{
	int result = request_check(io->engine, &io->request);

	io_reset(io);
	if (result < 0)
		io_ended(io, result);
	else if (!io_pass_whole(io))
		node_start(io, io->engine->config.root, &io->request, NULL, NULL);
}

void io_work(struct io *io, const struct request *request)
{
	struct engine *engine = io->engine;

	io->request = *request;
	io->gathered = io->fetched = true; /* it is neither linked nor handed down */
	engine_count(&engine->stats.works, 1);
	if (engine->config.trace)
		trace_request(io, "work", 0);
	io_reset(io);
	node_start(io, io->worker->node, &io->request, NULL, NULL);
}

static bool fetches_first(const struct engine *engine, const struct request *request)
{
	const struct node *root = engine->config.root;

	return engine->fetches_first &&
		!(engine->asks_root && request_check(engine, request) == 0 &&
			root->type->is_plain(root, request));
}

static void io_start(struct io *io)
{
	struct engine *engine = io->engine;

	if (!io->fetched && fetches_first(engine, &io->request))
		io->passed = engine->config.backend->pass(io->port->context, io->tag, NULL);
	else
		io_begin(io);
}

/* The tag's of the queue whose thread this is. */
static struct io *io_of(const struct engine *engine, unsigned tag)
{
	assert(tag < engine->config.depth);
	return &engine->ios[(size_t)(engine->port - engine->ports) * engine->config.depth + tag];
}

void engine_start(struct engine *engine, unsigned tag, const struct request *request, void *data)
{
	struct io *io = io_of(engine, tag);

	engine_enter(engine);
	if (io->passed)
		io_release(io); /* that its tag comes again says that it has ended */
	io->request = *request;
	io->data = data;
	io->gathered = false;
	io->fetched = request->kind != IO_WRITE || !engine->config.backend->pass;
	engine_count(&engine->stats.requests[request->kind], 1);
	engine_count(&engine->stats.bytes[request->kind], request->length);
	if (engine->config.trace)
		trace_request(io, "request", 0);
	if (engine->is_suspended)
		waiting_hold_back(io);
	else
		io_start(io);
	engine_leave(engine);
}

void engine_restart(struct engine *engine, unsigned tag)
{
	struct io *io = io_of(engine, tag);

	assert(io->passed);
	engine_enter(engine);
	engine_count(&engine->stats.restarted, 1);
	engine_count(&engine->stats.gathered, 1);
	io->gathered = io->fetched = true;
	io_leave(io);
	sub_ios_flush(engine);
	if (engine->is_suspended && !io->left)
		waiting_hold_back(io); /* it holds nothing that others wait for */
	else
		io_begin(io);
	engine_leave(engine);
}

/* Whether one of its frames waits for a hold. */
static bool io_is_waiting(const struct io *io)
{
	const struct frame *frame;

	for (frame = io->passed ? NULL : io->held; frame; frame = frame->next_held)
		if (frame->hold.mode != HOLD_NONE && frame->hold.waiting)
			return true;
	return false;
}

void engine_reap_all(struct engine *engine)
{
	unsigned i;

	for (i = 0; i < engine->tag_count; i++)
		if (io_has_ended(&engine->ios[i]))
			io_release(&engine->ios[i]);
}

void engine_poll(struct engine *engine)
{
	const struct engine_backend *backend = engine->config.backend;
	bool is_waiting;
	unsigned i;

	engine_enter(engine);
	engine_reap_all(engine);
	sub_ios_flush(engine);
	engine_leave(engine);
	is_waiting = engine->postponed != NULL;
	for (i = 0; i < engine->io_count; i++)
		is_waiting |= io_is_waiting(&engine->ios[i]);
	if (is_waiting)
		backend->poll(engine->port->context);
}

void engine_flush_failed(struct leaf *leaf)
{
	__atomic_store_n(&leaf->flush_failed, true, __ATOMIC_RELAXED);
}

bool child_flushes(const struct node *child)
{
	unsigned believed = 0, i;

	if (child->leaf)
		return !__atomic_load_n(&child->leaf->flush_failed, __ATOMIC_RELAXED);
	for (i = 0; i < child->child_count; i++)
		believed += child_flushes(child->children[i]);
	return child->type->redundant ? believed > 0 : believed == child->child_count;
}

/*
 * A failed flush may have cost what it should have made durable, and the kernel tells of that only
 * once: no later flush of the leaf is believed until it is opened anew.
 */
int flush_judge(struct leaf *leaf, int result)
{
	if (result < 0 && leaf_is_hung(leaf))
		return result; /* it has not failed yet: watch.c judges it when it ends */
	if (result < 0)
		engine_flush_failed(leaf);
	else if (__atomic_load_n(&leaf->flush_failed, __ATOMIC_RELAXED))
		result = -EIO;
	return result;
}

const struct engine_stats *engine_stats(const struct engine *engine)
{
	return &engine->stats;
}
