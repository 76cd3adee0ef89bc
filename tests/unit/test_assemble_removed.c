// SPDX-License-Identifier: MIT
/* Assembly: a leg that the user has removed is left out and closed, until he adds it again. */
#include "scene.h"

#include "lifetime.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct assemble_options remove_b = { .remove = "d1" };
static const struct assemble_options add_b = { .add = true, .leg = "d1" };
static const struct assemble_options add_any = { .add = true };

static int writes_left = -1; /* of labels, before the crash: the last one is torn. -1: there is none */

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (writes_left == 0)
		return (ssize_t)length;
	if (writes_left > 0 && --writes_left == 0) {
		(void)syscall(SYS_pwrite64, fd, bytes, length / 1024 * 512, offset);
		return (ssize_t)length;
	}
	return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	return 0;
}

static struct node *leg(unsigned place)
{
	return scene_assembled()->root->children[place];
}

static void start(struct assemble_options options)
{
	if (!scene_start(options))
		scene_said("");
}

/* What is at most there of a leg that isn't: opening alone would say that it is missing. */
static bool start_without(struct assemble_options options, struct err *err)
{
	struct err notes = { 0 };
	struct tree *tree = tree_read(scene_path("tree.json"), err);
	bool result = lifetime_prepare(tree, &options, err, &notes) == 0;

	if (result) {
		assert_int_equal(assemble_start(tree, err, &notes), 0);
		assert_int_equal(assemble_stop(tree, err), 0);
		assert_true(tree->root->children[1]->removed);
	}
	tree_destroy(tree);
	err_finish(&notes);
	return result;
}

/* The leg of that file missed a write. */
static void lose(const char *name)
{
	scene_rename(name, "away");
	start(scene_degraded);
	scene_stop();
	scene_rename("away", name);
}

static void make(void)
{
	scene_file("a", 0);
	scene_file("b", 0);
	scene_two_legs("'mirror'");
	lose("b");
}

static void remove_it(void)
{
	start(remove_b);
	scene_stop();
}

static bool is_called_removed(const char *by, unsigned of)
{
	struct label label;
	bool removed;

	scene_label(by, &label);
	removed = label.peers[of].removed;
	label_finish(&label);
	return removed;
}

static void assert_out(unsigned place)
{
	assert_true(leg(place)->failed);
	assert_true(leg(place)->removed);
	assert_false(leg(place)->rebuilding);
	assert_int_equal(leg(place)->leaf->fd, -1);
}

static void a_leg_in_sync_is_not_removed(void **state)
{
	scene_two_legs("'mirror'");
	assert_false(scene_start(remove_b));
	scene_said("mirror r: leg d1 is in sync by the labels; only one that has failed, or stands by, can be removed\n");
	assert_false(scene_start((struct assemble_options){ .remove = "r" }));
	scene_said("\"r\" is no leg of a mirror\n");
	start(scene_plain);
	assert_true(node_is_in_sync(leg(1)));
	scene_stop();
}

static void a_removed_leg_is_closed_and_left_alone(void **state)
{
	uint64_t sum;
	int i;

	make();
	sum = scene_sum("b");
	start(remove_b);
	scene_noted("mirror r: leg d1 (b) was removed and is not used; 1 of 2 legs in sync\n");
	assert_out(1);
	scene_stop();
	for (i = 0; i < 3; i++) { /* also when nobody says so any more */
		start(scene_plain);
		scene_noted("mirror r: leg d1 (b) was removed and is not used; 1 of 2 legs in sync\n");
		assert_out(1);
		scene_stop();
		assert_true(is_called_removed("a", 1));
		assert_int_equal(scene_says("a", 1), LABEL_PEER_STALE);
	}
	assert_true(scene_sum("b") == sum);
}

