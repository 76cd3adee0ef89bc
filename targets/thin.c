// SPDX-License-Identifier: MIT
/*
 * thin: a qcow2 image on child `data`, over child `backing` if there is one: a volume that takes
 * room as it is written. How its parts stand to each other, and the crash story: thin.h.
 */
#include "thin_next.h"
#include "thin_open.h"

#include <assert.h>
#include <errno.h>

#define SCRATCH_ALIGN 4096u
#define SECOND UINT64_C(1000000000)
#define SIZE_UNKNOWN (UINT64_C(1) << 52) /* more than any other leg has, many times over */

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t aligned(uint64_t bytes)
{
	return (uint32_t)((bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN);
}

/* Of each cluster its runs of holes; or, for a WRITE, grain by grain what it fills. */
static void find_reads_of_backing(struct node *node)
{
	const struct thin *thin = thin_of(node);
	struct needs *needs = &node->needs;

	if (!thin_backing(node) || thin_is_external(thin)) /* which is written, too, at any length */
		return;
	needs->others_within = (uint32_t)thin_cluster(thin);
	needs->others_each = larger(1, (uint32_t)(thin_cluster(thin) >> thin->grain_bits) / 2);
	needs->others_fixed = 2 * needs->others_each;
	if (thin->can_write)
		needs->others_fixed = larger(needs->others_fixed, thin_fill_reads(thin));
}

static void find_needs(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin), clusters = limits_max_io(node) / cluster + 2;
	uint32_t per_page = thin->page >> thin->entry_bits, l1_pages, pieces, pages;
	uint32_t evicts = thin->cache.evicts, flushes = thin_is_external(thin) ? 2 : 1;
	/* A grain is an op where its neighbours are of another kind; a compressed cluster is two. */
	uint64_t grains = qcow2_is_extended(&thin->header) || thin->has_compressed
		? limits_max_io(node) / qcow2_grain_size(&thin->header) + 4
		: 0;

	thin->tables_max = (uint32_t)((uint64_t)thin->pages_max * thin->page >> thin->cluster_bits) + 2;
	l1_pages = thin->tables_max * 8 / thin->page + 2;
	/* A round picks what one refcount block counts, or makes one. */
	thin->rounds_max = larger(THIN_RESERVE_ROUNDS,
		2 * ((uint32_t)((clusters + thin->tables_max + THIN_RESERVE_EXTRA) /
			     qcow2_block_entries(&thin->header)) + 3));
	pages = thin->pages_max + thin->commit_extra;
	pieces = (uint32_t)(cluster / thin->fill) + 1;
	node->limits.unmap_max = (uint64_t)thin->unmap_pages * per_page << thin->cluster_bits;
	node->needs = (struct needs){
		.ops_fixed = 6 + 2 * flushes + thin_fill_ops(thin) + (uint32_t)grains,
		.ops_per = (uint32_t)cluster, /* no op is longer */
		.scratch = aligned(2 * thin->fill),
		.self_fixed = 3,
	};
	find_reads_of_backing(node);
	if (thin->has_compressed)
		node->needs.scratch = aligned(thin_packed_scratch(node));
	if (!thin->can_write) { /* reads alone: of a chain of images only the top one costs much */
		node->needs.ops_fixed = 8 + (uint32_t)grains;
		node->needs.self_fixed = node->needs.work_max = evicts;
		node->needs.self_ops = thin->pages_max;
		node->needs.self_scratch = aligned(thin->pages_max * thin->page);
		if (!thin->has_compressed)
			node->needs.scratch = 0;
		return;
	}
	node->needs.self_fixed += 2 * evicts; /* a write's map, when it comes and when it has its clusters */
	node->needs.work_max = larger(1, thin->punches + thin->queues + evicts); /* SELF_NEXT takes its turn */
	node->needs.self_ops = larger((2 + evicts) * pages + flushes,
		(1 + evicts) * thin->tables_max * pieces + l1_pages + flushes);
	node->needs.self_ops = larger(node->needs.self_ops,
		thin->rounds_max * (larger(THIN_RESERVE_PAGES, pieces + 3) + 2 * flushes - 1));
	node->needs.self_scratch = larger(pages * thin->page, l1_pages * thin->page);
	node->needs.self_scratch = aligned(larger(node->needs.self_scratch,
		larger(THIN_RESERVE_PAGES * thin->page, thin->page + thin->fill)));
	if (thin_may_flatten(node))
		thin_flatten_needs(node);
	if (thin_may_flatten(node) && thin->merge.is_allowed)
		thin_merge_needs(node);
}

