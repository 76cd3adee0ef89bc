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
#include "thin.h"

#include "child_io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CLUSTER_DEFAULT (UINT64_C(64) << 10)
#define REFCOUNT_ORDER 4
#define SECTOR 512u

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

static int choose_cluster_size(struct node *node, struct err *err)
{
	struct qcow2_header *header = &thin_of(node)->header;
	uint64_t cluster = json_get_size(node->json, "cluster_size", CLUSTER_DEFAULT);

	if (cluster & (cluster - 1) || cluster < SECTOR || cluster > UINT64_C(1) << QCOW2_CLUSTER_BITS_MAX)
		return json_err(json_get(node->json, "cluster_size"), err,
			"thin: cluster_size %" PRIu64 " is not a power of two from 512 to 2097152", cluster);
	if (cluster < node->limits.logical_block_size)
		return json_err(json_get(node->json, "cluster_size"), err,
			"thin: cluster_size %" PRIu64 " is less than the logical block size %" PRIu32
			" of what is below",
			cluster, node->limits.logical_block_size);
	header->cluster_bits = (uint32_t)__builtin_ctzll(cluster);
	return 0;
}

static int choose_backing(struct node *node, struct err *err)
{
	struct qcow2_header *header = &thin_of(node)->header;
	const struct node *backing;
	const struct json *json;
	const char *path;
	int length;

	if (node->child_count <= THIN_BACKING)
		return 0;
	backing = node->children[THIN_BACKING];
	for (json = backing->json; json_get(json, "data");)
		json = json_get(json, "data");
	path = json_get_string(json, "path", backing->id);
	length = snprintf(header->backing, sizeof(header->backing), "%s", path);
	if (length < 0 || (size_t)length >= sizeof(header->backing))
		return json_err(backing->json, err,
			"thin %s: a backing file's name may have %d bytes at most", node->id,
			QCOW2_BACKING_MAX);
	snprintf(header->backing_format, sizeof(header->backing_format), "%s",
		backing->type == node->type ? "qcow2" : "raw");
	return 0;
}

/* Enough refcount table for the image at its largest, and for its snapshots as large again. */
static void lay_out(struct qcow2_header *header)
{
	uint64_t cluster = qcow2_cluster_size(header);
	uint64_t tables = qcow2_l1_needed(header, header->size);
	uint64_t most = 2 * (tables * qcow2_l2_entries(header) + tables) + 64;
	uint64_t blocks = divide_up(most, qcow2_block_entries(header)) + 1;

	header->l1_size = (uint32_t)tables;
	header->refcount_table_offset = cluster;
	header->refcount_table_clusters = (uint32_t)divide_up(blocks * 8, cluster);
	if (header->refcount_table_clusters * cluster > QCOW2_REFCOUNT_TABLE_MAX)
		header->refcount_table_clusters = (uint32_t)(QCOW2_REFCOUNT_TABLE_MAX / cluster);
}

/* Where blocks and the L1 table begin, and what is counted in the end. */
static uint64_t first_clusters(const struct qcow2_header *header, uint64_t blocks)
{
	uint64_t cluster = qcow2_cluster_size(header);

	return 1 + header->refcount_table_clusters + blocks +
		divide_up(header->l1_size * UINT64_C(8), cluster);
}

/* The blocks count themselves: more of them until they do. */
static uint64_t first_blocks(const struct qcow2_header *header)
{
	uint64_t blocks = 1;

	while (first_clusters(header, blocks) > blocks * qcow2_block_entries(header))
		blocks++;
	return blocks;
}

int thin_make(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct qcow2_header *header = &thin->header;
	uint64_t blocks, i, used;

	header->version = 3;
	header->refcount_order = REFCOUNT_ORDER;
	header->size = json_get_size(node->json, "size",
		node->child_count > THIN_BACKING ? node->children[THIN_BACKING]->limits.size : 0);
	header->size -= header->size % SECTOR;
	if (!thin->can_write)
		return json_err(node->json, err, "thin %s: what is below holds no image", node->id);
	if (header->size == 0)
		return json_err(node->json, err,
			"thin %s: what is below is blank; an image is made if the node has a \"size\"",
			node->id);
	if (choose_cluster_size(node, err) < 0 || choose_backing(node, err) < 0)
		return -1;
	if (qcow2_l1_needed(header, header->size) > QCOW2_L1_MAX)
		return json_err(json_get(node->json, "size"), err,
			"thin %s: size %" PRIu64 " is too large for cluster_size %" PRIu64, node->id,
			header->size, qcow2_cluster_size(header));
	lay_out(header);
	blocks = first_blocks(header);
	used = first_clusters(header, blocks);
	header->l1_offset = (used << header->cluster_bits) -
		divide_up(header->l1_size * UINT64_C(8), qcow2_cluster_size(header)) *
			qcow2_cluster_size(header);
	if (thin->present < used << header->cluster_bits) /* a file that grows */
		thin->present = used << header->cluster_bits;
	if (node->children[THIN_DATA]->limits.size < thin->present)
		return json_err(node->json, err,
			"thin %s: what is below has %" PRIu64 " bytes; an empty image takes %" PRIu64,
			node->id, node->children[THIN_DATA]->limits.size, used << header->cluster_bits);
	if (thin_allocate(node, err) < 0)
		return -1;
	for (i = 0; i < blocks; i++)
		qcow2_write64(thin->refcount_table + i * 8,
			(1 + header->refcount_table_clusters + i) << header->cluster_bits);
	for (i = 0; i < used; i++)
		thin_count_set(thin, i, 1);
	return 0;
}

