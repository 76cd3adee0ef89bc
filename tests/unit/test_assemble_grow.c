// SPDX-License-Identifier: MIT
/* Assembly: leaves become longer when that is asked for, together or not at all, and never shorter. */
#include "scene.h"

#include <stdlib.h>
#include <unistd.h>

#define MORE (SCENE_MIB)

static const struct assemble_options grow = { .grow = true };

/* A tree of that type over a and b whose leaves name no size. */
static void sizeless(const char *type)
{
	char root[256];

	snprintf(root, sizeof(root),
		"{'id':'r','type':%s,'children':["
		"{'id':'d0','type':'file','path':'a','direct':false},"
		"{'id':'d1','type':'file','path':'b','direct':false}]}", type);
	scene_document(root);
}

static void lengthen(const char *name, uint64_t by)
{
	assert_int_equal(truncate(scene_path(name), (off_t)(SCENE_LEAF_BYTES + by)), 0);
}

static void expect_sizes(uint64_t root, uint64_t first, uint64_t second)
{
	const struct tree *tree = scene_assembled();

	assert_int_equal(tree->root->limits.size, root);
	assert_int_equal(tree->leaves[0]->node->limits.size, first);
	assert_int_equal(tree->leaves[1]->node->limits.size, second);
}

/* What the label of a file says of itself and of both leaves. */
static void expect_label(const char *name, uint64_t own, uint64_t first, uint64_t second)
{
	struct label label;

	scene_label(name, &label);
	assert_int_equal(label.data_length, own);
	assert_int_equal(label.lengths[0], first);
	assert_int_equal(label.lengths[1], second);
	assert_false(label.mixed || label.damaged);
	label_finish(&label);
}

static void longer_files_are_used_when_that_is_asked_for(void **state)
{
	uint64_t more = SCENE_SIZE + MORE;

	scene_two_legs("'stripe'");
	sizeless("'stripe'");
	lengthen("a", MORE);
	lengthen("b", MORE);
	assert_true(scene_start(scene_plain));
	expect_sizes(2 * SCENE_SIZE, SCENE_SIZE, SCENE_SIZE);
	scene_stop();
	assert_true(scene_start(grow));
	scene_noted("d0: a grows from 2097152 to 3145728 bytes\n"
		    "d1: b grows from 2097152 to 3145728 bytes\n");
	expect_sizes(2 * more, more, more);
	scene_stop();
	expect_label("a", more, more, more);
	expect_label("b", more, more, more);
	assert_true(scene_start(scene_plain));
	expect_sizes(2 * more, more, more);
	scene_stop();
	assert_string_equal(scene_read("a", SCENE_DATA), "of a");
}

static void one_longer_leg_alone_makes_no_stripe_larger(void **state)
{
	scene_two_legs("'stripe'");
	sizeless("'stripe'");
	lengthen("a", MORE);
	assert_true(scene_start(grow));
	expect_sizes(2 * SCENE_SIZE, SCENE_SIZE + MORE, SCENE_SIZE);
	scene_stop();
}

static void a_file_gets_the_size_that_the_document_says(void **state)
{
	scene_document("{'id':'d0','type':'file','path':'a','size':'2MiB','direct':false}");
	scene_run();
	scene_document("{'id':'d0','type':'file','path':'a','size':'3MiB','direct':false}");
	assert_false(scene_start(scene_plain));
	scene_said("file d0: size 3145728 is not the 2097152 that a has by its label; --grow makes it so "
		   "(tree.json:1, /root/path)\n");
	assert_true(scene_start(grow));
	assert_int_equal(scene_assembled()->root->limits.size, 3 * SCENE_MIB);
	scene_stop();
	scene_document("{'id':'d0','type':'file','path':'a','size':'2MiB','direct':false}");
	assert_false(scene_start(grow));
	scene_said("file d0: size 2097152 is not the 3145728 that a has by its label, and no leaf becomes "
		   "smaller (tree.json:1, /root/path)\n");
	assert_true(scene_start((struct assemble_options){ .sizes_by_label = true }));
	assert_int_equal(scene_assembled()->root->limits.size, 3 * SCENE_MIB);
	scene_stop();
}

static void what_has_others_behind_it_stays_as_long_as_it_is(void **state)
{
	scene_two_legs("'linear'");
	sizeless("'linear'");
	lengthen("a", MORE);
	lengthen("b", MORE);
	assert_true(scene_start(grow));
	expect_sizes(2 * SCENE_SIZE + MORE, SCENE_SIZE, SCENE_SIZE + MORE);
	scene_stop();
	scene_document("{'id':'r','type':'linear','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','direct':false}]}");
	assert_false(scene_start(grow));
	scene_said("file d0: it can't become larger than 2097152 bytes: others rely on where it ends "
		   "(tree.json:1, /root/children/0/path)\n");
}

