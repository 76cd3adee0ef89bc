// SPDX-License-Identifier: MIT
/* Assembly: legs that missed something or are not there, unclean stops, and what labels remember of
 * it. */
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

static void a_missing_leg_is_left_out_degraded_and_known_as_stale_afterwards(void **state)
{
	struct label label;

	scene_two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_noted("mirror r: leg d1 (b) is not there and is not used; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->root->children[1]->failed);
	assert_false(scene_assembled()->root->children[0]->failed);
	assert_int_equal(scene_assembled()->root->limits.size, SCENE_MIB);
	scene_label("a", &label); /* before anything is served */
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	label_finish(&label);
	scene_stop();
	assert_false(scene_has("b"));
	scene_rename("away", "b");
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d1 (b) missed writes and is brought up to date; 1 of 2 legs in sync\n");
	scene_stop();
}

static void a_stale_leg_is_known_in_any_order(void **state)
{
	scene_two_legs("'mirror'");
	scene_rename("a", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "a");
	scene_tree("'mirror'", "b a");
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d0 (a) missed writes and is brought up to date; 1 of 2 legs in sync\n"
		    "d0 is served by a (listed as d1)\nd1 is served by b (listed as d0)\n");
	assert_true(scene_assembled()->leaves[0]->node->rebuilding);
	scene_stop();
}

static void nothing_is_written_to_a_leg_that_is_left_out(void **state)
{
	uint64_t sum;

	scene_two_legs("'mirror'");
	scene_file("b", SCENE_LEAF_BYTES); /* replaced by a blank one */
	sum = scene_sum("b");
	assert_true(scene_start(scene_degraded));
	scene_noted("mirror r: leg d1 (b) carries no label and is not used; 1 of 2 legs in sync\n");
	scene_stop();
	assert_int_equal(scene_sum("b"), sum);
}

/* All know that a leg is stale until it is up to date; it knows it too. */
static void a_leg_that_is_brought_up_to_date_is_called_stale(void **state)
{
	struct label label;
	unsigned i;

	scene_two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "b");
	for (i = 0; i < 2; i++) {
		assert_true(scene_start(scene_plain));
		assert_false(scene_assembled()->root->children[1]->failed);
		assert_true(scene_assembled()->root->children[1]->rebuilding);
		assert_false(scene_assembled()->root->children[1]->rebuild_all);
		scene_close();
		scene_label(i ? "b" : "a", &label);
		assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
		assert_int_equal(label.peers[0].state, LABEL_PEER_IN_SYNC);
		label_finish(&label);
	}
}

static void a_leg_that_failed_while_live_is_left_out(void **state)
{
	struct tree *tree;

	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_plain));
	tree = scene_assembled();
	tree->root->children[0]->failed = true;
	tree->leaves[1]->label.peers[0].state = LABEL_PEER_STALE; /* as the record does */
	assert_int_equal(label_update(tree->leaves[1]->fd, &tree->leaves[1]->label), 0);
	scene_stop();
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d0 (a) missed writes and is brought up to date; 1 of 2 legs in sync\n");
	assert_false(scene_assembled()->root->unclean);
	scene_stop();
}

static void legs_that_accuse_each_other_are_refused(void **state)
{
	uint64_t sum;

	scene_diverge();
	sum = scene_sum("a b");
	assert_false(scene_start(scene_plain));
	scene_said(
		"mirror r: its legs have diverged, none is known to have all writes: d1 (b; "
		"generation 12, written TIME) says that d0 (a) missed writes, and last saw it at "
		"generation 7; d0 (a; generation 12, written TIME) says that d1 (b) missed writes, "
		"and last saw it at generation 7. --prefer=LEAF goes on with one of them and gives "
		"the others up (tree.json:1, /root)\n");
	assert_false(scene_start(scene_degraded));
	assert_int_equal(scene_sum("a b"), sum);
	scene_file("b", SCENE_LEAF_BYTES); /* one way out */
	assert_true(scene_start(scene_degraded));
	scene_stop();
}

