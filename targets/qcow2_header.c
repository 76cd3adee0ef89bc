// SPDX-License-Identifier: MIT
/*
 * The qcow2 header: the first cluster of an image.
 *
 *   0  magic "QFI\xfb"              4  version: 2 or 3
 *   8  backing name's offset       16  its length          20  cluster_bits
 *  24  size of the device          32  encryption method   36  entries of the L1 table
 *  40  L1 table                    48  refcount table      56  its clusters
 *  60  number of snapshots         64  snapshot table
 * version 3 only:
 *  72  incompatible features       80  compatible ones     88  autoclear ones
 *  96  refcount_order             100  header_length      104  compression (if header_length > 104)
 * then extensions, each 4 bytes type, 4 bytes length, data padded to 8, ended by type 0 (of which one names the
 * external data file, if there is one); then the backing file's name, before the first cluster's end.
 *
 * Crash story: a header is written once, as the last of a new image's parts. Its feature bits, and
 * where its tables are, are changed in place: fields within one sector, which is old or new
 * after a power cut. So is an image flattened: its backing name's offset and length become 0, and the
 * extension that has said the backing's format becomes, in place, one of ours (EXTENSION_FLATTENED): a
 * document that still names the backing is right about it.
 */
#include "qcow2.h"

#include <inttypes.h>
#include <stdio.h>

#define VERSION_2_LENGTH 72
#define VERSION_3_LENGTH 104
#define OUR_LENGTH 112 /* with the compression type and its padding */
#define EXTENSIONS_MAX 64
#define SECTOR 512u

enum extension {
	EXTENSION_END = 0,
	EXTENSION_BACKING_FORMAT = 0xe2792aca,
	EXTENSION_BITMAPS = 0x23852875,
	EXTENSION_ENCRYPTION = 0x0537be77,
	EXTENSION_DATA_FILE = 0x44415441,
	EXTENSION_FLATTENED = 0x75626466, /* ours: "ubdf"; what it had been based on is within it now */
};

_Static_assert(OUR_LENGTH % 8 == 0, "header_length is a multiple of 8");

#define FAIL(...) (snprintf(why, QCOW2_WHY, __VA_ARGS__), -1)

uint64_t qcow2_header_cluster(const uint8_t *bytes, size_t length)
{
	uint32_t bits;

	if (length < VERSION_2_LENGTH || qcow2_read32(bytes) != QCOW2_MAGIC)
		return 0;
	bits = qcow2_read32(bytes + 20);
	if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
		return 0;
	return UINT64_C(1) << bits;
}

uint64_t qcow2_l1_needed(const struct qcow2_header *header, uint64_t size)
{
	uint64_t span = qcow2_cluster_size(header) * qcow2_l2_entries(header);

	return size / span + (size % span != 0);
}

/* A table's place: whole clusters below the format's bound. */
static int check_place(const struct qcow2_header *header, const char *what, uint64_t offset,
	uint64_t length, char *why)
{
	if (offset % qcow2_cluster_size(header) != 0)
		return FAIL("its %s is at %" PRIu64 ", which is no multiple of the cluster size %" PRIu64,
			what, offset, qcow2_cluster_size(header));
	if (offset == 0)
		return FAIL("its %s would lie over its header, at 0", what);
	if (offset > QCOW2_HOST_MAX || length > QCOW2_HOST_MAX - offset)
		return FAIL("its %s at %" PRIu64 " ends beyond the format's limit of %" PRIu64, what,
			offset, QCOW2_HOST_MAX);
	return 0;
}

