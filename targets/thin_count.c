// SPDX-License-Identifier: MIT
/*
 * thin believes no image: before one is used all its tables are read and everything that they name
 * is counted. Refused, by name: what lies outside of the image, what two kinds of metadata or
 * metadata and data share, entries that break the format's rules, counts below what is named
 * (unless the dirty bit says that they may be).
 *
 * Each cluster is read once however often it is named: what was judged is what is used. Names are counted
 * where the counts will be, in thin->counts, whose other half has what a cluster is meanwhile; thin_judge.c
 * puts the image's counts there. So it takes no more memory than serving does.
 */
#include "thin_open.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT_MAX 65535u
#define L1_ENTRIES_MAX (UINT64_C(16) << 20) /* of all snapshots together */

enum kind { KIND_DATA, KIND_TABLE, KIND_OTHER }; /* of what has a name */

struct count {
	struct node *node;
	struct thin *thin;
	struct err *err;
	uint64_t present; /* clusters that exist */
	uint8_t *cluster; /* memory for one */
	uint64_t l1_entries;
	uint64_t clusters; /* that tables have named whole, so far */
	bool is_own; /* the device's tables are being counted, before any other's */
};

#define FAIL(count, ...) json_err((count)->node->json, (count)->err, "thin " __VA_ARGS__)

static int read_failed(const struct count *count, const char *what, uint64_t offset, int error)
{
	return FAIL(count, "%s: reading its %s at %" PRIu64 ": error %d", count->node->id, what, offset,
		-error);
}

static uint64_t named(const struct count *count, uint64_t cluster)
{
	return thin_counts_of(&count->thin->counts, cluster);
}

/* One cluster's: it is there. */
static int name_one(struct count *count, const char *what, uint64_t cluster, enum kind kind, uint32_t times)
{
	struct thin_counts *counts = &count->thin->counts;
	uint64_t before = named(count, cluster);

	if (before && (thin_counts_low(counts, cluster) != kind || kind == KIND_OTHER))
		return FAIL(count, "%s: its %s at %" PRIu64 " shares a cluster with other metadata",
			count->node->id, what, cluster << count->thin->cluster_bits);
	count->thin->names_twice |= before && count->is_own;
	before = times < COUNT_MAX - before ? before + times : COUNT_MAX;
	if (before > thin_counts_max(counts) && thin_widen(count->node, before, count->err) < 0)
		return -1;
	thin_counts_put(counts, cluster, before, kind);
	return 0;
}

/* More names for each cluster that [offset, offset + length) touches. */
static int name_times(struct count *count, const char *what, uint64_t offset, uint64_t length,
	enum kind kind, uint32_t times)
{
	unsigned bits = count->thin->cluster_bits;
	uint64_t cluster = offset >> bits, last;

	if (length == 0)
		return 0;
	last = (offset + length - 1) >> bits;
	if (last >= count->present)
		return FAIL(count, "%s: its %s at %" PRIu64 " ends beyond the image's %" PRIu64 " bytes",
			count->node->id, what, offset, count->thin->present);
	for (; cluster <= last; cluster++)
		if (name_one(count, what, cluster, kind, times) < 0)
			return -1;
	return 0;
}

static int name(struct count *count, const char *what, uint64_t offset, uint64_t length, enum kind kind)
{
	return name_times(count, what, offset, length, kind, 1);
}

/* The blocks' places: what they say is read when all is counted. */
static int count_refcounts(struct count *count)
{
	struct thin *thin = count->thin;
	const struct qcow2_header *header = &thin->header;
	uint64_t cluster = thin_cluster(thin), index;

	if (name(count, "header", 0, cluster, KIND_OTHER) < 0 ||
		name(count, "refcount table", header->refcount_table_offset,
			header->refcount_table_clusters * cluster, KIND_OTHER) < 0)
		return -1;
	for (index = 0; index < header->refcount_table_clusters * cluster / 8; index++) {
		uint64_t block = qcow2_read64(thin->refcount_table + index * 8);

		if (!block)
			continue;
		if (block & (cluster - 1))
			return FAIL(count, "%s: its refcount block %" PRIu64 " is at %" PRIu64
					   ", which is no cluster's",
				count->node->id, index, block);
		if (name(count, "refcount block", block, cluster, KIND_OTHER) < 0)
			return -1;
	}
	return 0;
}

/* An L1 table's names, whether the active one's or a snapshot's. */
static int count_l1(struct count *count, const uint8_t *l1, uint64_t entries, const char *what)
{
	char why[QCOW2_WHY];
	uint64_t index, table;
	bool copied;

	for (index = 0; index < entries; index++) {
		if (qcow2_l1_read(&count->thin->header, l1 + index * 8, &table, &copied, why) < 0)
			return FAIL(count, "%s: entry %" PRIu64 " of its %s: %s", count->node->id, index,
				what, why);
		if (table && name(count, "L2 table", table, thin_cluster(count->thin), KIND_TABLE) < 0)
			return -1;
	}
	return 0;
}

