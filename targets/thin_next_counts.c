// SPDX-License-Identifier: MIT
/*
 * The counts of thin's next generation in memory: as many as the present ones, in cells that are as wide as a
 * count can come to need. A snapshot adds one name to a cluster, or as many as the device has for it.
 */
#include "thin_next.h"

/* Of a cluster that the device names several times (packed bytes do that) the snapshot has as many names more. */
int thin_next_make_counts(const struct thin *thin, struct thin_next *next)
{
	uint64_t largest = thin->counts.largest, most = qcow2_refcount_max(&thin->header);

	if (next->kind != NEXT_DELETES && largest)
		largest += next->kind == NEXT_REVERTS || thin->has_compressed || thin->names_twice ? largest : 1;
	if (thin_counts_make(&next->counts, thin->counts.length, thin_counts_bits(largest < most ? largest : most)) < 0)
		return -1;
	next->counts.is_folded = next->kind == NEXT_REVERTS;
	return 0;
}

uint64_t thin_next_count_of(const struct thin *thin, uint64_t cluster)
{
	return thin_counts_of(&thin->next->counts, cluster);
}

void thin_next_count_set(struct thin *thin, uint64_t cluster, uint64_t count)
{
	struct thin_next *next = thin->next;

	thin_counts_set_next(&thin->counts, cluster, count);
	/* Where its block's copy gets a place all of that becomes dirty. */
	if (thin_next_has_block(thin, cluster / qcow2_block_entries(&thin->header)))
		thin_next_mark(next, next->first[ITEM_COUNTS] +
				(cluster << thin->header.refcount_order) / 8 / thin->page);
}

void thin_next_gain(struct thin *thin, uint64_t cluster)
{
	uint64_t count = thin_next_count_of(thin, cluster);

	if (count < thin_counts_max(&thin->next->counts) && count < qcow2_refcount_max(&thin->header)) {
		thin_next_count_set(thin, cluster, count + 1);
		return;
	}
	thin->next->has_failed = true;
	if (count < qcow2_refcount_max(&thin->header))
		thin->next->is_narrow = thin->names_twice = true;
}

void thin_next_counts(struct thin *thin, uint64_t cluster, uint64_t count)
{
	uint64_t now = thin_count_of(thin, cluster);

	if (cluster < thin->next->copied)
		thin_next_count_set(thin, cluster, thin_next_count_of(thin, cluster) + count - now);
}
