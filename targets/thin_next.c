// SPDX-License-Identifier: MIT
/*
 * thin's next generation of metadata in memory: what its pages hold, and which of them have to be
 * written again as requests go on.
 *
 * What requests see and write is the present generation. Two places tell of what they change: a
 * count, and an entry of the map (thin_count_set(), thin_store()). The next counts are the present
 * ones, and one more for each name that the snapshot will have: those of a page of the map are
 * counted when its copy is first made, and followed from then on.
 */
#include "thin_next.h"

#include <assert.h>
#include <stdlib.h>

static uint64_t counts_length(const struct thin *thin)
{
	return thin->block_count << thin->cluster_bits;
}

static uint32_t clusters_of(const struct thin *thin, uint64_t bytes)
{
	return (uint32_t)(thin_up(thin, bytes) >> thin->cluster_bits);
}

static struct thin_run *run_of(struct thin_next *next, enum thin_item kind)
{
	return &next->runs[kind - ITEM_REFCOUNTS];
}

static void number_items(const struct thin *thin, struct thin_next *next)
{
	unsigned kind;

	next->first[ITEM_MAP] = 0;
	next->first[ITEM_COUNTS] = thin->page_count;
	next->first[ITEM_REFCOUNTS] = thin->page_count + counts_length(thin) / thin->page;
	for (kind = ITEM_REFCOUNTS; kind < ITEM_KINDS; kind++)
		next->first[kind + 1] = next->first[kind] +
			((uint64_t)run_of(next, kind)->clusters << thin->cluster_bits) / thin->page;
}

static int allocate(struct thin *thin, struct thin_next *next)
{
	uint64_t cluster = thin_cluster(thin);

	next->tables = calloc(thin->table_count + 1, sizeof(*next->tables));
	next->refcount_table = calloc(run_of(next, ITEM_REFCOUNTS)->clusters, cluster);
	next->l1 = calloc(run_of(next, ITEM_L1)->clusters, cluster);
	next->dirty = calloc(next->first[ITEM_KINDS] / 64 + 1, sizeof(*next->dirty));
	next->walked = calloc(thin->page_count / 64 + 1, sizeof(*next->walked));
	next->sums = calloc(thin->page_count + 1, sizeof(*next->sums));
	if (next->kind != NEXT_MAKES && !thin->gone.words && thin_bits_make(&thin->gone, thin->counts.length) < 0)
		return -1;
	return next->tables && next->refcount_table && next->l1 && next->dirty && next->walked && next->sums
		? thin_next_make_counts(thin, next)
		: -1;
}

int thin_next_make(struct thin *thin, uint8_t *list, uint64_t length, uint32_t count,
	enum thin_next_kind kind, const struct qcow2_snapshot *past)
{
	const struct qcow2_header *header = &thin->header;
	struct thin_next *next = calloc(1, sizeof(*next));

	if (!next)
		return -1;
	run_of(next, ITEM_REFCOUNTS)->clusters = header->refcount_table_clusters;
	run_of(next, ITEM_L1)->clusters = clusters_of(thin, header->l1_size * UINT64_C(8));
	run_of(next, ITEM_LIST)->clusters = clusters_of(thin, length);
	next->kind = kind;
	next->list_length = length;
	next->snapshot_count = count;
	number_items(thin, next);
	if (allocate(thin, next) < 0 || (past && thin_next_remember(thin, next, past) < 0)) {
		thin_next_free(next);
		return -1;
	}
	next->list = list;
	thin->next = next;
	thin->counts.next = &next->counts;
	thin->shares = true;
	thin_memory_tell(thin);
	return 0;
}

void thin_next_free(struct thin_next *next)
{
	if (!next)
		return;
	thin_counts_free(&next->counts);
	free(next->tables);
	free(next->refcount_table);
	free(next->l1);
	free(next->list);
	free(next->dirty);
	free(next->walked);
	free(next->sums);
	free(next->past.l1);
	thin_cache_next_free(&next->map.cache);
	free(next);
}

void thin_next_mark(struct thin_next *next, uint64_t item)
{
	if (thin_bit(next->dirty, item))
		return;
	thin_bit_set(next->dirty, item, true);
	next->dirty_count++;
}

void thin_next_mark_all(const struct thin *thin, enum thin_item kind, uint64_t bytes, uint64_t length)
{
	uint64_t first = thin->next->first[kind] + bytes / thin->page, i;

	for (i = 0; i < length / thin->page; i++)
		thin_next_mark(thin->next, first + i);
}

