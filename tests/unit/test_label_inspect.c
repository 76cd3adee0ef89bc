// SPDX-License-Identifier: MIT
/* Labels as far as they go: whatever a copy holds, looking at it does no harm, and tells. */
#include "examine.h"
#include "scene.h"

#include <fcntl.h>
#include <json-c/json_object.h>
#include <unistd.h>

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

static const uint64_t leaf_bytes = SCENE_LEAF_BYTES;

/* Looks at the leaf "b" in every way. Returns the copies, to be finished. */
static void look(struct label_copy copies[LABEL_COPIES])
{
	int fd = open(scene_path("b"), O_RDONLY | O_CLOEXEC);
	FILE *out = fopen("/dev/null", "we");
	struct json_object *made;
	bool whole;

	assert_true(fd >= 0);
	assert_non_null(out);
	assert_int_equal(label_inspect(fd, leaf_bytes, copies), 0);
	examine_print("b", copies, out);
	made = examine_json("b", copies);
	assert_non_null(json_object_to_json_string(made));
	json_object_put(made);
	(void)examine_document(copies, &whole);
	fclose(out);
	close(fd);
}

static void damage(uint64_t offset, unsigned char mask)
{
	int fd = open(scene_path("b"), O_RDWR | O_CLOEXEC);
	unsigned char byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= mask;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

static void any_byte_may_be_wrong(void **state)
{
	static const struct {
		uint64_t from, to;
	} parts[] = { { 0, 160 }, { 4096, 4096 + 32 }, { 20480, 20480 + 16 },
		{ 32768, 32768 + 32 } };
	struct label_copy copies[LABEL_COPIES];
	unsigned i;

	scene_two_legs("'mirror'");
	for (i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		uint64_t at;

		for (at = parts[i].from; at < parts[i].to; at++) {
			damage(at, 0xff);
			look(copies);
			assert_int_equal(copies[1].found, LABEL_FOUND);
			assert_int_not_equal(copies[0].found, LABEL_FOUND);
			assert_int_equal(label_best(copies), 1);
			label_copies_finish(copies);
			damage(at, 0xff);
		}
	}
}

static void both_copies_may_be_damaged_each_elsewhere(void **state)
{
	struct label_copy copies[LABEL_COPIES];
	bool whole;

	scene_two_legs("'mirror'");
	damage(120, 1); /* the first one's head */
	damage(LABEL_COPY_STRIDE + 32768 + 3, 1); /* the second one's document */
	look(copies);
	assert_int_equal(copies[0].fault, LABEL_BAD_HEAD);
	assert_false(copies[0].head_whole);
	assert_true(copies[0].peers_whole && copies[0].document_whole);
	assert_int_equal(copies[1].fault, LABEL_BAD_DOCUMENT);
	assert_true(copies[1].head_whole && copies[1].peers_whole && !copies[1].document_whole);
	assert_int_equal(label_best(copies), 1);
	assert_non_null(examine_document(copies, &whole));
	assert_false(whole); /* the one that is whole has no head to vouch for it */
	label_copies_finish(copies);
}

static void a_leaf_may_end_anywhere_in_its_label(void **state)
{
	struct label_copy copies[LABEL_COPIES];
	uint64_t bytes;

	scene_two_legs("'mirror'");
	for (bytes = 0; bytes < 3 * LABEL_COPY_STRIDE;
		bytes += bytes < 65536 ? 512 : 131072 - 512) {
		int fd = open(scene_path("b"), O_RDWR | O_CLOEXEC);

		assert_int_equal(label_inspect(fd, bytes, copies), 0);
		assert_true(label_best(copies) < LABEL_COPIES);
		label_copies_finish(copies);
		close(fd);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(any_byte_may_be_wrong),
		TEST(both_copies_may_be_damaged_each_elsewhere),
		TEST(a_leaf_may_end_anywhere_in_its_label),
	};

	return cmocka_run_group_tests_name("label: inspect", tests, NULL, NULL);
}
