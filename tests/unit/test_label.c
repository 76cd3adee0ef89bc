// SPDX-License-Identifier: MIT
/* The label on a leaf: every bit of it, every length of it, every point at which writing it can
 * stop. */
#include "crc32c.h"
#include "label.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define LEAF_BYTES (LABEL_FRONT + LABEL_TAIL + (UINT64_C(8) << 20))
#define HEAD_CRC 16
#define HEAD_FIELDS 156 /* bytes of the head that are in use */
#define WHY 256

/* How many more writes reach the file; the next one stops half-way, later ones don't happen. */
static int writes_left = -1;

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (writes_left == 0) {
		errno = EIO;
		return -1;
	}
	if (writes_left > 0 && --writes_left == 0)
		(void)syscall(SYS_pwrite64, fd, bytes, length / 1024 * 512, offset); /* torn */
	else
		return syscall(SYS_pwrite64, fd, bytes, length, offset);
	errno = EIO;
	return -1;
}

static char document[] = "{ \"format\": 1, \"name\": \"vol0\" }\n";
static uint64_t lengths[LABEL_PEERS_MAX] = { UINT64_C(1) << 40, UINT64_C(8) << 20, 0 };
static char geometry[] = "stripe(chunk_size=65536)[leaf,leaf,leaf]";

static struct label sample(struct label_peer *peers)
{
	struct label label = {
		.place = 1,
		.leaf_count = 3,
		.data_offset = LABEL_FRONT,
		.data_length = UINT64_C(8) << 20,
		.generation = 2,
		.flags = LABEL_FORMATTING,
		.peers = peers,
		.document = document,
		.geometry = geometry,
		.lengths = lengths,
		.updated = UINT64_C(1) << 33,
	};

	peers[0] = (struct label_peer){ .generation = 7 };
	peers[1] = (struct label_peer){ .generation = 8 };
	peers[2] = (struct label_peer){ .generation = 9, .state = LABEL_PEER_STALE };
	memset(label.tree_uuid, 0x11, sizeof(uuid_t));
	memset(label.leaf_uuid, 0x22, sizeof(uuid_t));
	return label;
}

static int leaf_make(void)
{
	char path[] = "/tmp/ubd-test-label-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, (off_t)LEAF_BYTES), 0);
	return fd;
}

static void assert_same(const struct label *a, const struct label *b)
{
	uint32_t i;

	assert_int_equal(a->place, b->place);
	assert_int_equal(a->leaf_count, b->leaf_count);
	assert_int_equal(a->data_offset, b->data_offset);
	assert_int_equal(a->data_length, b->data_length);
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->flags, b->flags);
	assert_memory_equal(a->tree_uuid, b->tree_uuid, sizeof(uuid_t));
	assert_memory_equal(a->leaf_uuid, b->leaf_uuid, sizeof(uuid_t));
	assert_string_equal(a->document, b->document);
	assert_string_equal(a->geometry, b->geometry);
	for (i = 0; i < a->leaf_count; i++) {
		assert_int_equal(a->peers[i].generation, b->peers[i].generation);
		assert_int_equal(a->peers[i].state, b->peers[i].state);
		assert_int_equal(a->peers[i].removed, b->peers[i].removed);
		assert_int_equal(a->lengths[i], b->lengths[i]);
	}
}

static enum label_found found_on(int fd, struct label *label)
{
	char why[WHY];

	return label_read(fd, LEAF_BYTES, label, why, sizeof(why));
}

/* A copy in memory of exactly its length, so that ASan sees a byte too many. */
static char *encoded(const struct label *label, size_t *length)
{
	char *memory = malloc(LABEL_COPY_STRIDE);

	assert_non_null(memory);
	*length = label_encode_copy(label, memory);
	return realloc(memory, *length);
}

static enum label_found decoded(const char *copy, size_t length, struct label *label, char *why)
{
	return label_decode(copy, length, label_offset(2), label, why, WHY);
}