/* Its table names copies alone: what the present one names may be on its way there, and not arrive. */
bool thin_next_has_block(const struct thin *thin, uint64_t block)
{
	return qcow2_read64(thin->next->refcount_table + block * 8) != 0;
}

static void lose(struct thin *thin, uint64_t cluster)
{
	uint64_t count = thin_next_count_of(thin, cluster);

	assert(count);
	thin_next_count_set(thin, cluster, count - 1);
}

void thin_next_stores(struct thin *thin, uint64_t cluster, const struct qcow2_entry *entry)
{
	struct thin_next *next = thin->next;
	uint64_t page = thin_page_of(thin, cluster);

	if (next->kind == NEXT_REVERTS) {
		thin_next_restores(thin, cluster, entry);
		return;
	}
	if (!next->tables[cluster >> thin->table_bits])
		return; /* all of it will be dirty */
	if (thin_bit(next->walked, page)) {
		struct qcow2_entry old = thin_lookup(thin, cluster);

		thin_each_cluster(thin, entry, thin_next_gain);
		thin_each_cluster(thin, &old, lose);
	}
	thin_next_mark(next, page);
}

static enum thin_item kind_of(const struct thin_next *next, uint64_t item)
{
	enum thin_item kind = ITEM_MAP;

	while (item >= next->first[kind + 1])
		kind++;
	return kind;
}

uint64_t thin_next_host(const struct thin *thin, uint64_t item)
{
	const struct thin_next *next = thin->next;
	enum thin_item kind = kind_of(next, item);
	uint64_t at = (item - next->first[kind]) * thin->page, index = at >> thin->cluster_bits;
	uint64_t within = at & (thin_cluster(thin) - 1);

	if (kind == ITEM_MAP)
		return next->tables[index] + within;
	if (kind == ITEM_COUNTS)
		return qcow2_read64(next->refcount_table + index * 8) + within;
	return (next->runs[kind - ITEM_REFCOUNTS].at << thin->cluster_bits) + at;
}

uint64_t thin_next_dirty(struct thin_next *next)
{
	uint64_t end = next->first[ITEM_KINDS];

	if (!next->dirty_count)
		return UINT64_MAX;
	for (;; next->cursor++) {
		if (next->cursor >= end)
			next->cursor = 0;
		if (next->cursor % 64 == 0 && !next->dirty[next->cursor / 64])
			next->cursor += 63;
		else if (thin_bit(next->dirty, next->cursor))
			return next->cursor;
	}
}

/* A page of the map for the first time: the snapshot will have all its names. */
static void walk(struct thin *thin, uint64_t page)
{
	uint32_t at;

	thin_bit_set(thin->next->walked, page, true);
	for (at = 0; at < thin->page; at += 1u << thin->entry_bits) {
		struct qcow2_entry entry;
		char why[QCOW2_WHY];

		(void)qcow2_entry_read(&thin->header, thin->pages[page] + at, &entry, why); /* judged */
		thin_each_cluster(thin, &entry, thin_next_gain);
	}
}

void thin_next_bytes(struct thin *thin, uint64_t item, uint8_t *bytes)
{
	struct thin_next *next = thin->next;
	enum thin_item kind = kind_of(next, item);
	const uint8_t *const from[] = {
		[ITEM_REFCOUNTS] = next->refcount_table,
		[ITEM_L1] = next->l1,
		[ITEM_LIST] = next->list,
	};

	assert(thin_bit(next->dirty, item));
	thin_bit_set(next->dirty, item, false);
	next->dirty_count--;
	if (kind == ITEM_COUNTS) {
		thin_counts_bytes(thin, &next->counts, (item - next->first[kind]) * thin->page, thin->page, bytes);
		return;
	}
	if (kind != ITEM_MAP) {
		memcpy(bytes, from[kind] + (item - next->first[kind]) * thin->page, thin->page);
		return;
	}
	if (next->kind == NEXT_DELETES)
		thin_next_check(thin, thin->pages[item]);
	else if (!thin_bit(next->walked, item))
		walk(thin, item);
	memcpy(bytes, thin->pages[item], thin->page);
	thin_set_flags(thin, &next->counts, bytes);
	next->sums[item] = thin_cache_sum(bytes, thin->page);
}

/* What they were taken for is named now, or will never be. */
static void each_place(struct thin *thin, const struct thin_next *next,
	void (*visit)(struct thin *thin, uint64_t host))
{
	uint64_t i;
	unsigned run;

	for (i = 0; i < thin->table_count; i++)
		if (next->tables[i])
			visit(thin, next->tables[i]);
	for (i = 0; i < thin->block_count; i++)
		if (thin_next_has_block(thin, i))
			visit(thin, qcow2_read64(next->refcount_table + i * 8));
	for (run = 0; run < THIN_RUNS; run++)
		for (i = 0; i < next->runs[run].clusters && next->runs[run].at; i++)
			visit(thin, (next->runs[run].at + i) << thin->cluster_bits);
}

