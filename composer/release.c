// SPDX-License-Identifier: MIT
/*
 * What a frame has until its request has ended: its hold, and the node's wish to be told. Of a
 * request that was handed down nobody tells us its end; it is looked for when somebody wants to
 * know, and seen at the latest when its tag comes again. A request that is planned again keeps what its
 * first plan held until the second one has it. It knows no plan and no leaf.
 */
#include "engine_internal.h"

#include <string.h>

static void frame_granted(void *context, struct hold_entry *entry)
{
	struct engine *engine = context;
	struct frame *frame = container_of(entry, struct frame, hold);

	if (!frame->is_held)
		return; /* it is left: who follows finds it granted */
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

/* The node is told, and the hold ends. */
static void frame_let_go(struct frame *frame)
{
	struct engine *engine = frame->io->engine;

	if (frame->plan.tell)
		frame->node->type->ended(frame->node, &frame->request, &frame->plan);
	if (frame->hold.mode != HOLD_NONE)
		hold_release(
			&engine->holds[frame->node->index], &frame->hold, frame_granted, engine);
}

void frame_release(struct frame *frame)
{
	struct frame **link = &frame->io->held;

	while (*link != frame)
		link = &(*link)->next_held;
	*link = frame->next_held;
	frame->is_held = false;
	frame_let_go(frame);
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
	io->sub_count = 0; /* they were the driver's */
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

/* A copy where the next plan doesn't come, with the hold: of its plan no more than who is told needs. */
static struct frame *frame_move(struct frame *frame, char *to)
{
	struct frame *copy = (struct frame *)to;
	const struct node *node = frame->node;

	*copy = *frame;
	copy->is_held = false;
	copy->plan.ops = NULL;
	copy->plan.count = 0;
	if (node->type->io_state_size) {
		copy->plan.io_state = to + arena_aligned(sizeof(*copy));
		memcpy(copy->plan.io_state, frame->plan.io_state, node->type->io_state_size);
	}
	hold_replace(&frame->io->engine->holds[node->index], &frame->hold, &copy->hold);
	return copy;
}

void io_leave(struct io *io)
{
	struct frame *frame, *next, *copy;
	size_t used = 0;

	io_not_passed(io);
	assert(!io->left);
	for (frame = io->held; frame; frame = next) {
		next = frame->next_held;
		if (frame->hold.mode == HOLD_NONE) {
			frame_let_go(frame);
			continue;
		}
		copy = frame_move(frame, io->kept + used);
		used += frame_kept_size(frame->node);
		assert(used <= io->kept_size);
		copy->next_held = io->left;
		io->left = copy;
	}
	io->held = NULL;
}

/* The link to what was left of the same request of the same node, and has been followed or not. */
static struct frame **find_left(const struct frame *frame, bool is_followed)
{
	const struct request *request = &frame->request, *other;
	struct frame **link;

	for (link = &frame->io->left; *link; link = &(*link)->next_held) {
		other = &(*link)->request;
		if ((*link)->node == frame->node && other->kind == request->kind &&
			other->offset == request->offset && other->length == request->length &&
			((*link)->hold.mode == HOLD_NONE) == is_followed)
			break;
	}
	return link;
}

bool frame_follow(struct frame *frame)
{
	struct frame *left = *find_left(frame, false);

	if (!left)
		return false;
	hold_replace(&frame->io->engine->holds[frame->node->index], &left->hold, &frame->hold);
	return true;
}

void frame_followed(struct frame *frame)
{
	struct frame **link = find_left(frame, true), *left = *link;

	if (!left)
		return;
	*link = left->next_held;
	frame_let_go(left);
}

void io_let_go(struct io *io)
{
	while (io->left) {
		struct frame *left = io->left;

		io->left = left->next_held;
		frame_let_go(left);
	}
}

void release_oldest(struct hold_list *list)
{
	while (list->first) {
		struct frame *frame = container_of(list->first, struct frame, hold);

		if (!io_has_ended(frame->io))
			return;
		io_release(frame->io);
	}
}

void release_told(struct engine *engine)
{
	struct io *io, *next;

	for (io = engine->told; io; io = next) {
		next = io->next_told;
		if (io_has_ended(io))
			io_release(io);
	}
}
