// SPDX-License-Identifier: MIT
/*
 * Frames: one target's plan being carried out, wave by wave. It knows plans, and of a target only
 * hold(), map() and resume(); leaves are sub_io.c's, and what stays until the end is release.c's.
 */
#include "engine_internal.h"

#include <inttypes.h>
#include <errno.h>
#include <string.h>

static void trace_op(const struct frame *frame, const struct op *op)
{
	fprintf(stderr, "op tag=%u node=%s wave=%u child=%u %s offset=%" PRIu64 " length=%" PRIu64
			" flags=%u\n",
		frame->io->tag, frame->node->id, op->wave, op->child,
		io_kind_name(op->request.kind), op->request.offset, op->request.length,
		op->request.flags);
}

/* Keeps io->unsettled: whether the frame must hear of it when all that is under way succeeds. */
static void frame_settle(struct frame *frame, bool unsettled)
{
	if (frame->unsettled == unsettled)
		return;
	frame->unsettled = unsettled;
	frame->io->unsettled += unsettled ? 1 : -1u;
}

/* Ops that ask no child. */
static void op_start_own(struct frame *frame, struct op *op)
{
	const struct data *data = &op->request.data;
	struct io *io = frame->io;
	char *bytes;

	if (!io->fetched) { /* never ends: all of this is planned again */
		io_fetch(io);
		return;
	}
	if (op->request.kind == IO_SELF) {
		engine_count(&io->engine->stats.selfs, 1);
		node_start(io, frame->node, &op->request, frame, op);
		return;
	}
	bytes = (data->home == DATA_SCRATCH ? io->scratch : (char *)io->data) + data->offset;
	io->cleared = true;
	if (op->request.kind == IO_COPY)
		memcpy(bytes, io->scratch + op->request.offset, op->request.length);
	else
		memset(bytes, 0, op->request.length);
	op_ended(io, frame, op, 0);
}

static void op_start(struct frame *frame, struct op *op)
{
	struct io *io = frame->io;

	frame->pending++;
	if (io->engine->config.trace)
		trace_op(frame, op);
	if (op->request.kind == IO_CLEAR || op->request.kind == IO_COPY ||
		op->request.kind == IO_SELF) {
		op_start_own(frame, op);
		return;
	}
	node_start(io, frame->node->children[op->child], &op->request, frame, op);
}

/* The first error in op order, which is the plan's own order. */
static int frame_result(const struct frame *frame)
{
	const struct plan *plan = &frame->plan;
	unsigned i;

	if (plan->result != PLAN_RUNNING)
		return plan->result;
	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].result < 0)
			return plan->ops[i].result;
	return 0;
}

static bool crosses(const struct request *request, uint32_t power)
{
	return (request->offset ^ (request->offset + request->length - 1)) >= power;
}

/* Ops on other children than the first: a role's, which is only read but for work(). */
static uint64_t count_others(const struct frame *frame, bool is_work, uint32_t within)
{
	uint64_t others = 0;
	unsigned i;

	for (i = 0; i < frame->plan.count; i++) {
		const struct request *asked = &frame->plan.ops[i].request;

		if (frame->plan.ops[i].child == 0 || asked->kind == IO_CLEAR || asked->kind == IO_COPY ||
			asked->kind == IO_SELF)
			continue;
		assert(is_work || (asked->kind == IO_READ && !crosses(asked, within)));
		others++;
	}
	return others;
}

/* Whether there are no more ops than `others_within` promises: the arena was made for that. */
static bool keeps_promise(const struct frame *frame)
{
	const struct needs *needs = &frame->node->needs;
	const struct request *request = &frame->request;
	enum frame_rank rank = frame->node->served ? frame->rank : FRAME_REQUEST;
	uint64_t most = needs->others_fixed;

	if (rank == FRAME_WORK)
		most++;
	else if (rank != FRAME_REQUEST)
		most = 0;
	else if (request->kind == IO_READ && !crosses(request, needs->others_within))
		most = needs->others_each;
	else if (request->data.home != DATA_NONE)
		most += (request->length - 1) / needs->others_within * needs->others_each;
	return count_others(frame, rank == FRAME_WORK, needs->others_within) <= most;
}

