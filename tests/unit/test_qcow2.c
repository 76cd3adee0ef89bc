// SPDX-License-Identifier: MIT
/* The qcow2 format's arithmetic, against images that qemu-img makes and against hostile ones. */
#include "fixture.h"

#include "qcow2.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_SIZE (3u << 20)

static char directory[] = "/tmp/ubd-qcow2.XXXXXX";

static void run(const char *format, ...)
{
	char command[1024], whole[1280];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	snprintf(whole, sizeof(whole), "cd %s && { %s; } >log 2>&1 || { cat log; false; }", directory,
		command);
	if (system(whole) != 0)
		fail_msg("failed: %s", command);
}

struct image {
	uint8_t *bytes;
	size_t length;
	struct qcow2_header header;
};

static struct image image_open(const char *name)
{
	struct image image;
	struct stat found;
	char path[300], why[QCOW2_WHY];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &found), 0);
	image.length = (size_t)found.st_size;
	image.bytes = calloc(1, image.length + (4u << 20)); /* what is behind the end reads as zeroes */
	assert_int_equal(read(fd, image.bytes, image.length), found.st_size);
	close(fd);
	if (qcow2_header_read(image.bytes, image.length, &image.header, why) < 0)
		fail_msg("%s: %s", name, why);
	return image;
}

/* One guest grain by the tables alone. */
static void image_read(const struct image *image, uint64_t offset, uint8_t *out)
{
	const struct qcow2_header *header = &image->header;
	uint64_t cluster = qcow2_cluster_size(header), grain = qcow2_grain_size(header);
	uint64_t entries = qcow2_l2_entries(header), index = offset / cluster, table;
	struct qcow2_entry entry = { .host = 0 };
	uint8_t *whole = calloc(1, cluster);
	char why[QCOW2_WHY];
	bool copied;

	assert_int_equal(qcow2_l1_read(header, image->bytes + header->l1_offset + index / entries * 8,
				 &table, &copied, why),
		0);
	if (table)
		assert_int_equal(qcow2_entry_read(header,
					 image->bytes + table + index % entries * qcow2_entry_size(header),
					 &entry, why),
			0);
	memset(out, 0, grain);
	switch (qcow2_entry_kind(&entry, (unsigned)(offset % cluster / grain))) {
	case QCOW2_DATA:
		memcpy(out, image->bytes + entry.host + offset % cluster, grain);
		break;
	case QCOW2_COMPRESSED: {
		size_t size = qcow2_unpack_memory(header->compression);
		void *memory = calloc(1, size);

		assert_int_equal(qcow2_unpack(header->compression, image->bytes + entry.host,
					 entry.packed, whole, cluster, memory, size),
			0);
		memcpy(out, whole + offset % cluster, grain);
		free(memory);
		break;
	}
	default:
		break;
	}
	free(whole);
}

/* Cluster sizes, refcount widths, versions, compression: what qemu-img wrote is what is read. */
static void images_of_qemu_img_are_read(void **state)
{
	static const char *const options[] = {
		"cluster_size=512", "cluster_size=4096", "cluster_size=65536", "cluster_size=2M",
		"compat=0.10", "refcount_bits=1", "refcount_bits=2", "refcount_bits=64",
		"extended_l2=on", "extended_l2=on,cluster_size=16384", "lazy_refcounts=on",
		"compression_type=zstd", "cluster_size=2M,compression_type=zstd",
	};
	uint8_t *raw = malloc(IMAGE_SIZE), *grain = malloc(2u << 20);
	unsigned i, packed;
	char path[300];
	int fd;

	run("qemu-img create -f raw raw %u", IMAGE_SIZE);
	run("qemu-io -f raw -c 'write -P 7 0 70000' -c 'write -P 9 1M 5k' -c 'write -P 3 2900k 64k' raw");
	run("dd if=/dev/urandom of=raw bs=1000 seek=200 count=70 conv=notrunc");
	snprintf(path, sizeof(path), "%s/raw", directory);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, raw, IMAGE_SIZE), IMAGE_SIZE);
	close(fd);
	for (i = 0; i < LENGTH_OF(options); i++)
		for (packed = 0; packed < 2; packed++) {
			struct image image;
			uint64_t offset;

			run("rm -f made; qemu-img convert %s -f raw -O qcow2 -o %s raw made",
				packed ? "-c" : "", options[i]);
			image = image_open("made");
			assert_true(image.header.size == IMAGE_SIZE);
			run("qemu-img check made");
			for (offset = 0; offset < IMAGE_SIZE;
				offset += qcow2_grain_size(&image.header)) {
				uint64_t part = qcow2_grain_size(&image.header);

				if (part > IMAGE_SIZE - offset)
					part = IMAGE_SIZE - offset;
				image_read(&image, offset, grain);
				if (memcmp(grain, raw + offset, part) != 0)
					fail_msg("%s, packed %u: differs at %llu", options[i],
						packed, (unsigned long long)offset);
			}
			free(image.bytes);
		}
	free(raw);
	free(grain);
}

