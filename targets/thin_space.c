// SPDX-License-Identifier: MIT
/*
 * thin's space: which host clusters are whose.
 *
 *   free      refcount 0
 *   picked    its refcount 1 is on its way to the disk (SELF_RESERVE)
 *   reserve   its refcount 1 is durable, and nothing names it
 *   claimed   a part of the reserve, as a number: promised to requests that will take it
 *   taken     by one of them, and named by nothing yet
 *   used      an entry in memory or on disk names it
 *   dropped   its last entry has been cleared in memory; a power cut may bring that back
 *   flushing  and a flush that began since is under way: then it is reserve again, or
 *   freed     no crash brings it back, and the child may take its bytes: reserve when that is short
 *   punching  the child is taking them: reserve when that has ended
 *
 * A crash at any point leaves clusters that are counted and not named: the next start counts and
 * takes them as reserve. A clean stop counts the reserve down to 0.
 */
#include "thin.h"
#include "thin_next.h"

#include <assert.h>
#include <errno.h>

uint64_t thin_count_of(const struct thin *thin, uint64_t cluster)
{
	assert(cluster < thin->clusters);
	return thin_counts_of(&thin->counts, cluster);
}

/* Which page of all refcount blocks holds a cluster's count. */
static uint64_t count_page(const struct thin *thin, uint64_t cluster)
{
	return (cluster << thin->header.refcount_order) / 8 / thin->page;
}

void thin_count_differs(struct thin *thin, uint64_t cluster)
{
	thin_bit_set(thin->stale, count_page(thin, cluster), true);
}

void thin_count_set(struct thin *thin, uint64_t cluster, uint64_t count)
{
	if (thin->next)
		thin_next_counts(thin, cluster, count);
	thin->used += count > 0;
	thin->used -= thin_count_of(thin, cluster) > 0;
	thin_counts_set(&thin->counts, cluster, count);
	thin_count_differs(thin, cluster);
}

bool thin_claim(struct thin *thin, struct thin_io *io, uint32_t count)
{
	if (thin->reserve.count - thin->claimed < count)
		return false;
	thin->claimed += count;
	io->claim += count;
	return true;
}

uint64_t thin_take(struct thin *thin, struct thin_io *io)
{
	uint64_t cluster;

	assert(io->claim && thin->claimed);
	io->claim--;
	thin->claimed--;
	cluster = thin_set_first(&thin->reserve);
	thin_set_put(&thin->taken, cluster);
	return cluster << thin->cluster_bits;
}

void thin_name(struct thin *thin, uint64_t host)
{
	(void)thin_set_take(&thin->taken, host >> thin->cluster_bits);
}

void thin_give_back(struct thin *thin, uint64_t host)
{
	if (thin_set_take(&thin->taken, host >> thin->cluster_bits))
		thin_set_put(&thin->reserve, host >> thin->cluster_bits);
}

void thin_unclaim(struct thin *thin, struct thin_io *io)
{
	thin->claimed -= io->claim;
	io->claim = 0;
}

static void drop_one(struct thin *thin, uint64_t cluster)
{
	if (thin_count_of(thin, cluster) == 1)
		thin_set_put(&thin->dropped, cluster);
	else if (thin->shares)
		thin_counts_lose(&thin->counts, cluster, 1);
	if (thin->next)
		thin_next_dropped(thin, cluster);
}

static void undrop_one(struct thin *thin, uint64_t cluster)
{
	if (thin_count_of(thin, cluster) == 1)
		(void)thin_set_take(&thin->dropped, cluster);
	else if (thin->shares)
		thin_counts_lose(&thin->counts, cluster, -1);
	if (thin->next)
		thin_next_undropped(thin, cluster);
}

/* Packed bytes may lie in several clusters. */
static uint64_t last_cluster(const struct thin *thin, const struct qcow2_entry *entry)
{
	uint64_t length = entry->compressed ? entry->packed : 1;

	return (entry->host + length - 1) >> thin->cluster_bits;
}

void thin_each_cluster(struct thin *thin, const struct qcow2_entry *entry,
	void (*change)(struct thin *thin, uint64_t cluster))
{
	uint64_t cluster = entry->host >> thin->cluster_bits;

	if (!entry->host)
		return;
	for (; cluster <= last_cluster(thin, entry) && cluster < thin->clusters; cluster++)
		change(thin, cluster);
}