static void a_raw_leaf_that_others_stand_behind_is_refused(void **state)
{
	scene_document("{'id':'r','type':'linear','children':["
		       "{'id':'d0','type':'file','path':'a','label':false,'direct':false},"
		       "{'id':'d1','type':'file','path':'b','label':false,'direct':false}]}");
	scene_file("a", SCENE_SIZE);
	scene_file("b", SCENE_SIZE);
	assert_true(scene_start(scene_plain));
	scene_stop();
	assert_false(scene_start(grow));
	scene_said("file d0: a has neither a label nor a \"size\", and others rely on where it ends: nobody "
		   "could tell whether it has become longer (tree.json:1, /root/children/0/path)\n");
}

static void nothing_grows_while_a_leg_is_away(void **state)
{
	struct assemble_options options = scene_degraded;

	scene_two_legs("'mirror'");
	sizeless("'mirror'");
	lengthen("a", MORE);
	scene_rename("b", "away");
	options.grow = true;
	assert_false(scene_start(options));
	scene_said("file d1: nothing grows while b is missing or not up to date (tree.json:1, "
		   "/root/children/1/path)\n");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "b");
	assert_false(scene_start(grow)); /* it is stale now, and brought up to date first */
	scene_said("file d1: nothing grows while b is missing or not up to date (tree.json:1, "
		   "/root/children/1/path)\n");
}

/* As a crash leaves it: one label knows of the new lengths, the other doesn't. */
static void forget_growth_of(const char *name)
{
	struct label label;
	unsigned i;

	scene_label(name, &label);
	label.data_length = SCENE_SIZE;
	for (i = 0; i < label.leaf_count; i++)
		label.lengths[i] = SCENE_SIZE;
	scene_relabel(name, &label);
	label_finish(&label);
}

static void a_growth_that_broke_off_is_completed_by_the_next_start(void **state)
{
	uint64_t more = SCENE_SIZE + MORE;
	const char *const names[] = { "a", "b" };
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (scene_has("a"))
			scene_remove("a");
		if (scene_has("b"))
			scene_remove("b");
		scene_two_legs("'stripe'");
		sizeless("'stripe'");
		lengthen("a", MORE);
		lengthen("b", MORE);
		assert_true(scene_start(grow));
		scene_stop();
		forget_growth_of(names[i]);
		assert_true(scene_start(scene_plain));
		expect_sizes(2 * more, more, more);
		scene_stop();
		expect_label("a", more, more, more);
		expect_label("b", more, more, more);
	}
}

/* The older label is the first to be asked how long the leg is that is away. */
static void a_leg_that_is_away_is_as_long_as_any_label_says(void **state)
{
	uint64_t more = SCENE_SIZE + MORE;

	scene_document("{'id':'r','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','size':'3MiB','direct':false},"
		       "{'id':'d2','type':'file','path':'c','size':'3MiB','direct':false}]}");
	scene_run();
	forget_growth_of("a");
	scene_rename("c", "away");
	assert_true(scene_start(scene_degraded));
	expect_sizes(more - SCENE_MIB, more, more);
	assert_int_equal(scene_assembled()->leaves[2]->node->limits.size, more);
	scene_stop();
}

static void a_leaf_without_the_room_that_others_remember_has_shrunk(void **state)
{
	scene_two_legs("'stripe'");
	sizeless("'stripe'");
	lengthen("a", MORE);
	lengthen("b", MORE);
	assert_true(scene_start(grow));
	scene_stop();
	forget_growth_of("b");
	lengthen("b", 0);
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b has shrunk: it has 7340032 bytes and needs 8388608 "
		   "(tree.json:1, /root/children/1/path)\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(longer_files_are_used_when_that_is_asked_for),
		TEST(one_longer_leg_alone_makes_no_stripe_larger),
		TEST(a_file_gets_the_size_that_the_document_says),
		TEST(what_has_others_behind_it_stays_as_long_as_it_is),
		TEST(a_raw_leaf_that_others_stand_behind_is_refused),
		TEST(nothing_grows_while_a_leg_is_away),
		TEST(a_growth_that_broke_off_is_completed_by_the_next_start),
		TEST(a_leg_that_is_away_is_as_long_as_any_label_says),
		TEST(a_leaf_without_the_room_that_others_remember_has_shrunk),
	};

	return cmocka_run_group_tests_name("assemble: growth", tests, NULL, NULL);
}
