// SPDX-License-Identifier: MIT
/* A mirror that becomes larger: what its bitmap said stays said, and of new bytes nobody believes the legs agree. */
#include "mirror.h"
#include "scene.h"

#include "child_io.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GIB (UINT64_C(1) << 30)
#define AROUND (LABEL_FRONT + LABEL_TAIL + MIRROR_FRONT)

static int writes_left = -1; /* that still do something; -1: all do */

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (writes_left == 0) {
		errno = EIO;
		return -1;
	}
	writes_left -= writes_left > 0;
	return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

int fdatasync(int fd)
{
	return 0; /* what is lost with a cache, tests/sim sees to */
}

static void document(void)
{
	scene_document("{'id':'m','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','direct':false},"
		       "{'id':'d1','type':'file','path':'b','direct':false}]}");
}

/* Both legs' files, for so many bytes of the mirror. */
static void legs(uint64_t size)
{
	if (!scene_has("a")) {
		scene_file("a", 0);
		scene_file("b", 0);
	}
	assert_int_equal(truncate(scene_path("a"), (off_t)(AROUND + size)), 0);
	assert_int_equal(truncate(scene_path("b"), (off_t)(AROUND + size)), 0);
}

static bool start(bool grow)
{
	struct err err = { 0 };
	int result;

	if (!scene_start((struct assemble_options){ .grow = grow }))
		return false;
	result = tree_load(scene_assembled(), &err);
	err_finish(&err);
	scene_assembled()->child_io = CHILD_IO_FULL;
	return result == 0;
}

static void stop(void)
{
	assert_int_equal(tree_unload(scene_assembled(), &(struct err){ 0 }), 0);
	scene_stop();
}

static const struct mirror *mirror(void)
{
	return scene_assembled()->root->state;
}

static unsigned bits(unsigned region)
{
	return mirror()->regions[region].bits & REGION_BITS;
}

static void write_at(uint64_t offset)
{
	static char bytes[4096] = "written";

	assert_int_equal(child_write(scene_assembled()->root, offset, bytes, sizeof(bytes)), 0);
}

static void new_regions_and_the_one_that_they_begin_in_are_uneven(void **state)
{
	document();
	legs(5 * SCENE_MIB / 2);
	assert_true(start(false));
	assert_int_equal(mirror()->region_count, 3);
	write_at(0);
	write_at(5 * SCENE_MIB / 2 - 4096);
	stop();
	legs(5 * SCENE_MIB);
	assert_true(start(false));
	assert_int_equal(mirror()->size, 5 * SCENE_MIB / 2);
	assert_true(bits(2) & REGION_UNEVEN); /* of files that were there before */
	stop();
	scene_write("b", LABEL_FRONT + MIRROR_FRONT + 4 * SCENE_MIB, "of b alone");
	assert_true(start(true));
	assert_int_equal(mirror()->size, 5 * SCENE_MIB);
	assert_int_equal(mirror()->region_count, 5);
	assert_true(bits(2) & REGION_UNEVEN && bits(2) & REGION_WRITTEN);
	assert_int_equal(bits(3), REGION_UNEVEN);
	assert_int_equal(bits(4), REGION_UNEVEN);
	stop();
	assert_true(start(false));
	assert_int_equal(mirror()->size, 5 * SCENE_MIB);
	assert_int_equal(bits(4), REGION_UNEVEN);
	stop();
}

/* All that was even stays so: nothing is copied because of it. */
static void what_was_even_stays_even(void **state)
{
	scene_document("{'id':'m','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3584KiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','size':'3584KiB','direct':false}]}");
	assert_true(start(false));
	write_at(0);
	stop();
	document();
	legs(4 * SCENE_MIB);
	assert_true(start(true));
	assert_int_equal(bits(0), REGION_WRITTEN);
	assert_int_equal(bits(1), 0);
	assert_int_equal(bits(2), REGION_UNEVEN);
	assert_int_equal(bits(3), REGION_UNEVEN);
	stop();
}

