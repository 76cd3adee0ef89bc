// SPDX-License-Identifier: MIT
/* Assembly: a leg that was given up is taken back, or stays as it is. */
#include "lifetime.h"
#include "scene.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned flushes_left = UINT32_MAX;
static bool dies; /* of the first one too many */

static int flush(void)
{
	if (flushes_left == 0 && dies)
		_exit(0);
	if (flushes_left == 0) {
		errno = EIO;
		return -1;
	}
	flushes_left--;
	return 0;
}

/* The files need not outlive the test; a leaf may stop flushing. */
int fdatasync(int fd)
{
	return flush();
}

int fsync(int fd)
{
	return 0;
}

/* Of legs that went on alone d1 is preferred. */
static void give_up_d0(void)
{
	scene_diverge();
	assert_true(scene_start(scene_prefer("d1")));
	scene_stop();
}

static struct assemble_options taking_back(const char *name)
{
	struct assemble_options options = { .take_back = scene_path(name) };

	return options;
}

static void what_is_taken_back_is_copied_as_a_whole(void **state)
{
	struct label label;

	give_up_d0();
	assert_true(scene_start(taking_back("")));
	scene_noted("mirror r: leg d0 (a) is given up and is brought up to date; 1 of 2 legs in sync\n"
		    "what leg d0 alone holds is saved in  first\n");
	assert_true(scene_assembled()->leaves[0]->node->rebuilding);
	assert_true(scene_assembled()->leaves[0]->node->rebuild_all);
	scene_label("a", &label);
	assert_false(label.flags & LABEL_GIVEN_UP);
	assert_int_equal(label.peers[0].state, LABEL_PEER_OLD_COPY);
	label_finish(&label);
	scene_label("b", &label);
	assert_int_equal(label.peers[0].state, LABEL_PEER_OLD_COPY);
	label_finish(&label);
	scene_stop();
	assert_true(scene_start(scene_plain)); /* without a word */
	assert_true(scene_assembled()->leaves[0]->node->rebuilding);
	scene_stop();
}

static void it_is_decided_and_taken_back_at_once(void **state)
{
	struct assemble_options options;

	give_up_d0();
	options = scene_prefer("d0"); /* d1 isn't there to be asked: … */
	options.take_back = scene_path("");
	scene_rename("b", "b-away");
	assert_true(scene_start(options));
	scene_stop();
	scene_rename("b-away", "b");
	options = scene_prefer("d0"); /* … so that both have gone on */
	options.take_back = scene_path("");
	assert_true(scene_start(options));
	assert_false(scene_assembled()->leaves[0]->node->rebuilding);
	assert_true(scene_assembled()->leaves[1]->node->rebuilding);
	assert_true(scene_assembled()->leaves[1]->node->rebuild_all);
	scene_stop();
}

static void what_cannot_be_saved_stays_given_up(void **state)
{
	struct err err = { 0 }, notes = { 0 };
	uint64_t before;

	give_up_d0();
	before = scene_sum("a b");
	assert_true(scene_assemble(taking_back("nowhere")));
	assert_int_equal(lifetime_start(scene_assembled(), &err, &notes), -1);
	assert_non_null(strstr(err.text, "what leg d0 of mirror r alone holds can't be saved"));
	err_finish(&err);
	err_finish(&notes);
	lifetime_undo(scene_assembled(), true);
	scene_close();
	assert_true(scene_sum("a b") == before);
}

static void who_was_not_given_up_is_not_taken_back(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(taking_back("nowhere")));
	scene_noted("--take-back has nothing to do: no leg that is there was given up\n");
	scene_stop();
}

/* Whatever has been written by then, it is given up still, or on its way, and never taken for in sync. */
static void a_crash_amid_taking_back_never_leaves_it_in_sync(void **state)
{
	unsigned n, given_up = 0, taken_back = 0;
	bool is_done = false;

	for (n = 0; !is_done; n++) {
		const struct node *leg;

		give_up_d0();
		flushes_left = n;
		is_done = scene_start(taking_back(""));
		flushes_left = UINT32_MAX;
		scene_close();
		assert_true(scene_assemble(scene_plain));
		leg = scene_assembled()->leaves[0]->node;
		assert_true(leg->failed || (leg->rebuilding && leg->rebuild_all));
		given_up += leg->failed;
		taken_back += leg->rebuilding;
		scene_close();
		scene_remove("a");
		scene_remove("b");
	}
	assert_true(given_up > 1 && taken_back > 1);
}

