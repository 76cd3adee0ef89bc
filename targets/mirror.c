// SPDX-License-Identifier: MIT
/*
 * mirror: RAID 1 over any number of legs. Here: what becomes of a request.
 *
 * A write goes to every leg in use, once the legs durably call its regions dirty (mirror_bitmap.c has
 * the crash story); a leg that fails it is recorded as stale before it is acknowledged
 * (mirror_legs.c).
 *
 * A read goes to one leg in sync, and to the next when that fails; what it could not read is
 * written there again in the background. Where legs in sync may differ (after an unclean stop, and
 * in what was never written) only the primary is read, so that reads never flap between versions.
 */
#include "mirror.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>

#define RATE_MIN_DEFAULT (UINT64_C(8) << 20)
#define RATE_MAX_DEFAULT (UINT64_C(1) << 30)
#define MS UINT64_C(1000000)
#define READ_ERRORS_MAX 256u /* that could not be repaired: then the leg is failed */

static const char *const policy_names[] = {
	[READ_LEAST_PENDING] = "least_pending",
	[READ_ROUND_ROBIN] = "round_robin",
	[READ_FIRST] = "first",
};

static int mirror_parse(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	const char *name = json_get_string(node->json, "read_policy", policy_names[0]);
	const struct json *place = json_get(node->json, "region_size");
	const struct json *rate = json_get(node->json, "recovery_rate");
	unsigned i;

	for (i = 0; i < sizeof(policy_names) / sizeof(*policy_names); i++)
		if (!strcmp(name, policy_names[i]))
			mirror->policy = (enum read_policy)i; /* the schema knows the names */
	mirror->work.rate_min = json_get_size(rate, "min", RATE_MIN_DEFAULT);
	mirror->work.rate_max = json_get_size(rate, "max", RATE_MAX_DEFAULT);
	if (mirror->work.rate_max < mirror->work.rate_min)
		json_err(rate, err, "mirror: recovery_rate's max %" PRIu64 " is below its min %" PRIu64,
			mirror->work.rate_max, mirror->work.rate_min);
	if (node->child_count > LEGS_MAX)
		return json_err(json_get(node->json, "spares"), err,
			"mirror: %u children and %u spares are more than %u",
			node->child_count - node->spare_count, node->spare_count, LEGS_MAX);
	mirror->slow.limit = json_get_unsigned(node->json, "slow_after_ms", 0) * MS;
	if (mirror_behind_parse(node, err) < 0)
		return -1;
	if (!place)
		return 0;
	mirror->has_region_size = true;
	mirror->region_size = json_get_size(node->json, "region_size", 0);
	if (mirror->region_size & (mirror->region_size - 1))
		return json_err(place, err, "mirror: region_size %" PRIu64 " is not a power of two",
			mirror->region_size);
	if (mirror->region_size < REGION_SIZE_MIN || mirror->region_size > REGION_SIZE_MAX)
		return json_err(place, err,
			"mirror: region_size %" PRIu64 " is outside %" PRIu64 " to %" PRIu64,
			mirror->region_size, REGION_SIZE_MIN, REGION_SIZE_MAX);
	return 0;
}

/*
 * The mirror's size, from the smallest leg: a failed one counts too, so that the device doesn't grow
 * unless that is asked for. Who is stale is as large as there is room, so that it doesn't shrink either:
 * what its superblock says may be of an older copy.
 */
static int find_size(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	uint64_t least = UINT64_MAX, needed = MIRROR_FRONT + node->limits.logical_block_size;
	unsigned i, smallest = 0;

	for (i = 0; i < node->child_count; i++)
		if (node->children[i]->limits.size < least) {
			least = node->children[i]->limits.size;
			smallest = i;
		}
	if (least < needed)
		return json_err(node->children[smallest]->json, err,
			"mirror: leg %s has %" PRIu64 " bytes; %" PRIu64
			" are the mirror's own, so that it needs %" PRIu64 " at least",
			node->children[smallest]->id, least, MIRROR_FRONT, needed);
	least -= MIRROR_FRONT;
	if (mirror->is_found && mirror->super.size <= least && !node->grows && !node_is_stale(node))
		least = mirror->super.size;
	mirror->size = node->limits.size = least - least % node->limits.logical_block_size;
	return 0;
}