static void backing_names_and_formats_are_read(void **state)
{
	struct image image;

	run("rm -f made base; qemu-img create -f raw base 1M");
	run("qemu-img create -f qcow2 -b base -F raw made");
	image = image_open("made");
	assert_string_equal(image.header.backing, "base");
	assert_string_equal(image.header.backing_format, "raw");
	free(image.bytes);
}

/* One field of a good header made bad, and what is said of it. */
static void bad_headers_are_refused_by_name(void **state)
{
	static const struct {
		unsigned offset, width;
		uint64_t value;
		const char *why;
	} faults[] = {
		{ 0, 4, 0x514649fa, "it is no qcow2 image" },
		{ 4, 4, 4, "it is qcow2 version 4; versions 2 and 3 are known here" },
		{ 4, 4, 1, "it is qcow2 version 1; versions 2 and 3 are known here" },
		{ 20, 4, 8, "its cluster_bits 8 is not from 9 to 21" },
		{ 20, 4, 22, "its cluster_bits 22 is not from 9 to 21" },
		{ 20, 4, 0xffffffff, "its cluster_bits 4294967295 is not from 9 to 21" },
		{ 24, 8, UINT64_MAX, "its size 18446744073709551615 is over 2^63-1" },
		{ 24, 8, INT64_MAX, "its L1 table has 17179869184 entries, over the limit of 4194304" },
		{ 32, 4, 1, "it is encrypted (AES), which is not supported" },
		{ 32, 4, 2, "it is encrypted (LUKS), which is not supported" },
		{ 32, 4, 3, "its encryption method 3 is not known here" },
		{ 36, 4, 0, "its L1 table has 0 entries; its size 1048576 needs 1" },
		{ 36, 4, 0xffffffff, "its L1 table has 4294967295 entries, over the limit of 4194304" },
		{ 40, 8, 0, "its L1 table would lie over its header, at 0" },
		{ 40, 8, 512, "its L1 table is at 512, which is no multiple of the cluster size 65536" },
		{ 40, 8, UINT64_C(1) << 56, "its L1 table at 72057594037927936 ends beyond the format's "
					     "limit of 72057594037927936" },
		{ 48, 8, 1, "its refcount table is at 1, which is no multiple of the cluster size 65536" },
		{ 48, 8, UINT64_MAX - 65535, "its refcount table at 18446744073709486080 ends beyond the "
					     "format's limit of 72057594037927936" },
		{ 56, 4, 0, "it has no refcount table" },
		{ 56, 4, 129, "its refcount table has 8454144 bytes, over the limit of 8388608" },
		{ 56, 4, 0xffffffff, "its refcount table has 281474976645120 bytes, over the limit of "
				     "8388608" },
		{ 60, 4, 65537, "it has 65537 snapshots, over the limit of 65536" },
		{ 60, 4, 1, "its snapshot table would lie over its header, at 0" },
		{ 72, 8, 1 << 5, "it needs the incompatible feature of bit 5, which is not known here" },
		{ 72, 8, UINT64_C(1) << 63,
			"it needs the incompatible feature of bit 63, which is not known here" },
		{ 72, 8, 8, "its compression type 0 and its feature bit for that contradict each other" },
		{ 96, 4, 7, "its refcount_order is 7, over the format's limit of 6" },
		{ 100, 4, 96, "its header_length is 96, not a multiple of 8 from 104" },
		{ 100, 4, 105, "its header_length is 105, not a multiple of 8 from 104" },
		{ 100, 4, 65544, "its header_length is 65544, beyond its first cluster" },
		{ 104, 1, 1, "its compression type 1 and its feature bit for that contradict each other" },
		{ 8, 8, UINT64_MAX, "its backing file's name at 18446744073709551615 ends beyond its first "
				    "cluster" },
		{ 8, 8, 600, "its backing file's name is empty or has a NUL in it" },
		{ 116, 4, 0xfffffff8, "its header extension 0x6803f857 of 4294967288 bytes ends beyond the "
				      "header" },
	};
	struct qcow2_header header;
	struct image image;
	char why[QCOW2_WHY];
	unsigned i;

	run("rm -f made; qemu-img create -f qcow2 made 1M");
	image = image_open("made");
	for (i = 0; i < LENGTH_OF(faults); i++) {
		uint8_t *bytes = malloc(65536), value[8];

		memcpy(bytes, image.bytes, 65536);
		qcow2_write64(value, faults[i].value << (64 - 8 * faults[i].width));
		memcpy(bytes + faults[i].offset, value, faults[i].width);
		if (qcow2_header_read(bytes, 65536, &header, why) == 0)
			fail_msg("accepted: %s", faults[i].why);
		assert_string_equal(why, faults[i].why);
		free(bytes);
	}
	free(image.bytes);
}