/* d0 beside a mirror of d1 and d2, all in sync. */
static void make_nested(void)
{
	scene_document("{'id': 'r', 'type': 'mirror', 'children': [{'id': 'd0', 'type': 'file', 'path': 'a', 'size': 4194304},"
		       " {'id': 'm', 'type': 'mirror', 'children': ["
		       "{'id': 'd1', 'type': 'file', 'path': 'b', 'size': 4194304},"
		       "{'id': 'd2', 'type': 'file', 'path': 'c', 'size': 4194304}]}]}");
	scene_run();
}

/* A life of the leaves that are not named. */
static void live_without(const char *one, const char *other)
{
	scene_rename(one, "one-away");
	scene_rename(other, "other-away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("one-away", one);
	scene_rename("other-away", other);
}

/* The mirror m went on alone, without one of its legs, and is given up as a whole. */
static void give_up_mirror(const char *stale)
{
	make_nested();
	live_without("a", stale);
	live_without("b", "c");
	assert_true(scene_start(scene_prefer("d0")));
	scene_stop();
}

static void of_a_mirror_its_leg_that_went_on_last_is_taken_back(void **state)
{
	unsigned stale;

	for (stale = 1; stale <= 2; stale++) {
		give_up_mirror(stale == 1 ? "b" : "c");
		assert_true(scene_start(taking_back("")));
		assert_true(scene_assembled()->leaves[stale]->node->rebuilding);
		assert_false(scene_assembled()->leaves[3 - stale]->node->rebuilding);
		assert_true(scene_assembled()->leaves[3 - stale]->node->parent->rebuilding);
		scene_stop();
		scene_remove("a");
		scene_remove("b");
		scene_remove("c");
	}
}

static void a_mirror_whose_legs_disagree_stays_given_up(void **state)
{
	uint64_t before;

	make_nested();
	live_without("a", "b");
	live_without("a", "c");
	live_without("b", "c");
	assert_true(scene_start(scene_prefer("d0")));
	scene_stop();
	before = scene_sum("b c");
	assert_true(scene_start(taking_back("")));
	scene_noted("mirror r: leg m is not taken back: nobody is left to say which of its own legs has "
		    "what it alone holds\n"
		    "mirror r: leg m is not used, as its d1 (b) is given up; 1 of 2 legs in sync\n"
		    "--take-back has nothing to do: no leg that is there was given up\n");
	assert_true(scene_assembled()->leaves[1]->node->parent->failed);
	scene_stop();
	assert_true(scene_sum("b c") == before);
}

static bool label_is_given_up(const char *name)
{
	struct label label;
	bool is_given_up;

	scene_label(name, &label);
	is_given_up = label.flags & LABEL_GIVEN_UP;
	label_finish(&label);
	return is_given_up;
}

/* A start in a process of its own, killed at that flush. False: it had no more. */
static bool is_killed_at(unsigned flushes, struct assemble_options options)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		flushes_left = flushes;
		dies = true;
		_exit(scene_start(options) ? 1 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 0;
}

/* As long as one of its legs is given up, the next start finds the one that has what the mirror held. */
static void a_crash_amid_taking_a_mirror_back_forgets_no_leg(void **state)
{
	unsigned n, found = 0;
	bool is_killed = true;

	for (n = 0; is_killed; n++) {
		give_up_mirror("c");
		is_killed = is_killed_at(n, taking_back(""));
		if (label_is_given_up("b")) {
			assert_true(scene_assemble(taking_back("")));
			assert_true(scene_assembled()->leaves[1]->node->parent->rebuilding);
			assert_false(scene_assembled()->leaves[1]->node->rebuilding);
			scene_close();
			found++;
		} else {
			assert_false(label_is_given_up("c"));
		}
		assert_true(scene_assemble(scene_plain));
		assert_false(scene_assembled()->leaves[0]->node->failed);
		assert_true(node_is_stale(scene_assembled()->leaves[1]->node));
		scene_close();
		scene_remove("a");
		scene_remove("b");
		scene_remove("c");
	}
	assert_true(found > 4 && n > found + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_is_taken_back_is_copied_as_a_whole, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(
			it_is_decided_and_taken_back_at_once, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(
			what_cannot_be_saved_stays_given_up, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(
			who_was_not_given_up_is_not_taken_back, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_crash_amid_taking_back_never_leaves_it_in_sync,
			scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(of_a_mirror_its_leg_that_went_on_last_is_taken_back,
			scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(
			a_mirror_whose_legs_disagree_stays_given_up, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_crash_amid_taking_a_mirror_back_forgets_no_leg,
			scene_setup, scene_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