static void set_needs(struct node *node)
{
	const struct mirror *mirror = node->state;
	uint32_t legs = node->child_count;
	/* Each leg can fail once, after which the others record. */
	uint32_t records = legs + legs * (legs - 1) / 2;

	node->needs = (struct needs){
		.ops_fixed = legs + records,
		.self_fixed = 1,
		.self_ops = legs,
		.self_scratch = mirror->page_count * PAGE_BYTES,
		.work_max = WORK_MAX + (mirror->slow.limit != 0),
		.work_ops = 3 * legs + records, /* read from each, zeroed, written */
		.work_scratch = COPY_BYTES,
	};
}

static int mirror_open(struct node *node, struct err *err)
{
	unsigned i;

	assert(node->child_count <= LEGS_MAX); /* the schema's maxItems */
	limits_join(node);
	if (mirror_find_legs(node, err) < 0 || find_size(node, err) < 0 ||
		mirror_find_regions(node, err) < 0)
		return -1;
	for (i = 0; i < node->child_count; i++)
		if (!node->children[i]->failed)
			node->unused += node->children[i]->limits.size - MIRROR_FRONT -
				node->limits.size;
	set_needs(node);
	return 0;
}

static void mirror_close(struct node *node)
{
	struct mirror *mirror = node->state;

	free(mirror->regions);
	free(mirror->own);
	mirror->regions = NULL;
	mirror->own = NULL;
}

static void mirror_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	struct json_object *errors = json_object_new_array();
	unsigned i, in_sync = 0;

	for (i = 0; i < node->child_count; i++) {
		in_sync += mirror->legs[i].state == LEG_IN_SYNC;
		json_object_array_add(errors, json_object_new_uint64(mirror->legs[i].read_errors));
	}
	json_object_object_add(out, "read_policy",
		json_object_new_string(policy_names[mirror->policy]));
	json_object_object_add(out, "legs",
		json_object_new_uint64(node->child_count - node->spare_count));
	json_object_object_add(out, "legs_in_sync", json_object_new_uint64(in_sync));
	mirror_spare_status(node, out);
	mirror_left_out_status(node, out);
	mirror_replace_status(node, out);
	json_object_object_add(out, "read_errors", errors);
	mirror_work_status(node, out);
}

static void mirror_geometry(const struct node *node, FILE *out)
{
	const struct mirror *mirror = node->state;

	if (mirror->has_region_size)
		fprintf(out, "region_size=%" PRIu64, mirror->region_size);
	else
		fprintf(out, "region_size=auto");
	if (node->spare_count)
		fprintf(out, ",spares=%u", node->spare_count);
}