static int read_active(struct count *count)
{
	struct thin *thin = count->thin;
	uint64_t bytes = thin->header.l1_size * UINT64_C(8), index;
	char why[QCOW2_WHY];
	int result;
	bool copied;

	if (name(count, "L1 table", thin->header.l1_offset, bytes, KIND_OTHER) < 0)
		return -1;
	result = bytes ? thin_child_read(count->node, thin->header.l1_offset, thin->l1, bytes) : 0;
	if (result < 0)
		return read_failed(count, "L1 table", thin->header.l1_offset, result);
	thin_resize_clear(thin);
	if (count_l1(count, thin->l1, thin->header.l1_size, "L1 table") < 0)
		return -1;
	for (index = 0; index < thin->table_count; index++) {
		uint64_t *host = &thin->table_hosts[index];

		(void)qcow2_l1_read(&thin->header, thin->l1 + index * 8, host, &copied, why); /* judged */
		if (!*host)
			continue;
		if (named(count, *host >> thin->cluster_bits) > 1)
			return FAIL(count, "%s: its L1 table names the L2 table at %" PRIu64 " twice",
				count->node->id, *host);
	}
	return 0;
}

static int count_snapshot(struct count *count, const struct qcow2_snapshot *snapshot)
{
	uint64_t bytes = snapshot->l1_size * UINT64_C(8);
	uint8_t *l1;
	int result;

	count->l1_entries += snapshot->l1_size;
	if (count->l1_entries > L1_ENTRIES_MAX)
		return FAIL(count, "%s: the L1 tables of its snapshots have more than %" PRIu64 " entries",
			count->node->id, L1_ENTRIES_MAX);
	if (name(count, "snapshot's L1 table", snapshot->l1_offset, bytes, KIND_OTHER) < 0)
		return -1;
	l1 = calloc(1, bytes + 1);
	if (!l1)
		return err_add(count->err, "out of memory");
	result = bytes ? thin_child_read(count->node, snapshot->l1_offset, l1, bytes) : 0;
	if (result < 0)
		result = read_failed(count, "snapshot's L1 table", snapshot->l1_offset, result);
	else
		result = count_l1(count, l1, snapshot->l1_size, "snapshot's L1 table");
	free(l1);
	return result;
}

/* The snapshot table's length is only known when it has been read: by ever larger parts. */
static int count_snapshots(struct count *count)
{
	struct thin *thin = count->thin;
	uint64_t offset = thin->header.snapshots_offset, at = 0, room;
	uint8_t *table;
	char why[QCOW2_WHY];
	int result = 0;
	uint32_t i;

	if (!thin->header.snapshot_count)
		return 0;
	if (offset >= thin->present)
		return name(count, "snapshot table", offset, 1, KIND_OTHER);
	room = thin->present - offset;
	if (room > QCOW2_SNAPSHOT_TABLE_MAX)
		room = QCOW2_SNAPSHOT_TABLE_MAX;
	table = calloc(1, room + 1);
	if (!table)
		return err_add(count->err, "out of memory");
	result = thin_child_read(count->node, offset, table, room);
	if (result < 0)
		result = read_failed(count, "snapshot table", offset, result);
	for (i = 0; i < thin->header.snapshot_count && result == 0; i++) {
		struct qcow2_snapshot snapshot;
		size_t used = qcow2_snapshot_read(&thin->header, table + at, room - at, &snapshot, why);

		if (!used)
			result = FAIL(count, "%s: %s", count->node->id, why);
		else
			result = count_snapshot(count, &snapshot);
		at += used < room - at ? used : room - at; /* the image may end within the padding */
	}
	if (result == 0)
		result = name(count, "snapshot table", offset, at, KIND_OTHER);
	if (result == 0) {
		thin->snapshots.bytes = realloc(table, at);
		thin->snapshots.length = at;
	} else {
		free(table);
	}
	return result;
}

