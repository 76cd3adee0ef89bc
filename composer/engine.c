// SPDX-License-Identifier: MIT
/*
 * The engine's outside: tags, start and commit, memory. Plans are frame.c's, leaves sub_io.c's.
 */
#include "engine_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ARENAS_MAX (UINT64_C(256) << 20) /* all tags of one queue together */

static void trace_request(const struct io *io, const char *what, int result)
{
	fprintf(stderr, "%s tag=%u %s offset=%" PRIu64 " length=%" PRIu64 " flags=%u result=%d\n",
		what, io->tag, io_kind_name(io->request.kind), io->request.offset,
		io->request.length, io->request.flags, result);
}

void engine_enter(struct engine *engine)
{
	engine->depth++;
}

/* The outermost call leaves: granted frames go on, and what was added is submitted. */
void engine_leave(struct engine *engine)
{
	if (engine->depth > 1) {
		engine->depth--;
		return;
	}
	while (engine->ready || engine->dirty) {
		struct frame *frame = engine->ready;
		struct io *io = engine->dirty;

		if (frame) {
			engine->ready = frame->next_ready;
			if (!engine->ready)
				engine->ready_end = &engine->ready;
			if (!frame->io->passed) /* else its bytes are fetched: all is planned again then */
				frame_go(frame);
			continue;
		}
		engine->dirty = io->next_dirty;
		io->dirty = false;
		sub_io_submit(io);
	}
	engine->depth--;
}

void io_ended(struct io *io, int result)
{
	struct engine *engine = io->engine;

	if (result < 0)
		engine_count(&engine->stats.errors, 1);
	else if (io->request.kind == IO_READ || io->request.kind == IO_WRITE)
		result = (int)io->request.length;
	if (engine->config.trace)
		trace_request(io, "ended", result);
	engine->config.backend->commit(engine->config.context, io->tag, result, false);
}

/* What the driver should never hand us, as it knows our limits; a leaf must not see it. */
static int request_check(const struct engine *engine, const struct request *request)
{
	const struct limits *limits = &engine->config.tree->root->limits;
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

static void io_begin(struct io *io)
{
	struct engine *engine = io->engine;
	int result = request_check(engine, &io->request);

	io->used = 0;
	io->sub_count = 0;
	io->unsettled = 0;
	io->linked = io->cleared = false;
	if (result < 0)
		io_ended(io, result);
	else
		node_start(io, engine->config.tree->root, &io->request, NULL, NULL);
}

void engine_start(struct engine *engine, unsigned tag, const struct request *request, void *data)
{
	struct io *io = &engine->ios[tag];

	assert(tag < engine->config.depth);
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
	io_begin(io);
	engine_leave(engine);
}

void engine_restart(struct engine *engine, unsigned tag)
{
	struct io *io = &engine->ios[tag];

	assert(io->passed);
	engine_enter(engine);
	io_release(io);
	engine_count(&engine->stats.restarted, 1);
	engine_count(&engine->stats.gathered, 1);
	io->gathered = io->fetched = true;
	io_begin(io);
	engine_leave(engine);
}

void engine_poll(struct engine *engine)
{
	const struct engine_backend *backend = engine->config.backend;
	bool is_waiting = false;
	unsigned tag;

	engine_enter(engine);
	for (tag = 0; tag < engine->config.depth; tag++) {
		struct io *io = &engine->ios[tag];

		if (io->passed && backend->ended(engine->config.context, tag))
			io_release(io);
	}
	engine_leave(engine);
	for (tag = 0; tag < engine->config.depth; tag++)
		is_waiting |= engine->ios[tag].held && !engine->ios[tag].passed;
	if (is_waiting)
		backend->poll(engine->config.context);
}

const struct engine_stats *engine_stats(const struct engine *engine)
{
	return &engine->stats;
}

unsigned engine_fan_out_max(const struct engine *engine)
{
	return engine->fan_out_max;
}

size_t engine_memory(const struct engine *engine)
{
	return engine->memory;
}

static int engine_allocate(struct engine *engine)
{
	const struct engine_config *config = &engine->config;
	size_t ios = config->depth * sizeof(*engine->ios);
	size_t holds = config->tree->node_count * sizeof(*engine->holds);
	size_t subs = (config->tree->leaf_count + 1) * sizeof(*engine->last_subs);
	size_t arenas = config->depth * engine->arena_size;

	engine->ios = calloc(1, ios);
	engine->holds = calloc(1, holds);
	engine->last_subs = calloc(1, subs);
	engine->arenas = calloc(1, arenas);
	engine->memory = sizeof(*engine) + ios + holds + subs + arenas;
	return engine->ios && engine->holds && engine->last_subs && engine->arenas ? 0 : -1;
}

int engine_open(struct engine **out, const struct engine_config *config, struct err *err)
{
	struct arena_need need = arena_need(config->tree, config->max_io);
	struct engine *engine;
	unsigned tag;

	*out = NULL;
	if (need.bytes > ARENAS_MAX / config->depth)
		return err_add(err,
			"%s: one request may need %" PRIu64 " bytes, which is over the limit of %" PRIu64
			" for queue_depth %u; lower queue_depth or max_io_size",
			config->tree->name, need.bytes, ARENAS_MAX / config->depth, config->depth);
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return err_add(err, "out of memory");
	*out = engine;
	engine->config = *config;
	engine->arena_size = need.bytes;
	engine->fan_out_max = (unsigned)need.sub_ios;
	engine->ready_end = &engine->ready;
	if (engine_allocate(engine) < 0) {
		engine_close(engine);
		*out = NULL;
		return err_add(err, "out of memory for %u requests of %" PRIu64 " bytes",
			config->depth, need.bytes);
	}
	for (tag = 0; tag < config->depth; tag++) {
		engine->ios[tag].engine = engine;
		engine->ios[tag].tag = tag;
		engine->ios[tag].arena = engine->arenas + tag * engine->arena_size;
	}
	return 0;
}

void engine_close(struct engine *engine)
{
	if (!engine)
		return;
	free(engine->ios);
	free(engine->holds);
	free(engine->last_subs);
	free(engine->arenas);
	free(engine);
}