/* Only the device's own requests can wait: what is above would take an error for what it is. */
static int find_queue(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	const struct json *when_full = json_get(node->json, "when_full");
	uint64_t seconds = json_get_unsigned(node->json, "no_space_timeout", 60);
	const struct node *above;

	thin->queues = thin->can_write && when_full && !strcmp(json_string(when_full), "queue");
	thin->timeout = seconds ? seconds * SECOND : UINT64_MAX;
	for (above = node->parent; above && thin->queues; above = above->parent)
		if (above->type->redundant || above->type->roles)
			return json_err(when_full, err,
				"thin %s: it can't be \"queue\" below %s %s, to which a request that waits is "
				"one that has failed",
				node->id, above->type->name, above->id);
	return 0;
}

/*
 * The leg that it belongs to has failed, and nobody asks it for anything. A mirror above is not to become
 * smaller for it: the others have its size.
 */
static int open_unknown(struct node *node)
{
	limits_join(node);
	node->limits.size = json_get_size(node->json, "size", SIZE_UNKNOWN);
	node->needs = (struct needs){ .ops_fixed = 1 };
	return 0;
}

static int thin_open(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct limits *limits = &node->limits;
	bool is_ignored = !strcmp(json_get_string(node->json, "discard", "unmap"), "ignore");

	if (find_queue(node, err) < 0 || thin_merge_open(node, err) < 0) /* all else probe() has judged */
		return -1;
	if (!thin_is_known(thin))
		return open_unknown(node);
	thin->low_water_mark = json_get_size(node->json, "low_water_mark", 0);
	thin->punches = thin->can_write && !is_ignored && node->children[THIN_DATA]->limits.discard_granularity;
	limits->read_only = !thin->can_write;
	limits->size = thin->header.size - thin->header.size % limits->logical_block_size;
	limits->discard_granularity = is_ignored ? 0 : (uint32_t)thin_cluster(thin);
	limits->zeroes_granularity = (uint32_t)thin_cluster(thin);
	limits->io_opt = (uint32_t)thin_cluster(thin);
	limits->is_growing = false;
	find_needs(node);
	thin_data_file_open(node);
	return 0;
}

static void thin_close(struct node *node)
{
	thin_free(thin_of(node));
}

static enum hold hold_self(const struct thin *thin, const struct request *request, struct range *range)
{
	if (request->flags == SELF_NEXT)
		return HOLD_NONE; /* there is one, and it may wait for others */
	if (request->flags == SELF_MERGE && !request->length)
		return HOLD_NONE;
	if (request->flags == SELF_SWITCH) {
		*range = (struct range){ 0, THIN_HOLD_SELF };
		return HOLD_EXCLUSIVE;
	}
	/* One of each kind at a time: pages that two wrote at once could land in the wrong order. */
	*range = (struct range){ THIN_HOLD_SELF + request->flags, 1 };
	if (request->flags == SELF_BRING)
		range->offset = THIN_HOLD_LANE + request->offset % thin->cache.lanes;
	if (request->flags == SELF_TRIM)
		range->offset = THIN_HOLD_SELF + SELF_RESERVE;
	if (request->flags == SELF_FLATTEN || request->flags == SELF_MERGE)
		thin_flatten_hold(thin, request, range);
	return HOLD_EXCLUSIVE;
}

/*
 * Whether a write that has come just now goes in place, and still will when its turn comes: all is
 * mapped, nobody waits to unmap, and no commit is writing entries, which go back if that fails. (Its
 * part of the map may have to be brought again by then.)
 */
static bool is_settled(const struct thin *thin, const struct request *request)
{
	return !thin->unmappers && !thin->is_writing && !thin->failed &&
		thin_is_mapped(thin, request->offset, request->length);
}

/* With FUA only where its entry is durable for sure: else it flushes behind its bytes. */
static bool thin_is_plain(const struct node *node, const struct request *request)
{
	const struct thin *thin = thin_of(node);

	return (!(request->flags & IO_FUA) || thin->committed == thin->flushed) && is_settled(thin, request);
}

/*
 * Reads and writes in place share; who changes the map is alone with the clusters. Called when the
 * request comes: twice for one that thin_is_plain() and that the driver hands back.
 */