/* Changes a field of an encoded head and makes the checksum fit again: hostile, not rotten. */
static enum label_found decoded_with(size_t at, const void *bytes, size_t count, char *why)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	size_t length;
	char *copy = encoded(&label, &length);
	enum label_found found;
	uint32_t crc;

	memcpy(copy + at, bytes, count);
	memset(copy + HEAD_CRC, 0, sizeof(crc));
	crc = crc32c(copy, LABEL_BLOCK);
	memcpy(copy + HEAD_CRC, &crc, sizeof(crc));
	found = decoded(copy, length, &read, why);
	if (found == LABEL_FOUND)
		label_finish(&read);
	free(copy);
	return found;
}

static void crc32c_is_that_of_rfc_3720(void **state)
{
	unsigned char bytes[32];
	unsigned i;

	(void)state;
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x62a8ab43);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)i;
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x46dd794e);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(31 - i);
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x113fdb5c);
	assert_int_equal(crc32c("123456789", 9), 0xe3069283);
	assert_int_equal(crc32c("", 0), 0);
}

static void both_ways_of_crc32c_agree(void **state)
{
	unsigned char bytes[300];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 37 + i / 7);
	for (i = 0; i < sizeof(bytes); i++)
		assert_int_equal(crc32c(bytes + i, sizeof(bytes) - i),
			crc32c_portable(bytes + i, sizeof(bytes) - i));
}

static void the_bytes_are_those_of_the_table(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers);
	size_t length;
	char *copy = encoded(&label, &length);

	(void)state;
	assert_memory_equal(copy, "UBDLABEL\1\0\0\0\0\x10\0\0", 16);
	assert_memory_equal(copy + 56, label.tree_uuid, 16);
	assert_memory_equal(copy + 72, label.leaf_uuid, 16);
	assert_memory_equal(copy + 88, "\1\0\0\0\3\0\0\0\0\0\x40\0\0\0\0\0\0\0\x80\0\0\0\0\0", 24);
	assert_memory_equal(copy + 112, "\2\0\0\0\0\0\0\0\1\0\0\0\x10\0\0\0", 16);
	assert_memory_equal(copy + 4096 + 32, "\x9\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16);
	assert_memory_equal(copy + 40, "\1\0\0\0\0\0\0\0", 8);
	assert_memory_equal(copy + 144, "\0\0\0\0\2\0\0\0", 8);
	assert_memory_equal(copy + 20480, "\0\0\0\0\0\1\0\0\0\0\x80\0\0\0\0\0", 16);
	assert_memory_equal(copy + 32768, document, strlen(document));
	assert_memory_equal(copy + 32768 + 4096, geometry, strlen(geometry));
	assert_int_equal(length, 32768 + 2 * 4096);
	free(copy);
}

static void a_label_that_was_written_is_read_back(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int fd = leaf_make();

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(found_on(fd, &read), LABEL_FOUND);
	assert_same(&label, &read);
	assert_false(read.damaged);
	label_finish(&read);
	close(fd);
}

static void a_label_without_the_leaves_lengths_is_read_too(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int fd = leaf_make();

	(void)state;
	label.lengths = NULL;
	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(found_on(fd, &read), LABEL_FOUND);
	assert_null(read.lengths);
	assert_false(read.mixed);
	label_finish(&read);
	label.lengths = lengths; /* one copy has them: a head of theirs must not come to the other */
	assert_int_equal(label_update_texts(fd, &label), 0);
	assert_int_equal(found_on(fd, &read), LABEL_FOUND);
	assert_int_equal(read.lengths[0], lengths[0]);
	assert_true(read.mixed);
	label_finish(&read);
	close(fd);
}

