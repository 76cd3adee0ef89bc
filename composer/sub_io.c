// SPDX-License-Identifier: MIT
/*
 * Sub-I/Os: ops that have reached a leaf. Joins neighbours on one leaf, chooses how the request fans
 * out, finishes short transfers. It knows no target and no io_uring.
 */
#include "engine_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define BLOCK_MAX 4096u
#define RETRIES_MAX 100 /* -EAGAIN and -EINTR of one sub-I/O before it is an error */

static bool has_bytes(enum io_kind kind)
{
	return kind == IO_READ || kind == IO_WRITE;
}

/* Leaves know no durable zeroing: a flush follows it. */
static bool has_flush(const struct sub_io *sub)
{
	return sub->kind == IO_FLUSH || (sub->kind == IO_WRITE_ZEROES && sub->flags & IO_FUA);
}

void io_fetch(struct io *io)
{
	io->must_fetch = true;
	port_make_dirty(io);
}

/* Joins the op to the last one on the leaf if they are neighbours and of one kind. */
static bool sub_io_merge(struct io *io, struct sub_io *sub)
{
	struct sub_io **slot = &io->engine->last_subs[sub->leaf->place];
	struct sub_io *last = *slot;

	if (!has_bytes(sub->kind))
		return false;
	if (last && last->io == io && last->kind == sub->kind &&
		last->flags == sub->flags && last->offset + last->length == sub->offset) {
		last->length += sub->length;
		last->merged_last->merged = sub;
		last->merged_last = sub;
		engine_count(&io->engine->stats.merged, 1);
		return true;
	}
	*slot = sub;
	return false;
}

static void sub_io_ended(struct event *event, int result);

static struct sub_io *sub_io_make(struct io *io, const struct node *node,
	const struct request *request, struct frame *frame, struct op *op)
{
	struct sub_io *sub = io_take(io, sizeof(*sub));

	/* Member by member, as in a frame; the vectors are listed when it is submitted. */
	sub->event.end = sub_io_ended;
	sub->leaf = node->leaf;
	sub->kind = request->kind;
	sub->flags = request->flags;
	sub->offset = node->leaf->data_offset + request->offset;
	sub->length = request->length;
	sub->linked = false;
	sub->io = io;
	sub->frame = frame;
	sub->op = op;
	sub->next = sub->merged = NULL;
	sub->merged_last = sub;
	sub->retries = 0;
	sub->data_offset = request->data.offset;
	if (request->data.home == DATA_REQUEST) {
		sub->vector = (struct iovec){ (char *)io->data + request->data.offset,
			request->length };
	} else if (request->data.home == DATA_SCRATCH) {
		sub->vector = (struct iovec){ io->scratch + request->data.offset, request->length };
		io->cleared = true;
	}
	return sub;
}

void sub_io_add(struct io *io, const struct node *node, const struct request *request,
	struct frame *frame, struct op *op)
{
	struct sub_io *sub = sub_io_make(io, node, request, frame, op);

	if (sub_io_merge(io, sub))
		return;
	io->sub_count++;
	if (io->fresh)
		io->fresh_last->next = sub;
	else
		io->fresh = sub;
	io->fresh_last = sub;
	port_make_dirty(io);
}

/* Lists the bytes of the sub-I/O and all merged into it; neighbours in memory become one vector. */
static void sub_io_gather(struct sub_io *sub)
{
	struct sub_io *part;
	unsigned count = 0;

	if (!sub->merged) {
		sub->vectors = &sub->vector;
		sub->vector_count = 1;
		return;
	}
	for (part = sub; part; part = part->merged)
		count++;
	sub->vectors = io_take(sub->io, count * sizeof(struct iovec));
	count = 0;
	for (part = sub; part; part = part->merged) {
		struct iovec *last = count ? &sub->vectors[count - 1] : NULL;

		if (last && (char *)last->iov_base + last->iov_len == part->vector.iov_base)
			last->iov_len += part->vector.iov_len;
		else
			sub->vectors[count++] = part->vector;
	}
	sub->vector_count = count;
}

