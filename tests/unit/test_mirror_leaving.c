// SPDX-License-Identifier: MIT
/* mirror: until all labels call a leg stale that is to be written behind, on a live device over real files. */
#include "behind.h"

#include <errno.h>

#define FOUR BEGIN "'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "," FILE_OF("d2", "c") "," FILE_OF("d3", "d") "]}"

/* As much, until the record of it is under way, and it may be that that write is, too. */
static void begin_slow(const char *document, unsigned slow)
{
	live_load(document);
	live_begin();
	live_write_all('x');
	behind_mirror()->legs[slow].is_slow = true;
	live_ask(0, IO_WRITE, 0, 'x');
	while (behind_mirror()->legs[slow].state != LEG_LEAVING)
		live_step();
}

static void begin_leaving(const char *document, unsigned slow)
{
	begin_slow(document, slow);
	while (live_results[0] == LIVE_UNDER_WAY)
		live_step();
	assert_int_equal(behind_mirror()->legs[slow].state, LEG_LEAVING);
}

/* All but that one. */
static void end_all_but_this(const struct sub_io *hangs)
{
	while (live_pending_count > 1)
		live_end_one(live_pending[0] == hangs, 0);
	assert_ptr_equal(live_pending[0], hangs);
}

/* One that is asked while others are under way, which stay that. */
static void ask_and_end(enum io_kind kind, char byte, int error_of_0, int error_of_1)
{
	unsigned first = live_pending_count;

	live_ask(1, kind, 0, byte);
	assert_int_equal(live_pending_count, first + 2); /* each leg is asked */
	while (live_pending_count > first)
		live_end_one(first, live_pending[first]->leaf->place == 0 ? error_of_0 : error_of_1);
}

/* Until they do it gets all that comes, and nobody waits for them. */
static void labels_call_it_stale_before_it_misses_a_write(void **state)
{
	begin_leaving(ROOT, 1);
	assert_string_equal(live_states(), "il");
	assert_int_equal(scene_says("a", 1), LABEL_PEER_IN_SYNC);
	ask_and_end(IO_WRITE, 'y', 0, 0);
	assert_int_equal(live_results[1], 0);
	assert_string_equal(live_states(), "il");
	assert_int_equal(live_byte_of("b", 0), 'y');
	while (!mirror_leg_is_behind(behind_mirror(), 1))
		live_step();
	assert_true(scene_says("a", 1) != LABEL_PEER_IN_SYNC && scene_says("b", 1) != LABEL_PEER_IN_SYNC);
	live_end_all();
	behind_write(2, 'z');
	assert_int_equal(live_byte_of("a", 2 * LIVE_BYTES), 'z');
	assert_int_equal(live_byte_of("b", 2 * LIVE_BYTES), 'x');
	live_stop();
}

/* As long as others may be told that it is in sync, what is flushed is flushed there too. */
static void a_leg_is_flushed_until_labels_call_it_stale(void **state)
{
	begin_leaving(ROOT, 1);
	ask_and_end(IO_FLUSH, 0, 0, 0);
	assert_int_equal(live_results[1], 0);
	assert_string_equal(live_states(), "il");
	live_end_all();
	assert_string_equal(live_states(), "ir");
	live_ask(1, IO_FLUSH, 0, 0);
	behind_end_all_but(1);
	assert_int_equal(live_pending_count, 0);
	live_stop();
}

/* It was sent that write: nobody may be told that it is there before the labels know that the leg lacks it. */
static void a_leg_that_fails_before_the_labels_call_it_stale_is_recorded_as_any(void **state)
{
	begin_leaving(ROOT, 1);
	ask_and_end(IO_WRITE, 'y', 0, -EIO);
	assert_string_equal(live_states(), "if");
	assert_int_equal(scene_says("a", 1), LABEL_PEER_IN_SYNC);
	while (live_results[1] == LIVE_UNDER_WAY)
		live_step();
	assert_int_equal(live_results[1], 0);
	assert_true(scene_says("a", 1) != LABEL_PEER_IN_SYNC);
	live_end_all();
	assert_string_equal(live_states(), "if");
	assert_false(behind_mirror()->legs[1].is_behind);
	live_stop();
}

