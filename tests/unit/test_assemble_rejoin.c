// SPDX-License-Identifier: MIT
/* Assembly: what labels say of legs that come back, and of those that have been brought up to date. */
#include "scene.h"

/* A mirror of a stripe over a and b, and of c. */
static void stripe_and_leaf(void)
{
	scene_document("{'id':'r','type':'mirror','children':[{'id':'s','type':'stripe','children':["
		       "{'id':'d0','type':'file','path':'a','size':'2MiB'},"
		       "{'id':'d1','type':'file','path':'b','size':'2MiB'}]},"
		       "{'id':'d2','type':'file','path':'c','size':'4MiB'}]}");
}

/* The leg's own superblock is on a, which is in step: only the labels can tell what b is. */
static void assert_all_is_copied(void)
{
	const struct node *leg = scene_assembled()->root->children[0];

	assert_true(leg->rebuilding);
	assert_true(leg->rebuild_all);
}

/* The start that notices it writes the labels anew: a crash then must not make it forget. */
static void an_older_copy_is_remembered_until_it_is_up_to_date(void **state)
{
	struct label label;

	stripe_and_leaf();
	scene_run();
	scene_copy("b", "copy");
	scene_run();
	scene_rename("copy", "b");
	assert_true(scene_start(scene_plain));
	assert_all_is_copied();
	scene_close();
	scene_label("c", &label);
	assert_int_equal(label.peers[0].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[1].state, LABEL_PEER_OLD_COPY);
	label_finish(&label);
	assert_true(scene_start(scene_plain));
	assert_all_is_copied();
	scene_stop();
	assert_true(scene_start(scene_plain));
	assert_all_is_copied();
	scene_stop();
}

static void a_stale_leg_that_is_as_it_was_is_no_older_copy(void **state)
{
	stripe_and_leaf();
	scene_run();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "b");
	assert_true(scene_start(scene_plain));
	assert_true(scene_assembled()->root->children[0]->rebuilding);
	assert_false(scene_assembled()->root->children[0]->rebuild_all);
	scene_stop();
}

/*
 * b was stale when the device was started, which c was told; it was brought up to date, and then a
 * failed, which b alone was told. Now b is gone: that c still calls it stale vouches for nobody.
 */
static void who_was_not_told_of_a_rejoin_vouches_for_no_fellow(void **state)
{
	struct tree *tree;

	scene_document("{'id':'r','type':'mirror','children':[{'id':'m','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3MiB'},"
		       "{'id':'d1','type':'file','path':'b','size':'3MiB'}]},"
		       "{'id':'d2','type':'file','path':'c','size':'3MiB'}]}");
	assert_true(scene_start(scene_plain));
	tree = scene_assembled();
	tree->leaves[2]->label.peers[1].state = LABEL_PEER_STALE;
	assert_int_equal(label_update(tree->leaves[2]->fd, &tree->leaves[2]->label), 0);
	scene_close();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_noted("mirror r: leg m is brought up to date, as nobody is left to say whether it missed writes; "
		    "1 of 2 legs in sync\n"
		    "t was not stopped cleanly\n");
	assert_true(scene_assembled()->root->children[0]->rebuilding);
	scene_stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_older_copy_is_remembered_until_it_is_up_to_date),
		TEST(a_stale_leg_that_is_as_it_was_is_no_older_copy),
		TEST(who_was_not_told_of_a_rejoin_vouches_for_no_fellow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
