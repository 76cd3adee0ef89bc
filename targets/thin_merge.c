// SPDX-License-Identifier: MIT
/*
 * thin's merge, which users call commit: what the image holds over its backing is written there, in the background and
 * run by run, and then leaves the image, so that it is read from backing again. Of the image L2 entries are cleared, as a
 * DISCARD clears them; of backing its own bytes are written.
 *
 *   look      the next clusters from the cursor on that are alike and of which the image says something; they
 *             are held alone, to the end
 *   bytes     read from the image, written to backing; a compressed cluster by way of scratch
 *   zeroes    made there (without room, unless "discard" is "ignore"), or written, whatever backing reads: what it
 *             shows since a flush failed in an earlier life need not be on its disk, nor on all legs of a mirror
 *   flush     of backing
 *   drop      their entries become holes, by the commit of all entries (thin_commit.c); what they named goes the
 *             way of thin_space.c's four stations. With `keeps` nothing is dropped
 *   last      when all of the device has been gone through: a flush of the image, so that what was dropped is free
 *
 * Crash story, for each cluster; at any moment the disk has
 * - the entry that was there, over a backing with the old bytes, the new ones, or some sectors of each: it covers
 *   them;
 * - or the hole, over a backing of which the flush that came before the entry's write has succeeded: the new bytes,
 *   which are those that the entry named. The host cluster is used again only behind a flush of the hole, so the
 *   entry, where a power cut brings it back, names what it always named.
 * What was dropped and written again is a first write as any other. That its entry is on disk for sure only after
 * the device's next flush doesn't matter when it is merged before that: the hole that a power cut then leaves shows
 * sectors of before and of after writes that nobody has flushed, as a disk may.
 * Nothing is to be remembered of how far it was: what is left is what the image has.
 *
 * Race story: who writes meanwhile comes before the run is looked at, or waits until it is a hole and then
 * allocates anew, with what stands around from backing. So that no write that was let in as one in place finds
 * its cluster gone, this counts among those that unmap (thin_is_settled) from its hold on. Reads wait as well:
 * nobody reads backing where it is being written. Snapshots of the image would see backing change: there are none.
 *
 * Scratch: [0, 2 * fill) is thin_fill.c's, and from there on a compressed cluster's (thin_read.c), or the piece.
 */
#include "thin.h"

#include "notice.h"

#include <errno.h>

#define GRAINS 32u /* of a cluster with extended L2 */
#define LOOKS_MAX 65536u /* clusters, or tables that aren't there, that are passed over at once */

enum kind { KIND_HOLE, KIND_ZEROES, KIND_BYTES, KIND_PACKED, KIND_MIXED }; /* the last: its grains differ, or may */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Pieces of a run: of one cluster that is larger than they are, or one. */
static uint32_t pieces_max(const struct node *node)
{
	return larger(1, (uint32_t)(thin_cluster(thin_of(node)) / thin_piece_max(node)));
}

void thin_merge_needs(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct needs *needs = &node->needs;
	uint32_t pieces = pieces_max(node);

	needs->work_ops = larger(needs->work_ops,
		2 * (GRAINS + pieces) + (thin_piece_max(node) >> thin->cluster_bits) + 4);
	needs->work_scratch = larger(needs->work_scratch, needs->scratch);
	/* Zeroes may have to be written after all; of grains every other one may be a hole. The flush is the one more. */
	needs->others_fixed = larger(needs->others_fixed,
		2 * pieces + (qcow2_is_extended(&thin->header) ? GRAINS / 2 : 0));
}

static enum kind kind_of(const struct thin *thin, uint64_t offset)
{
	struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);

	if (entry.compressed)
		return KIND_PACKED;
	if (qcow2_is_extended(&thin->header)) {
		if (!entry.data && !entry.zeroes)
			return KIND_HOLE;
		return entry.zeroes == UINT32_MAX ? KIND_ZEROES : KIND_MIXED;
	}
	switch (qcow2_entry_kind(&entry, 0)) {
	case QCOW2_HOLE:
		return KIND_HOLE;
	case QCOW2_ZERO:
		return KIND_ZEROES;
	default:
		return KIND_BYTES;
	}
}

/* Over what the image says nothing of, as far as the map is in memory: nothing is to be done there, or held. */
static void skip_holes(const struct thin *thin, struct thin_job *job)
{
	uint64_t offset = job->cursor, cluster = thin_cluster(thin);
	uint64_t table = cluster << thin->table_bits;
	unsigned looks;

	for (looks = 0; looks < LOOKS_MAX && offset < job->end; looks++) {
		if (!thin->table_hosts[offset / table])
			offset = (offset / table + 1) * table;
		else if (thin_is_there(thin, offset, 1) && kind_of(thin, offset) == KIND_HOLE)
			offset += cluster;
		else
			break;
	}
	__atomic_store_n(&job->cursor, smaller(offset, job->end), __ATOMIC_RELAXED);
}

