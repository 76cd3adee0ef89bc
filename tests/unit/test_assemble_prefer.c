// SPDX-License-Identifier: MIT
/* Assembly: what the labels can't decide, and the user does. */
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

static void of_diverged_legs_the_preferred_one_is_used(void **state)
{
	scene_diverge();
	assert_false(scene_start(scene_plain));
	assert_true(scene_start(scene_prefer("d1")));
	scene_noted("mirror r: leg d0 (a) is given up and is not used; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->leaves[0]->node->failed);
	assert_false(scene_assembled()->leaves[1]->node->failed);
	scene_stop();
}

static void what_was_decided_stays_so(void **state)
{
	struct label label;

	scene_diverge();
	assert_true(scene_start(scene_prefer("d1")));
	scene_stop();
	scene_label("a", &label);
	assert_true(label.flags & LABEL_GIVEN_UP);
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE); /* what it knows is left alone */
	label_finish(&label);
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d0 (a) is given up and is not used; 1 of 2 legs in sync\n");
	scene_stop();
}

static void what_is_given_up_keeps_its_bytes(void **state)
{
	scene_diverge();
	assert_true(scene_start(scene_prefer("d1")));
	scene_stop();
	assert_string_equal(scene_read("a", SCENE_DATA), "of a");
}

static void a_leg_that_was_given_up_does_not_come_back_by_itself(void **state)
{
	struct label label;

	scene_diverge();
	assert_true(scene_start(scene_prefer("d1")));
	scene_stop();
	scene_rename("b", "away");
	assert_false(scene_start(scene_degraded));
	scene_said("mirror r: its legs have diverged, none is known to have all writes: d0 (a) was "
		   "given up. --prefer=LEAF goes on with one of them and gives the others up "
		   "(tree.json:1, /root)\n");
	assert_true(scene_start(scene_prefer("d0"))); /* unless it is all that there is left */
	scene_stop();
	scene_label("a", &label);
	assert_false(label.flags & LABEL_GIVEN_UP);
	label_finish(&label);
	scene_rename("away", "b");
	assert_false(scene_start(scene_plain));
}

static void a_crash_amid_giving_up_leaves_the_same_choice(void **state)
{
	scene_diverge();
	assert_true(scene_assemble(scene_prefer("d1")));
	scene_assembled()->leaves[0]->label.flags |=
		LABEL_GIVEN_UP; /* the first copy, and then … */
	assert_int_equal(label_update_texts(scene_assembled()->leaves[0]->fd,
				 &scene_assembled()->leaves[0]->label),
		0);
	scene_close();
	assert_true(scene_start(scene_plain));
	scene_noted("mirror r: leg d0 (a) is given up and is not used; 1 of 2 legs in sync\n");
	assert_false(scene_assembled()->leaves[1]->node->failed);
	scene_stop();
}

/* The one that would have known that b missed a write is lost after a crash. */
static void the_stale_leg_is_not_served_when_its_only_accuser_is_lost(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_plain));
	scene_assembled()->leaves[0]->label.peers[1].state =
		LABEL_PEER_STALE; /* as the record does */
	assert_int_equal(label_update(scene_assembled()->leaves[0]->fd,
				 &scene_assembled()->leaves[0]->label),
		0);
	scene_close();
	scene_rename("a", "away");
	assert_false(scene_start(scene_degraded));
	scene_said(
		"mirror r: t was not stopped cleanly, and nobody is left to say whether d1 (b) "
		"missed writes before: d0 (a), which would know, is not there. --prefer=d1 goes on "
		"with it as it is (tree.json:1, /root)\n");
	assert_true(scene_start(scene_prefer("d1")));
	scene_stop();
	scene_rename("away", "a");
	assert_false(scene_start(scene_plain)); /* and if the accuser comes back, both are heard */
}

/* What b knew is of no interest: it was told nothing since it failed. */
static void a_dead_leg_that_is_known_as_stale_keeps_nobody_back(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_plain));
	scene_assembled()->leaves[0]->label.peers[1].state =
		LABEL_PEER_STALE; /* as the record does */
	assert_int_equal(label_update(scene_assembled()->leaves[0]->fd,
				 &scene_assembled()->leaves[0]->label),
		0);
	scene_close();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
}

/* Without a crash: the leg that had failed still says that it was open, as nobody told it. */
static void a_leg_that_failed_before_a_clean_stop_is_not_served_alone(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_plain));
	scene_assembled()->root->children[1]->failed = true;
	scene_stop();
	scene_rename("a", "away");
	assert_false(scene_start(scene_degraded));
	assert_false(scene_start(scene_plain));
	scene_rename("away", "a");
	scene_run();
}

