// SPDX-License-Identifier: MIT
/*
 * thin's snapshots while the device is live: as internal ones of qcow2, which other programs know.
 *
 * A snapshot is the L1 table as it is, with all that hangs on it, and one more name for each cluster
 * that it shares with the device: none of them may be written in place any more. So the counts of all
 * that is mapped change, and with them the flag "its refcount is one" in all entries of the device's
 * own tables. Whoever checks an image counts each entry whose flag and count disagree as an error, so
 * there is no order in which the two could be written in place.
 *
 * But all of this hangs on the header: where the L1 table, the refcount table and the snapshot table
 * are is said in its first sector. So all that changes is written anew, elsewhere: copies of the L2
 * tables with their flags cleared, of the refcount blocks with the new counts, and the tables that name
 * them. The old L1 and L2 tables become the snapshot's, as they lie there.
 *
 *   step         requests   what is done
 *   counts       go on      a copy of all counts, in memory
 *   names        go on      deleting: less the names that the snapshot has (thin_next_names.c)
 *   room         go on      clusters for what is to be written (thin_next_room.c)
 *   copy         go on      going back: the snapshot's tables (thin_next_revert.c)
 *   walk         go on      and less the names that the device has
 *   pages        go on      it is written; what requests change meanwhile is dirty, and written again
 *   flush        go on
 *   switch       wait       what has become dirty, if that is little: else another round;
 *                           a flush; the header; a flush; the next generation is the present one
 *
 * A snapshot is deleted in the same way: its names are no longer counted and the list is shorter, and flags
 * are by the new counts. The device's own tables before the switch are then nobody's.
 *
 * And the device goes back to one in the same way: the next map is a copy of the snapshot's, which stays. What
 * requests write until the switch is lost with the rest, and what comes behind it finds the snapshot's bytes.
 *
 * The pause is the last step's, and before it for requests under way to end. It has a bound whatever the
 * volume's size: as many pages as a self op may write (66 or so), two flushes and one sector.
 *
 * Crash story. Before the header's sector: the present generation is there, untouched, and nothing names
 * the other one's clusters: those that were counted are found again by the next start. Afterwards: the
 * next generation is whole, as it was flushed before, and what it names no longer is counted and not
 * named. The sector is old or new. When it can't be written, or flushed, nobody knows which of the two
 * the disk has: all requests fail until the next start, so that neither is built on.
 */
#include "thin_next.h"

#include "notice.h"

#include <errno.h>

#define COPY_MAX (UINT64_C(1) << 15) /* clusters whose counts one step copies */
#define NS_PER_US 1000u
#define SWITCH_FIXED 3u /* ops: a flush, the header, a flush */

/* One that is put off is a pause too: the longest is told. */
static void wait_over(struct thin *thin, const struct plan *plan)
{
	uint64_t pause = plan->now - thin->next->asked_at;

	thin->unmappers--;
	if (pause < thin->made.pause)
		return;
	__atomic_store_n(&thin->made.pause, pause, __ATOMIC_RELAXED);
	__atomic_store_n(&thin->made.pause_ops, plan->count, __ATOMIC_RELAXED);
}

static void fail(struct thin *thin, int result)
{
	thin_next_drop(thin);
	__atomic_store_n(&thin->made.result, result, __ATOMIC_RELAXED);
}

void thin_next_end(struct thin *thin, struct plan *plan, int result)
{
	if (result == 0 && thin->next->has_failed)
		result = thin->next->is_narrow ? -ERANGE : -EOVERFLOW;
	if (result == 0 && (thin->has_lost || thin->next->is_bad))
		result = -EIO; /* somebody's flush may have been that of what was written here */
	thin->next->is_running = false;
	if (result < 0)
		fail(thin, result);
	plan_end(plan, 0); /* nobody waits for it */
}

bool thin_next_wants(struct thin *thin, uint64_t now, struct request *request)
{
	struct thin_next *next = thin->next;

	if (!next || next->is_running)
		return false;
	next->is_running = true;
	request->flags = SELF_NEXT;
	if (next->step == NEXT_SWITCH) {
		request->flags = SELF_SWITCH;
		next->asked_at = now;
		thin->unmappers++; /* no write that comes from now on may count on what it finds */
	}
	return true;
}