static void the_longest_label_fits(void **state)
{
	struct label_peer peers[3], *many = calloc(LABEL_PEERS_MAX, sizeof(*many));
	struct label label = sample(peers), read;
	int fd = leaf_make();

	(void)state;
	label.peers = many;
	label.leaf_count = LABEL_PEERS_MAX;
	label.place = LABEL_PEERS_MAX - 1;
	label.document = calloc(1, LABEL_DOCUMENT_MAX + 1);
	label.geometry = calloc(1, LABEL_GEOMETRY_MAX + 1);
	memset(label.document, 'd', LABEL_DOCUMENT_MAX);
	memset(label.geometry, 'g', LABEL_GEOMETRY_MAX);
	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(found_on(fd, &read), LABEL_FOUND);
	assert_same(&label, &read);
	label_finish(&read);
	label.generation++;
	assert_int_equal(label_update(fd, &label), 0);
	assert_int_equal(found_on(fd, &read), LABEL_FOUND);
	assert_same(&label, &read);
	label_finish(&read);
	free(label.document);
	free(label.geometry);
	free(many);
	close(fd);
}

static void updates_take_turns_and_the_newer_copy_is_read(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int fd = leaf_make();
	unsigned i;

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	for (i = 0; i < 5; i++) {
		label.flags = i % 2 ? LABEL_OPEN : LABEL_UNSYNCED;
		assert_int_equal(label_update(fd, &label), 0);
		assert_int_equal(label.generation, 3 + i);
		assert_int_equal(found_on(fd, &read), LABEL_FOUND);
		assert_same(&label, &read);
		label_finish(&read);
	}
	assert_int_equal(label_offset(2), 0);
	assert_int_equal(label_offset(3), LABEL_COPY_STRIDE);
	close(fd);
}

/* A checksum finds any one flipped bit; only the padding behind texts and peers is not summed. */
static void no_flipped_bit_goes_unnoticed(void **state)
{
	static const size_t ranges[][2] = { { 0, 4096 }, { 4096, 48 },
		{ 32768, sizeof(document) - 1 }, { 32768 + 4096, sizeof(geometry) - 1 } };
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	size_t length, range, at;
	char *copy = encoded(&label, &length), why[WHY];
	unsigned bit;

	(void)state;
	for (range = 0; range < sizeof(ranges) / sizeof(*ranges); range++)
		for (at = ranges[range][0]; at < ranges[range][0] + ranges[range][1]; at++)
			for (bit = 0; bit < 8; bit++) {
				copy[at] ^= (char)(1 << bit);
				assert_int_equal(decoded(copy, length, &read, why),
					at < 8 ? LABEL_NONE : LABEL_CORRUPT);
				copy[at] ^= (char)(1 << bit);
			}
	assert_int_equal(decoded(copy, length, &read, why), LABEL_FOUND);
	label_finish(&read);
	free(copy);
}

static void no_length_is_read_past_its_end(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	size_t length, cut;
	char *copy = encoded(&label, &length), why[WHY];
	size_t end = 32768 + 4096 + strlen(geometry);

	(void)state;
	for (cut = 0; cut < end; cut += cut < 4200 || cut > 32700 ? 1 : 97) {
		char *part = malloc(cut + 1);

		memcpy(part, copy, cut);
		part = realloc(part, cut ? cut : 1);
		assert_int_equal(
			decoded(part, cut, &read, why), cut < 8 ? LABEL_NONE : LABEL_CORRUPT);
		free(part);
	}
	assert_int_equal(decoded(copy, end, &read, why), LABEL_FOUND);
	label_finish(&read);
	free(copy);
}

/* Every field of the head at its extremes, with a checksum that fits. Nothing may be read outside.
 */
static void no_hostile_field_does_harm(void **state)
{
	static const uint64_t values[] = { 0, 1, 0x7f, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		INT64_MAX, UINT64_C(1) << 63, UINT64_MAX };
	char why[WHY];
	size_t at, i;

	(void)state;
	for (at = 8; at < HEAD_FIELDS; at += 4)
		for (i = 0; i < sizeof(values) / sizeof(*values); i++) {
			(void)decoded_with(at, &values[i], 4, why); /* any answer, no crash */
			if (at + 8 <= HEAD_FIELDS)
				(void)decoded_with(at, &values[i], 8, why);
		}
}