/* The other one's label can't be written, and it is the last: then this leg gets all writes, until that has gone well. */
static void where_labels_cannot_be_written_it_misses_nothing(void **state)
{
	begin_leaving(ROOT, 1);
	while (behind_mirror()->work.is_recording)
		live_end_one(0, live_pending[0]->leaf->place == 0 ? -EIO : 0);
	assert_string_equal(live_states(), "il");
	behind_write(2, 'y');
	assert_int_equal(live_byte_of("b", 2 * LIVE_BYTES), 'y');
	assert_false(behind_mirror()->work.is_recording); /* and it isn't tried all the time */
	live_now += SECOND;
	behind_work();
	live_end_all();
	assert_string_equal(live_states(), "ir");
	behind_write(3, 'z');
	assert_int_equal(live_byte_of("b", 3 * LIVE_BYTES), 'x');
	behind_mirror()->legs[1].is_slow = false;
	live_until("ii", -1);
	live_stop();
	behind_assert_same("a", "b");
}

/* It is not relied upon any more: the other one is the last in sync. */
static void who_is_left_is_the_last_in_sync(void **state)
{
	begin_leaving(ROOT, 1);
	ask_and_end(IO_WRITE, 'y', -EIO, 0);
	assert_int_equal(live_results[1], -EIO);
	assert_string_equal(live_states(), "il");
	behind_mirror()->legs[1].is_slow = false;
	live_end_all();
	live_until("ii", -1);
	live_stop();
	behind_assert_same("a", "b");
}

/* Nobody who is under way waits for those records: a plan has room for those of failures, one for each leg. */
static void legs_are_put_behind_and_fail_while_a_request_hangs(void **state)
{
	const struct sub_io *hangs = NULL;
	unsigned i;

	begin_slow(FOUR, 1);
	i = live_pending_count;
	live_ask(1, IO_WRITE, LIVE_BYTES, 'y');
	for (; !hangs; i++)
		hangs = live_pending[i]->leaf->place == 3 ? live_pending[i] : NULL;
	end_all_but_this(hangs);
	assert_true(mirror_leg_is_behind(behind_mirror(), 1));
	behind_mirror()->legs[2].is_slow = true;
	behind_work();
	assert_int_equal(live_results[1], LIVE_UNDER_WAY);
	live_end_one(0, 0);
	assert_int_equal(live_results[1], 0);
	while (!mirror_leg_is_behind(behind_mirror(), 2))
		live_step();
	behind_mirror()->legs[3].is_slow = true;
	behind_work();
	assert_string_equal(live_states(), "irrl");
	live_end_all();
	assert_string_equal(live_states(), "irrr");
	assert_true(scene_says("a", 3) != LABEL_PEER_IN_SYNC);
	live_command("fail", "d3");
	live_end_all();
	behind_write(0, 'z');
	live_stop();
}

/* Who writes waits for the leg meanwhile: it is no time in which nobody does. */
static void labels_may_take_a_slow_leg_as_long_as_they_like(void **state)
{
	live_load(ROOT);
	live_begin();
	behind_mirror()->legs[1].is_slow = true;
	live_ask(0, IO_WRITE, 0, 'x');
	while (strcmp(live_states(), "il"))
		live_step();
	behind_end_all_but(1);
	live_now += 30 * SECOND;
	behind_work();
	assert_string_equal(live_states(), "il");
	live_now += 30 * SECOND; /* and nobody looks meanwhile */
	live_end_all();
	behind_work();
	assert_true(mirror_leg_is_behind(behind_mirror(), 1));
	live_stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(labels_call_it_stale_before_it_misses_a_write),
		TEST(a_leg_is_flushed_until_labels_call_it_stale),
		TEST(a_leg_that_fails_before_the_labels_call_it_stale_is_recorded_as_any),
		TEST(where_labels_cannot_be_written_it_misses_nothing),
		TEST(who_is_left_is_the_last_in_sync),
		TEST(legs_are_put_behind_and_fail_while_a_request_hangs),
		TEST(labels_may_take_a_slow_leg_as_long_as_they_like),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
