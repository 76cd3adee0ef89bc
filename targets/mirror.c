// SPDX-License-Identifier: MIT
/*
 * mirror: RAID 1 over any number of legs.
 *
 * A write goes to every leg that is in sync. A leg that fails a write, flush or record has missed
 * something: it is marked failed, and the write is acknowledged only once the other legs durably
 * say so (IO_RECORD). What a power cut leaves at each point:
 * - before the record is durable: nobody was told that the write is there, either leg may serve;
 * - after it: the failed leg is known as stale at the next assembly and not used.
 * The last leg in sync is never failed: when it fails too, the request fails.
 *
 * A read goes to one leg, and to the next when that fails. A leg with read errors still has every
 * write, so it isn't failed, only read last.
 *
 * After an unclean stop the legs may differ where writes were in flight: then only the first leg in
 * sync is read, so that reads never flap between two versions.
 */
#include "target.h"

#include <assert.h>
#include <errno.h>
#include <json-c/json_object.h>
#include <string.h>

#define LEGS_MAX 16

enum read_policy { READ_LEAST_PENDING, READ_ROUND_ROBIN, READ_FIRST };

static const char *const policy_names[] = {
	[READ_LEAST_PENDING] = "least_pending",
	[READ_ROUND_ROBIN] = "round_robin",
	[READ_FIRST] = "first",
};

struct leg {
	uint32_t pending; /* reads in flight, counted under READ_LEAST_PENDING */
	uint64_t read_errors;
	bool write_mostly;
};

struct mirror {
	enum read_policy policy;
	uint32_t unrecorded; /* legs that have failed, bit by place, while no record is durable */
	unsigned turn;
	struct leg legs[LEGS_MAX];
};

struct mirror_io {
	uint32_t tried;	    /* READ: legs asked so far */
	uint32_t reading;   /* READ: 1 + the leg that this read is counted on, 0: none */
	uint32_t recording; /* the unrecorded legs that our running record covers */
	uint16_t seen;	    /* ops judged by an earlier resume() */
};

static int mirror_parse(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	const char *name = json_get_string(node->json, "read_policy", policy_names[0]);
	unsigned i;

	(void)err; /* the schema knows the names */
	for (i = 0; i < sizeof(policy_names) / sizeof(*policy_names); i++)
		if (!strcmp(name, policy_names[i]))
			mirror->policy = (enum read_policy)i;
	return 0;
}

static int mirror_open(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	uint64_t least = UINT64_MAX;
	unsigned i, in_sync = 0;

	assert(node->child_count <= LEGS_MAX); /* the schema's maxItems */
	limits_join(node);
	for (i = 0; i < node->child_count; i++) {
		struct node *child = node->children[i];

		mirror->legs[i].write_mostly = json_get_boolean(child->json, "write_mostly", false);
		in_sync += !child->failed;
		/* A failed leg counts too: the device must not grow while it is away. */
		if (child->limits.size < least)
			least = child->limits.size;
	}
	if (in_sync == 0)
		return json_err(node->json, err, "mirror: none of the %u legs of %s is in sync",
			node->child_count, node->id);
	node->limits.size = least - least % node->limits.logical_block_size;
	for (i = 0; i < node->child_count; i++)
		if (!node->children[i]->failed)
			node->unused += node->children[i]->limits.size - node->limits.size;
	if (node->unclean)
		mirror->policy = READ_FIRST;
	/* Each leg is written, recorded with, and can fail once, after which the others record. */
	node->needs.ops_fixed = node->child_count * 2 +
		node->child_count * (node->child_count - 1) / 2;
	return 0;
}

static void mirror_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	struct json_object *errors = json_object_new_array();
	unsigned i, in_sync = 0;

	for (i = 0; i < node->child_count; i++) {
		in_sync += !node->children[i]->failed;
		json_object_array_add(errors, json_object_new_uint64(mirror->legs[i].read_errors));
	}
	json_object_object_add(out, "read_policy",
		json_object_new_string(policy_names[mirror->policy]));
	json_object_object_add(out, "legs", json_object_new_uint64(node->child_count));
	json_object_object_add(out, "legs_in_sync", json_object_new_uint64(in_sync));
	json_object_object_add(out, "read_errors", errors);
}

/* How much we would rather not read from a leg: the smallest wins, the first among equals. */
static uint64_t mirror_cost(const struct node *node, unsigned place)
{
	const struct mirror *mirror = node->state;
	const struct leg *leg = &mirror->legs[place];
	uint64_t cost = 0;

	if (leg->read_errors)
		cost += UINT64_C(1) << 40;
	if (leg->write_mostly)
		cost += UINT64_C(1) << 36;
	if (mirror->policy == READ_LEAST_PENDING)
		return cost + leg->pending;
	if (mirror->policy == READ_ROUND_ROBIN)
		return cost + (place + LEGS_MAX - mirror->turn) % LEGS_MAX;
	return cost;
}

