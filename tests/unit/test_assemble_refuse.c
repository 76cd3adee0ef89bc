// SPDX-License-Identifier: MIT
/* Assembly: what is refused with which words, what is left untouched by that, and what force does.
 */
#include "scene.h"

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

static void another_trees_leaf_is_refused(void **state)
{
	char expected[512], uuids[2][37];
	struct label label;
	uint64_t sum;

	scene_tree("'stripe'", "x y");
	scene_run();
	scene_label("y", &label);
	uuid_unparse(label.tree_uuid, uuids[0]);
	label_finish(&label);
	scene_tree("'stripe'", "a b");
	scene_run();
	scene_label("a", &label);
	uuid_unparse(label.tree_uuid, uuids[1]);
	label_finish(&label);
	scene_tree("'stripe'", "a y");
	sum = scene_sum("a y");
	assert_false(scene_start(scene_plain));
	snprintf(expected, sizeof(expected),
		"file d1: y belongs to the tree t (%s), but a of d0 belongs to t (%s) "
		"(tree.json:1, /root/children/1/path)\n",
		uuids[0], uuids[1]);
	scene_said(expected);
	assert_int_equal(scene_sum("a y"), sum);
	assert_true(scene_start(scene_force));
	scene_noted("d0: a is formatted over the label of a tree\n"
		    "d1: y is formatted over the label of a tree\n");
	scene_stop();
	scene_run();
}

static void another_shape_is_refused(void **state)
{
	uint64_t sum;

	scene_two_legs("'stripe','chunk_size':'8KiB'");
	sum = scene_sum("a b");
	scene_tree("'stripe','chunk_size':'16KiB'", "a b");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d0: the label of a says stripe(chunk_size=8192)[leaf,leaf]; this document "
		"says stripe(chunk_size=16384)[leaf,leaf] (tree.json:1, /root/children/0/path)\n"
		"file d1: the label of b says stripe(chunk_size=8192)[leaf,leaf]; this document "
		"says stripe(chunk_size=16384)[leaf,leaf] (tree.json:1, /root/children/1/path)\n");
	scene_tree("'mirror'", "a b");
	assert_false(scene_start(scene_plain));
	assert_int_equal(scene_sum("a b"), sum);
}

static void another_number_of_leaves_is_refused(void **state)
{
	scene_tree("'stripe'", "a b c");
	scene_run();
	scene_tree("'stripe'", "a b");
	assert_false(scene_start(scene_plain));
	scene_said("file d0: a is one of 3 leaves of the tree t; this document has 2 "
		   "(tree.json:1, /root/children/0/path)\n"
		   "file d1: b is one of 3 leaves of the tree t; this document has 2 "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void a_copied_leaf_is_refused(void **state)
{
	scene_two_legs("'mirror'");
	scene_copy("a", "b");
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b is a copy of a (d0): both have the same label "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void a_place_claimed_twice_is_refused(void **state)
{
	struct label label;

	scene_two_legs("'mirror'");
	scene_label("b", &label);
	label.place = 0;
	scene_relabel("b", &label);
	label_finish(&label);
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b and a (d0) both claim to be leaf 0 of the tree "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void a_newer_label_is_refused(void **state)
{
	struct label label;
	uint64_t sum;

	scene_two_legs("'mirror'");
	scene_label("b", &label);
	label.incompatible = 2;
	scene_relabel("b", &label);
	label_finish(&label);
	sum = scene_sum("a b");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d1: b is one of a newer ubd-compose's: its label has incompatible features "
		"0x2 unknown to this program, while a of d0 belongs to the tree t; use --degraded "
		"to go on without it (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_start(scene_force));
	assert_int_equal(scene_sum("a b"), sum);
	scene_tree("'stripe'", "b c");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d0: b is one of a newer ubd-compose's: its label has incompatible features "
		"0x2 unknown to this program; use --force to overwrite it "
		"(tree.json:1, /root/children/0/path)\n");
	assert_false(scene_has("c"));
}

static void a_damaged_label_is_refused(void **state)
{
	scene_two_legs("'stripe'");
	scene_write("b", 100, "rot");
	scene_write("b", LABEL_COPY_STRIDE + 200, "rot");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d1: b carries a damaged label: no copy of its label is whole: of the first, "
		"the checksum of its head is wrong, while a of d0 belongs to the tree t; --force "
		"makes a new tree of all leaves (tree.json:1, /root/children/1/path)\n");
	assert_true(scene_start(scene_force));
	scene_stop();
	scene_run();
}

static void a_blank_leaf_among_labelled_ones_is_refused(void **state)
{
	uint64_t sum;

	scene_two_legs("'mirror'");
	scene_file("b", SCENE_LEAF_BYTES);
	sum = scene_sum("a b");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d1: b carries no label, while a of d0 belongs to the tree t; use --add to bring it up to date, or --degraded "
		"to go on without it (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_start(scene_force)); /* a is good: it is not to be overwritten */
	scene_said(
		"file d1: b carries no label, while a of d0 belongs to the tree t; use --add to bring it up to date, or --degraded "
		"to go on without it (tree.json:1, /root/children/1/path)\n");
	assert_int_equal(scene_sum("a b"), sum);
}

static void a_missing_leaf_among_labelled_ones_is_refused_and_not_made(void **state)
{
	scene_two_legs("'stripe'");
	scene_remove("b");
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b was not there, while a of d0 belongs to the tree t; --force makes a "
		   "new tree of all leaves (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("b"));
	assert_false(scene_start(scene_degraded));
	scene_said("file d1: b does not exist (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("b"));
}

static void a_file_system_is_refused_and_overwritten_with_force(void **state)
{
	char command[512];
	uint64_t sum;

	scene_file("a", SCENE_LEAF_BYTES);
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q -L home %s 2>/dev/null",
		scene_path("a"));
	assert_int_equal(system(command), 0);
	scene_tree("'stripe'", "a b");
	sum = scene_sum("a");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d0: a holds an ext4 file system labelled home; use --force to overwrite it "
		"(tree.json:1, /root/children/0/path)\n");
	assert_int_equal(scene_sum("a"), sum);
	assert_false(scene_has("b"));
	assert_true(scene_start(scene_force));
	scene_noted("d0: a is formatted over an ext4 file system labelled home\n"
		    "d1: b is formatted\n");
	scene_stop();
	scene_run();
}

static void a_file_system_over_a_label_is_seen(void **state)
{
	char command[512];

	scene_two_legs("'mirror'");
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q -F %s 2>/dev/null",
		scene_path("b"));
	assert_int_equal(system(command), 0);
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b holds an ext4 file system, while a of d0 belongs to the tree t; use "
		   "--degraded to go on without it (tree.json:1, /root/children/1/path)\n");
}

