// SPDX-License-Identifier: MIT
/*
 * thin's image on disk before and after its live time: a new one is made, an opened one's header is
 * brought up to date, a clean stop's counts are written.
 *
 *   new image: cluster 0 the header; the refcount table; refcount blocks; the L1 table
 *
 * Crash story of making: all parts, a flush, the header, a flush. Until the header is there the
 * child is blank and the next start makes the image anew. (The header is one cluster; its first
 * sector is what makes it one, so that this is written last.)
 *
 * Crash story of load(): unknown autoclear bits go first, as the format wants. An image marked dirty
 * has its counts written, a flush, and then the mark cleared.
 *
 * After an unclean stop what was read need not be what is durable: the legs of a mirror may differ,
 * and a file whose flush failed shows bytes that its disk never got. So all of the map and the counts
 * is written again, the same to every leg, and flushed, what is named before what names it, before
 * anything is built on it. Clusters that are counted and not named tell of an unclean stop where no
 * label does.
 *
 * Crash story of unload(): all requests have ended and are flushed; the counts of clusters that
 * nothing names go down to 0. A crash in the middle leaves some of them counted.
 */
#include "thin_open.h"

#include "child_io.h"
#include "thin_next.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int write_failed(const struct node *node, int error, struct err *err)
{
	return json_err(node->json, err, "thin %s: writing its image: error %d", node->id, -error);
}

/* Pages of the refcount blocks that differ from the disk's. */
int thin_write_counts(struct node *node)
{
	uint8_t bytes[THIN_PAGE_MAX];
	struct thin *thin = thin_of(node);
	uint64_t pages = thin->block_count * thin_cluster(thin) / thin->page, page;
	int result = 0;

	for (page = 0; page < pages && result == 0; page++) {
		uint64_t at = page * thin->page;
		uint64_t block = qcow2_read64(thin->refcount_table + (at >> thin->cluster_bits) * 8);

		if (!block || !thin_bit(thin->stale, page))
			continue;
		thin_counts_bytes(thin, &thin->counts, at, thin->page, bytes);
		result = child_write(node->children[THIN_DATA], block + (at & (thin_cluster(thin) - 1)), bytes,
			thin->page);
		if (result == 0)
			thin_bit_set(thin->stale, page, false);
	}
	return result;
}

static int write_blocks(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint32_t cluster = (uint32_t)thin_cluster(thin);
	uint8_t *bytes = calloc(1, cluster);
	int result = bytes ? 0 : -ENOMEM;
	uint64_t i;

	for (i = 0; i < thin->block_count && result == 0; i++) {
		uint64_t block = qcow2_read64(thin->refcount_table + i * 8);

		if (!block)
			continue;
		thin_counts_bytes(thin, &thin->counts, i * cluster, cluster, bytes);
		result = child_write(node->children[THIN_DATA], block, bytes, cluster);
	}
	free(bytes);
	return result;
}

static int write_refcount_table(struct node *node)
{
	struct thin *thin = thin_of(node);
	const struct qcow2_header *header = &thin->header;
	uint64_t cluster = thin_cluster(thin), i;
	int result = 0;

	for (i = 0; i < header->refcount_table_clusters && result == 0; i++)
		result = child_write(node->children[THIN_DATA],
			header->refcount_table_offset + i * cluster, thin->refcount_table + i * cluster,
			(uint32_t)cluster);
	return result;
}

/* "Its refcount is one" as the counts have it. */
static void mend_flags(struct thin *thin, uint64_t index, uint8_t *table)
{
	uint64_t per_table = qcow2_l2_entries(&thin->header), per_page = UINT64_C(1) << thin->page_bits, i;
	char why[QCOW2_WHY];

	for (i = 0; i < per_table; i++) {
		struct qcow2_entry entry;

		(void)qcow2_entry_read(&thin->header, table + (i << thin->entry_bits), &entry, why); /* judged */
		entry.copied = thin_is_own(thin, &entry);
		qcow2_entry_write(&thin->header, table + (i << thin->entry_bits), &entry);
	}
	for (i = 0; i < per_table; i += per_page)
		thin_cache_mended(thin, (index * per_table + i) >> thin->page_bits, table + (i << thin->entry_bits));
}

static int write_l2(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin), i;
	uint8_t *table = calloc(1, cluster);
	int result = table ? 0 : -ENOMEM;

	for (i = 0; i < thin->table_count && result == 0; i++) {
		if (!thin->table_hosts[i])
			continue;
		result = thin_cache_table(node, i, table);
		if (result == 0 && thin->is_mended)
			mend_flags(thin, i, table);
		if (result == 0)
			result = child_write(node->children[THIN_DATA], thin->table_hosts[i], table,
				(uint32_t)cluster);
	}
	free(table);
	return result;
}

int thin_write_top(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t i, bytes = thin->header.l1_size * UINT64_C(8);
	int result = 0;

	for (i = 0; i * thin->page < bytes && result == 0; i++)
		result = child_write(node->children[THIN_DATA], thin->header.l1_offset + i * thin->page,
			thin->l1 + i * thin->page, thin->page);
	return result;
}

/* All but the header: nothing is an image before that is written. */
static int write_tables(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t pages = (thin->block_count << thin->cluster_bits) / thin->page, i;
	int result = write_refcount_table(node);

	if (result == 0)
		result = write_blocks(node);
	if (result == 0)
		result = thin_write_top(node);
	for (i = 0; i < pages; i++)
		thin_bit_set(thin->stale, i, false);
	return result == 0 ? child_flush(node->children[THIN_DATA]) : result;
}