/* The read is counted on that leg, 1 + its place, and not where it was any more. */
static void mirror_read_counted(struct mirror *mirror, struct mirror_io *io, uint32_t reading)
{
	if (io->reading)
		mirror->legs[io->reading - 1].pending--;
	if (reading)
		mirror->legs[reading - 1].pending++;
	io->reading = reading;
}

/* Plans the read on the best leg not tried yet; false when there is none. */
static bool mirror_read(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	uint64_t best_cost = UINT64_MAX;
	unsigned i, best = 0;

	for (i = 0; i < node->child_count; i++) {
		uint64_t cost;

		if (node->children[i]->failed || io->tried & 1u << i)
			continue;
		cost = mirror_cost(node, i);
		if (cost < best_cost) {
			best_cost = cost;
			best = i;
		}
	}
	if (best_cost == UINT64_MAX)
		return false;
	io->tried |= 1u << best;
	plan_pass(plan, request, best, request->offset);
	if (mirror->policy == READ_ROUND_ROBIN)
		mirror->turn = (best + 1) % node->child_count;
	if (mirror->policy == READ_LEAST_PENDING) {
		mirror_read_counted(mirror, io, best + 1);
		plan_tell(plan);
	}
	if (plan->count > 1)
		plan_ask(plan); /* success must overrule the error of the leg before */
	return true;
}

/* Plans, on every leg in sync, the record of which legs have failed. */
static void mirror_record(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	unsigned i;

	io->recording = mirror->unrecorded;
	for (i = 0; i < node->child_count; i++)
		if (!node->children[i]->failed)
			plan_add(plan, i, (struct request){ .kind = IO_RECORD });
	plan_ask(plan);
}

static void mirror_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	unsigned i;

	if (request->kind == IO_READ) {
		(void)mirror_read(node, request, plan); /* one leg is always in sync */
		return;
	}
	for (i = 0; i < node->child_count; i++)
		if (!node->children[i]->failed)
			plan_pass(plan, request, i, request->offset);
	if (mirror->unrecorded)
		mirror_record(node, plan); /* this write is missed too: it waits for the record */
}

static void mirror_read_ended(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	const struct op *op = &plan->ops[plan->count - 1];

	if (op->result == 0) {
		plan_end(plan, 0);
		return;
	}
	mirror->legs[op->child].read_errors++;
	if (!mirror_read(node, request, plan))
		plan_end(plan, op->result);
}

/* Marks the child failed, unless it is the last in sync. True if it was marked. */
static bool mirror_fail(struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (i != place && !node->children[i]->failed)
			break;
	if (i == node->child_count)
		return false;
	node->children[place]->failed = true;
	mirror->unrecorded |= 1u << place;
	return true;
}

/* An offload that a leg doesn't have makes it no worse a copy. Any other error leaves legs that differ. */
static bool mirror_is_missed(const struct op *op)
{
	bool is_offload = op->request.kind == IO_DISCARD || op->request.kind == IO_WRITE_ZEROES;

	return !(is_offload && op->result == -EOPNOTSUPP);
}

/*
 * After a write, a round of records, or both. Every failed op fails its leg; whenever that leaves
 * something unrecorded, another round follows; the request ends once a round has succeeded.
 */
static void mirror_write_ended(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	bool failed = false;
	int result = 0;
	unsigned i;

	for (i = io->seen; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		if (op->result < 0 && mirror_is_missed(op) && !node->children[op->child]->failed)
			failed |= mirror_fail(node, op->child);
	}
	for (i = 0; i < plan->count; i++) /* what the legs that are left have answered */
		if (plan->ops[i].result < 0 && !node->children[plan->ops[i].child]->failed)
			result = plan->ops[i].result;
	if (io->recording && !failed && result == 0)
		mirror->unrecorded &= ~io->recording;
	io->seen = plan->count;
	if (mirror->unrecorded && result == 0)
		mirror_record(node, plan);
	else
		plan_end(plan, result);
}

static void mirror_resume(struct node *node, const struct request *request, struct plan *plan)
{
	if (request->kind == IO_READ)
		mirror_read_ended(node, request, plan);
	else
		mirror_write_ended(node, plan);
}

static void mirror_ended(struct node *node, const struct request *request, struct plan *plan)
{
	(void)request; /* a read: nothing else is counted */
	mirror_read_counted(node->state, plan->io_state, 0);
}

/* Two writes to one block in flight could land in different orders on two legs: keep them apart. */
static enum hold mirror_hold(const struct node *node, const struct request *request,
	struct range *range)
{
	(void)node;
	switch (request->kind) {
	case IO_WRITE:
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		*range = (struct range){ request->offset, request->length };
		return HOLD_EXCLUSIVE;
	default:
		return HOLD_NONE;
	}
}

const struct target_type mirror_target = {
	.name = "mirror",
	.state_size = sizeof(struct mirror),
	.io_state_size = sizeof(struct mirror_io),
	.single_queue = true,
	.redundant = true,
	.parse = mirror_parse,
	.open = mirror_open,
	.status = mirror_status,
	.hold = mirror_hold,
	.map = mirror_map,
	.resume = mirror_resume,
	.ended = mirror_ended,
};