static void of_three_legs_a_minority_can_be_right(void **state)
{
	scene_tree("'mirror'", "a b c");
	scene_run();
	scene_rename("c", "away");
	assert_true(scene_start(scene_degraded)); /* c is stale */
	scene_stop();
	scene_rename("a", "a-away");
	assert_true(scene_start(scene_degraded)); /* a is stale */
	scene_stop();
	scene_rename("a-away", "a");
	scene_rename("away", "c");
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d0 (a) missed writes and is brought up to date; 1 of 3 legs in sync\n"
		    "mirror r: leg d2 (c) missed writes and is brought up to date; 1 of 3 legs in sync\n");
	scene_stop();
}

static void a_stale_leg_alone_is_not_served_by_mistake(void **state)
{
	scene_two_legs("'mirror'");
	scene_rename("a", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "a");
	scene_rename("b", "away");
	assert_false(scene_start(
		scene_plain)); /* nobody here knows: so nothing goes without being told to */
	scene_said(
		"file d1: b was not there, while a of d0 belongs to the tree t; use --add to bring it up to date, or --degraded to "
		"go on without it (tree.json:1, /root/children/1/path)\n");
	assert_true(scene_start(scene_degraded)); /* and if told to, both will know */
	scene_stop();
	scene_rename("away", "b");
	assert_false(scene_start(scene_plain));
}

static void an_older_copy_put_back_is_noticed(void **state)
{
	scene_two_legs("'mirror'");
	scene_copy("b", "copy");
	scene_run();
	scene_rename("copy", "b");
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d1 (b) holds an older state than it had and is brought up to date; 1 of 2 "
		    "legs in sync\n");
	scene_stop();
	assert_true(scene_start(scene_plain)); /* recorded by now */
	scene_noted("mirror r: leg d1 (b) missed writes and is brought up to date; 1 of 2 legs in sync\n");
	scene_stop();
}

static void an_older_copy_of_a_stripes_leg_is_refused(void **state)
{
	scene_two_legs("'stripe'");
	scene_copy("b", "copy");
	scene_run();
	scene_rename("copy", "b");
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b holds an older state than it had, says d0, and there is no other "
		   "leg to "
		   "go on with (tree.json:1, /root/children/1/path)\n");
}

/* What the leg knew of its fellow before it was put back is lost: nobody vouches for that one. */
static void an_older_copy_from_before_the_last_start_is_noticed_after_a_crash(void **state)
{
	scene_two_legs("'mirror'");
	scene_copy("b", "copy");
	assert_true(scene_start(scene_plain));
	scene_close();
	scene_rename("copy", "b");
	assert_false(scene_start(scene_plain));
	scene_said("mirror r: t was not stopped cleanly, and nobody is left to say whether d0 (a) "
		   "missed writes before: d1 (b), which would know, holds an older state than it had. "
		   "--prefer=d0 goes on with it as it is (tree.json:1, /root)\n");
	assert_true(scene_start(scene_prefer("d0")));
	scene_noted("mirror r: leg d1 (b) is given up and is not used; 1 of 2 legs in sync\nt was not "
		    "stopped cleanly\n");
	scene_stop();
}

/* a missed a write, which b knew; b is gone, and c, a leg of the mirror above, has everything. */
static void a_leg_that_nobody_can_vouch_for_is_not_used_where_another_is_whole(void **state)
{
	static const char *const root =
		"{'id':'r','type':'mirror','children':[{'id':'m','type':'mirror','children':["
		"{'id':'d0','type':'file','path':'a','size':'3MiB'},"
		"{'id':'d1','type':'file','path':'b','size':'3MiB'}]},"
		"{'id':'d2','type':'file','path':'c','size':'3MiB'}]}";
	struct tree *tree;

	scene_document(root);
	assert_true(scene_start(scene_plain));
	tree = scene_assembled();
	tree->leaves[1]->label.peers[0].state = LABEL_PEER_STALE; /* as the record does */
	assert_int_equal(label_update(tree->leaves[1]->fd, &tree->leaves[1]->label), 0);
	scene_close();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_noted("mirror r: leg m is brought up to date, as nobody is left to say whether it missed writes; "
		    "1 of 2 legs in sync\n"
		    "t was not stopped cleanly\n");
	assert_true(scene_assembled()->root->children[0]->rebuild_all);
	assert_false(scene_assembled()->root->children[0]->children[0]->rebuilding);
	assert_true(scene_assembled()->root->children[0]->children[1]->failed);
	scene_stop();
}