static enum hold thin_hold(
	const struct node *node, const struct request *request, struct range *range)
{
	struct thin *thin = thin_of(node);
	uint64_t end = request->offset + request->length;

	*range = (struct range){ request->offset, request->length };
	switch (request->kind) {
	case IO_SELF:
		thin->unmappers += request->flags == SELF_MERGE && request->length;
		return hold_self(thin, request, range);
	case IO_READ:
		return HOLD_SHARED;
	case IO_WRITE:
		if (is_settled(thin, request))
			return HOLD_SHARED;
		break;
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		if (thin->is_raw)
			return HOLD_SHARED; /* it is a write in place */
		thin->unmappers++;
		break;
	default:
		return HOLD_NONE;
	}
	range->offset = thin_down(thin, request->offset);
	range->length = thin_up(thin, end) - range->offset;
	return HOLD_EXCLUSIVE;
}

static void map_self(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin_io *io = plan->io_state, *parent = plan->asker;

	switch (request->flags) {
	case SELF_RESERVE:
		thin_reserve_map(node, plan, io, parent);
		break;
	case SELF_TABLES:
		thin_tables_map(node, plan, io, parent);
		break;
	case SELF_PUNCH:
		thin_punch_map(node, request, plan);
		break;
	case SELF_GO_ON:
		thin_room_go_on(thin_of(node), plan);
		break;
	case SELF_BRING:
		thin_bring_map(node, request, plan);
		break;
	case SELF_FLATTEN:
		thin_flatten_map(node, request, plan);
		break;
	case SELF_MERGE:
		thin_merge_map(node, request, plan);
		break;
	case SELF_NEXT:
		thin_next_map(node, plan, io);
		break;
	case SELF_SWITCH:
		thin_switch_map(node, plan, io);
		break;
	case SELF_TRIM:
		thin_trim_map(node, plan, io);
		break;
	default:
		thin_commit_map(node, plan, io, parent);
	}
}

static void thin_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	switch (request->kind) {
	case IO_READ:
		thin_read(node, request, plan);
		break;
	case IO_WRITE:
		thin_write(node, request, plan);
		break;
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		thin_unmap(node, request, plan);
		break;
	case IO_FLUSH:
		/* All that was acknowledged has its entry written: one flush makes it durable. */
		thin_flush(thin, plan, io);
		plan_ask(plan);
		break;
	case IO_SELF:
		map_self(node, request, plan);
		break;
	default:
		plan_add(plan, THIN_DATA, *request);
		if (thin_is_external(thin))
			plan_add(plan, thin->data_place, *request);
	}
}

static void resume_self(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin_io *io = plan->io_state, *parent = plan->asker;

	switch (request->flags) {
	case SELF_RESERVE:
		thin_reserve_resume(node, plan, io, parent);
		break;
	case SELF_TABLES:
		thin_tables_resume(node, plan, io, parent);
		break;
	case SELF_PUNCH:
		thin_punch_resume(node, plan);
		break;
	case SELF_BRING:
		thin_bring_resume(node, request, plan);
		break;
	case SELF_FLATTEN:
		thin_flatten_resume(node, request, plan);
		break;
	case SELF_MERGE:
		thin_merge_resume(node, request, plan);
		break;
	case SELF_NEXT:
		thin_next_resume(node, plan, io);
		break;
	case SELF_SWITCH:
		thin_switch_resume(node, plan, io);
		break;
	case SELF_TRIM:
		thin_trim_resume(node, plan, io);
		break;
	default:
		thin_commit_resume(node, plan, io, parent);
	}
}

static void thin_resume(struct node *node, const struct request *request, struct plan *plan)
{
	switch (request->kind) {
	case IO_READ:
		thin_read_resume(node, request, plan);
		break;
	case IO_WRITE:
		thin_write_resume(node, request, plan);
		break;
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		thin_unmap_resume(node, request, plan);
		break;
	case IO_FLUSH:
		thin_flushed(thin_of(node), plan, plan->io_state, thin_failure(plan));
		break;
	case IO_SELF:
		resume_self(node, request, plan);
		break;
	default:
		break;
	}
}

static const char *const thin_roles[] = { "data", "backing", "data_file", NULL };

const struct target_type thin_target = {
	.name = "thin",
	.state_size = sizeof(struct thin),
	.io_state_size = sizeof(struct thin_io),
	.stateful = true,
	.roles = thin_roles,
	.written = 1u << THIN_DATA_FILE,
	.probe = thin_probe,
	.open = thin_open,
	.load = thin_load,
	.unload = thin_unload,
	.close = thin_close,
	.status = thin_status,
	.command = thin_command,
	.grew = thin_grew,
	.hold = thin_hold,
	.is_plain = thin_is_plain,
	.map = thin_map,
	.resume = thin_resume,
	.work = thin_work,
};
