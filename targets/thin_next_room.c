// SPDX-License-Identifier: MIT
/*
 * Clusters for thin's next generation of metadata. Single ones come from the reserve: they are counted,
 * and a crash leaves them to the next start's. What must lie in a row is looked for among those that
 * are free; they are counted in memory alone, as nothing names them before the switch.
 */
#include "thin_next.h"

#include <errno.h>

#define SEARCH_MAX 65536u /* clusters that one step looks at */
#define SEARCHES_MAX 4u

static bool is_single(const struct thin_run *run)
{
	return run->clusters == 1 && !run->at;
}

uint32_t thin_next_missing(const struct thin *thin)
{
	const struct thin_next *next = thin->next;
	uint32_t count = 0;
	uint64_t i;

	for (i = 0; i < THIN_RUNS; i++)
		count += is_single(&next->runs[i]);
	for (i = 0; i < thin->block_count && count < THIN_NEXT_ROOM; i++)
		count += qcow2_read64(thin->refcount_table + i * 8) && !thin_next_has_block(thin, i);
	for (i = 0; i < thin->table_count && count < THIN_NEXT_ROOM; i++)
		count += thin_next_has_table(thin, i) && !next->tables[i];
	return count;
}

static void place_run(struct thin *thin, unsigned run, uint64_t at)
{
	struct thin_next *next = thin->next;

	next->runs[run].at = at;
	thin_next_mark_all(thin, ITEM_REFCOUNTS + run, 0,
		(uint64_t)next->runs[run].clusters << thin->cluster_bits);
}

static void place_block(struct thin *thin, uint64_t index, uint64_t host)
{
	uint64_t at = index * 8 / thin->page * thin->page;

	qcow2_write64(thin->next->refcount_table + index * 8, host);
	thin_next_mark_all(thin, ITEM_REFCOUNTS, at, thin->page);
	thin_next_mark_all(thin, ITEM_COUNTS, index << thin->cluster_bits, thin_cluster(thin));
}

static void place_table(struct thin *thin, uint64_t index, uint64_t host)
{
	uint64_t at = index * 8 / thin->page * thin->page;

	thin->next->tables[index] = host;
	qcow2_l1_write(thin->next->l1 + index * 8, host, true);
	thin_next_mark_all(thin, ITEM_L1, at, thin->page);
	if (thin->next->kind != NEXT_REVERTS) /* it is written when the snapshot's is read */
		thin_next_mark_all(thin, ITEM_MAP, index << thin->cluster_bits, thin_cluster(thin));
}

/* As many as were claimed, in the order of thin_next_missing(); others may have come to be missing. */
static void place_singles(struct thin *thin, struct thin_io *io)
{
	const struct thin_next *next = thin->next;
	uint64_t i;

	for (i = 0; i < THIN_RUNS && io->claim; i++)
		if (is_single(&next->runs[i]))
			place_run(thin, (unsigned)i, thin_take(thin, io) >> thin->cluster_bits);
	for (i = 0; i < thin->block_count && io->claim; i++)
		if (qcow2_read64(thin->refcount_table + i * 8) && !thin_next_has_block(thin, i))
			place_block(thin, i, thin_take(thin, io));
	for (i = 0; i < thin->table_count && io->claim; i++)
		if (thin_next_has_table(thin, i) && !next->tables[i])
			place_table(thin, i, thin_take(thin, io));
	thin_unclaim(thin, io);
}

/* A part of the image without a refcount block, where the next reserve is to be: with that it gets one. */
static bool go_beyond(struct thin *thin, uint32_t clusters)
{
	uint64_t entries = qcow2_block_entries(&thin->header), i;

	for (i = 0; i < thin->block_count; i++)
		if (!qcow2_read64(thin->refcount_table + i * 8) &&
			thin->clusters - i * entries > clusters + THIN_RESERVE_EXTRA) {
			thin->cursor = i * entries;
			return true;
		}
	return false;
}

static bool is_free(const struct thin *thin, uint64_t cluster)
{
	return qcow2_read64(thin->refcount_table + cluster / qcow2_block_entries(&thin->header) * 8) &&
		thin_count_of(thin, cluster) == 0;
}

/* They may have been somebody's since they were looked at. */
static bool take_row(struct thin *thin, unsigned run, uint64_t first)
{
	uint64_t i;

	for (i = 0; i < thin->next->runs[run].clusters; i++)
		if (!is_free(thin, first + i))
			return false;
	for (i = 0; i < thin->next->runs[run].clusters; i++)
		thin_count_set(thin, first + i, 1);
	place_run(thin, run, first);
	return true;
}

/* True: a row has been found, or the search goes on. */
static bool search(struct thin *thin, unsigned run)
{
	struct thin_next *next = thin->next;
	uint32_t wanted = next->runs[run].clusters, looks;

	for (looks = 0; looks < SEARCH_MAX && next->searched < thin->clusters; looks++) {
		uint64_t cluster = next->searched++;

		next->row = is_free(thin, cluster) ? next->row + 1 : 0;
		if (next->row < wanted)
			continue;
		next->row = 0;
		if (take_row(thin, run, cluster + 1 - wanted)) {
			next->searched = 0;
			return true;
		}
	}
	return next->searched < thin->clusters;
}

static void find_run(struct thin *thin, struct plan *plan, struct thin_io *io, unsigned run)
{
	struct thin_next *next = thin->next;

	if (search(thin, run)) {
		thin_next_end(thin, plan, 0);
		return;
	}
	next->searched = next->row = 0;
	if (next->searches++ == SEARCHES_MAX || thin->is_exhausted || !go_beyond(thin, next->runs[run].clusters)) {
		thin_next_end(thin, plan, -ENOSPC);
		return;
	}
	io->wants = (uint32_t)(thin->reserve.count - thin->claimed) + 1;
	plan_self(plan, 0, 0, SELF_RESERVE);
	plan_ask(plan);
	io->step = STEP_BLOCK;
}

void thin_next_room(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	struct thin_next *next = thin->next;
	unsigned run;

	for (run = 0; run < THIN_RUNS; run++)
		if (next->runs[run].clusters > 1 && !next->runs[run].at) {
			find_run(thin, plan, io, run);
			return;
		}
	io->wants = thin_next_missing(thin);
	if (io->wants == 0) {
		next->step = next->kind == NEXT_REVERTS && !next->map.walked ? NEXT_COPY : NEXT_PAGES;
		thin_next_end(thin, plan, 0);
		return;
	}
	if (thin_claim(thin, io, io->wants)) {
		place_singles(thin, io);
		thin_next_end(thin, plan, 0);
		return;
	}
	plan_self(plan, 0, 0, SELF_RESERVE);
	plan_ask(plan);
	io->step = STEP_RESERVED;
}

void thin_next_room_resume(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	int result = thin_failure(plan);

	if (result == 0 && io->step == STEP_RESERVED)
		place_singles(thin, io);
	thin_unclaim(thin, io);
	thin_next_end(thin, plan, result);
}
