// SPDX-License-Identifier: MIT
/*
 * The snapshot table: entries one after the other, each padded to 8 bytes.
 *
 *   0  L1 table          8  its entries       12  length of the id (2)   14  of the name (2)
 *  16  date, seconds    20  nanoseconds       24  the guest's clock
 *  32  VM state (4)     36  length of the extra data, which is: 40 VM state (8), 48 device's size,
 *                           56 instructions so far, all ones where nobody counts them
 *  then id and name, not NUL-ended.
 *
 * Crash story: a table is never changed. A new one is written elsewhere, and the header says, in one
 * sector, where it is and how many entries it has (thin_snapshot.c).
 */
#include "qcow2.h"

#include <inttypes.h>
#include <stdio.h>

#define FIXED 40
#define OUR_EXTRA 24
#define EXTRA_MAX 1024

#define FAIL(...) (snprintf(why, QCOW2_WHY, __VA_ARGS__), 0)

static uint16_t read16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

size_t qcow2_snapshot_read(const struct qcow2_header *header, const uint8_t *bytes, size_t length,
	struct qcow2_snapshot *snapshot, char *why)
{
	size_t whole;
	uint32_t extra;

	*snapshot = (struct qcow2_snapshot){ .l1_offset = 0 };
	if (length < FIXED)
		return FAIL("the snapshot table ends within an entry");
	snapshot->l1_offset = qcow2_read64(bytes);
	snapshot->l1_size = qcow2_read32(bytes + 8);
	snapshot->id_length = read16(bytes + 12);
	snapshot->name_length = read16(bytes + 14);
	snapshot->seconds = qcow2_read32(bytes + 16);
	snapshot->state_bytes = qcow2_read32(bytes + 32);
	extra = qcow2_read32(bytes + 36);
	if (extra > EXTRA_MAX)
		return FAIL("a snapshot has %" PRIu32 " bytes of extra data, over the limit of %d", extra,
			EXTRA_MAX);
	whole = FIXED + extra + snapshot->id_length + snapshot->name_length;
	if (whole > length)
		return FAIL("the snapshot table ends within an entry");
	if (extra >= 8)
		snapshot->state_bytes = qcow2_read64(bytes + FIXED);
	if (extra >= 16)
		snapshot->size = qcow2_read64(bytes + FIXED + 8);
	snapshot->id = (const char *)bytes + FIXED + extra;
	snapshot->name = snapshot->id + snapshot->id_length;
	if (snapshot->l1_size > QCOW2_L1_MAX)
		return FAIL("a snapshot's L1 table has %" PRIu32 " entries, over the limit of %" PRIu32,
			snapshot->l1_size, QCOW2_L1_MAX);
	if (snapshot->l1_offset % qcow2_cluster_size(header) || snapshot->l1_offset >= QCOW2_HOST_MAX ||
		(snapshot->l1_size && !snapshot->l1_offset))
		return FAIL("a snapshot's L1 table is at %" PRIu64 ", which is no cluster's",
			snapshot->l1_offset);
	return (whole + 7) & ~(size_t)7;
}

static void write16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

size_t qcow2_snapshot_write(const struct qcow2_snapshot *snapshot, uint8_t *bytes)
{
	size_t texts = (size_t)snapshot->id_length + snapshot->name_length;
	size_t length = (FIXED + OUR_EXTRA + texts + 7) & ~(size_t)7;

	if (!bytes)
		return length;
	memset(bytes, 0, length);
	qcow2_write64(bytes, snapshot->l1_offset);
	qcow2_write32(bytes + 8, snapshot->l1_size);
	write16(bytes + 12, snapshot->id_length);
	write16(bytes + 14, snapshot->name_length);
	qcow2_write32(bytes + 16, snapshot->seconds);
	qcow2_write32(bytes + 36, OUR_EXTRA);
	qcow2_write64(bytes + FIXED + 8, snapshot->size);
	qcow2_write64(bytes + FIXED + 16, UINT64_MAX);
	memcpy(bytes + FIXED + OUR_EXTRA, snapshot->id, snapshot->id_length);
	memcpy(bytes + FIXED + OUR_EXTRA + snapshot->id_length, snapshot->name, snapshot->name_length);
	return length;
}