static void after_a_clean_stop_no_word_is_needed(void **state)
{
	scene_two_legs("'mirror'");
	scene_run();
	scene_rename("a", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
}

static void of_three_legs_those_that_are_not_preferred_are_left_out(void **state)
{
	scene_tree("'mirror'", "a b c");
	scene_run();
	assert_true(scene_start(scene_plain));
	scene_close();
	scene_rename("c", "away");
	assert_false(scene_start(scene_degraded));
	assert_true(scene_start(scene_prefer("d1")));
	scene_noted("mirror r: leg d0 (a) is given up and is not used; 1 of 3 legs in sync\n"
		    "mirror r: leg d2 (c) is not there and is not used; 1 of 3 legs in sync\n"
		    "t was not stopped cleanly\n");
	scene_stop();
}

static void each_mirror_of_a_stripe_is_decided_by_itself(void **state)
{
	static const char *const both[] = { "d0", "d3" };
	struct assemble_options options = { .prefer = both, .prefer_count = 1 };

	scene_document(
		"{'id':'r','type':'stripe','children':[{'id':'x','type':'mirror','children':["
		"{'id':'d0','type':'file','path':'a','size':'2MiB'},"
		"{'id':'d1','type':'file','path':'b','size':'2MiB'}]},"
		"{'id':'y','type':'mirror','children':["
		"{'id':'d2','type':'file','path':'c','size':'2MiB'},"
		"{'id':'d3','type':'file','path':'d','size':'2MiB'}]}]}");
	scene_run();
	scene_copy("b", "b-away");
	scene_copy("c", "c-away");
	scene_remove("b");
	scene_remove("c");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_copy("a", "a-away");
	scene_copy("d", "d-away");
	scene_remove("a");
	scene_remove("d");
	scene_rename("b-away", "b");
	scene_rename("c-away", "c");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("a-away", "a");
	scene_rename("d-away", "d");
	assert_false(scene_start(scene_plain));
	assert_false(scene_start(options)); /* y is still open */
	options.prefer_count = 2;
	assert_true(scene_start(options));
	assert_true(scene_assembled()->leaves[1]->node->failed);
	assert_true(scene_assembled()->leaves[2]->node->failed);
	scene_stop();
	scene_run();
}

/* A mirror x of a and b, beside a mirror y of c and d; each one's first leaf is a mirror's only leg. */
static void two_mirrors(void)
{
	scene_document(
		"{'id':'r','type':'mirror','children':[{'id':'x','type':'mirror','children':["
		"{'type':'mirror','children':[{'id':'d0','type':'file','path':'a','size':'8MiB'}]},"
		"{'id':'d1','type':'file','path':'b','size':'8MiB'}]},"
		"{'id':'y','type':'mirror','children':["
		"{'type':'mirror','children':[{'id':'d2','type':'file','path':'c','size':'8MiB'}]},"
		"{'id':'d3','type':'file','path':'d','size':'8MiB'}]}]}");
	scene_run();
}

/* The labels of one mirror's leaves call those of the other's stale, as the record does. */
static void accuse(unsigned from, unsigned whom)
{
	unsigned i;

	for (i = from; i < from + 2; i++) {
		struct leaf *leaf = scene_assembled()->leaves[i];

		leaf->label.peers[whom].state = LABEL_PEER_STALE;
		leaf->label.peers[whom + 1].state = LABEL_PEER_STALE;
		assert_int_equal(label_update(leaf->fd, &leaf->label), 0);
	}
}

static void a_word_for_all_leaves_does_not_make_a_stale_leg_one_in_sync(unsigned stale)
{
	static const char *const all[] = { "d0", "d1", "d2", "d3" };
	const struct assemble_options options = { .degraded = true, .prefer = all, .prefer_count = 4 };
	const char *witness = stale ? "b" : "d";
	const struct node *root;

	two_mirrors();
	assert_true(scene_start(scene_plain));
	accuse(stale ? 0 : 2, stale);
	scene_copy(witness, "older");
	scene_close(); /* a crash: what the witness knew is not to be had */
	assert_true(scene_start(scene_plain));
	scene_close();
	scene_rename("older", witness);
	assert_false(scene_start(scene_plain));
	assert_true(scene_start(options));
	root = scene_assembled()->root;
	assert_true(root->children[stale / 2]->rebuilding);
	assert_true(node_is_in_sync(root->children[!stale]));
	scene_close();
}

static void a_word_for_all_leaves_leaves_the_second_leg_stale(void **state)
{
	a_word_for_all_leaves_does_not_make_a_stale_leg_one_in_sync(2);
}

static void a_word_for_all_leaves_leaves_the_first_leg_stale(void **state)
{
	a_word_for_all_leaves_does_not_make_a_stale_leg_one_in_sync(0);
}

/*
 * A start had the first mirror brought up to date, as nobody could say what it had missed, and the power went
 * when the first of its labels said so.
 */
static void a_word_for_all_leaves_leaves_stale_who_says_so_himself(void **state)
{
	static const char *const all[] = { "d0", "d2", "d3" };
	const struct assemble_options options = { .degraded = true, .prefer = all, .prefer_count = 3 };
	const struct node *root;
	struct leaf *leaf;

	two_mirrors();
	assert_true(scene_start(scene_plain));
	leaf = scene_assembled()->leaves[0];
	leaf->label.peers[0].state = leaf->label.peers[1].state = LABEL_PEER_STALE;
	assert_int_equal(label_update(leaf->fd, &leaf->label), 0);
	scene_close();
	scene_rename("b", "away");
	assert_false(scene_start(scene_plain));
	assert_true(scene_start(options));
	root = scene_assembled()->root;
	assert_true(root->children[0]->rebuilding);
	assert_true(node_is_in_sync(root->children[1]));
	scene_close();
}

/* Nobody has said which: both would be served, each with writes that the other never got. */
static void a_word_for_both_of_two_mirrors_that_accuse_each_other_decides_nothing(void **state)
{
	static const char *const both[] = { "d0", "d2" };
	const struct assemble_options options = { .degraded = true, .prefer = both, .prefer_count = 2 };

	two_mirrors();
	assert_true(scene_start(scene_plain));
	accuse(0, 2);
	accuse(2, 0);
	scene_close();
	assert_false(scene_start(options));
	assert_true(scene_start(scene_prefer("d2")));
	assert_true(scene_assembled()->root->children[0]->failed);
	scene_stop();
}

static void a_preference_that_is_not_needed_changes_nothing(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_prefer("d1")));
	scene_noted("--prefer has decided nothing: the labels agree\n");
	assert_false(scene_assembled()->leaves[0]->node->failed);
	scene_stop();
}

