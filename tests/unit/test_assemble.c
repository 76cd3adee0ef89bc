// SPDX-License-Identifier: MIT
/* Assembly: which leaves are formatted, recognised and brought to which place. */
#include "scene.h"

#include "leaf_io.h"

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

static void blank_leaves_are_formatted_then_recognised(void **state)
{
	scene_tree("'stripe'", "a b");
	assert_true(scene_start(scene_plain));
	scene_noted("d0: a is formatted\nd1: b is formatted\n");
	scene_stop();
	assert_true(scene_assemble(scene_plain));
	scene_noted("");
	assert_int_equal(scene_assembled()->root->limits.size, 2 * SCENE_SIZE);
	assert_int_equal(scene_assembled()->leaves[0]->data_offset, LABEL_FRONT);
}

static void the_label_says_what_the_document_says(void **state)
{
	struct label label;

	scene_two_legs("'stripe','chunk_size':'4KiB'");
	scene_label("b", &label);
	assert_int_equal(label.place, 1);
	assert_int_equal(label.leaf_count, 2);
	assert_int_equal(label.data_offset, LABEL_FRONT);
	assert_int_equal(label.data_length, SCENE_SIZE);
	assert_int_equal(label.flags, LABEL_SERVED);
	assert_string_equal(label.geometry, "stripe(chunk_size=4096)[leaf,leaf]");
	assert_memory_equal(label.document, "{\"format\":1,\"name\":\"t\"", 22);
	label_finish(&label);
}

static void a_dry_run_writes_and_makes_nothing(void **state)
{
	scene_tree("'stripe'", "a b");
	scene_file("b", SCENE_LEAF_BYTES);
	assert_true(scene_assemble(scene_dry));
	scene_noted("d0: a would be formatted\nd1: b would be formatted\n");
	scene_close();
	assert_false(scene_has("a"));
	scene_file("a", SCENE_LEAF_BYTES);
	assert_int_equal(scene_sum("a"), scene_sum("b"));
}

static void assembly_alone_writes_nothing(void **state)
{
	uint64_t sum;

	scene_tree("'stripe'", "a b");
	scene_file("a", SCENE_LEAF_BYTES);
	scene_file("b", SCENE_LEAF_BYTES);
	sum = scene_sum("a b");
	assert_true(scene_assemble(scene_plain));
	assert_true(scene_assemble(scene_plain)); /* and may be asked again */
	scene_close();
	assert_int_equal(scene_sum("a b"), sum);
}

static void it_may_be_asked_twice(void **state)
{
	struct err err = { 0 }, notes = { 0 };

	scene_two_legs("'mirror'");
	scene_tree("'mirror'", "b a");
	assert_true(scene_assemble(scene_dry));
	scene_noted("d0 is served by a (listed as d1)\nd1 is served by b (listed as d0)\n");
	assert_int_equal(assemble(scene_assembled(), &scene_plain, &err, &notes), 0);
	assert_int_equal(err.count, 0);
	assert_int_equal(notes.count, 2);
	err_finish(&notes);
}

static void four_leaves_assemble_in_any_order(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	char order[8];
	unsigned i, j, k, l, place;

	scene_tree("'stripe'", "a b c d");
	scene_run();
	for (place = 0; place < 4; place++)
		scene_write(names[place], SCENE_DATA, names[place]);
	for (i = 0; i < 4; i++)
		for (j = 0; j < 4; j++)
			for (k = 0; k < 4; k++) {
				l = 6 - i - j - k;
				if (i == j || i == k || j == k)
					continue;
				snprintf(order, sizeof(order), "%s %s %s %s", names[i], names[j],
					names[k], names[l]);
				scene_tree("'stripe'", order);
				assert_true(scene_start(scene_plain));
				for (place = 0; place < 4; place++) {
					const struct leaf *leaf = scene_assembled()->leaves[place];
					char *memory = leaf_io_memory(4096);

					assert_int_equal(leaf->place, place);
					assert_int_equal(leaf->label.place, place);
					assert_ptr_equal(leaf->node->leaf, leaf);
					assert_string_equal(leaf->path, scene_path(names[place]));
					assert_int_equal(
						leaf_io_read(leaf->fd, memory, 4096, SCENE_DATA),
						0);
					assert_string_equal(memory, names[place]);
					free(memory);
				}
				scene_stop();
			}
}