/*
 * b and then a missed writes, which c alone knew, being the last of them; c is gone. That b is there
 * proves nothing for a: nobody told b of it.
 */
static void who_may_have_missed_writes_vouches_for_nobody(void **state)
{
	static const char *const root =
		"{'id':'r','type':'mirror','children':[{'id':'m','type':'mirror','children':["
		"{'id':'d0','type':'file','path':'a','size':'6MiB'},"
		"{'id':'n','type':'mirror','children':["
		"{'id':'d1','type':'file','path':'b','size':'6MiB'},"
		"{'id':'d2','type':'file','path':'c','size':'6MiB'}]}]},"
		"{'id':'d3','type':'file','path':'d','size':'6MiB'}]}";
	struct label *label;

	scene_document(root);
	assert_true(scene_start(scene_plain));
	label = &scene_assembled()->leaves[2]->label;
	label->peers[0].state = label->peers[1].state = LABEL_PEER_STALE; /* as the records do */
	assert_int_equal(label_update(scene_assembled()->leaves[2]->fd, label), 0);
	scene_close();
	scene_rename("c", "away");
	assert_true(scene_start(scene_degraded));
	scene_noted("mirror r: leg m is brought up to date, as nobody is left to say whether it missed writes; "
		    "1 of 2 legs in sync\n"
		    "t was not stopped cleanly\n");
	assert_true(scene_assembled()->root->children[0]->rebuild_all);
	scene_stop();
}

/* A stripe's other leaf would have been told of what its fellow missed, whatever its mirror's leaf was. */
static void who_has_surely_been_used_vouches_for_others(void **state)
{
	static const char *const root =
		"{'id':'r','type':'mirror','children':["
		"{'id':'d0','type':'file','path':'a','size':'7MiB'},"
		"{'id':'s','type':'linear','children':[{'id':'n','type':'mirror','children':["
		"{'id':'d1','type':'file','path':'b','size':'3MiB'},"
		"{'id':'d2','type':'file','path':'c','size':'3MiB'}]},"
		"{'id':'d3','type':'file','path':'d','size':'3MiB'}]}]}";

	scene_document(root);
	assert_true(scene_start(scene_plain));
	scene_close();
	scene_rename("c", "away");
	assert_true(scene_start(scene_degraded));
	assert_false(scene_assembled()->root->children[0]->rebuilding);
	assert_true(scene_assembled()->root->children[1]->rebuilding);
	scene_stop();
}

/* As with a leg that nobody can vouch for, without a crash: all would have been told. */
static void a_leg_is_used_if_the_last_stop_was_clean(void **state)
{
	static const char *const root =
		"{'id':'r','type':'mirror','children':[{'id':'m','type':'mirror','children':["
		"{'id':'d0','type':'file','path':'a','size':'3MiB'},"
		"{'id':'d1','type':'file','path':'b','size':'3MiB'}]},"
		"{'id':'d2','type':'file','path':'c','size':'3MiB'}]}";

	scene_document(root);
	scene_run();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	assert_false(scene_assembled()->root->children[0]->failed);
	scene_stop();
}

/* A leg that had failed was not told of the stop, and its label says so: that means nothing. */
static void a_failed_legs_label_does_not_make_a_stop_unclean(void **state)
{
	scene_document("{'id':'r','type':'mirror','children':[{'id':'m','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3MiB'},"
		       "{'id':'d1','type':'file','path':'b','size':'3MiB'}]},"
		       "{'id':'d2','type':'file','path':'c','size':'3MiB'},"
		       "{'id':'d3','type':'file','path':'d','size':'3MiB'}]}");
	assert_true(scene_start(scene_plain));
	scene_assembled()->root->children[2]->failed = true;
	scene_stop();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	assert_false(scene_assembled()->root->children[0]->failed);
	assert_true(scene_assembled()->root->children[2]->rebuilding);
	scene_stop();
}