static void a_stale_leg_that_the_labels_know_is_not_preferred(void **state)
{
	scene_two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "b");
	assert_true(scene_start(scene_prefer("d1")));
	scene_noted("--prefer has decided nothing: the labels agree\n"
		    "mirror r: leg d1 (b) missed writes and is brought up to date; 1 of 2 legs in sync\n");
	scene_stop();
}

static void what_is_no_leaf_is_not_preferred(void **state)
{
	scene_diverge();
	assert_false(scene_start(scene_prefer("d7")));
	scene_said("--prefer=d7: it is no leaf of this tree\n");
	assert_true(scene_start(scene_prefer(scene_path("b"))));
	scene_stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(of_diverged_legs_the_preferred_one_is_used),
		TEST(what_was_decided_stays_so),
		TEST(what_is_given_up_keeps_its_bytes),
		TEST(a_leg_that_was_given_up_does_not_come_back_by_itself),
		TEST(a_crash_amid_giving_up_leaves_the_same_choice),
		TEST(the_stale_leg_is_not_served_when_its_only_accuser_is_lost),
		TEST(a_dead_leg_that_is_known_as_stale_keeps_nobody_back),
		TEST(a_leg_that_failed_before_a_clean_stop_is_not_served_alone),
		TEST(after_a_clean_stop_no_word_is_needed),
		TEST(of_three_legs_those_that_are_not_preferred_are_left_out),
		TEST(each_mirror_of_a_stripe_is_decided_by_itself),
		TEST(a_word_for_all_leaves_leaves_the_second_leg_stale),
		TEST(a_word_for_all_leaves_leaves_the_first_leg_stale),
		TEST(a_word_for_all_leaves_leaves_stale_who_says_so_himself),
		TEST(a_word_for_both_of_two_mirrors_that_accuse_each_other_decides_nothing),
		TEST(a_preference_that_is_not_needed_changes_nothing),
		TEST(a_stale_leg_that_the_labels_know_is_not_preferred),
		TEST(what_is_no_leaf_is_not_preferred),
	};

	return cmocka_run_group_tests_name("assemble: prefer", tests, NULL, NULL);
}