void thin_make_cluster(const struct node *node, uint64_t cluster, uint8_t *bytes)
{
	const struct thin *thin = thin_of(node);
	uint64_t table = thin->header.refcount_table_clusters, size = thin_cluster(thin);

	memset(bytes, 0, size);
	if (cluster == 0)
		(void)qcow2_header_write(&thin->header, bytes); /* write_header() says if it fails */
	else if (cluster <= table)
		memcpy(bytes, thin->refcount_table + (cluster - 1) * size, size);
	else if (cluster <= table + first_blocks(&thin->header))
		memcpy(bytes, thin->blocks + (cluster - 1 - table) * size, size);
}

static int write_failed(const struct node *node, int error, struct err *err)
{
	return json_err(node->json, err, "thin %s: writing its image: error %d", node->id, -error);
}

/* Pages of the refcount blocks that differ from the disk's. */
static int write_counts(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t pages = thin->block_count * thin_cluster(thin) / thin->page, page;
	int result = 0;

	for (page = 0; page < pages && result == 0; page++) {
		uint64_t at = page * thin->page;
		uint64_t block = qcow2_read64(thin->refcount_table + (at >> thin->cluster_bits) * 8);

		if (!block || !thin_bit(thin->stale, page))
			continue;
		result = child_write(node->children[THIN_DATA], block + (at & (thin_cluster(thin) - 1)),
			thin->blocks + at, thin->page);
		if (result == 0)
			thin_bit_set(thin->stale, page, false);
	}
	return result;
}

/* All but the header: nothing is an image before that is written. */
static int write_tables(struct node *node)
{
	struct thin *thin = thin_of(node);
	const struct qcow2_header *header = &thin->header;
	struct node *child = node->children[THIN_DATA];
	uint64_t cluster = thin_cluster(thin), i, blocks = first_blocks(header);
	int result = 0;

	for (i = 0; i < header->refcount_table_clusters && result == 0; i++)
		result = child_write(child, header->refcount_table_offset + i * cluster,
			thin->refcount_table + i * cluster, (uint32_t)cluster);
	for (i = 0; i < blocks && result == 0; i++)
		result = child_write(child, qcow2_read64(thin->refcount_table + i * 8),
			thin->blocks + i * cluster, (uint32_t)cluster);
	for (i = 0; i * cluster < header->l1_size * UINT64_C(8) && result == 0; i++)
		result = child_write(
			child, header->l1_offset + i * cluster, thin->l1 + i * cluster, (uint32_t)cluster);
	for (i = 0; i < thin->block_count * cluster / thin->page; i++)
		thin_bit_set(thin->stale, i, false);
	return result == 0 ? child_flush(child) : result;
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

static int write_blocks(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin), i;
	int result = 0;

	for (i = 0; i < thin->block_count && result == 0; i++) {
		uint64_t block = qcow2_read64(thin->refcount_table + i * 8);

		if (block)
			result = child_write(node->children[THIN_DATA], block,
				thin->blocks + i * cluster, (uint32_t)cluster);
	}
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

static int write_l2(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin), i;
	int result = 0;

	for (i = 0; i < thin->table_count && result == 0; i++)
		if (thin->table_hosts[i])
			result = child_write(node->children[THIN_DATA], thin->table_hosts[i],
				thin->tables + i * cluster, (uint32_t)cluster);
	return result;
}

static int write_l1(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint64_t i, bytes = thin->header.l1_size * UINT64_C(8);
	int result = 0;

	for (i = 0; i * thin->page < bytes && result == 0; i++)
		result = child_write(node->children[THIN_DATA], thin->header.l1_offset + i * thin->page,
			thin->l1 + i * thin->page, thin->page);
	return result;
}

/* All that is in memory, as it was read; what is named before what names it. */
static int write_again(struct node *node)
{
	static int (*const parts[])(struct node *) = { write_blocks, write_refcount_table, write_l2,
		write_l1 };
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
	if (result == 0 && (node->unclean || thin->reserve.count))
		result = write_again(node);
	if (result == 0 && thin->header.autoclear) {
		thin->header.autoclear = 0;
		result = write_features(node);
	}
	if (result == 0 && thin->is_dirty) {
		result = write_counts(node);
		if (result == 0)
			result = child_flush(node->children[THIN_DATA]);
		thin->header.incompatible &= ~(uint64_t)QCOW2_DIRTY;
		if (result == 0)
			result = write_features(node);
		thin->is_dirty = false;
	}
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
	result = child_flush(child);
	for (cluster = 0; cluster < thin->clusters && result == 0; cluster++)
		if (thin_bits_take(&thin->reserve, cluster) || thin_bits_take(&thin->dropped, cluster))
			thin_count_set(thin, cluster, 0);
	for (cluster = 0; thin->less && cluster < thin->clusters && result == 0; cluster++) {
		uint64_t count = thin_count_of(thin, cluster);

		if (thin->less[cluster] && thin->less[cluster] <= count)
			thin_count_set(thin, cluster, count - thin->less[cluster]);
	}
	if (result == 0)
		result = write_counts(node);
	if (result == 0)
		result = child_flush(child);
	return result < 0 ? write_failed(node, result, err) : 0;
}
