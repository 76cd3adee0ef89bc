// SPDX-License-Identifier: MIT
/*
 * How much memory one request can need: the sum, down the tree, of frames, ops, scratch and sub-I/Os,
 * from what each node says in its `needs`. It is an upper bound, taken once before the device is live,
 * and the reason why nothing allocates afterwards.
 */
#include "engine_internal.h"

#define SCRATCH_ALIGN UINT32_C(4096)

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

struct frame_need frame_need(const struct node *node, enum frame_rank rank, uint32_t length)
{
	const struct needs *needs = &node->needs;
	struct frame_need need = { 0, 0, 0 };

	switch (rank) {
	case FRAME_REQUEST:
		need = (struct frame_need){ needs->ops_fixed, needs->scratch, needs->self_fixed };
		if (needs->ops_per)
			need.ops += length / needs->ops_per;
		break;
	case FRAME_WORK:
		need.ops = larger(needs->self_ops, needs->work_ops);
		need.scratch = larger(needs->self_scratch, needs->work_scratch);
		need.selfs = needs->self_fixed;
		break;
	case FRAME_SELF:
		need = (struct frame_need){ needs->self_ops, needs->self_scratch,
			needs->self_nested };
		break;
	case FRAME_NESTED:
		need = (struct frame_need){ needs->self_ops, needs->self_scratch, 0 };
		break;
	}
	assert(need.scratch % SCRATCH_ALIGN == 0);
	need.ops += need.selfs;
	return need;
}

static void need_add(struct arena_need *need, uint64_t times, const struct arena_need *more)
{
	need->bytes += times * more->bytes;
	need->scratch += times * more->scratch;
	need->sub_ios += times * more->sub_ios;
}

/* The most that one of the children needs for an op of that many bytes, in each respect. */
static struct arena_need children_need(const struct node *node, uint32_t piece)
{
	struct arena_need most = { 0, 0, 0 };
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		struct arena_need child = arena_need(node->children[i], FRAME_REQUEST, piece);

		if (child.bytes > most.bytes)
			most.bytes = child.bytes;
		if (child.scratch > most.scratch)
			most.scratch = child.scratch;
		if (child.sub_ios > most.sub_ios)
			most.sub_ios = child.sub_ios;
	}
	return most;
}

/* One frame, without its self ops' own. */
static struct arena_need frame_alone(
	const struct node *node, enum frame_rank rank, uint32_t length, const struct arena_need *child)
{
	struct frame_need frame = frame_need(node, rank, length);
	struct arena_need need = {
		.bytes = arena_aligned(sizeof(struct frame)) +
			arena_aligned(node->type->io_state_size) +
			arena_aligned(frame.ops * sizeof(struct op)),
		.scratch = frame.scratch,
	};

	need_add(&need, frame.ops - frame.selfs, child);
	return need;
}

struct arena_need arena_need(const struct node *node, enum frame_rank rank, uint32_t length)
{
	const struct needs *needs = &node->needs;
	struct arena_need need, child, self, nested;
	uint32_t piece, other;

	if (node->leaf)
		return (struct arena_need){
			.bytes = arena_aligned(sizeof(struct sub_io)) +
				arena_aligned(sizeof(struct iovec)),
			.sub_ios = 1,
		};
	piece = needs->ops_per && needs->ops_per < length ? needs->ops_per : length;
	if (rank != FRAME_REQUEST)
		piece = 0;
	piece = larger(piece, frame_need(node, rank, length).scratch);
	child = children_need(node, piece);
	need = frame_alone(node, rank, length, &child);
	if (!needs->self_fixed)
		return need;
	other = needs->self_scratch;
	if (other > piece) /* else what a longer op needs will do: it must not double at each level */
		child = children_need(node, other);
	self = frame_alone(node, FRAME_SELF, 0, &child);
	nested = frame_alone(node, FRAME_NESTED, 0, &child);
	need_add(&self, needs->self_nested, &nested);
	need_add(&need, needs->self_fixed, &self);
	return need;
}