static void copy_counts(struct thin *thin, struct plan *plan)
{
	struct thin_next *next = thin->next;
	uint64_t length = thin->block_count * qcow2_block_entries(&thin->header), from = next->copied;

	next->copied = length - from < COPY_MAX ? length : from + COPY_MAX;
	thin_counts_copy_next(&thin->counts, from, next->copied);
	if (next->kind == NEXT_REVERTS)
		thin_next_fold(thin, from, next->copied);
	if (next->copied == length)
		next->step = next->kind == NEXT_MAKES ? NEXT_ROOM : NEXT_NAMES;
	thin_next_end(thin, plan, 0);
}

static void write_item(struct thin *thin, struct plan *plan, uint64_t item, uint32_t skip)
{
	thin_next_bytes(thin, item, (uint8_t *)plan->scratch + skip);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, thin_next_host(thin, item), skip, thin->page);
}

/* The dirty ones from `item` on, as far as they follow each other: how many, at most `most`. */
static uint32_t run_of(const struct thin *thin, uint64_t item, uint32_t most)
{
	const struct thin_next *next = thin->next;
	uint64_t end = item < thin->page_count ? thin->page_count : next->first[ITEM_KINDS];
	uint32_t count = 0;

	while (count < most && item + count < end && thin_bit(next->dirty, item + count))
		count++;
	return count;
}

/* Pages that are written at once. */
static uint32_t wave(const struct thin *thin, const struct plan *plan)
{
	uint32_t room = plan->scratch_size / thin->page;

	return room < THIN_NEXT_WAVE ? room : THIN_NEXT_WAVE;
}

static bool is_there(const struct thin *thin, uint64_t item)
{
	return item >= thin->page_count || thin->pages[item]; /* only the map's may be missing */
}

/* Items that are in memory; a page of the map that isn't is brought first. */
static void write_pages(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	struct thin_next *next = thin->next;
	uint64_t item = thin_next_dirty(next);
	uint32_t count, i;

	if (item == UINT64_MAX) {
		next->step = thin_next_missing(thin) ? NEXT_ROOM : NEXT_FLUSH;
		thin_next_end(thin, plan, 0);
		return;
	}
	if (!is_there(thin, item)) {
		plan_self(plan, item, run_of(thin, item, thin->pages_max), SELF_BRING);
		plan_ask(plan);
		io->step = STEP_BROUGHT;
		return;
	}
	count = run_of(thin, item, wave(thin, plan));
	for (i = 0; i < count && is_there(thin, item + i); i++)
		write_item(thin, plan, item + i, i * thin->page);
	plan_ask(plan);
	io->step = STEP_PAGES;
}

void thin_next_map(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	if (thin->failed) {
		thin_next_end(thin, plan, -EIO);
		return;
	}
	switch (thin->next->step) {
	case NEXT_COUNTS:
		copy_counts(thin, plan);
		break;
	case NEXT_NAMES:
		thin_next_names(node, plan, io);
		break;
	case NEXT_ROOM:
		thin_next_room(thin, plan, io);
		break;
	case NEXT_COPY:
		thin_next_copy(node, plan, io);
		break;
	case NEXT_WALK:
		thin_next_walk(thin, plan, io);
		break;
	case NEXT_PAGES:
		write_pages(thin, plan, io);
		break;
	default:
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_FLUSHED;
	}
}

void thin_next_resume(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);

	if (thin->next->step == NEXT_COPY) {
		thin_next_copy_resume(node, plan, io);
		return;
	}
	if (io->step == STEP_BROUGHT && thin->next->step == NEXT_WALK && result == 0) {
		thin_next_walk(thin, plan, io);
		return;
	}
	if (io->step == STEP_BROUGHT && result == 0 && is_there(thin, thin_next_dirty(thin->next))) {
		write_pages(thin, plan, io); /* what was brought is there until this returns */
		return;
	}
	if (io->step == STEP_READ_BACK) {
		thin_next_names_resume(node, plan);
		return;
	}
	if (io->step == STEP_RESERVED || io->step == STEP_BLOCK) {
		thin_next_room_resume(thin, plan, io);
		return;
	}
	if (io->step == STEP_FLUSHED) {
		thin_flushed(thin, plan, io, result);
		thin->next->step = NEXT_SWITCH;
	}
	thin_next_end(thin, plan, result);
}