static void frame_end(struct frame *frame)
{
	assert(!frame->node->needs.others_within || keeps_promise(frame));
	if (frame->is_held)
		frame_release(frame);
	if (frame->plan.waits)
		frame->io->put_off = frame->plan.result;
	op_ended(frame->io, frame->parent, frame->parent_op, frame_result(frame));
}

/* Calls map() or resume() of a node that has a clock and work. */
static __attribute__((noinline)) void frame_ask_served(struct frame *frame,
	void (*ask)(struct node *node, const struct request *request, struct plan *plan))
{
	struct plan *plan = &frame->plan;

	if (frame->rank != FRAME_REQUEST || frame->node->type->timed)
		plan->now = engine_now(frame->io->engine);
	ask(frame->node, &frame->request, plan);
	if (plan->wake)
		work_wake(frame->io->engine, frame->node);
	plan->wake = false;
	if (plan->goes_on)
		waiting_go_on(frame->io->engine);
	plan->goes_on = false;
}

static void frame_ask(struct frame *frame,
	void (*ask)(struct node *node, const struct request *request, struct plan *plan))
{
	if (frame->node->served)
		frame_ask_served(frame, ask);
	else
		ask(frame->node, &frame->request, &frame->plan);
}

/* A wave has ended. True: there are ops to start. False: the frame has ended. */
static bool frame_next(struct frame *frame)
{
	struct plan *plan = &frame->plan;
	const struct target_type *type = frame->node->type;
	bool failed = frame->failed;

	frame_settle(frame, false);
	if (failed)
		for (; frame->started < plan->count; frame->started++)
			plan->ops[frame->started].result = -ECANCELED;
	if (frame->started < plan->count) {
		frame->wave = plan->ops[frame->started].wave;
		return true;
	}
	if (type->resume && plan->result == PLAN_RUNNING && (failed || plan->ask)) {
		plan->ask = false;
		frame->failed = false;
		plan_then(plan);
		engine_count(&frame->io->engine->stats.resumed, 1);
		frame_ask(frame, type->resume);
		if (plan->result == PLAN_RUNNING && frame->started < plan->count) {
			frame->wave = plan->ops[frame->started].wave;
			return true;
		}
	}
	frame_end(frame);
	return false;
}

/* Starts ops until some are under way or the frame has ended. */
static void frame_advance(struct frame *frame)
{
	struct plan *plan = &frame->plan;

	do {
		frame->pending = 1; /* ops that end at once must not end the wave */
		while (frame->started < plan->count &&
			plan->ops[frame->started].wave == frame->wave)
			op_start(frame, &plan->ops[frame->started++]);
		if (--frame->pending) {
			frame_settle(frame, frame->failed || plan->ask ||
					frame->started < plan->count);
			return;
		}
	} while (frame_next(frame));
}

void op_ended(struct io *io, struct frame *frame, struct op *op, int result)
{
	if (!frame) {
		io_ended(io, result);
		return;
	}
	op->result = result;
	if (result < 0) {
		frame->failed = true;
		frame_settle(frame, true);
	}
	if (--frame->pending == 0 && frame_next(frame))
		frame_advance(frame);
}

void frame_go(struct frame *frame)
{
	frame_settle(frame, false);
	if (frame->node->type->ended)
		release_told(frame->io->engine);
	frame_ask(frame, frame->node->type->map);
	if (frame->io->left)
		frame_followed(frame);
	if (frame->plan.tell && !frame->is_held)
		frame_keep(frame);
	if (frame->plan.result != PLAN_RUNNING)
		frame_end(frame);
	else
		frame_advance(frame);
}

static enum frame_rank frame_rank(
	const struct io *io, const struct request *request, const struct frame *parent)
{
	if (!parent && io->worker)
		return FRAME_WORK;
	if (request->kind != IO_SELF)
		return FRAME_REQUEST;
	assert(parent->rank != FRAME_NESTED);
	return parent->rank == FRAME_SELF ? FRAME_NESTED : FRAME_SELF;
}