static void the_size_stays_while_the_smallest_leg_is_away(void **state)
{
	scene_document("{'type':'mirror','children':[{'type':'file','path':'a','size':'3MiB'},"
		       "{'type':'file','path':'b','size':'2MiB'}]}");
	assert_true(scene_start(scene_plain));
	assert_int_equal(scene_assembled()->root->limits.size, SCENE_MIB);
	scene_stop();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	assert_int_equal(scene_assembled()->root->limits.size, SCENE_MIB);
	scene_stop();
}

/* The same where the document doesn't say how long the leaf is: the other labels do. */
static void the_size_stays_while_a_leaf_of_no_size_is_away(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES + SCENE_MIB);
	scene_file("b", SCENE_LEAF_BYTES);
	scene_document("{'type':'mirror','children':[{'type':'file','path':'a'},"
		       "{'type':'file','path':'b'}]}");
	scene_run();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	assert_int_equal(scene_assembled()->root->limits.size, SCENE_MIB);
	scene_stop();
}

static void labels_that_lack_the_lengths_get_them(void **state)
{
	struct label label;

	scene_two_legs("'mirror'");
	scene_label("a", &label);
	free(label.lengths);
	label.lengths = NULL;
	scene_relabel("a", &label);
	label_finish(&label);
	scene_run();
	scene_label("a", &label);
	assert_int_equal(label.lengths[0], SCENE_SIZE);
	assert_int_equal(label.lengths[1], SCENE_SIZE);
	label_finish(&label);
}

static void a_leaf_that_has_shrunk_is_refused_or_left_out(void **state)
{
	scene_two_legs("'mirror'");
	assert_int_equal(truncate(scene_path("b"), (off_t)SCENE_LEAF_BYTES - 512), 0);
	assert_false(scene_start(scene_plain));
	scene_said("file d1: b has shrunk: it has 7339520 bytes and needs 7340032 "
		   "(tree.json:1, /root/children/1/path)\n");
	assert_true(scene_start(scene_degraded));
	scene_noted(
		"mirror r: leg d1 (b) has shrunk: it has 7339520 bytes and needs 7340032 and is "
		"not used; 1 of 2 legs in sync\n");
	scene_stop();
}

/* mirror(stripe(a,b), stripe(c,d)) and the other way round. */
static void nested_tree(const char *outer, const char *inner)
{
	char root[1024];

	snprintf(root, sizeof(root),
		"{'id':'r','type':'%s','children':["
		"{'id':'x','type':'%s','children':["
		"{'id':'d0','type':'file','path':'a','size':'3MiB','direct':false},"
		"{'id':'d1','type':'file','path':'b','size':'3MiB','direct':false}]},"
		"{'id':'y','type':'%s','children':["
		"{'id':'d2','type':'file','path':'c','size':'3MiB','direct':false},"
		"{'id':'d3','type':'file','path':'d','size':'3MiB','direct':false}]}]}",
		outer, inner, inner);
	scene_document(root);
}