/* The header from its end, so that its first page is the last thing written. */
static int write_header(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct node *child = node->children[THIN_DATA];
	uint64_t cluster = thin_cluster(thin);
	uint8_t *bytes = calloc(1, cluster);
	int result = 0;

	if (!bytes)
		return err_add(err, "out of memory");
	if (qcow2_header_write(&thin->header, bytes) < 0) {
		free(bytes);
		return json_err(node->json, err,
			"thin %s: its backing file's name doesn't fit into a cluster of %" PRIu64 " bytes",
			node->id, cluster);
	}
	memcpy(thin->header_page, bytes, thin->page);
	if (cluster > thin->page)
		result = child_write(
			child, thin->page, bytes + thin->page, (uint32_t)(cluster - thin->page));
	if (result == 0)
		result = child_flush(child);
	if (result == 0)
		result = child_write(child, 0, bytes, thin->page);
	if (result == 0)
		result = child_flush(child);
	free(bytes);
	return result < 0 ? write_failed(node, result, err) : 0;
}

static int write_features(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct node *child = node->children[THIN_DATA];
	int result;

	if (thin->header.version < 3)
		return 0;
	qcow2_header_set_features(thin->header_page, &thin->header);
	result = child_write(child, 0, thin->header_page, thin->page);
	return result == 0 ? child_flush(child) : result;
}

/* The file that ends within its last cluster is made whole: what is mapped can be read. */
static int write_end(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct node *child = node->children[THIN_DATA];
	uint64_t end = thin_up(thin, thin->present), from = thin_down(thin, thin->present);
	uint8_t *bytes;
	int result;

	if (!child->limits.is_growing || from == end)
		return 0;
	bytes = calloc(1, thin_cluster(thin));
	if (!bytes)
		return -ENOMEM;
	result = thin_child_read(node, from, bytes, thin_cluster(thin));
	if (result == 0)
		result = child_write(child, from, bytes, (uint32_t)(end - from));
	if (result == 0)
		thin->present = end;
	free(bytes);
	return result;
}

/* All that is in memory, as it was read; what is named before what names it. */
static int write_again(struct node *node)
{
	static int (*const parts[])(struct node *) = { write_blocks, write_refcount_table, write_l2,
		thin_write_top };
	struct node *child = node->children[THIN_DATA];
	struct thin *thin = thin_of(node);
	int result = child_write(child, 0, thin->header_page, thin->page);
	unsigned i;

	for (i = 0; i < sizeof(parts) / sizeof(*parts) && result == 0; i++) {
		result = parts[i](node);
		if (result == 0)
			result = child_flush(child);
	}
	return result;
}

int thin_load(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	uint64_t kept = thin->is_raw ? QCOW2_DATA_FILE_RAW : 0;
	int result;

	if (!thin->can_write)
		return 0;
	if (thin->is_blank) {
		result = write_tables(node);
		if (result < 0)
			return write_failed(node, result, err);
		thin->is_blank = false;
		return write_header(node, err);
	}
	result = write_end(node);
	if (result == 0 && (node->unclean || thin->reserve.count || thin->is_mended))
		result = write_again(node);
	if (result == 0 && thin->header.autoclear & ~kept) {
		thin->header.autoclear &= kept;
		result = write_features(node);
	}
	if (result == 0 && thin->is_dirty) {
		result = thin_write_counts(node);
		if (result == 0)
			result = child_flush(node->children[THIN_DATA]);
		thin->header.incompatible &= ~(uint64_t)QCOW2_DIRTY;
		if (result == 0)
			result = write_features(node);
		thin->is_dirty = false;
	}
	if (result == 0 && thin->grow.table)
		result = thin_grow(node);
	if (result == 0 && thin->resize.is_planned)
		result = thin_resize(node);
	if (result == 0)
		result = thin_data_file_load(node);
	thin->leaked = thin->is_mended ? 0 : thin->leaked - thin->reserve.count; /* those are found again */
	return result < 0 ? write_failed(node, result, err) : 0;
}

int thin_unload(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct node *child = node->children[THIN_DATA];
	uint64_t cluster;
	int result;

	if (!thin->can_write || thin->failed)
		return 0; /* the next start counts */
	thin_next_drop(thin);
	thin_release_gone(thin, UINT64_MAX);
	result = child_flush(child);
	if (result == 0 && thin_is_external(thin))
		result = child_flush(node->children[thin->data_place]);
	thin_set_move(&thin->reserve, &thin->freed);
	thin_set_move(&thin->reserve, &thin->punching);
	if (result == 0)
		thin_set_move(&thin->reserve, &thin->dropped);
	while (thin->reserve.count && result == 0)
		thin_count_set(thin, thin_set_first(&thin->reserve), 0);
	for (cluster = 0; thin->shares && cluster < thin->clusters && result == 0; cluster++) {
		uint64_t less = thin_counts_less(&thin->counts, cluster);

		if (less)
			thin_count_set(thin, cluster, thin_count_of(thin, cluster) - less);
	}
	if (result == 0)
		result = thin_write_counts(node);
	if (result == 0)
		result = child_flush(child);
	return result < 0 ? write_failed(node, result, err) : 0;
}