static int count_table(struct count *count, const uint8_t *table, uint32_t times, uint64_t host, uint64_t guest)
{
	struct thin *thin = count->thin;
	struct qcow2_entry entry;
	char why[QCOW2_WHY];
	uint64_t index;

	for (index = 0; index < qcow2_l2_entries(&thin->header); index++) {
		uint64_t length = thin_cluster(thin);

		if (qcow2_entry_read(&thin->header, table + (index << thin->entry_bits), &entry, why) < 0)
			return FAIL(count, "%s: entry %" PRIu64 " of its L2 table at %" PRIu64 ": %s",
				count->node->id, index, host, why);
		if (!thin_data_file_has(count->node, &entry, guest, index, host, count->err))
			return -1;
		count->clusters += entry.is_external;
		if (!entry.host)
			continue;
		thin->has_compressed |= entry.compressed;
		if (entry.compressed)
			length = entry.packed;
		/* The last sector of the packed bytes may be cut off with the image's end. */
		if (entry.compressed && entry.host < thin->present &&
			length > (count->present << thin->cluster_bits) - entry.host)
			length = (count->present << thin->cluster_bits) - entry.host;
		count->clusters += !entry.compressed;
		if (name_times(count, "data", entry.host, length, KIND_DATA, times) < 0)
			return -1;
	}
	return 0;
}

static void keep_table(struct count *count, uint64_t index)
{
	struct thin *thin = count->thin;
	uint64_t first = (index << thin->cluster_bits) / thin->page, at;

	for (at = 0; at < thin_cluster(thin); at += thin->page)
		thin_cache_seen(thin, first + at / thin->page, count->cluster + at);
}

/*
 * The device's own tables are read here, once: of a mirror whose legs differ a second read may come
 * from the other leg, and name what is free by the first's word. What memory has no room for
 * is read again when it is wanted, and must be the same then (thin_cache.c).
 */
static int count_active(struct count *count)
{
	struct thin *thin = count->thin;
	uint64_t index;

	count->is_own = true;
	for (index = 0; index < thin->table_count; index++) {
		uint64_t host = thin->table_hosts[index], cluster = host >> thin->cluster_bits;
		int result;

		if (!host)
			continue;
		result = thin_child_read(count->node, host, count->cluster, thin_cluster(thin));
		if (result < 0)
			return read_failed(count, "L2 table", host, result);
		if (count_table(count, count->cluster, (uint32_t)named(count, cluster), host,
			    index << thin->table_bits << thin->cluster_bits) < 0)
			return -1;
		keep_table(count, index);
		thin_counts_put(&thin->counts, cluster, named(count, cluster), KIND_OTHER); /* named as what it is, and counted */
	}
	count->is_own = false;
	thin->allocated = count->clusters;
	return 0;
}

static int count_tables(struct count *count)
{
	const struct thin_counts *counts = &count->thin->counts;
	uint64_t cluster;

	if (count_active(count) < 0)
		return -1;
	for (cluster = 0; cluster < count->present; cluster++) {
		uint64_t host = cluster << count->thin->cluster_bits;
		int result;

		if (!named(count, cluster) || thin_counts_low(counts, cluster) != KIND_TABLE)
			continue;
		result = thin_child_read(count->node, host, count->cluster, thin_cluster(count->thin));
		if (result < 0)
			return read_failed(count, "L2 table", host, result);
		if (count_table(count, count->cluster, (uint32_t)named(count, cluster), host, THIN_NOWHERE) < 0)
			return -1;
	}
	return 0;
}

/* "Its refcount is one" as the counts have it, of tables; load() does the same for what they name. */
static void mend_flags(struct thin *thin)
{
	uint64_t index;

	for (index = 0; index < thin->table_count; index++)
		if (thin->table_hosts[index])
			qcow2_l1_write(thin->l1 + index * 8, thin->table_hosts[index],
				thin_table_is_ready(thin, index));
	thin->is_mended = true;
}

int thin_count(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct count count = { .node = node, .thin = thin, .err = err };
	uint64_t table = thin->header.refcount_table_clusters * thin_cluster(thin);
	int result = -1;

	count.present = thin_up(thin, thin->present) >> thin->cluster_bits;
	if (thin->can_write && count.present > thin->clusters)
		count.present = thin->clusters;
	count.cluster = calloc(1, thin_cluster(thin));
	if (!count.cluster) {
		err_add(err, "out of memory");
	} else if (thin->header.refcount_table_offset + table >
		count.present << thin->cluster_bits) {
		FAIL(&count, "%s: its refcount table at %" PRIu64 " ends beyond the image's %" PRIu64
			     " bytes",
			node->id, thin->header.refcount_table_offset, thin->present);
	} else {
		result = thin_child_read(
			node, thin->header.refcount_table_offset, thin->refcount_table, table);
		if (result < 0)
			result = read_failed(
				&count, "refcount table", thin->header.refcount_table_offset, result);
	}
	if (result == 0 && (count_refcounts(&count) < 0 || read_active(&count) < 0 ||
				   count_snapshots(&count) < 0 || count_tables(&count) < 0 ||
				   thin_judge(node, count.cluster, err) < 0))
		result = -1;
	if (result == 0 && thin->can_write && node->repairs)
		mend_flags(thin);
	free(count.cluster);
	return result;
}