/* Too much has changed since the flush, or what is needed is not in memory: requests go on meanwhile. */
static void put_off(struct thin *thin, struct plan *plan)
{
	struct thin_next *next = thin->next;

	wait_over(thin, plan);
	next->step = NEXT_PAGES;
	thin_next_end(thin, plan, ++next->tries < THIN_SWITCH_TRIES ? 0 : -EBUSY);
}

static void switch_failed(struct thin *thin, struct plan *plan, int result)
{
	wait_over(thin, plan);
	thin_next_end(thin, plan, result);
}

/* A wave of what is dirty; when nothing is, the flush. */
static void write_rest(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	uint32_t count, room = node->needs.self_ops - SWITCH_FIXED;
	uint64_t item = thin_next_dirty(thin->next);

	for (count = 0; count < wave(thin, plan) && item != UINT64_MAX; count++) {
		if (!is_there(thin, item) || plan->count == room)
			break;
		write_item(thin, plan, item, count * thin->page);
		item = thin_next_dirty(thin->next);
	}
	if (count == 0 && item != UINT64_MAX) {
		put_off(thin, plan);
		return;
	}
	if (count == 0)
		thin_flush(thin, plan, io);
	plan_ask(plan);
	io->step = count ? STEP_PAGES : STEP_FLUSHED;
}

void thin_switch_map(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	if (thin->failed || thin->has_lost || thin->next->is_bad)
		switch_failed(thin, plan, -EIO);
	else if (thin_next_missing(thin))
		put_off(thin, plan);
	else
		write_rest(node, plan, io);
}

static void write_header(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	struct qcow2_header header = thin->header;

	thin_next_name(thin, &header);
	memcpy(plan->scratch, thin->header_page, thin->page);
	qcow2_header_set_tables(plan->scratch, &header);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, 0, 0, thin->page);
	plan_ask(plan);
	io->step = STEP_COMMITTED;
}

static void switch_over(struct node *node, struct plan *plan)
{
	static const char *const notices[] = {
		[NEXT_MAKES] = "snapshot_made",
		[NEXT_DELETES] = "snapshot_deleted",
		[NEXT_REVERTS] = "snapshot_reverted",
	};
	struct thin *thin = thin_of(node);
	enum thin_next_kind kind = thin->next->kind;

	wait_over(thin, plan);
	thin_next_adopt(thin);
	qcow2_header_set_tables(thin->header_page, &thin->header);
	__atomic_store_n(&thin->made.result, 0, __ATOMIC_RELAXED);
	notice_raise(node, notices[kind], "pause_us", thin->made.pause / NS_PER_US);
	if (kind != NEXT_MAKES)
		plan_wake(plan);
	plan_end(plan, 0);
}

void thin_switch_resume(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);

	switch (io->step) {
	case STEP_PAGES:
		if (result < 0)
			switch_failed(thin, plan, result);
		else
			write_rest(node, plan, io);
		break;
	case STEP_FLUSHED:
		thin_flushed(thin, plan, io, result);
		if (result < 0 || thin->has_lost || thin->next->is_bad)
			switch_failed(thin, plan, -EIO);
		else
			write_header(thin, plan, io);
		break;
	case STEP_COMMITTED:
		if (result < 0) {
			thin->failed = true;
			switch_failed(thin, plan, result);
			break;
		}
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_LISTED;
		break;
	default:
		thin_flushed(thin, plan, io, result);
		thin->failed |= result < 0;
		if (result < 0)
			switch_failed(thin, plan, result);
		else
			switch_over(node, plan);
	}
}
