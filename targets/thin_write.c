// SPDX-License-Identifier: MIT
/*
 * thin's writes. Where all is mapped and ours alone: one op for each cluster and nothing else.
 *
 * Where not, the request has its clusters alone (hold) and goes on in steps, each behind a
 * SELF_BRING where its part of the map is not in memory:
 *   clusters   a claim on the reserve, after a SELF_RESERVE where that is too small
 *   tables     SELF_TABLES, where L2 tables are missing or shared
 *   bytes      the request's, and what stands around them (thin_fill.c)
 *   commit     SELF_COMMIT: flush, then the entries; shared with whoever waits by then
 *   flush      for FUA
 * A failure on the way gives back what was taken: nothing names it. That there is no room may be none,
 * but a reason to wait (thin_room.c) and to do all of this again.
 */
#include "thin.h"

#include <assert.h>
#include <errno.h>

int thin_failure(const struct plan *plan)
{
	return thin_failure_from(plan, 0);
}

int thin_failure_from(const struct plan *plan, unsigned first)
{
	int result = 0;
	unsigned i;

	for (i = first; i < plan->count; i++)
		if (plan->ops[i].result < 0 && (result == 0 || result == -ECANCELED))
			result = plan->ops[i].result;
	return result;
}

static uint64_t grain_down(const struct thin *thin, uint64_t offset)
{
	return offset & ~((UINT64_C(1) << thin->grain_bits) - 1);
}

/* Whether the cluster that holds an offset gets a new host cluster, whole. */
static bool is_replaced(const struct thin *thin, const struct qcow2_entry *entry)
{
	return entry->host && !thin_is_own(thin, entry);
}

static bool is_data(const struct thin *thin, const struct qcow2_entry *entry, uint64_t offset)
{
	unsigned grain = (unsigned)((offset & (thin_cluster(thin) - 1)) >> thin->grain_bits);

	return thin_is_own(thin, entry) && qcow2_entry_kind(entry, grain) == QCOW2_DATA;
}

/* What must be written with the request's bytes: to the edges of what becomes allocated by it. */
static void find_edges(const struct thin *thin, struct thin_io *io)
{
	uint64_t end = io->offset + io->length, grain = UINT64_C(1) << thin->grain_bits;
	struct qcow2_entry first = thin_lookup(thin, io->offset >> thin->cluster_bits);
	struct qcow2_entry last = thin_lookup(thin, (end - 1) >> thin->cluster_bits);

	io->begin = io->offset;
	io->end = end;
	if (is_replaced(thin, &first))
		io->begin = thin_down(thin, io->offset);
	else if (!is_data(thin, &first, io->offset))
		io->begin = grain_down(thin, io->offset);
	if (is_replaced(thin, &last))
		io->end = thin_up(thin, end);
	else if (!is_data(thin, &last, end - 1))
		io->end = grain_down(thin, end + grain - 1);
	if (thin_is_external(thin) && io->end > thin->header.size)
		io->end = thin->header.size; /* where the data file may end, too */
}

/* How many clusters the request takes: for data, and for tables. */
static uint32_t count_wanted(const struct thin *thin, const struct thin_io *io)
{
	uint64_t cluster = io->offset >> thin->cluster_bits;
	uint64_t last = (io->offset + io->length - 1) >> thin->cluster_bits;
	uint64_t table = cluster >> thin->table_bits;
	uint32_t wanted = 0;

	for (; cluster <= last; cluster++) {
		struct qcow2_entry entry = thin_lookup(thin, cluster);

		wanted += !thin_is_external(thin) && !thin_is_own(thin, &entry);
	}
	for (; table <= last >> thin->table_bits; table++)
		wanted += !thin_table_is_ready(thin, table);
	return wanted;
}

