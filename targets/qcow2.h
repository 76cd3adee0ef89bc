/* SPDX-License-Identifier: MIT */
/*
 * The qcow2 format, versions 2 and 3, as bytes: headers, map entries, refcounts, snapshots.
 *
 * Everything here is arithmetic on memory: no I/O, no allocation, no node. Who reads an image hands
 * in bytes and believes nothing that has not come back from here as good: images are hostile input.
 * Functions that judge return 0, or -1 with one sentence in `why` (QCOW2_WHY bytes).
 *
 * Words: guest offsets are the device's, host offsets the image's. A cluster is the unit of
 * allocation. A grain is the unit of mapping: the cluster, or with extended L2 entries its 32nd
 * part (a "subcluster"). All numbers on disk are big-endian.
 */
#ifndef TARGETS_QCOW2_H
#define TARGETS_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define QCOW2_WHY 320

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21 /* 2 MiB, as in QEMU */
#define QCOW2_EXTENDED_BITS_MIN 14
#define QCOW2_HOST_MAX (UINT64_C(1) << 56) /* no host offset reaches it */
#define QCOW2_L1_MAX (UINT32_C(4) << 20) /* entries: 32 MiB, as in QEMU */
#define QCOW2_REFCOUNT_TABLE_MAX (UINT64_C(8) << 20) /* bytes, as in QEMU */
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_SNAPSHOT_TABLE_MAX (UINT64_C(64) << 20) /* bytes */
#define QCOW2_BACKING_MAX 1023 /* bytes of the name, and of a data file's */

enum qcow2_incompatible {
	QCOW2_DIRTY = 1u << 0, /* refcounts may be wrong */
	QCOW2_CORRUPT = 1u << 1, /* must not be written */
	QCOW2_DATA_FILE = 1u << 2, /* guest data is in another file */
	QCOW2_COMPRESSION = 1u << 3, /* not zlib */
	QCOW2_EXTENDED_L2 = 1u << 4,
};
#define QCOW2_INCOMPATIBLE_KNOWN 0x1fu
#define QCOW2_LAZY_REFCOUNTS 1u /* compatible */
#define QCOW2_BITMAPS 1u /* autoclear: what the bitmaps extension names is consistent */
#define QCOW2_DATA_FILE_RAW 2u /* autoclear: the data file alone, too, reads as the device */

enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

struct qcow2_header {
	uint32_t version, cluster_bits, refcount_order, header_length;
	uint64_t size; /* of the device that it holds */
	uint32_t l1_size; /* entries */
	uint64_t l1_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	enum qcow2_compression compression;
	bool has_bitmaps; /* the extension is there */
	bool is_flattened; /* it had a backing file once, and has all of that now */
	char backing[QCOW2_BACKING_MAX + 1]; /* "" without */
	char backing_format[16]; /* "", "raw", "qcow2", … */
	char data_file[QCOW2_BACKING_MAX + 1]; /* "": not said */
};

static inline bool qcow2_has_data_file(const struct qcow2_header *header)
{
	return header->incompatible & QCOW2_DATA_FILE;
}

static inline uint64_t qcow2_cluster_size(const struct qcow2_header *header)
{
	return UINT64_C(1) << header->cluster_bits;
}

static inline bool qcow2_is_extended(const struct qcow2_header *header)
{
	return header->incompatible & QCOW2_EXTENDED_L2;
}

static inline uint32_t qcow2_entry_size(const struct qcow2_header *header)
{
	return qcow2_is_extended(header) ? 16 : 8;
}

/* Entries of an L2 table, which is one cluster. */
static inline uint64_t qcow2_l2_entries(const struct qcow2_header *header)
{
	return qcow2_cluster_size(header) / qcow2_entry_size(header);
}

static inline uint64_t qcow2_grain_size(const struct qcow2_header *header)
{
	return qcow2_is_extended(header) ? qcow2_cluster_size(header) / 32 : qcow2_cluster_size(header);
}

/* Clusters whose refcounts one refcount block holds. */
static inline uint64_t qcow2_block_entries(const struct qcow2_header *header)
{
	return qcow2_cluster_size(header) * 8 >> header->refcount_order;
}

static inline uint32_t qcow2_read32(const void *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return __builtin_bswap32(value);
}

static inline uint64_t qcow2_read64(const void *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return __builtin_bswap64(value);
}

static inline void qcow2_write32(void *bytes, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(bytes, &value, sizeof(value));
}

static inline void qcow2_write64(void *bytes, uint64_t value)
{
	value = __builtin_bswap64(value);
	memcpy(bytes, &value, sizeof(value));
}

/*
 * qcow2_header.c. The first cluster of an image, of which `length` bytes are there (4096 at least,
 * or the whole cluster where that is smaller). -1: it is no image that we may open.
 */
int qcow2_header_read(const uint8_t *bytes, size_t length, struct qcow2_header *header, char *why);
/* Bytes that the header's clusters need for the name and extensions to be seen: 4096 is enough for
 * the fixed part; returns the cluster's size, or 0 if it is no qcow2 header at all. */
