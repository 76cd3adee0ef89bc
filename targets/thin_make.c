// SPDX-License-Identifier: MIT
/*
 * thin's new image, in memory: its header and where its parts go. thin_create.c writes it.
 *
 *   cluster 0 the header; the refcount table; refcount blocks; the L1 table
 */
#include "thin_open.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

	backing = thin_backing(node);
	if (!backing)
		return 0;
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
		thin_backing(node) ? thin_backing(node)->limits.size : 0);
	header->size -= header->size % SECTOR;
	if (!thin->can_write)
		return json_err(node->json, err, "thin %s: what is below holds no image", node->id);
	if (header->size == 0)
		return json_err(node->json, err,
			"thin %s: what is below is blank; an image is made if the node has a \"size\"",
			node->id);
	if (choose_cluster_size(node, err) < 0 || choose_backing(node, err) < 0 ||
		thin_data_file_make(node, err) < 0)
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
	if (thin_allocate(node, json_get_size(node->json, "metadata_cache", THIN_CACHE_DEFAULT), err) < 0)
		return -1;
	thin->grow.table = 0; /* its own is as long as it may be */
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
		thin_counts_bytes(thin, &thin->counts, (cluster - 1 - table) * size, (uint32_t)size, bytes);
}
