// SPDX-License-Identifier: MIT
/*
 * Memory for an image's tables: all that the device can come to need is taken at its start, so that no request
 * waits for any. "metadata_cache" bounds it: what counts and lists take is the map's no more, of which parts come
 * and go (thin_cache.c). The map has a third of it at least, also where the others take more than the rest.
 */
#include "thin_next.h"
#include "thin_open.h"

#include <inttypes.h>
#include <stdlib.h>

static unsigned log_of(uint64_t power)
{
	return (unsigned)__builtin_ctzll(power);
}

static uint64_t block_bytes(const struct thin *thin, uint64_t clusters)
{
	uint64_t entries = qcow2_block_entries(&thin->header);

	return ((clusters + entries - 1) / entries) << thin->cluster_bits;
}

/* Clusters that have counts in memory: whole blocks, and all that exists, though it be only read. */
static uint64_t counted(const struct thin *thin, uint64_t clusters)
{
	uint64_t entries = qcow2_block_entries(&thin->header);
	uint64_t whole = (clusters + entries - 1) / entries * entries;
	uint64_t present = thin_up(thin, thin->present) >> thin->cluster_bits;

	return present > whole && !thin->can_write ? present : whole;
}

static int make_sets(struct thin *thin)
{
	struct thin_set *const sets[] = {
		[STATION_PICKED] = &thin->picked,
		[STATION_RESERVE] = &thin->reserve,
		[STATION_TAKEN] = &thin->taken,
		[STATION_DROPPED] = &thin->dropped,
		[STATION_FLUSHING] = &thin->flushing,
		[STATION_FREED] = &thin->freed,
		[STATION_PUNCHING] = &thin->punching,
	};
	unsigned i;

	for (i = STATION_PICKED; i <= STATION_PUNCHING; i++)
		if (thin_set_make(sets[i], &thin->counts, (enum thin_station)i) < 0)
			return -1;
	return 0;
}

static uint64_t next_memory(const struct thin_next *next, uint64_t map)
{
	return thin_counts_memory(&next->counts) + (next->map.cache.memory ? map : 0);
}

void thin_memory_tell(struct thin *thin)
{
	uint64_t map = thin->cache.count * (uint64_t)(thin->page + sizeof(*thin->cache.slots));
	uint64_t bytes = thin_counts_memory(&thin->counts) + map + thin->page_count * THIN_PAGE_COST;

	bytes += thin->gone.words ? thin->counts.length / 8 : 0;
	bytes += thin->next ? next_memory(thin->next, map) : 0;
	__atomic_store_n(&thin->memory, bytes, __ATOMIC_RELAXED);
}

/* What the other tables leave of metadata_cache is the map's: a third of it at least. */
static uint64_t map_share(const struct thin *thin, uint64_t cache, uint64_t others)
{
	uint64_t share = cache / 3;

	if (cache == UINT64_MAX)
		return cache;
	if (cache > others && cache - others > share)
		share = cache - others;
	return share / (thin->page + sizeof(struct thin_slot)) * thin->page;
}

/* Clusters of the child, whole ones: what can be written. */
static uint64_t clusters_there(const struct node *node)
{
	return node->children[THIN_DATA]->limits.size >> thin_of(node)->cluster_bits;
}

/*
 * Clusters that the image may grow to: all of the device mapped, with tables and counts, but no more than
 * are there. A child that may grow has them later, if that doesn't take more memory than there is for it.
 */
static uint64_t clusters_bound(const struct node *node)
{
	const struct thin *thin = thin_of(node);
	uint64_t there = clusters_there(node);
	uint64_t present = thin_up(thin, thin->present) >> thin->cluster_bits;
	uint64_t guest = thin_is_external(thin) ? 0 : thin->table_count << thin->table_bits;
	uint64_t bound = present + guest + thin->table_count;

	bound += bound / qcow2_block_entries(&thin->header) + THIN_RESERVE_EXTRA;
	if (bound > there && (!node->children[THIN_DATA]->limits.is_extensible ||
				     block_bytes(thin, bound) > THIN_GROWTH_MEMORY_MAX))
		bound = there;
	return bound;
}