/* Drops `done` bytes from the front of what is still to be done. */
static void sub_io_advance(struct sub_io *sub, uint64_t done)
{
	sub->offset += done;
	sub->length -= done;
	while (done >= sub->vectors->iov_len && sub->vector_count > 1) {
		done -= sub->vectors->iov_len;
		sub->vectors++;
		sub->vector_count--;
	}
	sub->vectors->iov_base = (char *)sub->vectors->iov_base + done;
	sub->vectors->iov_len -= done;
}

/*
 * A request may complete behind its only sub-I/O, unseen by us, if nobody up the tree needs to know:
 * no frame is unsettled, and there is no hold to release. A flush is always judged by flush_judge().
 */
static bool is_linkable(const struct io *io, const struct sub_io *sub)
{
	return io->sub_count == 1 && !sub->merged && !io->gathered && io->unsettled == 0 &&
		!io->held && sub->kind != IO_RECORD && !has_flush(sub);
}

/*
 * Whether the driver may have the flushes among them: not where one is an error already, as nobody
 * else would judge it; not while one of ours is under way or waits (sub_io_begin()); and not on a
 * device of several engines, which don't hear of each other's.
 */
static bool flushes_can_pass(const struct engine *engine, const struct sub_io *subs, bool *flushes)
{
	const struct sub_io *sub;

	for (sub = subs; sub; sub = sub->next) {
		if (!has_flush(sub))
			continue;
		if (engine->own_flushes || engine->config.is_one_of_many ||
			__atomic_load_n(&sub->leaf->flush_failed, __ATOMIC_RELAXED))
			return false;
		*flushes = true;
	}
	return true;
}

/* Tries to hand the request down to the driver as a whole. */
static bool io_pass(struct io *io, const struct sub_io *subs)
{
	struct engine *engine = io->engine;
	const struct engine_backend *backend = engine->config.backend;
	bool flushes = false;

	if (!backend->pass || io->gathered)
		return false;
	if (!io->cleared && !io->unsettled && !io->must_fetch &&
		flushes_can_pass(engine, subs, &flushes) &&
		backend->pass(io->port->context, io->tag, subs)) {
		engine_count(&engine->stats.passed, 1);
		io->flushes = flushes;
		engine->flushing += flushes;
		io_passed(io);
		return true;
	}
	if (!io->fetched) /* what has been added is forgotten, and planned again with the bytes */
		io->passed = backend->pass(io->port->context, io->tag, NULL);
	return io->passed;
}

bool io_pass_whole(struct io *io)
{
	struct engine *engine = io->engine;
	const struct engine_backend *backend = engine->config.backend;
	struct request moved = io->request;
	const struct node *node;
	struct sub_io *sub;

	if (!backend->pass || io->gathered || !has_bytes(moved.kind) || engine->config.trace)
		return false;
	node = node_routed(engine->config.root, &moved);
	if (!node->leaf)
		return false;
	sub = sub_io_make(io, node, &moved, NULL, NULL);
	sub->linked = true; /* nobody up the tree needs to know */
	if (!backend->pass(io->port->context, io->tag, sub)) {
		io_reset(io);
		return false;
	}
	engine_count(&engine->stats.passed, 1);
	io->passed = true;
	return true;
}

/*
 * A failed flush is told of once: of two that are under way side by side only one may hear of it. The
 * engine believes none of a leaf after that, but can't take back what the driver has answered. So there
 * are never flushes of both: ours wait until the driver has ended those that it has, and meanwhile it
 * gets no further ones (flushes_can_pass()).
 */
static void sub_io_begin(struct engine *engine, struct sub_io *sub)
{
	if (sub->kind != IO_FLUSH || engine->flushing == 0) {
		sub_io_launch(engine, sub);
		return;
	}
	sub->next = engine->postponed;
	engine->postponed = sub;
	engine->config.backend->poll(engine->port->context);
}

static void sub_io_send(struct engine *engine, struct sub_io *sub)
{
	engine_count(&engine->stats.sub_ios, 1);
	engine_count(&sub->leaf->sub_ios, 1);
	engine->own_flushes += has_flush(sub);
	if (sub->kind == IO_RECORD)
		record_start(engine, sub);
	else
		sub_io_begin(engine, sub);
}

/* What is submitted takes no more ops, and its memory will be something else's: forget it. */
static void io_forget(struct io *io)
{
	const struct sub_io *sub;

	for (sub = io->fresh; sub; sub = sub->next) {
		struct sub_io **slot = &io->engine->last_subs[sub->leaf->place];

		if (*slot && (*slot)->io == io)
			*slot = NULL;
	}
}