uint64_t qcow2_header_cluster(const uint8_t *bytes, size_t length);
/* A version 3 header with its extensions, into one cluster of zeroes. -1: it doesn't fit. */
int qcow2_header_write(const struct qcow2_header *header, uint8_t *bytes);
/* Sets or clears bits of a version 3 header's feature fields, in its bytes. */
void qcow2_header_set_features(uint8_t *bytes, const struct qcow2_header *header);
/* Sets where the refcount table is, in its bytes. */
void qcow2_header_set_refcounts(uint8_t *bytes, const struct qcow2_header *header);

/*
 * Takes the backing file out of a header that names its format; so it is_flattened. Both change the
 * first sector alone. -1: its bytes don't name the format there, and nothing has been changed.
 */
int qcow2_header_flatten(uint8_t *bytes, struct qcow2_header *header);
/* The same, and where the L1 table and the snapshot table are, and the snapshots' number. */
void qcow2_header_set_tables(uint8_t *bytes, const struct qcow2_header *header);
/* The same for the device's size, and how many entries the L1 table has for it. */
void qcow2_header_set_size(uint8_t *bytes, const struct qcow2_header *header);
/* The L1 entries that a device of this size needs. */
uint64_t qcow2_l1_needed(const struct qcow2_header *header, uint64_t size);

/* qcow2_map.c. */
enum qcow2_kind { QCOW2_HOLE, QCOW2_ZERO, QCOW2_DATA, QCOW2_COMPRESSED };

#define QCOW2_ENTRY_COPIED (UINT64_C(1) << 63)
#define QCOW2_ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ENTRY_HOST UINT64_C(0x00fffffffffffe00)
#define QCOW2_ENTRY_ZERO UINT64_C(1)

/*
 * One L2 entry, taken apart. With a data file no entry names a cluster of the image: host is 0, and a cluster
 * that is allocated, in the data file, is_external there.
 */
struct qcow2_entry {
	uint64_t host; /* 0: none. Compressed: the first byte */
	uint64_t external; /* its offset in the data file, which may be 0 */
	bool is_external;
	uint32_t packed; /* compressed: at most so many bytes from host on */
	uint32_t data, zeroes; /* grains, bit 0 the first; without extended L2 bit 0 alone */
	bool compressed, copied;
};

/* Where the bytes are, in the image or in its data file. */
static inline uint64_t qcow2_entry_place(const struct qcow2_entry *entry)
{
	return entry->is_external ? entry->external : entry->host;
}

/*
 * For each request's way: the cluster that an 8 byte entry, judged before, names as data, 0 for all
 * that is not that. Of an image without a data file.
 */
static inline uint64_t qcow2_entry_data(const uint8_t *bytes)
{
	uint64_t word = qcow2_read64(bytes);

	return word & (QCOW2_ENTRY_COMPRESSED | QCOW2_ENTRY_ZERO) ? 0 : word & QCOW2_ENTRY_HOST;
}

/* The same with a data file: whether it names a cluster there, which is data. */
static inline bool qcow2_entry_is_external(const uint8_t *bytes)
{
	uint64_t word = qcow2_read64(bytes);

	return !(word & QCOW2_ENTRY_ZERO) && word & (QCOW2_ENTRY_COPIED | QCOW2_ENTRY_HOST);
}

/* `bytes` is the 8 or 16 byte entry. -1: it breaks a rule of the format. */
int qcow2_entry_read(const struct qcow2_header *header, const uint8_t *bytes,
	struct qcow2_entry *entry, char *why);
void qcow2_entry_write(
	const struct qcow2_header *header, uint8_t *bytes, const struct qcow2_entry *entry);
enum qcow2_kind qcow2_entry_kind(const struct qcow2_entry *entry, unsigned grain);
/* The table's offset, 0 if none. -1: it breaks a rule. */
int qcow2_l1_read(const struct qcow2_header *header, const uint8_t *bytes, uint64_t *table,
	bool *copied, char *why);
void qcow2_l1_write(uint8_t *bytes, uint64_t table, bool copied);

/* qcow2_refcount.c. A refcount block's entry by its index. */
uint64_t qcow2_refcount_read(const struct qcow2_header *header, const uint8_t *block, uint64_t index);
void qcow2_refcount_write(
	const struct qcow2_header *header, uint8_t *block, uint64_t index, uint64_t count);
uint64_t qcow2_refcount_max(const struct qcow2_header *header);

/* qcow2_snapshot.c. One entry of the snapshot table. */
struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_size, seconds;
	uint64_t state_bytes, size; /* size 0: not said (version 2): the image's */
	const char *id, *name; /* into the bytes, not NUL-ended */
	uint16_t id_length, name_length;
};

/* Returns the entry's length with its padding, 0 with `why` if it is bad or goes past length. */
size_t qcow2_snapshot_read(const struct qcow2_header *header, const uint8_t *bytes, size_t length,
	struct qcow2_snapshot *snapshot, char *why);
/* The entry of a snapshot without VM state; returns its length. `bytes` may be NULL: only that. */
size_t qcow2_snapshot_write(const struct qcow2_snapshot *snapshot, uint8_t *bytes);

/* qcow2_unpack.c: a compressed cluster, whose end may be followed by other bytes. 0 or -EIO. */
size_t qcow2_unpack_memory(enum qcow2_compression compression);
int qcow2_unpack(enum qcow2_compression compression, const uint8_t *packed, size_t packed_length,
	uint8_t *out, size_t length, void *memory, size_t memory_size);

#endif