static void an_extended_image_needs_large_clusters(void **state)
{
	struct qcow2_header header;
	struct image image;
	char why[QCOW2_WHY];

	run("rm -f made; qemu-img create -f qcow2 -o extended_l2=on made 1M");
	image = image_open("made");
	qcow2_write32(image.bytes + 20, 13);
	assert_int_equal(qcow2_header_read(image.bytes, 8192, &header, why), -1);
	assert_string_equal(
		why, "it has extended L2 entries and cluster_bits 13, below their limit of 14");
	free(image.bytes);
}

static void what_is_written_is_read_back(void **state)
{
	struct qcow2_header header = {
		.version = 3,
		.cluster_bits = 12,
		.refcount_order = 4,
		.size = 12345 * 512,
		.l1_size = 9,
		.l1_offset = 3 << 12,
		.refcount_table_offset = 1 << 12,
		.refcount_table_clusters = 1,
		.incompatible = QCOW2_DIRTY,
		.compatible = QCOW2_LAZY_REFCOUNTS,
		.backing = "a backing file",
		.backing_format = "qcow2",
	};
	struct qcow2_header again;
	uint8_t bytes[4096] = { 0 };
	char why[QCOW2_WHY];

	assert_int_equal(qcow2_header_write(&header, bytes), 0);
	assert_int_equal(qcow2_header_read(bytes, sizeof(bytes), &again, why), 0);
	header.header_length = 112;
	assert_memory_equal(&header, &again, sizeof(header));
}

static void refcounts_of_every_width_keep_to_themselves(void **state)
{
	struct qcow2_header header = { .version = 3, .cluster_bits = 9 };
	uint8_t block[512];
	unsigned i;

	for (header.refcount_order = 0; header.refcount_order <= 6; header.refcount_order++) {
		uint64_t entries = qcow2_block_entries(&header), most = qcow2_refcount_max(&header);

		memset(block, 0, sizeof(block));
		for (i = 0; i < entries; i++)
			qcow2_refcount_write(&header, block, i, i * UINT64_C(0x9e3779b97f4a7c15) & most);
		for (i = 0; i < entries; i++)
			assert_true(qcow2_refcount_read(&header, block, i) ==
				(i * UINT64_C(0x9e3779b97f4a7c15) & most));
	}
	header.refcount_order = 4;
	memset(block, 0, sizeof(block));
	qcow2_refcount_write(&header, block, 1, 0x1234);
	assert_int_equal(block[2], 0x12);
	header.refcount_order = 1;
	qcow2_refcount_write(&header, block, 0, 3);
	assert_int_equal(block[0], 3); /* the first entry is the least significant bits */
}

static void bad_entries_are_refused(void **state)
{
	static const struct {
		uint32_t version, bits;
		uint64_t incompatible, word, grains;
	} bad[] = {
		{ 3, 16, 0, 0x10002, 0 }, { 3, 16, 0, UINT64_C(1) << 56 | 0x10000, 0 },
		{ 2, 16, 0, 1, 0 }, { 3, 16, 0, 0x200, 0 }, { 3, 16, 0, UINT64_C(1) << 63, 0 },
		{ 3, 16, 0, UINT64_C(3) << 62 | 0x10000, 0 }, { 3, 16, 0, UINT64_C(1) << 62, 0 },
		{ 3, 16, QCOW2_EXTENDED_L2, 1, 0 }, { 3, 16, QCOW2_EXTENDED_L2, 0, 1 },
		{ 3, 16, QCOW2_EXTENDED_L2, 0x10000, UINT64_C(1) << 32 | 1 },
		{ 3, 16, QCOW2_EXTENDED_L2, UINT64_C(1) << 62 | 0x10000, 1 },
	};
	struct qcow2_entry entry;
	char why[QCOW2_WHY];
	unsigned i;

	for (i = 0; i < LENGTH_OF(bad); i++) {
		struct qcow2_header header = {
			.version = bad[i].version,
			.cluster_bits = bad[i].bits,
			.incompatible = bad[i].incompatible,
		};
		uint8_t bytes[16];

		qcow2_write64(bytes, bad[i].word);
		qcow2_write64(bytes + 8, bad[i].grains);
		if (qcow2_entry_read(&header, bytes, &entry, why) == 0)
			fail_msg("accepted entry %u", i);
	}
}

