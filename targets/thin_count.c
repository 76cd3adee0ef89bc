// SPDX-License-Identifier: MIT
/*
 * thin believes no image: before one is used all its tables are read and everything that they name
 * is counted. Refused, by name: what lies outside of the image, what two kinds of metadata or
 * metadata and data share, entries that break the format's rules, counts below what is named
 * (unless the dirty bit says that they may be).
 *
 * Each cluster is read once however often it is named: what was judged is what is used. Memory:
 * three bytes for each cluster of the child while counting, and what thin_allocate() takes.
 */
#include "thin_open.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT_MAX 65535u
#define L1_ENTRIES_MAX (UINT64_C(16) << 20) /* of all snapshots together */

enum kind { KIND_NONE, KIND_DATA, KIND_TABLE, KIND_OTHER };

struct count {
	struct node *node;
	struct thin *thin;
	struct err *err;
	uint16_t *counts; /* how often each cluster is named */
	uint8_t *kinds;
	uint64_t present; /* clusters that exist */
	uint8_t *cluster; /* memory for one */
	uint64_t l1_entries;
	uint64_t clusters; /* that tables have named whole, so far */
};

#define FAIL(count, ...) json_err((count)->node->json, (count)->err, "thin " __VA_ARGS__)

static int read_failed(const struct count *count, const char *what, uint64_t offset, int error)
{
	return FAIL(count, "%s: reading its %s at %" PRIu64 ": error %d", count->node->id, what, offset,
		-error);
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
	for (; cluster <= last; cluster++) {
		if (count->kinds[cluster] != KIND_NONE &&
			(count->kinds[cluster] != kind || kind == KIND_OTHER))
			return FAIL(count, "%s: its %s at %" PRIu64 " shares a cluster with other metadata",
				count->node->id, what, cluster << bits);
		count->kinds[cluster] = (uint8_t)kind;
		count->counts[cluster] = (uint16_t)(times < COUNT_MAX - count->counts[cluster]
				? count->counts[cluster] + times
				: COUNT_MAX);
	}
	return 0;
}

static int name(struct count *count, const char *what, uint64_t offset, uint64_t length, enum kind kind)
{
	return name_times(count, what, offset, length, kind, 1);
}

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
		int result;

		if (!block)
			continue;
		if (block & (cluster - 1))
			return FAIL(count, "%s: its refcount block %" PRIu64 " is at %" PRIu64
					   ", which is no cluster's",
				count->node->id, index, block);
		if (name(count, "refcount block", block, cluster, KIND_OTHER) < 0)
			return -1;
		if (index >= thin->block_count)
			continue; /* counts clusters that we never use */
		result = thin_child_read(
			count->node, block, thin->blocks + (index << thin->cluster_bits), cluster);
		if (result < 0)
			return read_failed(count, "refcount block", block, result);
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
		if (count->counts[*host >> thin->cluster_bits] > 1)
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

	for (index = 0; index < thin->table_count; index++) {
		uint64_t host = thin->table_hosts[index], cluster = host >> thin->cluster_bits;
		int result;

		if (!host)
			continue;
		result = thin_child_read(count->node, host, count->cluster, thin_cluster(thin));
		if (result < 0)
			return read_failed(count, "L2 table", host, result);
		if (count_table(count, count->cluster, count->counts[cluster], host,
			    index << thin->table_bits << thin->cluster_bits) < 0)
			return -1;
		keep_table(count, index);
		count->kinds[cluster] = KIND_OTHER; /* named as what it is, and counted */
	}
	thin->allocated = count->clusters;
	return 0;
}

static int count_tables(struct count *count)
{
	uint64_t cluster;

	if (count_active(count) < 0)
		return -1;
	for (cluster = 0; cluster < count->present; cluster++) {
		uint64_t host = cluster << count->thin->cluster_bits;
		int result;

		if (count->kinds[cluster] != KIND_TABLE)
			continue;
		result = thin_child_read(count->node, host, count->cluster, thin_cluster(count->thin));
		if (result < 0)
			return read_failed(count, "L2 table", host, result);
		if (count_table(count, count->cluster, count->counts[cluster], host, THIN_NOWHERE) < 0)
			return -1;
	}
	return 0;
}

/* What was counted against what the image says; in memory the image's counts are mended. */
static int judge(struct count *count)
{
	struct thin *thin = count->thin;
	uint64_t cluster;

	for (cluster = 0; cluster < thin->clusters; cluster++) {
		uint64_t said = thin_count_of(thin, cluster);
		uint64_t named = cluster < count->present ? count->counts[cluster] : 0;

		thin->used += said > 0;
		thin->leaked += said > named;
		if (said == named)
			continue;
		if (said > named && named > 0) {
			/* Used by more than we see, or leaked: never written in place. */
			if (count->node->repairs && named < COUNT_MAX)
				thin_count_set(thin, cluster, named);
			continue;
		}
		if (named == 0) {
			if (said > 1)
				thin_count_set(thin, cluster, 1);
			thin_bits_put(&thin->reserve, cluster);
			continue;
		}
		if (!thin->is_dirty)
			return FAIL(count, "%s: the refcount of its cluster at %" PRIu64 " is %" PRIu64
					   ", and %" PRIu64 " entries name it; see qemu-img check -r all",
				count->node->id, cluster << thin->cluster_bits, said, named);
		if (named > qcow2_refcount_max(&thin->header))
			return FAIL(count, "%s: %" PRIu64 " entries name its cluster at %" PRIu64
					   ", more than its refcounts can say",
				count->node->id, named, cluster << thin->cluster_bits);
		if (!qcow2_read64(thin->refcount_table + cluster / qcow2_block_entries(&thin->header) * 8))
			return FAIL(count, "%s: it is marked dirty, and no refcount block counts its cluster "
					   "at %" PRIu64 "; see qemu-img check -r all",
				count->node->id, cluster << thin->cluster_bits);
		thin_count_set(thin, cluster, named);
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
	count.counts = calloc(count.present + 1, sizeof(*count.counts));
	count.kinds = calloc(count.present + 1, 1);
	count.cluster = calloc(1, thin_cluster(thin));
	if (!count.counts || !count.kinds || !count.cluster) {
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
				   (thin->can_write && judge(&count) < 0)))
		result = -1;
	if (result == 0 && thin->can_write && node->repairs)
		mend_flags(thin);
	free(count.counts);
	free(count.kinds);
	free(count.cluster);
	return result;
}