bool thin_merge_next(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct thin *thin = thin_of(node);
	struct thin_job *job = &thin->merge.job;

	if (job->state == JOB_RUNNING && !job->is_busy)
		skip_holes(thin, job);
	request->flags = SELF_MERGE;
	return thin_job_next(job, larger(thin_piece_max(node), (uint32_t)thin_cluster(thin)), now, request, again);
}

static void end(struct node *node, struct plan *plan, uint64_t cursor, int result)
{
	struct thin_merge *merge = &thin_of(node)->merge;
	struct thin_io *io = plan->io_state;

	if (plan->now - io->begun > merge->pause)
		__atomic_store_n(&merge->pause, plan->now - io->begun, __ATOMIC_RELAXED);
	thin_job_end(node, &merge->job, plan, smaller(cursor, merge->job.end), result, "commit_failed");
}

/* Where what unmaps hasn't taken over, which counts itself. */
static void leave(struct node *node, struct plan *plan, uint64_t cursor, int result)
{
	thin_of(node)->unmappers--;
	end(node, plan, cursor, result);
}

/* The next clusters that are alike, as many as one piece has, or one. False: there are only holes. */
static bool find_run(const struct node *node, uint64_t offset, uint64_t limit, struct thin_io *io, enum kind *kind)
{
	const struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin), most = thin_piece_max(node);

	while (offset < limit && kind_of(thin, offset) == KIND_HOLE)
		offset += cluster;
	if (offset >= limit)
		return false;
	*kind = kind_of(thin, offset);
	io->begin = io->offset = offset;
	offset += cluster;
	while ((*kind == KIND_BYTES || *kind == KIND_ZEROES) && offset < limit &&
		offset + cluster - io->begin <= most && kind_of(thin, offset) == *kind)
		offset += cluster;
	io->end = offset;
	io->length = smaller(offset, thin->merge.job.end) - io->offset;
	return true;
}

static void write_backing(struct plan *plan, uint64_t from, uint64_t to, uint32_t skip)
{
	if (from < to)
		plan_scratch(plan, IO_WRITE, 0, THIN_BACKING, from, skip, (uint32_t)(to - from));
}

/* What the image has of [from, to) into scratch; or from there to backing. */
static void copy_piece(struct thin *thin, struct plan *plan, uint64_t from, uint64_t to, bool writes)
{
	uint32_t at = thin_piece_at(thin);
	uint64_t offset, next, begun = from;

	for (offset = from; offset < to; offset = next) {
		struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);
		uint64_t base = thin_down(thin, offset), within = offset - base;
		uint32_t skip = at + (uint32_t)(offset - from);
		enum qcow2_kind kind = qcow2_entry_kind(&entry, (unsigned)(within >> thin->grain_bits));

		next = base + thin_run_end(thin, &entry, within, smaller(to - base, thin_cluster(thin)));
		if (kind == QCOW2_HOLE) {
			if (writes)
				write_backing(plan, begun, offset, at + (uint32_t)(begun - from));
			begun = next;
		} else if (!writes && kind == QCOW2_DATA) {
			plan_scratch(plan, IO_READ, 0, THIN_DATA, entry.host + within, skip, (uint32_t)(next - offset));
		} else if (!writes) {
			plan_scratch(plan, IO_CLEAR, 0, 0, 0, skip, (uint32_t)(next - offset));
		}
	}
	if (writes)
		write_backing(plan, begun, to, at + (uint32_t)(begun - from));
	plan_then(plan);
}

static void dropped(struct node *node, struct plan *plan)
{
	struct thin_io *io = plan->io_state;

	if (plan->result == PLAN_RUNNING)
		return;
	if (plan->result == 0)
		thin_job_copied(&thin_of(node)->merge.job, io->length);
	end(node, plan, io->end, plan->result);
}

/* Backing has the run, durably. */
static void settled(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	thin_job_paced(&thin->merge.job, io->length, plan->now);
	if (thin->merge.keeps) {
		thin_job_copied(&thin->merge.job, io->length);
		leave(node, plan, io->end, 0);
		return;
	}
	io->merge = MERGE_DROP;
	plan_then(plan);
	thin_unmap_bare(node, plan, io);
	dropped(node, plan);
}

static void flush(struct plan *plan)
{
	struct thin_io *io = plan->io_state;

	plan_then(plan);
	plan_add(plan, THIN_BACKING, (struct request){ .kind = IO_FLUSH });
	plan_ask(plan);
	io->merge = MERGE_FLUSH;
}