/* Room for what plans have beyond ops, of which a request needs so many. Returns how many in all. */
static __attribute__((noinline)) uint32_t frame_serve(struct frame *frame, uint32_t ops)
{
	struct io *io = frame->io;
	struct plan *plan = &frame->plan;
	const struct request *request = &frame->request;
	struct frame_need need;

	frame->rank = frame_rank(io, request, frame->parent);
	if (frame->rank == FRAME_REQUEST && !frame->node->needs.scratch) {
		plan->selfs_left = (uint16_t)frame->node->needs.self_fixed;
		return ops + plan->selfs_left; /* every request's path, without what it doesn't have */
	}
	need = frame_need(frame->node, frame->rank,
		request->data.home != DATA_NONE ? (uint32_t)request->length : 0);
	plan->selfs_left = (uint16_t)need.selfs;
	if (request->kind == IO_SELF && frame->parent)
		plan->asker = frame->parent->plan.io_state;
	plan->scratch_size = need.scratch;
	plan->scratch_offset = io->scratch_used;
	if (need.scratch)
		plan->scratch = io->scratch + io->scratch_used;
	io->scratch_used += need.scratch;
	assert(io->scratch_used <= io->scratch_size);
	return need.ops;
}

static struct frame *frame_init(struct io *io, struct node *node, const struct request *request,
	struct frame *parent, struct op *op)
{
	struct frame *frame = io_take(io, sizeof(*frame));
	uint32_t ops = node->needs.ops_fixed;

	if (node->needs.ops_per && request->data.home != DATA_NONE)
		ops += (uint32_t)request->length / node->needs.ops_per;
	/* Member by member: most of a frame needs no zeroes, and this is every request's path. */
	frame->node = node;
	frame->parent = parent;
	frame->parent_op = op;
	frame->io = io;
	frame->request = *request;
	frame->plan = (struct plan){ .result = PLAN_RUNNING };
	if (node->served)
		ops = frame_serve(frame, ops);
	frame->plan.capacity = (uint16_t)ops;
	frame->started = frame->wave = 0;
	frame->failed = frame->unsettled = frame->is_held = false;
	frame->pending = 0;
	frame->hold.mode = HOLD_NONE;
	frame->plan.ops = io_take(io, ops * sizeof(struct op));
	if (node->type->io_state_size) {
		frame->plan.io_state = io_take(io, node->type->io_state_size);
		memset(frame->plan.io_state, 0, node->type->io_state_size);
	}
	return frame;
}

/* Takes the hold that the request needs. False: it has to wait. */
static bool frame_hold(struct frame *frame)
{
	struct io *io = frame->io;
	struct engine *engine = io->engine;
	struct hold_list *list = &engine->holds[frame->node->index];

	if (io->left && frame_follow(frame)) {
		frame_keep(frame);
		if (!frame->hold.waiting)
			return true;
	} else {
		frame->hold.mode = frame->node->type->hold(
			frame->node, &frame->request, &frame->hold.range);
		if (frame->hold.mode == HOLD_NONE)
			return true;
		release_oldest(list);
		frame_keep(frame);
		if (hold_take(list, &frame->hold))
			return true;
		io_let_go(io);
	}
	engine_count(&engine->stats.held, 1);
	frame_settle(frame, true);
	if (engine->config.backend->poll)
		engine->config.backend->poll(engine->port->context);
	return false;
}

static void node_ask(struct io *io, struct node *node, const struct request *request,
	struct frame *parent, struct op *op)
{
	struct frame *frame = frame_init(io, node, request, parent, op);

	if (node->type->hold && !frame_hold(frame))
		return;
	frame_go(frame);
}

struct node *node_routed(struct node *node, struct request *request)
{
	while (node->type->route) {
		struct node *child = node->type->route(node, request, &request->offset);

		if (!child)
			break;
		node = child;
	}
	return node;
}

/* Moves the request on as far as it is one child's alone. Its result is whose it was. */
static __attribute__((noinline)) void node_route(struct io *io, struct node *node,
	const struct request *request, struct frame *parent, struct op *op)
{
	struct request moved = *request;

	node = node_routed(node, &moved);
	if (node->leaf)
		sub_io_add(io, node, &moved, parent, op);
	else
		node_ask(io, node, &moved, parent, op);
}

void node_start(struct io *io, struct node *node, const struct request *request,
	struct frame *parent, struct op *op)
{
	if (node->leaf)
		sub_io_add(io, node, request, parent, op);
	else if (node->type->route && !io->engine->config.trace) /* a trace shows each plan */
		node_route(io, node, request, parent, op);
	else
		node_ask(io, node, request, parent, op);
}
