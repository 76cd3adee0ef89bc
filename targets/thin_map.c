// SPDX-License-Identifier: MIT
/*
 * thin's map: pages of L2 tables in memory, as they are on disk, listed in the order of the device, so
 * that an entry is found by arithmetic and one look at the list. Which pages are there: thin_cache.c.
 * It plans nothing but a page's write.
 */
#include "thin.h"
#include "thin_next.h"

#include <assert.h>

uint8_t *thin_entry(const struct thin *thin, uint64_t cluster)
{
	uint64_t page = cluster >> thin->page_bits;

	assert(page < thin->page_count && thin->pages[page]);
	thin->cache.recent[page] = 1;
	return thin->pages[page] + ((cluster - (page << thin->page_bits)) << thin->entry_bits);
}

struct qcow2_entry thin_lookup(const struct thin *thin, uint64_t cluster)
{
	struct qcow2_entry entry;
	char why[QCOW2_WHY];
	int result = qcow2_entry_read(&thin->header, thin_entry(thin, cluster), &entry, why);

	assert(result == 0); /* what was read has been judged, the rest is ours */
	(void)result;
	return entry;
}

void thin_store(struct thin *thin, uint64_t cluster, const struct qcow2_entry *entry)
{
	if (thin->next)
		thin_next_stores(thin, cluster, entry);
	qcow2_entry_write(&thin->header, thin_entry(thin, cluster), entry);
}

void thin_set_flags(const struct thin *thin, const struct thin_counts *counts, uint8_t *page)
{
	uint32_t at;

	for (at = 0; at < thin->page; at += 1u << thin->entry_bits) {
		uint64_t word = qcow2_read64(page + at), host = word & QCOW2_ENTRY_HOST;

		if (!host || word & QCOW2_ENTRY_COMPRESSED)
			continue;
		word &= ~QCOW2_ENTRY_COPIED;
		if (thin_counts_of(counts, host >> thin->cluster_bits) == 1)
			word |= QCOW2_ENTRY_COPIED;
		qcow2_write64(page + at, word);
	}
}

/* The refcount decides, not the entry's own flag: that one is an image's word. */
bool thin_is_own(const struct thin *thin, const struct qcow2_entry *entry)
{
	if (entry->is_external)
		return true;
	return entry->host && !entry->compressed &&
		thin_count_of(thin, entry->host >> thin->cluster_bits) == 1;
}

/* Bits of the grains that [begin, end) of a cluster touches. */
static uint32_t grains_of(const struct thin *thin, uint64_t begin, uint64_t end)
{
	unsigned first = (unsigned)(begin >> thin->grain_bits);
	unsigned last = (unsigned)((end - 1) >> thin->grain_bits);

	return (uint32_t)((UINT64_C(2) << last) - (UINT64_C(1) << first));
}

/* The part [offset, end) of one cluster. */
static bool is_part_mapped(const struct thin *thin, uint64_t offset, uint64_t end)
{
	uint64_t cluster = offset >> thin->cluster_bits, base = thin_down(thin, offset);
	struct qcow2_entry entry;
	uint32_t wanted;

	if (!thin->pages[cluster >> thin->page_bits] ||
		!thin_table_is_ready(thin, cluster >> thin->table_bits))
		return false;
	if (thin->grain_bits == thin->cluster_bits) {
		uint64_t host;

		if (thin_is_external(thin))
			return qcow2_entry_is_external(thin_entry(thin, cluster));
		host = qcow2_entry_data(thin_entry(thin, cluster));
		return host && thin_count_of(thin, host >> thin->cluster_bits) == 1;
	}
	entry = thin_lookup(thin, cluster);
	wanted = grains_of(thin, offset - base, end - base);
	return thin_is_own(thin, &entry) && (entry.data & wanted) == wanted;
}

bool thin_is_mapped(const struct thin *thin, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, next;

	for (; offset < end; offset = next) {
		next = thin_down(thin, offset) + thin_cluster(thin);
		if (next > end)
			next = end;
		if (!is_part_mapped(thin, offset, next))
			return false;
	}
	return true;
}

bool thin_table_is_ready(const struct thin *thin, uint64_t index)
{
	uint64_t host = thin->table_hosts[index];

	return host && thin_count_of(thin, host >> thin->cluster_bits) == 1;
}

uint64_t thin_page_of(const struct thin *thin, uint64_t cluster)
{
	return cluster >> thin->page_bits;
}

uint64_t thin_page_host(const struct thin *thin, uint64_t page)
{
	uint64_t at = page * thin->page;

	return thin->table_hosts[at >> thin->cluster_bits] + (at & (thin_cluster(thin) - 1));
}

void thin_page_plan(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip, bool writes)
{
	if (writes) {
		thin_cache_update(thin, page);
		memcpy((uint8_t *)plan->scratch + skip, thin->pages[page], thin->page);
	}
	plan_scratch(plan, writes ? IO_WRITE : IO_READ, 0, THIN_DATA, thin_page_host(thin, page), skip,
		thin->page);
}