static void added_again_it_is_brought_up_to_date(void **state)
{
	make();
	remove_it();
	start(add_b);
	assert_true(leg(1)->rebuilding);
	assert_false(leg(1)->rebuild_all);
	assert_false(leg(1)->removed);
	assert_true(leg(1)->leaf->fd >= 0);
	scene_stop();
	assert_false(is_called_removed("a", 1));
	assert_false(is_called_removed("b", 1));
	start(scene_plain);
	assert_true(leg(1)->rebuilding);
	scene_stop();
}

/* What it was besides is not forgotten meanwhile. */
static void an_older_copy_stays_one(void **state)
{
	scene_two_legs("'mirror'");
	scene_copy("b", "old");
	scene_run();
	scene_copy("old", "b");
	start(scene_plain);
	assert_true(leg(1)->rebuild_all);
	scene_stop();
	remove_it();
	assert_int_equal(scene_says("a", 1), LABEL_PEER_OLD_COPY);
	start(add_b);
	assert_true(leg(1)->rebuild_all);
	scene_stop();
}

static void a_blank_one_is_added_only_when_that_is_said(void **state)
{
	uint64_t sum;

	make();
	remove_it();
	scene_file("b", SCENE_LEAF_BYTES + 4096);
	sum = scene_sum("b");
	start(scene_plain);
	assert_out(1);
	scene_stop();
	assert_true(scene_sum("b") == sum);
	start(add_b);
	scene_noted("mirror r: leg d1 (b) carries no label and is brought up to date; 1 of 2 legs in sync\n"
		    "d1: b is formatted and added\n");
	assert_true(leg(1)->rebuild_all);
	scene_stop();
	start(scene_plain);
	assert_true(leg(1)->rebuilding);
	scene_stop();
}

static void nobody_waits_for_what_was_removed(void **state)
{
	struct err err = { 0 };
	int other;

	scene_document("{'id':'r','type':'mirror','children':[{'id':'d0','type':'file','path':'a'},"
		       "{'id':'d1','type':'file','path':'b'}]}");
	scene_file("a", SCENE_LEAF_BYTES); /* without a size: what is missing isn't made */
	scene_file("b", SCENE_LEAF_BYTES);
	scene_run();
	lose("b");
	remove_it();
	other = open(scene_path("b"), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX), 0);
	assert_true(start_without(scene_plain, &err)); /* somebody has it */
	close(other);
	scene_remove("b");
	assert_true(start_without(scene_plain, &err));
	assert_null(err.text);
	assert_false(start_without(add_b, &err));
	assert_non_null(strstr(err.text, "/b does not exist"));
	err_finish(&err);
	assert_false(start_without((struct assemble_options){ .add = true, .leg = "d1", .degraded = true }, &err));
	assert_non_null(strstr(err.text, "mirror r: leg d1 is not added"));
	err_finish(&err);
	assert_true(start_without(add_any, &err)); /* nothing is there to be added */
	assert_null(err.text);
}

/* Somebody who has a leaf that was not removed may be serving the tree. */
static void who_has_another_leaf_is_refused(void **state)
{
	struct err err = { 0 };
	int other;

	make();
	other = open(scene_path("b"), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX), 0);
	assert_false(start_without(scene_plain, &err));
	err_finish(&err);
	assert_false(start_without(scene_degraded, &err));
	assert_non_null(strstr(err.text, "/b is locked"));
	err_finish(&err);
	close(other);
}

static void its_disk_may_be_another_trees(void **state)
{
	unsigned place;
	uint64_t sum;

	for (place = 0; place < 2; place++) {
		const char *name = place ? "b" : "a", *id = place ? "d1" : "d0";

		scene_file("a", 0);
		scene_file("b", 0);
		scene_two_legs("'mirror'");
		lose(name);
		start((struct assemble_options){ .remove = id });
		scene_stop();
		scene_file("c", 0);
		scene_tree("'linear'", "c");
		scene_run();
		scene_copy("c", name);
		sum = scene_sum(name);
		scene_tree("'mirror'", "a b");
		start(scene_plain);
		assert_out(place);
		scene_stop();
		assert_false(scene_start((struct assemble_options){ .add = true, .leg = id }));
		assert_true(scene_has_said("holds a leaf of the tree t"));
		assert_true(scene_sum(name) == sum);
	}
}

