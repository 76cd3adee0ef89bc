// SPDX-License-Identifier: MIT
/*
 * An image's counts against the names that thin_count.c has found, cluster by cluster: what is right takes the
 * place of how often it was named, in thin->counts. In memory the image's counts are mended.
 */
#include "thin_open.h"

#include <inttypes.h>

#define NAMED_MAX 65535u /* thin_count.c counts no further */

#define FAIL(...) json_err(node->json, err, "thin " __VA_ARGS__)

int thin_widen(struct node *node, uint64_t largest, struct err *err)
{
	struct thin_counts *counts = &thin_of(node)->counts;
	uint64_t bytes = counts->length / 8 * thin_counts_bits(largest);

	if (bytes > THIN_MEMORY_MAX)
		return FAIL("%s: a cluster of its image is counted %" PRIu64 " times: memory for so large counts takes %" PRIu64
			" bytes, over the limit of %" PRIu64, node->id, largest, bytes, THIN_MEMORY_MAX);
	if (thin_counts_widen(counts, largest) < 0)
		return FAIL("%s: out of memory for %" PRIu64 " bytes of counts", node->id, bytes);
	thin_memory_tell(thin_of(node));
	return 0;
}

static int put(struct node *node, uint64_t cluster, uint64_t count, struct err *err)
{
	struct thin *thin = thin_of(node);

	if (count > UINT32_MAX) {
		if (thin->can_write)
			return FAIL("%s: the refcount of its cluster at %" PRIu64 " is %" PRIu64 ", over the limit of %" PRIu32,
				node->id, cluster << thin->cluster_bits, count, UINT32_MAX);
		count = UINT32_MAX;
	}
	if (count > thin_counts_max(&thin->counts) && thin_widen(node, count, err) < 0)
		return -1;
	thin_counts_put(&thin->counts, cluster, count, STATION_USED);
	return 0;
}

/* It isn't what the image says, `said`. */
static int mend(struct node *node, uint64_t cluster, uint64_t count, struct err *err)
{
	thin_count_differs(thin_of(node), cluster);
	return put(node, cluster, count, err);
}

/* Nothing names it: it was leaked. */
static int reclaim(struct node *node, uint64_t cluster, uint64_t said, struct err *err)
{
	struct thin *thin = thin_of(node);

	if ((said > 1 ? mend(node, cluster, 1, err) : put(node, cluster, 1, err)) < 0)
		return -1;
	thin_set_put(&thin->reserve, cluster);
	return 0;
}

static int judge(struct node *node, uint64_t cluster, uint64_t said, uint64_t named, struct err *err)
{
	struct thin *thin = thin_of(node);

	thin->leaked += said > named;
	if (said > named && named > 0) /* Used by more than we see, or leaked: never written in place. */
		return node->repairs && named < NAMED_MAX ? mend(node, cluster, named, err) : put(node, cluster, said, err);
	if (named == 0)
		return reclaim(node, cluster, said, err);
	if (!thin->is_dirty)
		return FAIL("%s: the refcount of its cluster at %" PRIu64 " is %" PRIu64 ", and %" PRIu64
			    " entries name it; see qemu-img check -r all",
			node->id, cluster << thin->cluster_bits, said, named);
	if (named > qcow2_refcount_max(&thin->header))
		return FAIL("%s: %" PRIu64 " entries name its cluster at %" PRIu64 ", more than its refcounts can say",
			node->id, named, cluster << thin->cluster_bits);
	if (!qcow2_read64(thin->refcount_table + cluster / qcow2_block_entries(&thin->header) * 8))
		return FAIL("%s: it is marked dirty, and no refcount block counts its cluster at %" PRIu64
			    "; see qemu-img check -r all",
			node->id, cluster << thin->cluster_bits);
	return mend(node, cluster, named, err);
}

/* What a refcount block says, in its bytes; clusters behind those that may be used are nobody's business. */
static int judge_block(struct node *node, uint64_t index, const uint8_t *bytes, struct err *err)
{
	struct thin *thin = thin_of(node);
	uint64_t entries = qcow2_block_entries(&thin->header), i, used = 0;

	for (i = 0; i < entries; i++) {
		uint64_t cluster = index * entries + i, cell = thin_cell(&thin->counts, cluster);
		uint64_t said = qcow2_refcount_read(&thin->header, bytes, i);
		uint64_t named = thin_cell_count(thin->counts.bits, cell);
		bool is_right = said == named || !thin->can_write || cluster >= thin->clusters;

		if (cell == said && said <= 1 && thin->counts.bits == 4)
			; /* nearly all: as it is to be */
		else if ((is_right ? put(node, cluster, said, err) : judge(node, cluster, said, named, err)) < 0)
			return -1;
		used += cluster < thin->clusters && thin_counts_of(&thin->counts, cluster) > 0;
	}
	thin->used += used;
	return 0;
}

int thin_judge(struct node *node, uint8_t *memory, struct err *err)
{
	struct thin *thin = thin_of(node);
	uint64_t index;
	int result;

	thin->counts.largest = 1; /* that of what was named is past */
	for (index = 0; index < thin->block_count; index++) {
		uint64_t host = qcow2_read64(thin->refcount_table + index * 8);

		memset(memory, 0, thin_cluster(thin));
		result = host ? thin_child_read(node, host, memory, thin_cluster(thin)) : 0;
		if (result < 0)
			return FAIL("%s: reading its refcount block at %" PRIu64 ": error %d", node->id, host, -result);
		if (judge_block(node, index, memory, err) < 0)
			return -1;
	}
	return 0;
}
