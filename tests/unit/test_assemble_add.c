// SPDX-License-Identifier: MIT
/* Assembly: blank leaves in the place of those that a mirror has lost. */
#include "scene.h"

#include "lifetime.h"

static const struct assemble_options scene_add = { .add = true };

static void start(struct assemble_options options)
{
	if (!scene_start(options))
		scene_said("");
}

/* What follows when all is copied: the leg is in sync, and the labels say so, as record.c does. */
static void join(unsigned place)
{
	struct tree *tree = scene_assembled();
	struct err err = { 0 };
	unsigned i;

	tree->leaves[place]->node->rebuilding = false;
	tree->leaves[place]->is_old_copy = false;
	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->fd >= 0)
			tree->leaves[i]->label.peers[place].joins++;
	assert_int_equal(assemble_stop(tree, &err), 0);
	scene_close();
}

/* a and b, of which b is lost and a blank one there instead; the old one is "away". */
static void lose_b(void)
{
	scene_two_legs("'mirror'");
	scene_rename("b", "away");
	scene_file("b", SCENE_LEAF_BYTES + 4096);
}

static void a_blank_leaf_is_refused_without_the_users_word(void **state)
{
	lose_b();
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b carries no label, while a of d0 belongs to the tree t; use --add to bring it "
		   "up to date, or --degraded to go on without it (tree.json:1, /root/children/1/path)\n");
}

static void a_blank_leaf_takes_the_place_of_a_lost_one(void **state)
{
	struct label label, other, lost;

	lose_b();
	start(scene_add);
	scene_noted("mirror r: leg d1 (b) carries no label and is brought up to date; 1 of 2 legs in sync\n"
		    "d1: b is formatted and added\n");
	assert_true(scene_assembled()->root->children[1]->rebuilding);
	assert_true(scene_assembled()->root->children[1]->rebuild_all);
	assert_false(scene_assembled()->root->children[1]->failed);
	scene_stop();
	scene_label("a", &label);
	scene_label("b", &other);
	scene_label("away", &lost);
	assert_int_equal(uuid_compare(label.tree_uuid, other.tree_uuid), 0);
	assert_int_equal(label.data_length, other.data_length);
	assert_int_equal(other.place, 1);
	assert_int_equal(label.peers[1].state, LABEL_PEER_OLD_COPY);
	assert_true(label.peers[1].generation <= other.generation);
	assert_true(label.peers[1].generation > lost.generation);
	assert_string_equal(label.geometry, other.geometry);
	label_finish(&label);
	label_finish(&other);
	label_finish(&lost);
	start(scene_plain); /* it is still to be copied, all of it */
	assert_true(scene_assembled()->root->children[1]->rebuild_all);
	join(1);
	start(scene_plain);
	assert_false(scene_assembled()->root->children[1]->rebuilding);
	scene_stop();
}

/* Whether the new one was up to date by then, or not. */
static void the_old_leaf_is_an_older_copy_from_then_on(void **state)
{
	int joined;

	for (joined = 0; joined < 2; joined++) {
		scene_file("a", 0);
		scene_file("b", 0);
		lose_b();
		start(scene_add);
		if (joined)
			join(1);
		else
			scene_stop();
		scene_rename("away", "b");
		start(scene_plain);
		assert_true(scene_assembled()->root->children[1]->rebuilding);
		assert_true(scene_assembled()->root->children[1]->rebuild_all);
		scene_stop();
	}
}

/* Its generation may be any, and it calls the others stale: nobody is right who was not asked. */
static void the_old_leaf_that_went_on_alone_is_a_question(void **state)
{
	unsigned i;

	lose_b();
	start(scene_add);
	join(1);
	scene_rename("a", "kept");
	scene_rename("b", "new");
	scene_rename("away", "b");
	for (i = 0; i < 20; i++) {
		start(scene_degraded);
		scene_stop();
	}
	scene_rename("kept", "a");
	assert_false(scene_start(scene_plain));
	assert_true(scene_has_said("its legs have diverged"));
}

static void a_leaf_that_is_too_small_is_not_added(void **state)
{
	scene_two_legs("'mirror'");
	scene_file("b", SCENE_LEAF_BYTES - 4096);
	assert_false(scene_start(scene_add));
	scene_said("file d1: b can't be added: it has 7335936 bytes; 2097152 with its label need 7340032 "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void only_a_mirror_takes_a_blank_leaf_in(void **state)
{
	scene_two_legs("'linear'");
	scene_file("b", SCENE_LEAF_BYTES);
	assert_false(scene_start(scene_add));
	assert_true(scene_has_said("/b carries no label"));
}

static void what_is_missing_still_wants_degraded(void **state)
{
	struct assemble_options both = { .add = true, .degraded = true };

	scene_tree("'mirror'", "a b c");
	scene_run();
	scene_file("b", SCENE_LEAF_BYTES);
	scene_file("c", 4096);
	assert_false(scene_start(scene_add));
	scene_remove("c");
	start(both);
	assert_true(scene_assembled()->root->children[1]->rebuilding);
	assert_true(scene_assembled()->root->children[2]->failed);
	scene_stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_blank_leaf_is_refused_without_the_users_word),
		TEST(a_blank_leaf_takes_the_place_of_a_lost_one),
		TEST(the_old_leaf_is_an_older_copy_from_then_on),
		TEST(the_old_leaf_that_went_on_alone_is_a_question),
		TEST(a_leaf_that_is_too_small_is_not_added),
		TEST(only_a_mirror_takes_a_blank_leaf_in),
		TEST(what_is_missing_still_wants_degraded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
