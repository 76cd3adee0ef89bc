// SPDX-License-Identifier: MIT
/*
 * The map's entries: L1 (8 bytes) and L2 (8 bytes, or 16 with extended L2 entries).
 *
 *  L1   bit 63      the table's refcount is one ("copied")
 *       bits 9-55   the table's host offset, 0: none
 *  L2   bit 63      the cluster's refcount is one; clear for compressed ones
 *       bit 62      0: standard
 *       bits 9-55   the cluster's host offset, 0: none
 *       bit 0       reads as zeroes (version 3 without extended L2)
 *       bit 62      1: compressed; x = 62 - (cluster_bits - 8)
 *       bits 0-x-1  host offset of the first byte, anywhere
 *       bits x-61   512 byte sectors that follow the one of the first byte
 *  extended, second 8 bytes: bits 0-31 the grain is allocated, bits 32-63 it reads as zeroes.
 * With an external data file bits 9-55 of an L2 entry are the offset there, which is the device's; as that may be
 * 0, bit 63 alone, too, says that there is a cluster; none is compressed.
 * All other bits are 0.
 *
 * Crash story: an entry lies within one sector, so that it is old or new after a power cut. Who
 * writes one sees to it that both are right (thin_commit.c).
 */
#include "qcow2.h"

#include <inttypes.h>
#include <stdio.h>

#define COPIED QCOW2_ENTRY_COPIED
#define COMPRESSED QCOW2_ENTRY_COMPRESSED
#define OFFSET_MASK QCOW2_ENTRY_HOST
#define ZERO QCOW2_ENTRY_ZERO
#define SECTOR 512u

#define FAIL(...) (snprintf(why, QCOW2_WHY, __VA_ARGS__), -1)

static int check_aligned(const struct qcow2_header *header, uint64_t offset, char *why)
{
	if (offset & (qcow2_cluster_size(header) - 1))
		return FAIL("it names host offset %" PRIu64 ", which is no cluster's", offset);
	return 0;
}

int qcow2_l1_read(const struct qcow2_header *header, const uint8_t *bytes, uint64_t *table,
	bool *copied, char *why)
{
	uint64_t word = qcow2_read64(bytes);

	*table = word & OFFSET_MASK;
	*copied = word & COPIED;
	if (word & ~(OFFSET_MASK | COPIED))
		return FAIL("it has reserved bits set: %#" PRIx64, word);
	return check_aligned(header, *table, why);
}

void qcow2_l1_write(uint8_t *bytes, uint64_t table, bool copied)
{
	qcow2_write64(bytes, table | (copied && table ? COPIED : 0));
}

static int read_compressed(const struct qcow2_header *header, uint64_t word,
	struct qcow2_entry *entry, char *why)
{
	unsigned shift = 62 - (header->cluster_bits - 8);
	uint64_t sectors = (word & (COMPRESSED - 1)) >> shift;

	entry->compressed = true;
	entry->host = word & ((UINT64_C(1) << shift) - 1);
	entry->packed = (uint32_t)((sectors + 1) * SECTOR - entry->host % SECTOR);
	if (word & COPIED)
		return FAIL("it is compressed and says that it may be written in place");
	if (entry->host == 0 || entry->host >= QCOW2_HOST_MAX)
		return FAIL("it names host offset %" PRIu64 " for compressed bytes", entry->host);
	return 0;
}

/* What names a cluster, names one of the data file. */
static void make_external(struct qcow2_entry *entry)
{
	entry->is_external = entry->host || entry->copied;
	entry->external = entry->host;
	entry->host = 0;
	entry->data = entry->is_external && !entry->zeroes;
}

static int read_grains(const uint8_t *bytes, struct qcow2_entry *entry, char *why)
{
	uint64_t bits = qcow2_read64(bytes + 8);

	entry->data = (uint32_t)bits;
	entry->zeroes = (uint32_t)(bits >> 32);
	if (entry->compressed && bits)
		return FAIL("it is compressed and names subclusters");
	if (entry->data & entry->zeroes)
		return FAIL("it has subclusters that are allocated and read as zeroes at once");
	if (entry->data && !entry->host && !entry->is_external)
		return FAIL("it has allocated subclusters and no cluster");
	return 0;
}

int qcow2_entry_read(const struct qcow2_header *header, const uint8_t *bytes,
	struct qcow2_entry *entry, char *why)
{
	uint64_t word = qcow2_read64(bytes);
	bool may_zero = header->version >= 3 && !qcow2_is_extended(header);

	*entry = (struct qcow2_entry){ .host = 0 };
	if (word & COMPRESSED) {
		if (qcow2_has_data_file(header))
			return FAIL("it is compressed, which the format rules out beside an external data file");
		if (read_compressed(header, word, entry, why) < 0)
			return -1;
	} else {
		entry->host = word & OFFSET_MASK;
		entry->copied = word & COPIED;
		if (word & ~(OFFSET_MASK | COPIED | (may_zero ? ZERO : 0)))
			return FAIL("it has reserved bits set: %#" PRIx64, word);
		if (entry->copied && !entry->host && !qcow2_has_data_file(header))
			return FAIL("it says that it may be written in place and names no cluster");
		if (check_aligned(header, entry->host, why) < 0)
			return -1;
		entry->zeroes = word & ZERO ? 1 : 0;
		entry->data = entry->host && !entry->zeroes;
		if (qcow2_has_data_file(header))
			make_external(entry);
	}
	return qcow2_is_extended(header) ? read_grains(bytes, entry, why) : 0;
}

void qcow2_entry_write(
	const struct qcow2_header *header, uint8_t *bytes, const struct qcow2_entry *entry)
{
	uint64_t word = entry->host;

	if (entry->compressed) {
		unsigned shift = 62 - (header->cluster_bits - 8);
		uint64_t sectors = (entry->packed + entry->host % SECTOR) / SECTOR - 1;

		word |= COMPRESSED | sectors << shift;
	} else if (entry->is_external) {
		word = entry->external | COPIED;
	} else if (entry->copied && entry->host) {
		word |= COPIED;
	}
	if (qcow2_is_extended(header))
		qcow2_write64(bytes + 8, (uint64_t)entry->zeroes << 32 | entry->data);
	else if (entry->zeroes)
		word |= ZERO;
	qcow2_write64(bytes, word);
}

enum qcow2_kind qcow2_entry_kind(const struct qcow2_entry *entry, unsigned grain)
{
	if (entry->compressed)
		return QCOW2_COMPRESSED;
	if (entry->data >> grain & 1)
		return QCOW2_DATA;
	return entry->zeroes >> grain & 1 ? QCOW2_ZERO : QCOW2_HOLE;
}