static void entries_are_written_as_they_were_read(void **state)
{
	static const uint64_t words[] = { 0, 1, 0x10000, 0x10001, UINT64_C(1) << 63 | 0x20000,
		UINT64_C(1) << 62 | 0x12345, UINT64_C(1) << 62 | UINT64_C(17) << 54 | 0x123ff };
	struct qcow2_header header = { .version = 3, .cluster_bits = 16 };
	struct qcow2_entry entry;
	char why[QCOW2_WHY];
	unsigned i;

	for (i = 0; i < LENGTH_OF(words); i++) {
		uint8_t bytes[8];

		qcow2_write64(bytes, words[i]);
		assert_int_equal(qcow2_entry_read(&header, bytes, &entry, why), 0);
		qcow2_entry_write(&header, bytes, &entry);
		assert_true(qcow2_read64(bytes) == words[i]);
	}
}

static void snapshots_are_listed(void **state)
{
	struct qcow2_snapshot snapshot;
	struct image image;
	char why[QCOW2_WHY];
	size_t length, used;

	run("rm -f made; qemu-img create -f qcow2 made 1M && qemu-img snapshot -c first made && "
	    "qemu-img snapshot -c another made");
	image = image_open("made");
	assert_int_equal(image.header.snapshot_count, 2);
	length = image.length - image.header.snapshots_offset;
	used = qcow2_snapshot_read(&image.header, image.bytes + image.header.snapshots_offset, length,
		&snapshot, why);
	assert_true(used > 0);
	assert_int_equal(snapshot.name_length, 5);
	assert_memory_equal(snapshot.name, "first", 5);
	assert_true(snapshot.size == 1u << 20);
	assert_true(qcow2_snapshot_read(&image.header,
		image.bytes + image.header.snapshots_offset + used, length - used, &snapshot, why));
	assert_memory_equal(snapshot.name, "another", 7);
	assert_int_equal(qcow2_snapshot_read(&image.header,
				 image.bytes + image.header.snapshots_offset, used - 8, &snapshot, why),
		0);
	assert_string_equal(why, "the snapshot table ends within an entry");
	free(image.bytes);
}

static void garbage_does_not_unpack(void **state)
{
	uint8_t *packed = calloc(1, 4096), out[4096];
	size_t size = qcow2_unpack_memory(QCOW2_ZSTD);
	void *memory = calloc(1, size);
	unsigned i, kind;

	for (kind = QCOW2_ZLIB; kind <= QCOW2_ZSTD; kind++)
		for (i = 0; i < 200; i++) {
			unsigned j;

			for (j = 0; j < 4096; j++)
				packed[j] = (uint8_t)((i + 1) * 2654435761u * (j + 7) >> 13);
			(void)qcow2_unpack(kind, packed, 4096, out, sizeof(out), memory, size);
		}
	memset(packed, 0, 4096);
	assert_int_equal(qcow2_unpack(QCOW2_ZSTD, packed, 4096, out, sizeof(out), memory, size), -5);
	free(packed);
	free(memory);
}

static int set_up(void **state)
{
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	char path[300];

	run("rm -f raw base made");
	snprintf(path, sizeof(path), "%s/log", directory);
	return unlink(path) == 0 ? rmdir(directory) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_of_qemu_img_are_read),
		cmocka_unit_test(backing_names_and_formats_are_read),
		cmocka_unit_test(bad_headers_are_refused_by_name),
		cmocka_unit_test(an_extended_image_needs_large_clusters),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(refcounts_of_every_width_keep_to_themselves),
		cmocka_unit_test(bad_entries_are_refused),
		cmocka_unit_test(entries_are_written_as_they_were_read),
		cmocka_unit_test(snapshots_are_listed),
		cmocka_unit_test(garbage_does_not_unpack),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