static void a_leg_of_several_leaves_is_left_out_as_a_whole(void **state)
{
	struct label label;

	nested_tree("mirror", "stripe");
	scene_run();
	scene_remove("b");
	assert_true(scene_start(scene_degraded));
	scene_noted(
		"mirror r: leg x is not used, as its d1 (b) is not there; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->root->children[0]->failed);
	assert_int_equal(scene_assembled()->root->limits.size, 5 * SCENE_MIB);
	scene_stop();
	scene_label("d", &label);
	assert_int_equal(label.peers[0].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[2].state, LABEL_PEER_IN_SYNC);
	label_finish(&label);
}

static void a_stripe_of_mirrors_goes_on_without_one_leg_of_each(void **state)
{
	nested_tree("stripe", "mirror");
	scene_run();
	scene_remove("a");
	scene_rename("d", "away");
	assert_true(scene_start(scene_degraded));
	scene_noted("mirror x: leg d0 (a) is not there and is not used; 1 of 2 legs in sync\n"
		    "mirror y: leg d3 (d) is not there and is not used; 1 of 2 legs in sync\n");
	scene_stop();
	scene_rename("c", "c-away");
	assert_false(scene_start(scene_degraded));
	scene_said("file d2: c does not exist (tree.json:1, /root/children/1/children/0/path)\n"
		   "file d3: d does not exist (tree.json:1, /root/children/1/children/1/path)\n");
	scene_rename("away", "d");
	assert_false(scene_start(scene_degraded)); /* b knows that d missed writes */
	scene_said(
		"mirror y: its legs have diverged, none is known to have all writes: d1 (b; "
		"generation 12, written TIME) says that d3 (d) missed writes, and last saw it at "
		"generation 7. --prefer=LEAF goes on with one of them and gives the others up "
		"(tree.json:1, /root/children/1)\n");
}

static void a_mirror_of_mirrors_loses_a_leg_when_all_of_that_are_lost(void **state)
{
	nested_tree("mirror", "mirror");
	scene_run();
	scene_remove("a");
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_noted(
		"mirror r: leg x is not used, as its d0 (a) is not there; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->root->children[0]->failed);
	scene_stop();
	scene_rename("away", "b");
	assert_true(scene_start(scene_degraded));
	scene_noted(
		"mirror r: leg x is brought up to date, as its d0 (a) is not there; 1 of 2 legs in sync\n");
	scene_stop();
}

static void a_new_tree_is_not_begun_degraded(void **state)
{
	scene_tree("'mirror'", "a b");
	scene_file("a", SCENE_LEAF_BYTES);
	assert_false(scene_start(scene_degraded));
	scene_said("file d1: b does not exist (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("b"));
}

static void degraded_is_no_different_when_all_is_there(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_degraded));
	scene_noted("");
	scene_stop();
	scene_run();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_missing_leg_is_left_out_degraded_and_known_as_stale_afterwards),
		TEST(a_stale_leg_is_known_in_any_order),
		TEST(nothing_is_written_to_a_leg_that_is_left_out),
		TEST(a_leg_that_is_brought_up_to_date_is_called_stale),
		TEST(a_leg_that_failed_while_live_is_left_out),
		TEST(legs_that_accuse_each_other_are_refused),
		TEST(of_three_legs_a_minority_can_be_right),
		TEST(a_stale_leg_alone_is_not_served_by_mistake),
		TEST(an_older_copy_put_back_is_noticed),
		TEST(an_older_copy_of_a_stripes_leg_is_refused),
		TEST(an_older_copy_from_before_the_last_start_is_noticed_after_a_crash),
		TEST(a_leg_that_nobody_can_vouch_for_is_not_used_where_another_is_whole),
		TEST(who_may_have_missed_writes_vouches_for_nobody),
		TEST(who_has_surely_been_used_vouches_for_others),
		TEST(a_leg_is_used_if_the_last_stop_was_clean),
		TEST(a_failed_legs_label_does_not_make_a_stop_unclean),
		TEST(the_size_stays_while_the_smallest_leg_is_away),
		TEST(the_size_stays_while_a_leaf_of_no_size_is_away),
		TEST(labels_that_lack_the_lengths_get_them),
		TEST(a_leaf_that_has_shrunk_is_refused_or_left_out),
		TEST(a_leg_of_several_leaves_is_left_out_as_a_whole),
		TEST(a_stripe_of_mirrors_goes_on_without_one_leg_of_each),
		TEST(a_mirror_of_mirrors_loses_a_leg_when_all_of_that_are_lost),
		TEST(a_new_tree_is_not_begun_degraded),
		TEST(degraded_is_no_different_when_all_is_there),
	};

	return cmocka_run_group_tests_name("assemble: legs", tests, NULL, NULL);
}