static uint64_t piece_end(const struct node *node, const struct thin_io *io, uint64_t offset)
{
	return smaller(offset + thin_piece_max(node), io->offset + io->length);
}

static void copy_bytes(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t offset, next;

	for (offset = io->offset; offset < io->offset + io->length; offset = next) {
		next = piece_end(node, io, offset);
		copy_piece(thin, plan, offset, next, false);
		copy_piece(thin, plan, offset, next, true);
	}
	flush(plan);
}

static void unpack(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	struct qcow2_entry entry = thin_lookup(thin, io->offset >> thin->cluster_bits);
	uint64_t offset, next;
	uint32_t at;

	if (thin_unpack(node, plan, &entry, &at) < 0) {
		leave(node, plan, 0, -EIO);
		return;
	}
	plan_then(plan);
	for (offset = io->offset; offset < io->offset + io->length; offset = next) {
		next = piece_end(node, io, offset);
		write_backing(plan, offset, next, at + (uint32_t)(offset - io->offset));
	}
	flush(plan);
}

/* What it says it can zero it may turn out not to: then `by_bytes`. */
static void zero_backing(struct node *node, struct plan *plan, bool by_bytes)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint32_t granularity = node->children[THIN_BACKING]->limits.zeroes_granularity;
	uint64_t offset, next, end = io->offset + io->length;
	unsigned flags = node->limits.discard_granularity ? 0 : IO_NOUNMAP; /* who has no discard gives no room back */

	plan_then(plan);
	if (!by_bytes && granularity && io->offset % granularity == 0 && io->length % granularity == 0) {
		for (offset = io->offset; offset < end; offset = next) {
			next = piece_end(node, io, offset);
			plan_add(plan, THIN_BACKING, (struct request){ .kind = IO_WRITE_ZEROES, .flags = flags,
				.offset = offset, .length = next - offset });
		}
		plan_ask(plan);
		io->merge = MERGE_ZERO;
		return;
	}
	plan_scratch(plan, IO_CLEAR, 0, 0, 0, thin_piece_at(thin), (uint32_t)(piece_end(node, io, io->offset) - io->offset));
	plan_then(plan);
	for (offset = io->offset; offset < end; offset = next) {
		next = piece_end(node, io, offset);
		write_backing(plan, offset, next, thin_piece_at(thin));
	}
	flush(plan);
}

static void zeroed(struct node *node, struct plan *plan, int result)
{
	unsigned i;

	if (result == 0) {
		flush(plan);
		return;
	}
	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].result == -EOPNOTSUPP)
			plan->ops[i].result = 0;
	zero_backing(node, plan, true);
}

static void look(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t limit = request->offset + request->length;
	struct qcow2_entry entry;
	enum kind kind;

	if (!thin_is_there(thin, request->offset, request->length)) {
		thin_bring(thin, plan, request->offset, request->length);
		io->merge = MERGE_LOOK;
		return;
	}
	if (!find_run(node, request->offset, limit, io, &kind)) {
		leave(node, plan, limit, 0);
		return;
	}
	if (kind == KIND_PACKED) {
		entry = thin_lookup(thin, io->offset >> thin->cluster_bits);
		thin_read_packed(node, plan, &entry);
		io->merge = MERGE_UNPACK;
	} else if (kind == KIND_ZEROES) {
		zero_backing(node, plan, false);
	} else {
		copy_bytes(node, plan);
	}
}

static void done(struct node *node, struct plan *plan, int result)
{
	struct thin_merge *merge = &thin_of(node)->merge;

	if (result == 0) {
		__atomic_store_n(&merge->job.state, JOB_DONE, __ATOMIC_RELAXED);
		notice_raise(node, "committed", "copied", merge->job.copied);
	}
	thin_job_end(node, &merge->job, plan, merge->job.end, result, "commit_failed");
}

void thin_merge_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	io->plan = plan;
	io->begun = plan->now;
	if (request->length && thin->failed) {
		leave(node, plan, 0, -EIO);
	} else if (request->length) {
		look(node, request, plan);
	} else {
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->merge = MERGE_LAST;
	}
}

void thin_merge_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	int result = thin_failure(plan);

	if (io->merge == MERGE_DROP) {
		thin_unmap_bare_resume(node, plan);
		dropped(node, plan);
	} else if (io->merge == MERGE_LAST) {
		thin_flushed(thin, plan, io, result);
		done(node, plan, result);
	} else if (io->merge == MERGE_ZERO && (result == 0 || result == -EOPNOTSUPP)) {
		zeroed(node, plan, result);
	} else if (result < 0) {
		leave(node, plan, 0, result);
	} else if (io->merge == MERGE_LOOK) {
		look(node, request, plan);
	} else if (io->merge == MERGE_UNPACK) {
		unpack(node, plan);
	} else {
		settled(node, plan);
	}
}