void sub_io_submit(struct io *io)
{
	struct engine *engine = io->engine;
	struct sub_io *sub = io->fresh;

	io_forget(io);
	io->fresh = NULL;
	if (!sub) {
		if (io->must_fetch)
			(void)io_pass(io, NULL);
		return;
	}
	sub->linked = is_linkable(io, sub);
	if (io_pass(io, sub))
		return;
	sub->linked = sub->linked && engine->config.fan_out != FAN_OUT_GATHERED;
	if (sub->linked) {
		sub_io_gather(sub);
		io->linked = true;
		engine_count(&engine->stats.linked, 1);
		sub_io_send(engine, sub);
		engine->config.backend->commit(io->port->context, io->tag,
			has_bytes(io->request.kind) ? (int)io->request.length : 0, true);
		return;
	}
	if (!io->gathered) {
		io->gathered = true;
		engine_count(&engine->stats.gathered, 1);
	}
	while (sub) {
		struct sub_io *next = sub->next;

		sub_io_gather(sub);
		sub_io_send(engine, sub);
		sub = next;
	}
}

/*
 * Another format's file may end within a block: its bytes up to the block's end are zeroes. Anything
 * further behind would be a file that was truncated.
 */
static bool is_behind_end(const struct sub_io *sub)
{
	const struct leaf *leaf = sub->leaf;

	return leaf->is_bare && sub->kind == IO_READ && sub->offset >= leaf->bytes &&
		sub->offset / BLOCK_MAX == leaf->bytes / BLOCK_MAX &&
		(sub->offset + sub->length - 1) / BLOCK_MAX == leaf->bytes / BLOCK_MAX;
}

static void sub_io_zero(struct sub_io *sub)
{
	unsigned i;

	for (i = 0; i < sub->vector_count; i++)
		memset(sub->vectors[i].iov_base, 0, sub->vectors[i].iov_len);
}

bool sub_io_again(struct sub_io *sub, int *result)
{
	struct engine *engine = sub->io->engine;

	if (*result == -EAGAIN || *result == -EINTR) {
		if (++sub->retries > RETRIES_MAX) {
			*result = -EIO;
			return false;
		}
	} else if (*result == 0 && sub->kind == IO_WRITE_ZEROES && has_flush(sub)) {
		sub->kind = IO_FLUSH;
	} else if (*result < 0 || !has_bytes(sub->kind)) {
		return false;
	} else if (*result == 0 || (uint64_t)*result > sub->length) {
		*result = -EIO; /* the leaf ends before its data does: it was truncated */
		return false;
	} else if ((uint64_t)*result == sub->length) {
		*result = 0;
		return false;
	} else {
		sub_io_advance(sub, (uint64_t)*result);
		if (is_behind_end(sub)) {
			sub_io_zero(sub);
			*result = 0;
			return false;
		}
	}
	sub_io_begin(engine, sub);
	return true;
}

static void sub_io_judged(struct sub_io *sub, int result)
{
	struct io *io = sub->io;
	struct sub_io *part, *next;

	if (sub->kind == IO_FLUSH)
		result = flush_judge(sub->leaf, result);
	if (result < 0)
		engine_count(&sub->leaf->errors, 1);
	io->engine->own_flushes -= has_flush(sub);
	io->sub_count--;
	for (part = sub; part; part = next) {
		next = part->merged;
		op_ended(io, part->frame, part->op, result);
	}
}

void sub_ios_flush(struct engine *engine)
{
	while (engine->postponed && engine->flushing == 0) {
		struct sub_io *sub = engine->postponed;

		engine->postponed = sub->next;
		sub_io_launch(engine, sub);
	}
}

static void sub_io_ended(struct event *event, int result)
{
	struct sub_io *sub = container_of(event, struct sub_io, event);
	struct io *io = sub->io;
	struct engine *engine = io->engine;

	engine_enter(engine);
	if (sub->linked) {
		/* It failed or fell short: the commit behind it was cancelled, we go on ourselves. */
		sub->linked = io->linked = false;
		io->gathered = true;
		engine_count(&engine->stats.unlinked, 1);
	}
	if (!sub_io_again(sub, &result))
		sub_io_judged(sub, result);
	engine_leave(engine);
}