/* Where more than one entry names a cluster, its count stays too high until the clean stop. */
void thin_drop(struct thin *thin, const struct qcow2_entry *entry)
{
	thin_each_cluster(thin, entry, drop_one);
}

/* What thin_drop() did: nothing of it has been captured yet. */
void thin_undrop(struct thin *thin, const struct qcow2_entry *entry)
{
	thin_each_cluster(thin, entry, undrop_one);
}

bool thin_was_dropped(const struct thin *thin, const struct qcow2_entry *entry)
{
	uint64_t cluster = entry->host >> thin->cluster_bits;

	if (!entry->host)
		return true;
	if (cluster >= thin->clusters)
		return false;
	for (; cluster <= last_cluster(thin, entry) && cluster < thin->clusters; cluster++) {
		uint64_t count = thin_count_of(thin, cluster);

		if (count == 0 || (count == 1 && !thin_set_has(&thin->dropped, cluster)))
			return false;
	}
	return true;
}

/* While a commit is writing entries, what it drops isn't gone yet: nothing is captured then. */
void thin_flush(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	io->seen = thin->committed;
	io->captures = !thin->is_writing && !thin->is_flushing && thin->dropped.count;
	if (io->captures) {
		thin->is_flushing = true;
		thin_set_move(&thin->flushing, &thin->dropped);
	}
	plan_add(plan, THIN_DATA, (struct request){ .kind = IO_FLUSH });
	if (thin_is_external(thin)) /* what entries are to name, or do; these are written behind it */
		plan_add(plan, thin->data_place, (struct request){ .kind = IO_FLUSH });
}

void thin_flushed(struct thin *thin, struct plan *plan, struct thin_io *io, int result)
{
	unsigned i;

	for (i = 0; i < plan->count && result < 0; i++)
		thin->has_lost |= plan->ops[i].request.kind == IO_FLUSH && plan->ops[i].result < 0 &&
			plan->ops[i].result != -ECANCELED;
	if (io->captures) {
		if (result == 0)
			thin->reclaimed += thin->flushing.count;
		if (result < 0)
			thin_set_move(&thin->dropped, &thin->flushing);
		else
			thin_set_move(thin->punches ? &thin->freed : &thin->reserve, &thin->flushing);
		if (thin->freed.count || thin->waiting_count)
			plan_wake(plan);
		thin->is_flushing = io->captures = false;
	}
	if (result == 0 && io->seen > thin->flushed)
		thin->flushed = io->seen;
}

static void write_count_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	uint64_t at = page * thin->page;
	uint64_t block = qcow2_read64(thin->refcount_table + (at >> thin->cluster_bits) * 8);

	thin_counts_bytes(thin, &thin->counts, at, thin->page, (uint8_t *)plan->scratch + skip);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, block + (at & (thin_cluster(thin) - 1)), skip,
		thin->page);
}

/* The page is written by this round, or can be. */
static bool take_page(struct thin_io *io, uint64_t page)
{
	unsigned i;

	for (i = 0; i < io->page_count; i++)
		if (io->pages[i] == page)
			return true;
	if (io->page_count == THIN_RESERVE_PAGES)
		return false;
	io->pages[io->page_count++] = page;
	return true;
}

static bool has_block(const struct thin *thin, uint64_t cluster)
{
	return qcow2_read64(thin->refcount_table + cluster / qcow2_block_entries(&thin->header) * 8);
}

/* Picks free clusters. False: the cursor stands where a refcount block is to be made first. */
static bool pick(struct thin *thin, struct thin_io *io, uint64_t wanted)
{
	uint64_t seen;

	io->page_count = 0;
	for (seen = 0; seen < thin->clusters && thin->picked.count < wanted; seen++) {
		if (thin->cursor >= thin->clusters)
			thin->cursor = 0;
		if (!has_block(thin, thin->cursor))
			return thin->picked.count > 0;
		if (thin_count_of(thin, thin->cursor) == 0) {
			if (!take_page(io, count_page(thin, thin->cursor)))
				return true;
			thin_count_set(thin, thin->cursor, 1);
			thin_set_put(&thin->picked, thin->cursor);
		}
		thin->cursor++;
	}
	thin->is_exhausted = thin->picked.count == 0;
	return true;
}

