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
	need->kept += times * more->kept;
}

static void need_most(struct arena_need *most, const struct arena_need *one)
{
	if (one->bytes > most->bytes)
		most->bytes = one->bytes;
	if (one->scratch > most->scratch)
		most->scratch = one->scratch;
	if (one->kept > most->kept)
		most->kept = one->kept;
	if (one->sub_ios > most->sub_ios)
		most->sub_ios = one->sub_ios;
}

static struct arena_need node_need(
	const struct node *node, enum frame_rank rank, uint32_t length, uint32_t within);

/* The most that an op needs, in each respect: on any child, and on one that isn't a role's first. */
struct children_need {
	struct arena_need any, other;
};

static struct children_need children_need(const struct node *node, enum frame_rank rank, uint32_t piece)
{
	bool counts_others = node->needs.others_within, has_others = rank <= FRAME_WORK;
	uint32_t within = rank == FRAME_REQUEST ? node->needs.others_within : 0;
	struct children_need most = { 0 };
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		bool is_other = counts_others && i > 0;
		struct arena_need one;

		if (is_other && !has_others)
			continue;
		one = node_need(node->children[i], FRAME_REQUEST, piece, is_other ? within : 0);
		need_most(is_other ? &most.other : &most.any, &one);
	}
	return most;
}

/* How many of so many ops may be on another child than the first. */
static uint32_t count_others(
	const struct node *node, enum frame_rank rank, uint32_t ops, uint32_t length, uint32_t within)
{
	const struct needs *needs = &node->needs;
	uint32_t most;

	if (!needs->others_within || rank == FRAME_SELF || rank == FRAME_NESTED)
		return 0;
	most = needs->others_fixed + (rank == FRAME_WORK);
	if (within && within <= needs->others_within)
		most = needs->others_each;
	else if (length)
		most += (length - 1) / needs->others_within * needs->others_each;
	return most < ops ? most : ops;
}

/* One frame, without its self ops' own. */
static struct arena_need frame_alone(const struct node *node, enum frame_rank rank, uint32_t length,
	uint32_t within, const struct children_need *child)
{
	struct frame_need frame = frame_need(node, rank, length);
	uint32_t ops = frame.ops - frame.selfs;
	uint32_t others = count_others(node, rank, ops, length, within);
	struct arena_need other = child->any, need = {
		.bytes = frame_kept_size(node) + arena_aligned(frame.ops * sizeof(struct op)),
		.scratch = frame.scratch,
		.kept = node->type->hold ? frame_kept_size(node) : 0,
	};

	need_most(&other, &child->other); /* they may all be on the first one too */
	need_add(&need, others, &other);
	need_add(&need, ops - others, &child->any);
	return need;
}

/* As arena_need(), of a request that crosses no multiple of `within`, if that isn't 0. */
static struct arena_need node_need(
	const struct node *node, enum frame_rank rank, uint32_t length, uint32_t within)
{
	const struct needs *needs = &node->needs;
	struct arena_need need, self, nested;
	struct children_need child;
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
	child = children_need(node, rank, piece);
	need = frame_alone(node, rank, length, within, &child);
	if (!needs->self_fixed)
		return need;
	other = needs->self_scratch;
	if (other > piece) /* else what a longer op needs will do: it must not double at each level */
		child = children_need(node, FRAME_SELF, other);
	self = frame_alone(node, FRAME_SELF, 0, 0, &child);
	nested = frame_alone(node, FRAME_NESTED, 0, 0, &child);
	need_add(&self, needs->self_nested, &nested);
	need_add(&need, needs->self_fixed, &self);
	return need;
}

struct arena_need arena_need(const struct node *node, enum frame_rank rank, uint32_t length)
{
	return node_need(node, rank, length, 0);
}