static void what_cannot_be_is_corrupt(void **state)
{
	static const struct {
		size_t at, count;
		uint64_t value;
		const char *why;
	} cases[] = {
		{ 8, 4, 0, "the checksum of its head is wrong" },
		{ 12, 4, 8192, "its lengths are not those of its version" },
		{ 88, 4, 3, "its place is not within its tree" },
		{ 92, 4, 0, "its place is not within its tree" },
		{ 92, 4, 1025, "its place is not within its tree" },
		{ 92, 4, 2, "the checksum of its peers is wrong" },
		{ 96, 8, LABEL_FRONT - 4096, "its data range is impossible" },
		{ 96, 8, LABEL_FRONT + 1, "its data range is impossible" },
		{ 96, 8, UINT64_MAX - 4095, "its data range is impossible" },
		{ 104, 8, 0, "its data range is impossible" },
		{ 104, 8, UINT64_MAX, "its data range is impossible" },
		{ 104, 8, INT64_MAX - LABEL_TAIL, "its data range is impossible" },
		{ 112, 8, 0, "its generation belongs into the other copy" },
		{ 112, 8, 3, "its generation belongs into the other copy" },
		{ 124, 4, 32, "its lengths are not those of its version" },
		{ 128, 4, (1 << 20) + 1, "its texts are too long" },
		{ 132, 4, (256 << 10) + 1, "its texts are too long" },
		{ 136, 4, 0, "its texts are not where its version has them" },
		{ 140, 4, 32768, "its texts are not where its version has them" },
		{ 128, 4, 4096, "the checksum of its document is wrong" },
		{ 132, 4, 8192, "it is cut short" },
	};
	char why[WHY];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(decoded_with(cases[i].at, &cases[i].value, cases[i].count, why),
			LABEL_CORRUPT);
		assert_string_equal(why, cases[i].why);
	}
	assert_int_equal(
		decoded_with(56, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, why), LABEL_CORRUPT);
	assert_string_equal(why, "it has no UUIDs");
}

static void what_a_newer_program_wrote_is_left_alone(void **state)
{
	static const struct {
		size_t at, count;
		uint64_t value;
		const char *why;
	} cases[] = {
		{ 8, 4, 2, "its label has version 2, this program knows 1" },
		{ 8, 4, 0xffffffff, "its label has version 4294967295, this program knows 1" },
		{ 32, 8, 2, "its label has incompatible features 0x2 unknown to this program" },
		{ 32, 8, UINT64_C(1) << 63,
			"its label has incompatible features 0x8000000000000000 unknown to this "
			"program" },
		{ 48, 8, 6,
			"its label has features 0x6 unknown to this program, which allow "
			"reading only" },
		{ 120, 4, 32, "its label has flags 0x20 unknown to this program" },
	};
	uint64_t any = UINT64_MAX - 1; /* all but the one that we know */
	char why[WHY];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(decoded_with(cases[i].at, &cases[i].value, cases[i].count, why),
			LABEL_NEWER);
		assert_string_equal(why, cases[i].why);
	}
	assert_int_equal(decoded_with(40, &any, 8, why), LABEL_FOUND); /* compatible features */
}

static void a_newer_copy_is_not_outvoted_by_one_that_we_know(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int fd = leaf_make();

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	label.incompatible = 4;
	assert_int_equal(label_update(fd, &label), 0);
	assert_int_equal(found_on(fd, &read), LABEL_NEWER);
	close(fd);
}

static void rot_in_one_copy_leaves_the_other(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	char why[WHY];
	int fd = leaf_make();

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(pwrite(fd, "rot", 3, 100), 3); /* copy 0, the newer one */
	assert_int_equal(label_read(fd, LEAF_BYTES, &read, why, sizeof(why)), LABEL_FOUND);
	assert_int_equal(read.generation, 1);
	assert_true(read.damaged);
	assert_string_equal(
		why, "the first copy of its label is damaged: the checksum of its head is wrong");
	assert_int_equal(label_update(fd, &read), 0); /* must go to the damaged copy */
	label_finish(&read);
	assert_int_equal(found_on(fd, &read), LABEL_FOUND);
	assert_int_equal(read.generation, 2);
	assert_false(read.damaged);
	label_finish(&read);
	assert_int_equal(pwrite(fd, "rot", 3, 100), 3);
	assert_int_equal(pwrite(fd, "rot", 3, (off_t)LABEL_COPY_STRIDE + 32768), 3);
	assert_int_equal(label_read(fd, LEAF_BYTES, &read, why, sizeof(why)), LABEL_CORRUPT);
	assert_string_equal(why,
		"no copy of its label is whole: of the first, the checksum of its head is wrong");
	close(fd);
}