/* Those that lie in a row may never have been anybody's reserve. */
static void give_back(struct thin *thin, uint64_t host)
{
	if (thin_set_has(&thin->taken, host >> thin->cluster_bits))
		thin_give_back(thin, host);
	else
		thin_count_set(thin, host >> thin->cluster_bits, 0);
}

void thin_next_drop(struct thin *thin)
{
	struct thin_next *next = thin->next;

	if (!next)
		return;
	each_place(thin, next, give_back);
	while (thin->gone.count)
		(void)thin_bits_first(&thin->gone);
	thin->next = NULL;
	thin->counts.next = NULL;
	thin_memory_tell(thin);
	thin_next_free(next);
}

static void swap_counts(struct thin *thin, struct thin_next *next)
{
	struct thin_counts other = thin->counts;

	thin->counts = next->counts;
	next->counts = other;
}

static void swap_bytes(uint8_t **a, uint8_t **b)
{
	uint8_t *other = *a;

	*a = *b;
	*b = other;
}

static void swap_numbers(uint64_t **a, uint64_t **b)
{
	uint64_t *other = *a;

	*a = *b;
	*b = other;
}

static void drop_clusters(struct thin *thin, uint64_t host, uint64_t length)
{
	uint64_t at;

	for (at = 0; at < length; at += thin_cluster(thin))
		thin_drop(thin, &(struct qcow2_entry){ .host = host + at });
}

/* What only the generation before has named. Where a snapshot was made its L1 and L2 tables are that one's now. */
static void drop_old(struct thin *thin, const struct thin_next *old, const struct qcow2_header *header)
{
	uint64_t i, block;

	for (i = 0; i < thin->block_count; i++) {
		block = qcow2_read64(old->refcount_table + i * 8);
		if (block && block != qcow2_read64(thin->refcount_table + i * 8))
			drop_clusters(thin, block, 1);
	}
	drop_clusters(thin, header->refcount_table_offset,
		(uint64_t)header->refcount_table_clusters << thin->cluster_bits);
	if (header->snapshot_count)
		drop_clusters(thin, header->snapshots_offset, old->list_length);
	if (old->kind == NEXT_MAKES)
		return;
	drop_clusters(thin, header->l1_offset, header->l1_size * UINT64_C(8));
	for (i = 0; i < thin->table_count; i++)
		if (old->tables[i])
			drop_clusters(thin, old->tables[i], 1);
}

void thin_next_name(const struct thin *thin, struct qcow2_header *header)
{
	struct thin_next *next = thin->next;

	header->refcount_table_offset = run_of(next, ITEM_REFCOUNTS)->at << thin->cluster_bits;
	header->l1_offset = run_of(next, ITEM_L1)->at << thin->cluster_bits;
	header->snapshots_offset = run_of(next, ITEM_LIST)->at << thin->cluster_bits;
	__atomic_store_n(&header->snapshot_count, next->snapshot_count, __ATOMIC_RELAXED);
}

/* Of the generation's own pages: the flags in them are right. */
static void adopt_map(struct thin *thin, struct thin_next *next)
{
	thin_cache_next_swap(thin, &next->map.cache);
	thin->allocated = next->map.allocated;
	thin->flatten.cursor = 0;
}

void thin_next_adopt(struct thin *thin)
{
	struct thin_next *next = thin->next;
	struct qcow2_header old = thin->header;
	uint64_t length = thin->snapshots.length;

	each_place(thin, next, thin_name);
	thin_next_name(thin, &thin->header);
	thin->next = NULL;
	swap_counts(thin, next);
	swap_bytes(&thin->refcount_table, &next->refcount_table);
	swap_bytes(&thin->l1, &next->l1);
	swap_bytes(&thin->snapshots.bytes, &next->list);
	swap_numbers(&thin->table_hosts, &next->tables);
	swap_numbers(&thin->cache.sums, &next->sums);
	thin->snapshots.length = next->list_length;
	next->list_length = length;
	memset(thin->cache.is_outdated, true, thin->page_count);
	if (next->kind == NEXT_REVERTS)
		adopt_map(thin, next);
	memset(thin->stale, 0, (counts_length(thin) / thin->page / 64 + 1) * sizeof(*thin->stale));
	drop_old(thin, next, &old);
	thin_memory_tell(thin);
	thin_next_free(next);
}