static void give_up(struct node *node, struct plan *plan, struct thin_io *io, int result)
{
	struct thin *thin = thin_of(node);
	uint64_t base = thin_down(thin, io->offset);
	unsigned i;

	for (i = 0; io->has_hosts && base < io->offset + io->length; i++) {
		thin_give_back(thin, thin_down(thin, plan->ops[io->first + i].request.offset));
		base += thin_cluster(thin);
	}
	io->has_hosts = false;
	thin_unclaim(thin, io);
	thin_room_end(node, plan, result);
}

/* The request's own bytes: one op for each cluster, in a cluster of its own or a new one. */
static void write_bytes(struct thin *thin, const struct request *request, struct plan *plan,
	struct thin_io *io)
{
	uint64_t skip = 0;

	io->first = plan->count;
	while (skip < request->length) {
		uint64_t offset = request->offset + skip, within = offset & (thin_cluster(thin) - 1);
		uint64_t part = thin_cluster(thin) - within, host;
		struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);
		struct op *op;

		if (part > request->length - skip)
			part = request->length - skip;
		if (thin_is_external(thin))
			host = offset - within;
		else
			host = thin_is_own(thin, &entry) ? entry.host : thin_take(thin, io);
		op = plan_part(plan, request, skip, part, thin->data_place, host + within);
		op->request.flags &= ~IO_FUA; /* a flush comes first, or last */
		skip += part;
	}
	io->has_hosts = !thin_is_external(thin);
}

/* An edge whose cluster is compressed: its bytes into scratch. False: the edge is none of that. */
static bool unpack_edge(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	uint64_t end = io->offset + io->length;
	struct qcow2_entry head = thin_lookup(thin, io->offset >> thin->cluster_bits);
	struct qcow2_entry tail = thin_lookup(thin, (end - 1) >> thin->cluster_bits);

	if (!io->tail && io->begin < io->offset && head.compressed) {
		thin_read_packed(node, plan, &head);
		io->step = STEP_UNPACKED;
		return true;
	}
	io->tail = true;
	if (io->end > end && tail.compressed) {
		thin_read_packed(node, plan, &tail);
		io->step = STEP_UNPACKED;
		return true;
	}
	return false;
}

/* The unpacked cluster's bytes around the request, at the edge whose turn it is. */
static int write_edge(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	uint64_t end = io->offset + io->length, mask = thin_cluster(thin) - 1;
	uint64_t base = thin_down(thin, io->tail ? end - 1 : io->offset);
	unsigned index = (unsigned)((base - thin_down(thin, io->offset)) >> thin->cluster_bits);
	uint64_t host = thin_down(thin, plan->ops[io->first + index].request.offset);
	struct qcow2_entry entry = thin_lookup(thin, base >> thin->cluster_bits);
	uint32_t at;

	if (thin_unpack(node, plan, &entry, &at) < 0)
		return -EIO;
	if (!io->tail && io->begin < io->offset)
		plan_scratch(plan, IO_WRITE, 0, THIN_DATA, host, at, (uint32_t)(io->offset & mask));
	if (io->end > end && thin_down(thin, end - 1) == base)
		plan_scratch(plan, IO_WRITE, 0, THIN_DATA, host + (end & mask),
			at + (uint32_t)(end & mask), (uint32_t)(io->end - end));
	if (thin_down(thin, end - 1) == base)
		io->tail = true;
	plan_then(plan);
	return 0;
}

static void filled(struct plan *plan, struct thin_io *io)
{
	plan_ask(plan);
	io->step = STEP_WRITTEN;
}

static void start_bytes(struct node *node, const struct request *request, struct plan *plan,
	struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	if (!thin_is_there(thin, io->offset, io->length)) {
		thin_bring(thin, plan, io->offset, io->length);
		io->step = STEP_TABLES; /* once more */
		return;
	}
	find_edges(thin, io);
	write_bytes(thin, request, plan, io);
	thin_fill(node, plan, io);
	if (!thin->has_compressed || !unpack_edge(node, plan, io))
		filled(plan, io);
}