static void a_copy_that_was_overwritten_is_told(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	char why[WHY], zeroes[4096] = { 0 };
	int fd = leaf_make();

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(pwrite(fd, zeroes, sizeof(zeroes), 0), sizeof(zeroes));
	assert_int_equal(label_read(fd, LEAF_BYTES, &read, why, sizeof(why)), LABEL_FOUND);
	assert_true(read.damaged);
	assert_string_equal(why, "the first copy of its label is gone");
	label_finish(&read);
	close(fd);
}

static void copies_of_two_leaves_are_corrupt(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	char why[WHY];
	int fd = leaf_make();

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	memset(label.leaf_uuid, 0x33, sizeof(uuid_t));
	assert_int_equal(label_update(fd, &label), 0);
	assert_int_equal(label_read(fd, LEAF_BYTES, &read, why, sizeof(why)), LABEL_CORRUPT);
	assert_string_equal(why, "the two copies of its label are of different leaves");
	close(fd);
}

static void a_torn_update_leaves_the_state_before(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int fd = leaf_make();
	unsigned i;

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	for (i = 0; i < 4; i++) {
		label.peers[0].state = LABEL_PEER_STALE;
		label.flags = LABEL_OPEN;
		writes_left = 1;
		assert_int_equal(label_update(fd, &label), -EIO);
		writes_left = -1;
		label.peers[0].state = LABEL_PEER_IN_SYNC;
		label.flags = i ? LABEL_UNSYNCED : LABEL_FORMATTING;
		assert_int_equal(found_on(fd, &read), LABEL_FOUND);
		assert_same(&label, &read);
		label_finish(&read);
		label.flags = LABEL_UNSYNCED;
		assert_int_equal(label_update(fd, &label), 0); /* mends it */
	}
	close(fd);
}

static void texts_are_replaced_one_copy_at_a_time(void **state)
{
	static char longer[3 * 4096];
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int writes;

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	for (writes = 0; writes <= 2; writes++) {
		int fd = leaf_make();

		label.generation = 2;
		label.document = document;
		assert_int_equal(label_format(fd, &label), 0);
		label.document = longer;
		writes_left = writes + 1;
		if (label_update_texts(fd, &label) == 0)
			(void)label_update_texts(fd, &label); /* torn when writes is 1 */
		writes_left = -1;
		assert_int_equal(found_on(fd, &read), LABEL_FOUND);
		assert_string_equal(read.document, writes == 0 ? document : longer);
		assert_int_equal(read.damaged, writes < 2);
		label_finish(&read);
		close(fd);
	}
}

static void an_interrupted_format_leaves_no_label_or_one_that_says_so(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	int writes, result;

	(void)state;
	for (writes = 0, result = -1; result < 0; writes++) {
		int fd = leaf_make();
		enum label_found found;

		assert_true(writes < 20);
		writes_left = writes;
		result = label_format(fd, &label);
		writes_left = -1;
		found = found_on(fd, &read);
		assert_true(found == LABEL_NONE ||
			    (found == LABEL_FOUND && read.flags == LABEL_FORMATTING));
		label_finish(&read);
		assert_int_equal(label_format(fd, &label), 0);
		close(fd);
	}
	assert_int_equal(writes, 8); /* six writes were each the last, torn; one run had no fault */
}

static void a_leaf_too_small_for_a_label_has_none(void **state)
{
	char why[WHY];
	struct label read;
	uint64_t bytes;
	int fd = leaf_make();

	(void)state;
	for (bytes = 0; bytes <= 8192; bytes += 512) {
		assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
		assert_int_equal(label_read(fd, bytes, &read, why, sizeof(why)), LABEL_NONE);
	}
	close(fd);
}