static int read_features(const uint8_t *bytes, struct qcow2_header *header, char *why)
{
	uint64_t unknown;

	header->incompatible = qcow2_read64(bytes + 72);
	header->compatible = qcow2_read64(bytes + 80);
	header->autoclear = qcow2_read64(bytes + 88);
	header->refcount_order = qcow2_read32(bytes + 96);
	header->header_length = qcow2_read32(bytes + 100);
	unknown = header->incompatible & ~(uint64_t)QCOW2_INCOMPATIBLE_KNOWN;
	if (unknown)
		return FAIL("it needs the incompatible feature of bit %d, which is not known here",
			__builtin_ctzll(unknown));
	if (header->refcount_order > 6)
		return FAIL("its refcount_order is %" PRIu32 ", over the format's limit of 6",
			header->refcount_order);
	if (header->header_length < VERSION_3_LENGTH || header->header_length % 8)
		return FAIL("its header_length is %" PRIu32 ", not a multiple of 8 from %d",
			header->header_length, VERSION_3_LENGTH);
	if (qcow2_is_extended(header) && header->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
		return FAIL("it has extended L2 entries and cluster_bits %" PRIu32 ", below their limit of %d",
			header->cluster_bits, QCOW2_EXTENDED_BITS_MIN);
	return 0;
}

static int read_compression(const uint8_t *bytes, size_t length, struct qcow2_header *header, char *why)
{
	uint8_t type = 0;

	if (header->header_length > length || header->header_length > qcow2_cluster_size(header))
		return FAIL("its header_length is %" PRIu32 ", beyond its first cluster",
			header->header_length);
	if (header->header_length > VERSION_3_LENGTH)
		type = bytes[VERSION_3_LENGTH];
	if ((type != QCOW2_ZLIB) != !!(header->incompatible & QCOW2_COMPRESSION))
		return FAIL("its compression type %u and its feature bit for that contradict each other",
			type);
	if (type > QCOW2_ZSTD)
		return FAIL("its compression type %u is not known here", type);
	header->compression = type;
	return 0;
}

static int check_sizes(const struct qcow2_header *header, char *why)
{
	uint64_t cluster = qcow2_cluster_size(header);
	uint64_t table = header->refcount_table_clusters * cluster;
	uint64_t needed = qcow2_l1_needed(header, header->size);

	if (header->size > INT64_MAX)
		return FAIL("its size %" PRIu64 " is over 2^63-1", header->size);
	if (needed > QCOW2_L1_MAX || header->l1_size > QCOW2_L1_MAX)
		return FAIL("its L1 table has %" PRIu64 " entries, over the limit of %" PRIu32,
			needed > header->l1_size ? needed : header->l1_size, QCOW2_L1_MAX);
	if (header->l1_size < needed)
		return FAIL("its L1 table has %" PRIu32 " entries; its size %" PRIu64 " needs %" PRIu64,
			header->l1_size, header->size, needed);
	if (header->l1_size && check_place(header, "L1 table", header->l1_offset,
				       header->l1_size * UINT64_C(8), why) < 0)
		return -1;
	if (header->refcount_table_clusters == 0)
		return FAIL("it has no refcount table");
	if (table > QCOW2_REFCOUNT_TABLE_MAX)
		return FAIL("its refcount table has %" PRIu64 " bytes, over the limit of %" PRIu64, table,
			QCOW2_REFCOUNT_TABLE_MAX);
	if (check_place(header, "refcount table", header->refcount_table_offset, table, why) < 0)
		return -1;
	if (header->snapshot_count > QCOW2_SNAPSHOTS_MAX)
		return FAIL("it has %" PRIu32 " snapshots, over the limit of %d", header->snapshot_count,
			QCOW2_SNAPSHOTS_MAX);
	if (header->snapshot_count &&
		check_place(header, "snapshot table", header->snapshots_offset, 0, why) < 0)
		return -1;
	return 0;
}

static int read_backing(const uint8_t *bytes, size_t length, struct qcow2_header *header, char *why)
{
	uint64_t offset = qcow2_read64(bytes + 8);
	uint32_t size = qcow2_read32(bytes + 16);

	if (offset == 0)
		return 0;
	if (size > QCOW2_BACKING_MAX)
		return FAIL("its backing file's name has %" PRIu32 " bytes, over the limit of %d", size,
			QCOW2_BACKING_MAX);
	if (offset > length || size > length - offset ||
		offset + size > qcow2_cluster_size(header))
		return FAIL("its backing file's name at %" PRIu64 " ends beyond its first cluster", offset);
	if (size == 0 || memchr(bytes + offset, '\0', size))
		return FAIL("its backing file's name is empty or has a NUL in it");
	memcpy(header->backing, bytes + offset, size);
	return 0;
}

static int read_extension(uint32_t type, const uint8_t *data, uint32_t size,
	struct qcow2_header *header, char *why)
{
	switch (type) {
	case EXTENSION_BACKING_FORMAT:
		if (size >= sizeof(header->backing_format))
			return FAIL("its backing file's format has a name of %" PRIu32 " bytes", size);
		memcpy(header->backing_format, data, size);
		header->backing_format[size] = '\0';
		return 0;
	case EXTENSION_DATA_FILE:
		if (size > QCOW2_BACKING_MAX)
			return FAIL("its data file's name has %" PRIu32 " bytes, over the limit of %d", size,
				QCOW2_BACKING_MAX);
		if (memchr(data, '\0', size))
			return FAIL("its data file's name has a NUL in it");
		memcpy(header->data_file, data, size);
		header->data_file[size] = '\0';
		return 0;
	case EXTENSION_FLATTENED:
		header->is_flattened = !*header->backing; /* it may have got another one since */
		return 0;
	case EXTENSION_BITMAPS:
		header->has_bitmaps = true;
		return 0;
	case EXTENSION_ENCRYPTION:
		return FAIL("it is encrypted (LUKS), which is not supported");
	default:
		return 0; /* the format says: to be ignored */
	}
}

static int read_extensions(const uint8_t *bytes, size_t length, struct qcow2_header *header, char *why)
{
	uint64_t backing = qcow2_read64(bytes + 8);
	uint64_t end = backing && backing < length ? backing : length;
	uint64_t at = header->version == 2 ? VERSION_2_LENGTH : header->header_length;
	unsigned count;

	for (count = 0; count < EXTENSIONS_MAX; count++) {
		uint32_t type, size;

		if (at > end || end - at < 8)
			return 0; /* the area may end without its mark */
		type = qcow2_read32(bytes + at);
		size = qcow2_read32(bytes + at + 4);
		if (type == EXTENSION_END)
			return 0;
		at += 8;
		if (size > end - at)
			return FAIL("its header extension %#" PRIx32 " of %" PRIu32
				    " bytes ends beyond the header",
				type, size);
		if (read_extension(type, bytes + at, size, header, why) < 0)
			return -1;
		at += (size + UINT64_C(7)) & ~UINT64_C(7);
	}
	return FAIL("it has more than %d header extensions", EXTENSIONS_MAX);
}

static int check_encryption(uint32_t method, char *why)
{
	if (method == 0)
		return 0;
	if (method > 2)
		return FAIL("its encryption method %" PRIu32 " is not known here", method);
	return FAIL("it is encrypted (%s), which is not supported", method == 1 ? "AES" : "LUKS");
}

/* What the format rules out beside an external data file. */
static int check_data_file(const struct qcow2_header *header, char *why)
{
	if (!qcow2_has_data_file(header))
		return 0;
	if (header->snapshot_count)
		return FAIL("it has an external data file and %" PRIu32 " internal snapshots, which the format rules out",
			header->snapshot_count);
	if (header->autoclear & QCOW2_DATA_FILE_RAW && *header->backing)
		return FAIL("its external data file is said to be raw, and it has a backing file, which the format rules out");
	return 0;
}

int qcow2_header_read(const uint8_t *bytes, size_t length, struct qcow2_header *header, char *why)
{
	memset(header, 0, sizeof(*header));
	if (length < VERSION_3_LENGTH || qcow2_read32(bytes) != QCOW2_MAGIC)
		return FAIL("it is no qcow2 image");
	header->version = qcow2_read32(bytes + 4);
	if (header->version != 2 && header->version != 3)
		return FAIL("it is qcow2 version %" PRIu32 "; versions 2 and 3 are known here",
			header->version);
	header->cluster_bits = qcow2_read32(bytes + 20);
	if (header->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
		header->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return FAIL("its cluster_bits %" PRIu32 " is not from %d to %d", header->cluster_bits,
			QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
	if (length > qcow2_cluster_size(header))
		length = qcow2_cluster_size(header);
	header->size = qcow2_read64(bytes + 24);
	header->l1_size = qcow2_read32(bytes + 36);
	header->l1_offset = qcow2_read64(bytes + 40);
	header->refcount_table_offset = qcow2_read64(bytes + 48);
	header->refcount_table_clusters = qcow2_read32(bytes + 56);
	header->snapshot_count = qcow2_read32(bytes + 60);
	header->snapshots_offset = qcow2_read64(bytes + 64);
	header->refcount_order = 4;
	header->header_length = VERSION_2_LENGTH;
	if (check_encryption(qcow2_read32(bytes + 32), why) < 0)
		return -1;
	if (header->version == 3 && (read_features(bytes, header, why) < 0 ||
					    read_compression(bytes, length, header, why) < 0))
		return -1;
	if (check_sizes(header, why) < 0 || read_backing(bytes, length, header, why) < 0)
		return -1;
	if (check_data_file(header, why) < 0)
		return -1;
	return read_extensions(bytes, length, header, why);
}

int qcow2_header_flatten(uint8_t *bytes, struct qcow2_header *header)
{
	uint64_t at = header->version == 2 ? VERSION_2_LENGTH : qcow2_read32(bytes + 100);
	unsigned count;

	for (count = 0; count < EXTENSIONS_MAX && at <= SECTOR - 8; count++) {
		uint32_t type = qcow2_read32(bytes + at);

		if (type == EXTENSION_END)
			return -1;
		if (type == EXTENSION_BACKING_FORMAT) {
			qcow2_write32(bytes + at, EXTENSION_FLATTENED);
			qcow2_write64(bytes + 8, 0);
			qcow2_write32(bytes + 16, 0);
			header->backing[0] = header->backing_format[0] = '\0';
			header->is_flattened = true;
			return 0;
		}
		at += 8 + ((qcow2_read32(bytes + at + 4) + UINT64_C(7)) & ~UINT64_C(7));
	}
	return -1;
}

void qcow2_header_set_features(uint8_t *bytes, const struct qcow2_header *header)
{
	qcow2_write64(bytes + 72, header->incompatible);
	qcow2_write64(bytes + 80, header->compatible);
	qcow2_write64(bytes + 88, header->autoclear);
}

void qcow2_header_set_refcounts(uint8_t *bytes, const struct qcow2_header *header)
{
	qcow2_write64(bytes + 48, header->refcount_table_offset);
	qcow2_write32(bytes + 56, header->refcount_table_clusters);
}

void qcow2_header_set_tables(uint8_t *bytes, const struct qcow2_header *header)
{
	qcow2_header_set_refcounts(bytes, header);
	qcow2_write64(bytes + 40, header->l1_offset);
	qcow2_write32(bytes + 60, header->snapshot_count);
	qcow2_write64(bytes + 64, header->snapshots_offset);
}

void qcow2_header_set_size(uint8_t *bytes, const struct qcow2_header *header)
{
	qcow2_write64(bytes + 24, header->size);
	qcow2_write32(bytes + 36, header->l1_size);
}

/* Returns where the next one begins. */
static size_t write_extension(uint8_t *bytes, size_t at, enum extension type, const char *text)
{
	size_t length = strlen(text);

	qcow2_write32(bytes + at, type);
	qcow2_write32(bytes + at + 4, (uint32_t)length);
	memcpy(bytes + at + 8, text, length);
	return at + 8 + ((length + 7) & ~(size_t)7);
}

int qcow2_header_write(const struct qcow2_header *header, uint8_t *bytes)
{
	size_t format = strlen(header->backing_format), name = strlen(header->backing);
	size_t data = strlen(header->data_file), at = OUR_LENGTH;

	qcow2_write32(bytes, QCOW2_MAGIC);
	qcow2_write32(bytes + 4, 3);
	qcow2_write32(bytes + 20, header->cluster_bits);
	qcow2_header_set_size(bytes, header);
	qcow2_header_set_tables(bytes, header);
	qcow2_header_set_features(bytes, header);
	qcow2_write32(bytes + 96, header->refcount_order);
	qcow2_write32(bytes + 100, OUR_LENGTH);
	bytes[VERSION_3_LENGTH] = (uint8_t)header->compression;
	if (at + 8 + format + 8 + 8 + data + 8 + 8 + name > qcow2_cluster_size(header))
		return -1;
	if (name && format)
		at = write_extension(bytes, at, EXTENSION_BACKING_FORMAT, header->backing_format);
	if (data)
		at = write_extension(bytes, at, EXTENSION_DATA_FILE, header->data_file);
	if (!name)
		return 0;
	at += 8; /* the end's mark: zeroes */
	qcow2_write64(bytes + 8, at);
	qcow2_write32(bytes + 16, (uint32_t)name);
	memcpy(bytes + at, header->backing, name);
	return 0;
}