static void start_tables(struct node *node, const struct request *request, struct plan *plan,
	struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	uint64_t table = request->offset >> thin->cluster_bits >> thin->table_bits;
	uint64_t last = (request->offset + request->length - 1) >> thin->cluster_bits >>
		thin->table_bits;

	for (; table <= last; table++)
		if (!thin_table_is_ready(thin, table)) {
			plan_self(plan, 0, 0, SELF_TABLES);
			plan_ask(plan);
			io->step = STEP_TABLES;
			return;
		}
	start_bytes(node, request, plan, io);
}

/*
 * FUA behind a commit that nobody has flushed yet: its entry must be durable too. That flush is
 * planned when the bytes are written, as this plan may be given up for another (thin_is_plain()).
 */
static void write_mapped(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	if (!(request->flags & IO_FUA) || thin->committed == thin->flushed) {
		uint64_t skip, part;

		for (skip = 0; skip < request->length; skip += part) {
			uint64_t offset = request->offset + skip;
			uint64_t within = offset & (thin_cluster(thin) - 1);
			struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);

			part = thin_cluster(thin) - within;
			if (part > request->length - skip)
				part = request->length - skip;
			plan_part(plan, request, skip, part, thin->data_place, qcow2_entry_place(&entry) + within);
		}
		return;
	}
	write_bytes(thin, request, plan, io);
	io->has_hosts = false;
	plan_ask(plan);
	io->step = STEP_PASSED;
}

void thin_write(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	if (thin->failed) {
		plan_end(plan, -EIO);
		return;
	}
	if (thin_is_mapped(thin, request->offset, request->length)) {
		thin->cache.hits += io->step == STEP_NONE;
		io->step = STEP_NONE;
		write_mapped(node, request, plan);
		return;
	}
	if (!thin_is_there(thin, request->offset, request->length)) {
		thin_bring(thin, plan, request->offset, request->length);
		io->step = STEP_BROUGHT;
		return;
	}
	thin->cache.hits += io->step == STEP_NONE;
	io->plan = plan;
	io->offset = request->offset;
	io->length = request->length;
	io->wants = count_wanted(thin, io);
	if (thin_claim(thin, io, io->wants)) {
		start_tables(node, request, plan, io);
		return;
	}
	plan_self(plan, 0, 0, SELF_RESERVE);
	plan_ask(plan);
	io->step = STEP_RESERVED;
}

static void go_on(struct node *node, const struct request *request, struct plan *plan,
	struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	switch (io->step) {
	case STEP_BROUGHT:
		thin_write(node, request, plan);
		break;
	case STEP_RESERVED:
		start_tables(node, request, plan, io);
		break;
	case STEP_TABLES:
		start_bytes(node, request, plan, io);
		break;
	case STEP_UNPACKED:
		if (write_edge(node, plan, io) < 0) {
			give_up(node, plan, io, -EIO);
			break;
		}
		if (io->tail || !(io->tail = true, unpack_edge(node, plan, io)))
			filled(plan, io);
		break;
	case STEP_WRITTEN:
		thin_commit_wait(thin, io);
		plan_self(plan, 0, 0, SELF_COMMIT);
		plan_ask(plan);
		io->step = STEP_COMMITTED;
		break;
	case STEP_COMMITTED:
		thin_unclaim(thin, io);
		thin_room_found(node);
		if (!(request->flags & IO_FUA)) {
			plan_end(plan, 0);
			break;
		}
		/* fall through */
	case STEP_PASSED:
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_FLUSHED;
		break;
	default:
		assert(io->step == STEP_FLUSHED);
		plan_end(plan, 0);
	}
}

void thin_write_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	int result = thin_failure(plan);

	if (io->step == STEP_NONE) { /* in place: the first error is the result */
		thin_room_end(node, plan, result);
		return;
	}
	if (io->step == STEP_FLUSHED)
		thin_flushed(thin, plan, io, result);
	if (result < 0)
		give_up(node, plan, io, result);
	else
		go_on(node, request, plan, io);
}