static void a_mirror_over_a_leaf_without_label_is_refused(void **state)
{
	scene_document(
		"{'id':'m0','type':'mirror','children':[{'id':'s0','type':'stripe','children':["
		"{'id':'d0','type':'file','path':'a','size':'1MiB','direct':false},"
		"{'id':'d1','type':'file','path':'b','size':'1MiB','label':false,'direct':false}"
		"]}]}");
	assert_false(scene_start(scene_plain));
	scene_said("file d1: a mirror needs labels to remember which leg missed a write: d1 can't "
		   "have "
		   "\"label\": false below m0 (tree.json:1, /root/children/0/children/1/path)\n");
	assert_false(scene_has("a"));
}

static void a_labelled_leaf_is_not_mapped_raw(void **state)
{
	scene_two_legs("'stripe'");
	scene_document("{'id':'d0','type':'file','path':'a','label':false,'direct':false}");
	assert_false(scene_start(scene_plain));
	scene_said(
		"file d0: a carries a label of the tree t, which \"label\": false would expose to "
		"writes; use --force if that is meant (tree.json:1, /root/path)\n");
	assert_true(scene_start(scene_force));
	scene_stop();
}

static void a_file_too_small_for_its_size_is_refused(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES - 1);
	scene_tree("'stripe'", "a b");
	assert_false(scene_start(scene_plain));
	scene_said("file d0: a has 7340031 bytes; size 2097152 with its label needs 7340032 "
		   "(tree.json:1, /root/children/0/path)\n");
	assert_false(scene_has("b"));
}

static void a_target_that_refuses_leaves_no_label_and_no_file(void **state)
{
	uint64_t sum;

	scene_file("a", SCENE_LEAF_BYTES);
	sum = scene_sum("a");
	scene_tree("'stripe','chunk_size':'4MiB'", "a b");
	assert_false(scene_start(scene_plain));
	scene_said("stripe: the smallest leg has 2097152 bytes, less than one chunk of 4194304 "
		   "(tree.json:1, /root)\n");
	assert_int_equal(scene_sum("a"), sum);
	assert_false(scene_has("b"));
}

static void force_recognises_what_fits(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_force));
	scene_noted("");
	scene_stop();
	assert_string_equal(scene_read("a", SCENE_DATA), "of a");
}

static void force_takes_leaves_as_the_document_lists_them(void **state)
{
	struct label label;

	scene_tree("'stripe'", "a b c");
	scene_run();
	scene_tree("'stripe'", "b a c");
	scene_file("c", SCENE_LEAF_BYTES);
	assert_true(scene_start(scene_force));
	scene_noted("d0: b is formatted over the label of a tree\n"
		    "d1: a is formatted over the label of a tree\nd2: c is formatted\n");
	scene_stop();
	scene_label("b", &label);
	assert_int_equal(label.place, 0);
	label_finish(&label);
}

/* Hostile or rotten: any byte of any label changed in any way gives a refusal or the tree, no
 * crash. */
static void no_byte_of_a_label_brings_assembly_down(void **state)
{
	unsigned at;

	scene_two_legs("'mirror'");
	for (at = 0; at < 144; at += 3) {
		scene_copy("b", "copy");
		scene_write("b", at, "\xff\x01");
		scene_write("b", LABEL_COPY_STRIDE + at, "\xff\x01");
		assert_false(scene_assemble(scene_plain));
		assert_true(scene_assemble(scene_degraded));
		scene_close();
		scene_rename("copy", "b");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(another_trees_leaf_is_refused),
		TEST(another_shape_is_refused),
		TEST(another_number_of_leaves_is_refused),
		TEST(a_copied_leaf_is_refused),
		TEST(a_place_claimed_twice_is_refused),
		TEST(a_newer_label_is_refused),
		TEST(a_damaged_label_is_refused),
		TEST(a_blank_leaf_among_labelled_ones_is_refused),
		TEST(a_missing_leaf_among_labelled_ones_is_refused_and_not_made),
		TEST(a_file_system_is_refused_and_overwritten_with_force),
		TEST(a_file_system_over_a_label_is_seen),
		TEST(a_mirror_over_a_leaf_without_label_is_refused),
		TEST(a_labelled_leaf_is_not_mapped_raw),
		TEST(a_file_too_small_for_its_size_is_refused),
		TEST(a_target_that_refuses_leaves_no_label_and_no_file),
		TEST(force_recognises_what_fits),
		TEST(force_takes_leaves_as_the_document_lists_them),
		TEST(no_byte_of_a_label_brings_assembly_down),
	};

	return cmocka_run_group_tests_name("assemble: refuse", tests, NULL, NULL);
}