/* Whatever write is the last, what was dirty is dirty: also where regions become larger. */
static void growth_can_stop_at_any_write(void **state)
{
	static const uint64_t sizes[] = { 32 * GIB, 70 * GIB };
	uint64_t dirty[] = { 5 * SCENE_MIB, 31 * GIB };
	unsigned i, j;

	for (i = 0; i < LENGTH_OF(sizes); i++) {
		int writes, ended = 0;

		for (writes = 0; !ended; writes++) {
			assert_true(writes < 200);
			document();
			if (scene_has("a")) {
				scene_remove("a");
				scene_remove("b");
			}
			legs(31 * GIB + SCENE_MIB);
			assert_true(start(false));
			assert_int_equal(mirror()->region_size, SCENE_MIB);
			for (j = 0; j < LENGTH_OF(dirty); j++)
				write_at(dirty[j]);
			scene_close();
			legs(sizes[i]);
			writes_left = writes;
			ended = start(true);
			writes_left = -1;
			scene_close();
			assert_true(start(false));
			for (j = 0; j < LENGTH_OF(dirty); j++)
				assert_true(bits((unsigned)(dirty[j] >> mirror()->region_shift)) &
					    REGION_DIRTY);
			scene_close();
			assert_true(start(true));
			assert_int_equal(mirror()->size, sizes[i]);
			assert_int_equal(mirror()->region_size, SCENE_MIB << i);
			for (j = 0; j < LENGTH_OF(dirty); j++)
				assert_true(bits((unsigned)(dirty[j] >> mirror()->region_shift)) &
					    REGION_DIRTY);
			scene_close();
		}
		assert_true(writes > 10);
	}
}

/* Where nothing broke off, larger regions have what their parts had and no more. */
static void larger_regions_have_what_their_parts_had(void **state)
{
	document();
	legs(62 * GIB);
	assert_true(start(false));
	write_at(5 * SCENE_MIB);
	write_at(8 * SCENE_MIB);
	write_at(9 * SCENE_MIB);
	stop();
	legs(70 * GIB);
	assert_true(start(true));
	assert_int_equal(mirror()->region_size, 2 * SCENE_MIB);
	assert_true(bits(2) & REGION_WRITTEN);
	assert_false(bits(3) & REGION_WRITTEN);
	assert_true(bits(4) & REGION_WRITTEN);
	assert_false(bits(5) & REGION_WRITTEN);
	stop();
}

/* The only leg of a mirror below a mirror: of how large that one is its superblock knows no more than it did. */
static void an_older_copy_below_a_mirror_makes_no_device_smaller(void **state)
{
	unsigned i;

	scene_document("{'id':'r','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','direct':false},{'id':'m','type':'mirror',"
		       "'children':[{'id':'d1','type':'file','path':'b','direct':false}]}]}");
	legs(2 * SCENE_MIB);
	assert_true(start(false));
	write_at(0);
	stop();
	legs(4 * SCENE_MIB);
	scene_copy("b", "older");
	assert_true(start(true));
	assert_int_equal(mirror()->size, 3 * SCENE_MIB);
	write_at(3 * SCENE_MIB - 4096);
	stop();
	scene_remove("b");
	scene_rename("older", "b");
	for (i = 0; i < 2; i++) { /* the second start believes what the first one has written */
		assert_true(start(false));
		assert_true(scene_assembled()->leaves[1]->node->parent->rebuilding);
		assert_int_equal(mirror()->size, 3 * SCENE_MIB);
		assert_int_equal(scene_assembled()->leaves[1]->node->parent->limits.size, 4 * SCENE_MIB);
		stop();
	}
}

static void thin_legs(const char *size)
{
	char text[600];

	snprintf(text, sizeof(text),
		"{'id':'r','type':'mirror','children':["
		"{'id':'t0','type':'thin','size':'%s','data':{'id':'d0','type':'file','path':'a','size':'16MiB',"
		"'direct':false,'label':true}},"
		"{'id':'t1','type':'thin','size':'%s','data':{'id':'d1','type':'file','path':'b','size':'16MiB',"
		"'direct':false,'label':true}}]}",
		size, size);
	scene_document(text);
}

/* The same of a leg that is a thin: how large it was its image says. */
static void an_older_copy_of_a_thin_makes_no_device_smaller(void **state)
{
	unsigned i;

	thin_legs("3MiB");
	assert_true(start(false));
	assert_int_equal(mirror()->size, 2 * SCENE_MIB);
	write_at(0);
	stop();
	scene_copy("b", "older");
	thin_legs("4MiB");
	assert_true(start(true));
	assert_int_equal(mirror()->size, 3 * SCENE_MIB);
	write_at(3 * SCENE_MIB - 4096);
	stop();
	scene_remove("b");
	scene_rename("older", "b");
	for (i = 0; i < 2; i++) {
		assert_true(start(false));
		assert_true(scene_assembled()->root->children[1]->rebuilding);
		assert_int_equal(mirror()->size, 3 * SCENE_MIB);
		assert_int_equal(scene_assembled()->root->children[1]->limits.size, 4 * SCENE_MIB);
		stop();
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(new_regions_and_the_one_that_they_begin_in_are_uneven),
		TEST(what_was_even_stays_even),
		TEST(growth_can_stop_at_any_write),
		TEST(an_older_copy_below_a_mirror_makes_no_device_smaller),
		TEST(an_older_copy_of_a_thin_makes_no_device_smaller),
		TEST(larger_regions_have_what_their_parts_had),
	};

	return cmocka_run_group_tests_name("mirror: growth", tests, NULL, NULL);
}