static void renamed_files_are_found(void **state)
{
	scene_two_legs("'stripe'");
	scene_rename("a", "x");
	scene_rename("b", "a");
	scene_rename("x", "b");
	assert_true(scene_assemble(scene_plain));
	scene_noted("d0 is served by b (listed as d1)\nd1 is served by a (listed as d0)\n");
}

static void files_of_different_sizes_find_their_places(void **state)
{
	scene_document("{'id':'r','type':'linear','children':["
		       "{'id':'d0','type':'file','path':'a','size':'1MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','size':'2MiB','direct':false}]}");
	scene_run();
	scene_rename("a", "x");
	scene_rename("b", "a");
	scene_rename("x", "b");
	assert_true(scene_assemble(scene_plain));
	assert_int_equal(scene_assembled()->leaves[0]->node->limits.size, SCENE_MIB);
	assert_int_equal(scene_assembled()->leaves[1]->node->limits.size, 2 * SCENE_MIB);
}

static void one_damaged_copy_is_mended(void **state)
{
	struct label label;

	scene_two_legs("'stripe'");
	scene_write("b", 100, "rot");
	assert_true(scene_start(scene_plain));
	scene_noted("d1: b: the first copy of its label is damaged: the checksum of its head is "
		    "wrong; the other one is used\n");
	assert_true(scene_assembled()->root->unclean);
	scene_stop();
	scene_label("b", &label);
	assert_false(label.damaged);
	label_finish(&label);
}

static void a_changed_document_goes_into_the_labels(void **state)
{
	struct label label;
	unsigned i;

	scene_two_legs("'mirror'");
	scene_tree("'mirror','read_policy':'round_robin'", "a b");
	scene_run();
	for (i = 0; i < 2; i++) {
		scene_label(i ? "b" : "a", &label);
		assert_non_null(strstr(label.document, "round_robin"));
		assert_false(label.mixed);
		label_finish(&label);
	}
}

static void a_start_opens_and_a_stop_closes_every_label(void **state)
{
	struct label label;
	uint64_t generation;

	scene_two_legs("'stripe'");
	scene_label("b", &label);
	generation = label.generation;
	label_finish(&label);
	assert_true(scene_start(scene_plain));
	scene_label("b", &label);
	assert_int_equal(label.flags, LABEL_SERVED | LABEL_OPEN);
	assert_int_equal(label.generation, generation + 2);
	label_finish(&label);
	scene_assembled()->leaves[1]->label.generation += 10; /* records while live */
	scene_stop();
	scene_label("b", &label);
	assert_int_equal(label.flags, LABEL_SERVED);
	assert_int_equal(label.generation, generation + 14);
	label_finish(&label);
}

static void a_stop_without_a_start_writes_nothing(void **state)
{
	struct err err = { 0 };
	uint64_t sum;

	scene_tree("'stripe'", "a b");
	scene_file("a", SCENE_LEAF_BYTES);
	scene_file("b", SCENE_LEAF_BYTES);
	sum = scene_sum("a b");
	assert_true(scene_assemble(scene_plain));
	assert_int_equal(assemble_stop(scene_assembled(), &err), 0);
	scene_close();
	assert_int_equal(scene_sum("a b"), sum);
}

static void a_leaf_without_label_is_served_from_its_first_byte(void **state)
{
	uint64_t sum;

	scene_file("a", 12345);
	sum = scene_sum("a");
	scene_document("{'id':'d0','type':'file','path':'a','label':false,'direct':false}");
	assert_true(scene_start(scene_plain));
	assert_int_equal(scene_assembled()->leaves[0]->data_offset, 0);
	assert_int_equal(scene_assembled()->root->limits.size, 12288);
	scene_stop();
	assert_int_equal(scene_sum("a"), sum);
}

