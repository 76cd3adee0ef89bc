// SPDX-License-Identifier: MIT
/*
 * What a frame has until its request has ended: its hold, and the node's wish to be told. Of a
 * request that was handed down nobody tells us its end; it is looked for when somebody wants to
 * know, and seen at the latest when its tag comes again. It knows no plan and no leaf.
 */
#include "engine_internal.h"

static void frame_granted(void *context, struct hold_entry *entry)
{
	struct engine *engine = context;
	struct frame *frame = container_of(entry, struct frame, hold);

	frame->next_ready = NULL;
	*engine->ready_end = frame;
	engine->ready_end = &frame->next_ready;
}

void frame_keep(struct frame *frame)
{
	frame->is_held = true;
	frame->next_held = frame->io->held;
	frame->io->held = frame;
}

void frame_release(struct frame *frame)
{
	struct engine *engine = frame->io->engine;
	struct frame **link = &frame->io->held;

	while (*link != frame)
		link = &(*link)->next_held;
	*link = frame->next_held;
	frame->is_held = false;
	if (frame->plan.tell)
		frame->node->type->ended(frame->node, &frame->request, &frame->plan);
	if (frame->hold.mode != HOLD_NONE)
		hold_release(
			&engine->holds[frame->node->index], &frame->hold, frame_granted, engine);
}

/* What has a hold is looked for when somebody wants that, or asks for work. */
static bool is_told_soon(const struct frame *frame)
{
	return frame->plan.tell && frame->hold.mode == HOLD_NONE;
}

void io_passed(struct io *io)
{
	struct engine *engine = io->engine;
	const struct frame *frame;

	io->passed = true;
	for (frame = io->held; frame && !is_told_soon(frame); frame = frame->next_held)
		;
	if (!frame)
		return;
	io->told_link = &engine->told;
	io->next_told = engine->told;
	if (engine->told)
		engine->told->told_link = &io->next_told;
	engine->told = io;
}

static void io_not_passed(struct io *io)
{
	io->passed = false;
	io->engine->flushing -= io->flushes;
	io->flushes = false;
	if (!io->told_link)
		return;
	*io->told_link = io->next_told;
	if (io->next_told)
		io->next_told->told_link = io->told_link;
	io->told_link = NULL;
}

void io_release(struct io *io)
{
	io_not_passed(io);
	while (io->held)
		frame_release(io->held);
}

struct frame *frames_release(struct io *io)
{
	struct frame *root;

	io_not_passed(io);
	while (io->held && (io->held->parent || io->held->hold.mode == HOLD_NONE))
		frame_release(io->held);
	root = io->held; /* the first that took one is the last of the list */
	if (root && root->plan.tell)
		root->node->type->ended(root->node, &root->request, &root->plan);
	return root;
}

static bool has_ended(const struct io *io)
{
	const struct engine *engine = io->engine;

	return io->passed && engine->config.backend->ended(engine->config.context, io->tag);
}

void release_oldest(struct hold_list *list)
{
	while (list->first) {
		struct frame *frame = container_of(list->first, struct frame, hold);

		if (!has_ended(frame->io))
			return;
		io_release(frame->io);
	}
}

void release_told(struct engine *engine)
{
	struct io *io, *next;

	for (io = engine->told; io; io = next) {
		next = io->next_told;
		if (has_ended(io))
			io_release(io);
	}
}