static void a_leaf_that_ends_within_its_label_is_corrupt(void **state)
{
	struct label_peer peers[3];
	struct label label = sample(peers), read;
	char why[WHY];
	int fd = leaf_make();

	(void)state;
	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(ftruncate(fd, 32768 + 4096), 0);
	assert_int_equal(label_read(fd, 32768 + 4096, &read, why, sizeof(why)), LABEL_CORRUPT);
	assert_string_equal(why, "no copy of its label is whole: of the first, it is cut short");
	close(fd);
}

static void a_leaf_that_cannot_be_read_is_told(void **state)
{
	struct label read;
	char why[WHY];
	int fd = open("/proc/self/mem", O_RDONLY);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(label_read(fd, LEAF_BYTES, &read, why, sizeof(why)), LABEL_UNREADABLE);
	assert_string_equal(why, "reading its label at byte 0: Input/output error");
	close(fd);
}

/* Who doesn't know of removed leaves would bring them back: such a label is none for him. */
static void a_removed_peer_keeps_its_state(void **state)
{
	static const uint32_t states[] = { LABEL_PEER_STALE, LABEL_PEER_OLD_COPY, LABEL_PEER_SPARE };
	struct label_peer peers[3];
	struct label label = sample(peers), back;
	uint64_t incompatible;
	uint32_t on_disk;
	char why[WHY];
	unsigned i, removed;
	size_t length;
	char *copy;

	for (i = 0; i < 6; i++) {
		removed = i % 2;
		label.peers[1].state = states[i / 2];
		label.peers[1].removed = removed;
		copy = encoded(&label, &length);
		memcpy(&incompatible, copy + 32, sizeof(incompatible));
		memcpy(&on_disk, copy + 4096 + 16 + 8, sizeof(on_disk));
		assert_int_equal(le64toh(incompatible), removed);
		assert_int_equal(le32toh(on_disk), states[i / 2] + 256 * removed);
		assert_int_equal(decoded(copy, length, &back, why), LABEL_FOUND);
		assert_int_equal(back.peers[1].state, states[i / 2]);
		assert_int_equal(back.peers[1].removed, removed);
		assert_false(back.peers[0].removed);
		label.incompatible = back.incompatible; /* as a program has read it */
		label_finish(&back);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_is_that_of_rfc_3720),
		cmocka_unit_test(both_ways_of_crc32c_agree),
		cmocka_unit_test(the_bytes_are_those_of_the_table),
		cmocka_unit_test(a_label_that_was_written_is_read_back),
		cmocka_unit_test(a_label_without_the_leaves_lengths_is_read_too),
		cmocka_unit_test(the_longest_label_fits),
		cmocka_unit_test(updates_take_turns_and_the_newer_copy_is_read),
		cmocka_unit_test(no_flipped_bit_goes_unnoticed),
		cmocka_unit_test(no_length_is_read_past_its_end),
		cmocka_unit_test(no_hostile_field_does_harm),
		cmocka_unit_test(what_cannot_be_is_corrupt),
		cmocka_unit_test(what_a_newer_program_wrote_is_left_alone),
		cmocka_unit_test(a_newer_copy_is_not_outvoted_by_one_that_we_know),
		cmocka_unit_test(rot_in_one_copy_leaves_the_other),
		cmocka_unit_test(a_copy_that_was_overwritten_is_told),
		cmocka_unit_test(copies_of_two_leaves_are_corrupt),
		cmocka_unit_test(a_torn_update_leaves_the_state_before),
		cmocka_unit_test(a_removed_peer_keeps_its_state),
		cmocka_unit_test(texts_are_replaced_one_copy_at_a_time),
		cmocka_unit_test(an_interrupted_format_leaves_no_label_or_one_that_says_so),
		cmocka_unit_test(a_leaf_too_small_for_a_label_has_none),
		cmocka_unit_test(a_leaf_that_ends_within_its_label_is_corrupt),
		cmocka_unit_test(a_leaf_that_cannot_be_read_is_told),
	};

	return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}