/* A refcount block in the first of the clusters that it counts, itself among them. */
static void make_block(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	uint64_t entries = qcow2_block_entries(&thin->header);
	uint64_t first = thin->cursor / entries * entries, host = first << thin->cluster_bits;
	uint64_t at = thin->page;

	io->at = first;
	thin_count_set(thin, first, 1); /* none of the others is counted */
	memset(plan->scratch, 0, thin->page + thin->fill);
	thin_counts_bytes(thin, &thin->counts, (first / entries) << thin->cluster_bits, thin->page, plan->scratch);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, host, 0, thin->page);
	for (; at < thin_cluster(thin); at += thin->fill) {
		uint64_t left = thin_cluster(thin) - at;

		plan_scratch(plan, IO_WRITE, 0, THIN_DATA, host + at, thin->page,
			(uint32_t)(left < thin->fill ? left : thin->fill));
	}
	plan_then(plan);
	thin_flush(thin, plan, io);
	plan_ask(plan);
	io->step = STEP_BLOCK;
}

/* It is durable: the table may name it. In memory it does when the disk's does, as others take room there then. */
static void list_block(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	uint64_t index = io->at / qcow2_block_entries(&thin->header);
	uint64_t at = index * 8 / thin->page * thin->page;

	memcpy(plan->scratch, thin->refcount_table + at, thin->page);
	qcow2_write64((uint8_t *)plan->scratch + index * 8 - at, io->at << thin->cluster_bits);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, thin->header.refcount_table_offset + at, 0,
		thin->page);
	plan_then(plan);
	thin_flush(thin, plan, io);
	plan_ask(plan);
	io->step = STEP_LISTED;
}

/* None is free. What was freed may be there in a moment: when a flush or the child has ended. */
static void no_room(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	if (!thin->punching.count && !thin->dropped.count && !thin->is_flushing) {
		plan_end(plan, -ENOSPC);
		return;
	}
	thin_flush(thin, plan, io);
	plan_ask(plan);
	io->step = STEP_AWAITED;
}

/* Clusters for the parent, or a round towards them. */
static void reserve(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	struct thin *thin = thin_of(node);
	uint64_t missing;
	unsigned i;

	if (thin->reserve.count - thin->claimed < parent->wants)
		thin_set_move(&thin->reserve, &thin->freed); /* sooner than new ones */
	if (thin_claim(thin, parent, parent->wants)) {
		plan_end(plan, 0);
		return;
	}
	missing = parent->wants - (thin->reserve.count - thin->claimed);
	if (thin->failed || io->round++ == thin->rounds_max) {
		plan_end(plan, thin->failed ? -EIO : -ENOSPC);
		return;
	}
	if (!thin->is_exhausted && !pick(thin, io, missing + THIN_RESERVE_EXTRA)) {
		make_block(thin, plan, io);
		return;
	}
	if (thin->is_exhausted) {
		no_room(node, plan, io);
		return;
	}
	for (i = 0; i < io->page_count; i++)
		write_count_page(thin, plan, io->pages[i], i * thin->page);
	plan_then(plan);
	thin_flush(thin, plan, io);
	plan_ask(plan);
	io->step = STEP_PAGES;
}

void thin_reserve_map(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	reserve(node, plan, io, parent);
}

static void unpick(struct thin *thin)
{
	while (thin->picked.count)
		thin_count_set(thin, thin_set_first(&thin->picked), 0);
}

/*
 * A failed write may have reached the disk or not: then the counts there are too high, which does no
 * harm. In memory the clusters are free again.
 */
void thin_reserve_resume(
	struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);
	unsigned i;

	thin_flushed(thin, plan, io, result);
	if (result < 0) {
		unpick(thin);
		if (io->step == STEP_BLOCK || io->step == STEP_LISTED)
			thin_count_set(thin, io->at, 0);
		plan_end(plan, result);
		return;
	}
	if (io->step == STEP_BLOCK) {
		list_block(thin, plan, io);
		return;
	}
	if (io->step == STEP_LISTED)
		qcow2_write64(thin->refcount_table + io->at / qcow2_block_entries(&thin->header) * 8,
			io->at << thin->cluster_bits);
	if (io->step == STEP_PAGES) {
		for (i = 0; i < io->page_count; i++)
			thin_bit_set(thin->stale, io->pages[i], false);
		thin_set_move(&thin->reserve, &thin->picked);
	}
	reserve(node, plan, io, parent);
}