static void check_tells_what_is_on_a_leaf_without_label(void **state)
{
	char command[512];

	scene_document("{'id':'d0','type':'file','path':'a','label':false,'direct':false}");
	scene_file("a", SCENE_MIB);
	assert_true(scene_assemble(scene_dry));
	scene_noted("d0: a is mapped raw; nothing known is on it\n");
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q %s 2>/dev/null",
		scene_path("a"));
	assert_int_equal(system(command), 0);
	assert_true(scene_assemble(scene_dry));
	scene_noted("d0: a is mapped raw and holds an ext4 file system\n");
}

static void a_leaf_keeps_its_size(void **state)
{
	scene_two_legs("'stripe'");
	scene_document("{'id':'r','type':'stripe','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','direct':false}]}");
	assert_false(scene_start(scene_plain));
	scene_said("file d0: size 3145728 is not the 2097152 that a has by its label; --grow makes it so "
		   "(tree.json:1, /root/children/0/path)\n");
	scene_document("{'id':'r','type':'stripe','children':["
		       "{'id':'d0','type':'file','path':'a','direct':false},"
		       "{'id':'d1','type':'file','path':'b','direct':false}]}");
	assert_int_equal(truncate(scene_path("b"), (off_t)SCENE_LEAF_BYTES + 4096), 0);
	assert_true(scene_start(scene_plain));
	assert_int_equal(scene_assembled()->leaves[1]->node->limits.size, SCENE_SIZE);
	assert_int_equal(scene_assembled()->leaves[1]->node->unused, 4096);
	scene_stop();
}

static void a_tree_without_leaves_has_nothing_to_assemble(void **state)
{
	scene_document("{'type':'zero','size':'1MiB'}");
	assert_true(scene_start(scene_plain));
	scene_noted("");
	scene_stop();
}

/* Whatever the document lists where: the mirror's leg is waited for so long, and the other leaf for ever. */
static void a_timeout_is_that_of_the_place(void **state)
{
	const char *const orders[] = { "ab", "ba" };
	unsigned i;

	for (i = 0; i < 2; i++) {
		char root[400];

		snprintf(root, sizeof(root),
			"{'type':'linear','children':[{'type':'mirror','timeout_ms':7000,'children':["
			"{'type':'file','path':'%c','size':'2MiB','direct':false}]},"
			"{'type':'file','path':'%c','size':'2MiB','direct':false}]}",
			orders[i][0], orders[i][1]);
		scene_document(root);
		assert_true(scene_start(scene_plain));
		assert_int_equal(scene_assembled()->root->children[0]->children[0]->leaf->timeout_ms, 7000);
		assert_int_equal(scene_assembled()->root->children[1]->leaf->timeout_ms, 0);
		scene_stop();
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(blank_leaves_are_formatted_then_recognised),
		TEST(the_label_says_what_the_document_says),
		TEST(a_dry_run_writes_and_makes_nothing),
		TEST(assembly_alone_writes_nothing),
		TEST(it_may_be_asked_twice),
		TEST(a_timeout_is_that_of_the_place),
		TEST(four_leaves_assemble_in_any_order),
		TEST(renamed_files_are_found),
		TEST(files_of_different_sizes_find_their_places),
		TEST(one_damaged_copy_is_mended),
		TEST(a_changed_document_goes_into_the_labels),
		TEST(a_start_opens_and_a_stop_closes_every_label),
		TEST(a_stop_without_a_start_writes_nothing),
		TEST(a_leaf_without_label_is_served_from_its_first_byte),
		TEST(check_tells_what_is_on_a_leaf_without_label),
		TEST(a_leaf_keeps_its_size),
		TEST(a_tree_without_leaves_has_nothing_to_assemble),
	};

	return cmocka_run_group_tests_name("assemble", tests, NULL, NULL);
}