static void others_stay_out(void **state)
{
	scene_tree("'mirror'", "a b c");
	scene_run();
	lose("b");
	lose("c");
	start((struct assemble_options){ .remove = "d2" });
	scene_stop();
	remove_it();
	start(add_b);
	assert_true(leg(1)->rebuilding);
	assert_out(2);
	scene_stop();
	start(add_any);
	assert_true(leg(2)->rebuilding);
	scene_stop();
}

/* The spare's role stays where it was, and what it holds is copied anew in any case. */
static void a_spare_is_removed_and_stands_by_again(void **state)
{
	scene_document("{'id':'r','type':'mirror','children':["
		       "{'id':'d0','type':'file','path':'a','size':'2MiB','direct':false},"
		       "{'id':'d2','type':'file','path':'b','size':'2MiB','direct':false}],"
		       "'spares':[{'id':'d1','type':'file','path':'s','size':'2MiB','direct':false}]}");
	scene_run();
	remove_it();
	assert_int_equal(scene_says("a", 2), LABEL_PEER_SPARE);
	start(scene_plain);
	assert_out(2);
	assert_true(leg(2)->spare);
	scene_stop();
	start(add_b);
	assert_true(leg(2)->spare);
	assert_false(leg(2)->failed);
	scene_stop();
}

/* A leg of several leaves goes as a whole. */
static void a_leg_of_leaves_is_closed(void **state)
{
	scene_document("{'id':'r','type':'mirror','children':[{'id':'d0','type':'file','path':'a','size':'6MiB','direct':false},"
		       "{'id':'d1','type':'stripe','children':["
		       "{'id':'e0','type':'file','path':'b','size':'3MiB','direct':false},"
		       "{'id':'e1','type':'file','path':'c','size':'3MiB','direct':false}]}]}");
	scene_run();
	lose("c");
	remove_it();
	start(scene_plain);
	scene_noted("mirror r: leg d1 is not used, as its e0 (b) was removed; 1 of 2 legs in sync\n");
	assert_true(leg(1)->removed);
	assert_int_equal(scene_assembled()->leaves[1]->fd, -1);
	assert_int_equal(scene_assembled()->leaves[2]->fd, -1);
	scene_stop();
	start(add_b);
	assert_true(leg(1)->rebuilding);
	scene_stop();
}

/* Whichever write of a start is the last: afterwards it is out, or brought up to date, and never in sync. */
static void a_crash_leaves_one_or_the_other(void **state)
{
	unsigned adds, budget, out[2] = { 0 };
	bool crashed;

	for (adds = 0; adds < 2; adds++)
		for (budget = 1, crashed = true; crashed; budget++) {
			make();
			if (adds)
				remove_it();
			writes_left = (int)budget;
			start(adds ? add_b : remove_b);
			crashed = writes_left == 0;
			writes_left = -1;
			scene_close();
			start(scene_plain);
			assert_true(leg(1)->failed != leg(1)->rebuilding);
			assert_true(leg(1)->failed == leg(1)->removed);
			assert_true(node_is_in_sync(leg(0)));
			out[adds] += leg(1)->removed;
			if (!crashed)
				assert_true(leg(1)->removed == !adds);
			scene_stop();
		}
	assert_true(out[0] > 0 && out[1] > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_leg_in_sync_is_not_removed),
		TEST(a_removed_leg_is_closed_and_left_alone),
		TEST(added_again_it_is_brought_up_to_date),
		TEST(an_older_copy_stays_one),
		TEST(a_blank_one_is_added_only_when_that_is_said),
		TEST(nobody_waits_for_what_was_removed),
		TEST(who_has_another_leaf_is_refused),
		TEST(its_disk_may_be_another_trees),
		TEST(others_stay_out),
		TEST(a_spare_is_removed_and_stands_by_again),
		TEST(a_leg_of_leaves_is_closed),
		TEST(a_crash_leaves_one_or_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
