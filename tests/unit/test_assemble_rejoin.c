// SPDX-License-Identifier: MIT
/* Assembly: what labels say of legs that come back, and of those that have been brought up to date. */
#include "live.h"
#include "mirror.h"

#include <fcntl.h>
#include <unistd.h>

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

/* How much is still to be copied: of 16 regions, one in a second. */
static unsigned todo_of_two(void)
{
	live_load("{'id':'r','type':'mirror','region_size':4096,"
		  "'recovery_rate':{'min':4096,'max':4096},'children':["
		  "{'id':'d0','type':'file','path':'a','size':'2MiB','direct':false},"
		  "{'id':'d1','type':'file','path':'b','size':'2MiB','direct':false}]}");
	return ((const struct mirror *)scene_assembled()->root->state)->todo_count;
}

/* What it misses is marked from the start on that has noticed it: what was copied then isn't copied again. */
static void the_copying_of_an_older_copy_goes_on_after_a_crash(void **state)
{
	const struct mirror *mirror;
	unsigned after;

	(void)todo_of_two();
	live_begin();
	live_write_all('x');
	live_stop();
	scene_copy("b", "copy");
	(void)todo_of_two();
	live_stop();
	scene_rename("copy", "b");
	assert_int_equal(todo_of_two(), 16);
	live_begin();
	mirror = scene_assembled()->root->state;
	while (mirror->todo_count > 8)
		live_step();
	live_killed();
	after = todo_of_two();
	assert_string_equal(live_states(), "ir");
	assert_in_range(after, 8, 13);
	live_stop();
	assert_in_range(todo_of_two(), 8, 13);
	live_begin();
	live_until("ii", -1);
	live_stop();
	assert_memory_equal(scene_read("b", LABEL_FRONT + MIRROR_FRONT + 4096 * 3), "xxxx", 4);
}

/* As if b had been part of another start than that since which the mirror marks what it misses. */
static void change_superblock_of_b(void)
{
	struct superblock super;
	char block[PAGE_BYTES];
	int fd = open(scene_path("b"), O_RDWR);

	assert_int_equal(pread(fd, block, sizeof(block), LABEL_FRONT), sizeof(block));
	assert_true(mirror_super_decode(&super, block));
	super.sequence--;
	mirror_super_encode(&super, block);
	assert_int_equal(pwrite(fd, block, sizeof(block), LABEL_FRONT), sizeof(block));
	close(fd);
}

/* Labels would have said so; the mirror looks for itself. */
static void a_leg_that_left_at_another_time_is_copied_as_a_whole(void **state)
{
	unsigned is_changed;

	for (is_changed = 0; is_changed < 2; is_changed++) {
		scene_file("a", 0);
		scene_file("b", 0);
		(void)todo_of_two();
		live_begin();
		live_write_all('x');
		live_stop();
		(void)todo_of_two();
		live_begin();
		live_command("fail", "d1");
		live_end_all();
		live_ask(0, IO_WRITE, 0, 'y');
		live_end_all();
		live_stop();
		if (is_changed)
			change_superblock_of_b();
		assert_int_equal(todo_of_two(), is_changed ? 16 : 1);
		live_stop();
	}
}

static void begin_three(void)
{
	live_load("{'id':'r','type':'mirror','region_size':4096,'children':["
		  "{'id':'d0','type':'file','path':'a','size':'2MiB','direct':false},"
		  "{'id':'d1','type':'file','path':'b','size':'2MiB','direct':false},"
		  "{'id':'d2','type':'file','path':'c','size':'2MiB','direct':false}]}");
	live_begin();
}

static void lose(const char *leg)
{
	live_command("fail", leg);
	live_end_all();
}

/*
 * b calls a stale, and fails; a is brought up to date from c while the device is live; c fails, which a alone is
 * told, and the machine crashes. All accuse each other, but what b says of a is from before a came back.
 */
static void what_a_failed_leg_says_of_one_that_was_added_live_is_old(void **state)
{
	begin_three();
	lose("d0");
	lose("d1");
	live_command("add", "d0");
	live_until("ifi", -1);
	lose("d2");
	live_killed();
	if (!scene_start(scene_plain))
		scene_said("");
	assert_false(scene_assembled()->root->children[0]->rebuilding);
	assert_true(scene_assembled()->root->children[1]->rebuilding);
	assert_true(scene_assembled()->root->children[2]->rebuilding);
	scene_stop();
}

/* Else its fellows would know of a join that its own label doesn't: a crash, and it is an older copy. */
static void a_leg_joins_once_its_own_label_calls_it_stale(void **state)
{
	unsigned n, ticks = 0;

	begin_three();
	lose("d0");
	live_command("add", "d0");
	while (ticks < 100 && (live_timer != UINT64_MAX || live_pending_count > 1)) {
		for (n = 0; n < live_pending_count; n++)
			if (live_pending[n]->leaf->place != 0 || live_pending[n]->offset >= LABEL_FRONT)
				break;
		if (n < live_pending_count) {
			live_end_one(n, 0);
		} else {
			live_tick();
			ticks++;
		}
		assert_string_equal(live_states(), "rii");
	}
	assert_int_equal(live_pending_count, 1);
	live_until("iii", -1);
	live_stop();
}

static void legs_that_are_added_at_once_are_both_told_of(void **state)
{
	struct label label;

	begin_three();
	lose("d0");
	lose("d1");
	live_command("add", "d1");
	live_command("add", "d0"); /* the record of the first is under way */
	live_until("iii", -1);
	live_stop();
	scene_label("c", &label);
	assert_int_equal(label.peers[0].joins, 1);
	assert_int_equal(label.peers[1].joins, 1);
	label_finish(&label);
}

/* Wherever its record stops, the next start knows who has everything. */
static void a_crash_as_a_leg_joins_asks_nobody(void **state)
{
	unsigned moment, steps;
	bool has_ended = false;

	for (moment = 0; !has_ended; moment++) {
		scene_file("a", 0);
		scene_file("b", 0);
		scene_file("c", 0);
		begin_three();
		lose("d2");
		live_command("add", "d2");
		for (steps = 0; steps < moment && !has_ended; steps++) {
			if (live_pending_count)
				live_end_one(0, 0);
			else
				live_tick();
			has_ended = !strcmp(live_states(), "iii");
		}
		live_killed();
		if (!scene_start(scene_plain))
			scene_said("");
		assert_true(node_is_in_sync(scene_assembled()->root->children[0]));
		assert_true(node_is_in_sync(scene_assembled()->root->children[1]));
		scene_close();
	}
	assert_true(moment > 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_older_copy_is_remembered_until_it_is_up_to_date),
		TEST(a_stale_leg_that_is_as_it_was_is_no_older_copy),
		TEST(a_leg_that_left_at_another_time_is_copied_as_a_whole),
		TEST(the_copying_of_an_older_copy_goes_on_after_a_crash),
		TEST(who_was_not_told_of_a_rejoin_vouches_for_no_fellow),
		TEST(what_a_failed_leg_says_of_one_that_was_added_live_is_old),
		TEST(a_leg_joins_once_its_own_label_calls_it_stale),
		TEST(legs_that_are_added_at_once_are_both_told_of),
		TEST(a_crash_as_a_leg_joins_asks_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