/* How much we would rather not read from a leg: the smallest wins, the first among equals. */
static uint64_t read_cost(const struct mirror *mirror, unsigned place, bool is_single)
{
	const struct leg *leg = &mirror->legs[place];
	uint64_t cost = 0;

	if (is_single)
		return place == mirror->primary ? 0 : 1;
	if (leg->read_errors > leg->repaired)
		cost += UINT64_C(1) << 40;
	if (leg->is_slow)
		cost += UINT64_C(1) << 38;
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
	bool is_single = mirror_is_single(node, request->offset, request->length);
	uint64_t best_cost = UINT64_MAX;
	unsigned i, best = 0;

	for (i = 0; i < node->child_count; i++) {
		uint64_t cost;

		if (mirror->legs[i].state != LEG_IN_SYNC || io->tried & 1u << i)
			continue;
		cost = read_cost(mirror, i, is_single);
		if (cost < best_cost) {
			best_cost = cost;
			best = i;
		}
	}
	if (best_cost == UINT64_MAX)
		return false;
	io->tried |= 1u << best;
	plan_pass(plan, request, best, MIRROR_FRONT + request->offset);
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

static void read_ended(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	const struct op *op = &plan->ops[plan->count - 1];
	struct leg *leg = &mirror->legs[op->child];
	unsigned i;

	if (op->result == 0) {
		for (i = 0; i + 1u < plan->count; i++) {
			mirror_note_repair(mirror, plan->ops[i].child, request->offset,
				request->length);
			plan_wake(plan);
		}
		plan_end(plan, 0);
		return;
	}
	leg->read_errors++;
	if (leg->read_errors - leg->repaired > READ_ERRORS_MAX && mirror_fail(node, op->child)) {
		mirror->work.wants_record = true;
		plan_wake(plan);
	}
	if (!mirror_read(node, request, plan))
		plan_end(plan, op->result);
}

static void write_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	bool is_behind = false;
	unsigned i;

	if (request->length) {
		if (mirror->dirty_count == 0)
			plan_wake(plan); /* it is to be said clean, one day */
		mirror_mark(node, request, plan);
		is_behind = mirror_put_behind(node, request);
		plan_tell(plan);
	}
	for (i = 0; i < node->child_count; i++) {
		enum leg_state state = mirror->legs[i].state;

		if (!mirror_leg_is_used(mirror, i) || (request->kind == IO_FLUSH && state == LEG_REBUILDING) ||
			(is_behind && mirror_leg_is_behind(mirror, i)))
			continue;
		plan_pass(plan, request, i, request->length ? MIRROR_FRONT + request->offset : 0);
	}
	if (mirror->unrecorded)
		mirror_record(node, plan); /* this write is missed too: it waits for the record */
}

static void mirror_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;

	if (request->kind == IO_SELF) {
		mirror_work_map(node, request, plan);
		return;
	}
	mirror->work.requests++;
	if (mirror->slow.is_asleep)
		plan_wake(plan);
	if (request->kind == IO_READ)
		(void)mirror_read(node, request, plan); /* one leg is always in sync */
	else
		write_map(node, request, plan);
}

static void mirror_resume(struct node *node, const struct request *request, struct plan *plan)
{
	int result;

	if (request->kind == IO_SELF) {
		mirror_work_resume(node, request, plan);
		return;
	}
	if (request->kind == IO_READ) {
		read_ended(node, request, plan);
		return;
	}
	if (plan->ops[0].request.kind == IO_SELF && plan->ops[0].result < 0) {
		plan_end(plan, plan->ops[0].result); /* nothing was sent: nobody missed anything */
		return;
	}
	if (!mirror_judge(node, plan, &result)) {
		if (result < 0 && request->length) {
			mirror_doubt(node, request);
			plan_wake(plan);
		}
		plan_end(plan, result);
	}
}

static void mirror_ended(struct node *node, const struct request *request, struct plan *plan)
{
	if (request->kind == IO_READ)
		mirror_read_counted(node->state, plan->io_state, 0);
	else
		mirror_unmark(node, request);
}

static bool mirror_suffices(const struct node *node, unsigned place)
{
	const struct mirror *mirror = node->state;

	return mirror->legs[place].state == LEG_IN_SYNC;
}

const struct target_type mirror_target = {
	.name = "mirror",
	.state_size = sizeof(struct mirror),
	.io_state_size = sizeof(struct mirror_io),
	.stateful = true,
	.maps_again = true,
	.redundant = true,
	.parse = mirror_parse,
	.probe = mirror_probe,
	.open = mirror_open,
	.load = mirror_load,
	.unload = mirror_unload,
	.own = mirror_own,
	.close = mirror_close,
	.status = mirror_status,
	.geometry = mirror_geometry,
	.hold = mirror_hold,
	.map = mirror_map,
	.resume = mirror_resume,
	.ended = mirror_ended,
	.suffices = mirror_suffices,
	.work = mirror_work,
	.command = mirror_command,
};
