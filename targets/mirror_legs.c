// SPDX-License-Identifier: MIT
/*
 * Which legs are used, and what is recorded when one no longer is. It knows no region.
 *
 * A leg that fails a write, flush or record has missed something: it is marked failed, and what it
 * missed is acknowledged only once the other legs durably say so (IO_RECORD). What a power cut
 * leaves at each point:
 * - before the record is durable: nobody was told that the write is there, either leg may serve;
 * - after it: the failed leg is known as stale at the next assembly.
 * The last leg in sync is never failed: when it fails too, the request fails. A leg that is being
 * brought up to date is stale by the labels already: when it fails there is nothing to record.
 */
#include "mirror.h"

#include <errno.h>
#include <json-c/json_object.h>

static bool has_mirror(const struct node *node)
{
	unsigned i;

	for (i = 0; i < node->child_count && !node->type->redundant; i++)
		if (has_mirror(node->children[i]))
			return true;
	return node->type->redundant;
}

int mirror_find_legs(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	unsigned i, in_sync = 0;

	mirror->primary = LEGS_MAX;
	for (i = 0; i < node->child_count; i++) {
		const struct node *child = node->children[i];
		struct leg *leg = &mirror->legs[i];

		leg->has_mirror = has_mirror(child);
		leg->write_mostly = json_get_boolean(child->json, "write_mostly", false);
		leg->state = child->failed	 ? LEG_FAILED
			     : child->spare	 ? LEG_SPARE
			     : child->rebuilding ? LEG_REBUILDING
						 : LEG_IN_SYNC;
		leg->was_used = leg->state != LEG_FAILED;
		if (leg->state == LEG_IN_SYNC && in_sync++ == 0)
			mirror->primary = i;
	}
	if (in_sync == 0)
		return json_err(node->json, err, "mirror: none of the %u legs of %s is in sync",
			node->child_count, node->id);
	if (mirror->is_found && mirror->super.primary < node->child_count &&
		mirror->legs[mirror->super.primary].state == LEG_IN_SYNC)
		mirror->primary = mirror->super.primary;
	mirror_find_replaced(node);
	return 0;
}

void mirror_left_out_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	struct json_object *ids = json_object_new_array();
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_FAILED && !mirror->legs[i].was_used)
			json_object_array_add(ids, json_object_new_string(node->children[i]->id));
	if (json_object_array_length(ids) > 0)
		json_object_object_add(out, "left_out", ids);
	else
		json_object_put(ids);
}

bool mirror_leg_is_used(const struct mirror *mirror, unsigned place)
{
	return mirror->legs[place].state < LEG_SPARE;
}

unsigned mirror_legs_used(const struct node *node)
{
	unsigned i, used = 0;

	for (i = 0; i < node->child_count; i++)
		used += mirror_leg_is_used(node->state, i);
	return used;
}

/*
 * A leg whose place was taken is missed no more. But as long as the superblock says that what it misses is
 * marked, it has to be.
 */
bool mirror_has_away(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (!mirror_leg_is_used(mirror, i) &&
			(!node->children[i]->spare || mirror->super.tracked[i]))
			return true;
	return mirror->work.wants_super;
}

bool mirror_leave(struct node *node, unsigned place, enum leg_state state)
{
	struct mirror *mirror = node->state;
	struct leg *leg = &mirror->legs[place];
	enum leg_state before = leg->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (i != place && mirror->legs[i].state == LEG_IN_SYNC)
			break;
	if (i == node->child_count)
		return false;
	leg->state = state;
	leg->catches_up = false;
	__atomic_store_n(&leg->is_behind, false, __ATOMIC_RELAXED);
	if (mirror->primary == place)
		mirror->primary = i;
	if (mirror_legs_used(node) < 2)
		mirror_drop_todo(mirror);
	if (before == LEG_REBUILDING || before >= LEG_SPARE)
		return false;
	mirror->unrecorded |= 1u << place;
	return true;
}

bool mirror_fail(struct node *node, unsigned place)
{
	struct leg *leg = &((struct mirror *)node->state)->legs[place];
	bool is_news = leg->state != LEG_FAILED && mirror_leave(node, place, LEG_FAILED);

	if (leg->state == LEG_FAILED)
		__atomic_store_n(&node->children[place]->failed, true, __ATOMIC_RELAXED);
	return is_news;
}

void mirror_record(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	unsigned i;

	io->recording = mirror->unrecorded;
	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_is_used(mirror, i))
			plan_add(plan, i, (struct request){ .kind = IO_RECORD });
	plan_ask(plan);
}

/* An offload that a leg doesn't have makes it no worse a copy. Any other error leaves legs that differ. */
static bool is_missed(const struct op *op)
{
	bool is_offload = op->request.kind == IO_DISCARD || op->request.kind == IO_WRITE_ZEROES;

	return !(is_offload && op->result == -EOPNOTSUPP);
}

bool mirror_fail_ops(struct node *node, struct plan *plan, int *result)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	bool failed = false;
	unsigned i;

	*result = 0;
	for (i = io->seen > io->from ? io->seen : io->from; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		if (op->request.kind == IO_SELF || op->result >= 0 || !is_missed(op))
			continue;
		failed |= mirror_fail(node, op->child);
		if (!mirror_leg_is_used(mirror, op->child))
			io->left_out |= 1u << op->child;
		plan_wake(plan); /* a spare may be taken in */
	}
	for (i = io->from; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		if (op->result < 0 && (op->request.kind == IO_SELF ||
					      (mirror_leg_is_used(mirror, op->child) &&
						      !(io->left_out & 1u << op->child))))
			*result = op->result;
	}
	io->seen = plan->count;
	return failed;
}

bool mirror_judge(struct node *node, struct plan *plan, int *result)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	bool failed = mirror_fail_ops(node, plan, result);

	if (io->recording && !failed && *result == 0)
		mirror->unrecorded &= ~io->recording;
	if (!mirror->unrecorded || *result < 0)
		return false;
	mirror_record(node, plan);
	return true;
}