/* What the image's refcount table counts, and how long it should be where that is too little. */
static void find_clusters(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin), entries = qcow2_block_entries(&thin->header);
	uint64_t bound = clusters_bound(node);
	uint64_t guest = (thin->table_count << thin->table_bits) + thin->table_count;
	uint64_t counted = entries * (thin->header.refcount_table_clusters * cluster / 8), table;

	thin->clusters_max = bound < counted ? bound : counted;
	thin->clusters = clusters_there(node);
	if (thin->clusters > thin->clusters_max)
		thin->clusters = thin->clusters_max;
	if (bound <= counted || counted >= 2 * guest || !thin->can_write)
		return; /* of a disk much larger than the device, not all is wanted */
	table = ((bound + entries - 1) / entries * 8 + cluster - 1) / cluster;
	if (table * cluster > QCOW2_REFCOUNT_TABLE_MAX || block_bytes(thin, bound) > THIN_MEMORY_MAX)
		return;
	thin->grow.table = (uint32_t)table;
	thin->grow.clusters = bound;
}

/* The geometry, and memory for all that the device can come to need. */
int thin_allocate(struct node *node, uint64_t cache, struct err *err)
{
	struct thin *thin = thin_of(node);
	const struct qcow2_header *header = &thin->header;
	uint64_t cluster = qcow2_cluster_size(header), bytes, map, entries, pages, clusters, others;

	thin->cluster_bits = header->cluster_bits;
	thin->entry_bits = log_of(qcow2_entry_size(header));
	thin->table_bits = thin->cluster_bits - thin->entry_bits;
	thin->grain_bits = log_of(qcow2_grain_size(header));
	thin->page = cluster < THIN_PAGE_MAX ? (uint32_t)cluster : THIN_PAGE_MAX;
	thin->fill = cluster < THIN_FILL_MAX ? (uint32_t)cluster : THIN_FILL_MAX;
	thin->table_count = qcow2_l1_needed(header, header->size);
	thin->page_bits = log_of(thin->page) - thin->entry_bits;
	find_clusters(node);
	clusters = thin->grow.table ? thin->grow.clusters : thin->clusters_max;
	entries = qcow2_block_entries(header);
	thin->block_count = (thin->clusters + entries - 1) / entries;
	map = thin->table_count << thin->cluster_bits;
	others = counted(thin, clusters) / 2 + map / thin->page * THIN_PAGE_COST;
	cache = map_share(thin, cache, others);
	bytes = others + (cache < map ? cache : map);
	if (bytes > THIN_MEMORY_MAX || thin_up(thin, thin->present) / cluster > THIN_MEMORY_MAX / 4)
		return json_err(node->json, err,
			"thin %s: its tables take %" PRIu64 " bytes of memory, over the limit of %" PRIu64
			"; a larger cluster_size needs less",
			node->id, bytes, THIN_MEMORY_MAX);
	pages = (map + block_bytes(thin, clusters)) / thin->page + 64;
	thin->l1 = calloc(1, header->l1_size * UINT64_C(8) + cluster);
	thin->table_hosts = calloc(thin->table_count + 1, sizeof(uint64_t));
	thin->table_news = calloc(thin->table_count + 1, sizeof(uint64_t));
	thin->refcount_table = calloc(1, (header->refcount_table_clusters + thin->grow.table) * cluster);
	thin->stale = calloc(pages / 64 + 1, sizeof(uint64_t));
	thin->marks = calloc(pages / 64 + 1, sizeof(uint64_t));
	thin->pinned = calloc(pages / 64 + 1, sizeof(uint64_t));
	if (!thin->l1 || !thin->table_hosts || !thin->table_news || !thin->refcount_table ||
		!thin->stale || !thin->marks || !thin->pinned || thin_cache_make(node, cache) < 0 ||
		thin_counts_make(&thin->counts, counted(thin, clusters), thin_counts_bits(1)) < 0 || make_sets(thin) < 0)
		return json_err(node->json, err, "thin %s: out of memory for %" PRIu64 " bytes of tables",
			node->id, bytes);
	thin_memory_tell(thin);
	return 0;
}

void thin_free(struct thin *thin)
{
	free(thin->l1);
	thin_cache_free(thin);
	free(thin->table_hosts);
	free(thin->table_news);
	free(thin->refcount_table);
	thin_counts_free(&thin->counts);
	free(thin->stale);
	free(thin->marks);
	free(thin->pinned);
	free(thin->taken.chunks);
	free(thin->reserve.chunks);
	free(thin->picked.chunks);
	free(thin->dropped.chunks);
	free(thin->flushing.chunks);
	free(thin->freed.chunks);
	free(thin->punching.chunks);
	free(thin->gone.words);
	free(thin->snapshots.bytes);
	thin_next_free(thin->next);
	free(thin->unpacker);
	*thin = (struct thin){ .cursor = 0 };
}
