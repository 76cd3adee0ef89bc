// SPDX-License-Identifier: MIT
/*
 * thin's longer refcount table. qemu-img makes one that counts little more than what is there, and
 * with small clusters that is soon too little: what it doesn't count can't be used. So load() makes
 * one that counts all that the device can come to need, in clusters that the old one counts. Where
 * it has none free in a row the image stays as it is, and is full earlier.
 *
 * Crash story: the new table's clusters are counted, and it is written with all that the old one
 * says; a flush; then the header names it, with one sector; a flush. Until then the new table's
 * clusters are counted and not named, afterwards the old one's.
 */
#include "thin_open.h"

#include "child_io.h"

/* A row of clusters whose counts are 0 and have a block. */
void thin_grow_plan(struct thin *thin)
{
	uint64_t entries = qcow2_block_entries(&thin->header), cluster, row = 0;

	for (cluster = 0; thin->grow.table && cluster < thin->clusters; cluster++) {
		bool is_free = qcow2_read64(thin->refcount_table + cluster / entries * 8) &&
			thin_count_of(thin, cluster) == 0;

		row = is_free ? row + 1 : 0;
		if (row == thin->grow.table) {
			thin->grow.at = cluster + 1 - row;
			return;
		}
	}
	thin->grow.table = 0;
	thin->grow.clusters = 0;
}

static int write_table(struct node *node, uint64_t at, uint32_t clusters)
{
	struct thin *thin = thin_of(node);
	uint64_t size = thin_cluster(thin);
	uint32_t i;
	int result = 0;

	for (i = 0; i < clusters && result == 0; i++)
		result = child_write(node->children[THIN_DATA], (at + i) * size,
			thin->refcount_table + i * size, (uint32_t)size);
	return result;
}

static int write_name(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct node *child = node->children[THIN_DATA];
	int result;

	qcow2_header_set_refcounts(thin->header_page, &thin->header);
	result = child_write(child, 0, thin->header_page, thin->page);
	return result == 0 ? child_flush(child) : result;
}

int thin_grow(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct qcow2_header *header = &thin->header;
	uint64_t old = header->refcount_table_offset >> thin->cluster_bits, i;
	uint64_t entries = qcow2_block_entries(header);
	uint32_t old_clusters = header->refcount_table_clusters;
	int result;

	for (i = 0; i < thin->grow.table; i++)
		thin_count_set(thin, thin->grow.at + i, 1);
	result = thin_write_counts(node);
	if (result == 0)
		result = write_table(node, thin->grow.at, thin->grow.table);
	if (result == 0)
		result = child_flush(node->children[THIN_DATA]);
	if (result < 0)
		return result;
	header->refcount_table_offset = thin->grow.at << thin->cluster_bits;
	header->refcount_table_clusters = thin->grow.table;
	result = write_name(node);
	if (result < 0)
		return result;
	for (i = 0; i < old_clusters; i++)
		if (thin_count_of(thin, old + i) == 1) /* else others may have it: they keep it */
			thin_set_put(&thin->reserve, old + i);
	thin->clusters_max = thin->grow.clusters;
	thin->clusters = node->children[THIN_DATA]->limits.size >> thin->cluster_bits;
	if (thin->clusters > thin->clusters_max)
		thin->clusters = thin->clusters_max;
	thin->block_count = (thin->clusters + entries - 1) / entries;
	thin->is_exhausted = false;
	thin->grow.table = 0;
	return 0;
}
