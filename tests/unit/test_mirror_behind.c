// SPDX-License-Identifier: MIT
/* mirror: a slow leg gets writes later, on a live device over real files. */
#include "behind.h"

#include <json-c/json.h>
#include <stdlib.h>

#define SPARED BEGIN PAIR ",'spares':[" FILE_OF("s0", "s") "]}"
#define WINDOW 4u /* regions */

/* The root's status has that in it. */
static bool is_told(const char *words)
{
	struct json_object *out = json_object_new_object();
	bool result;

	behind_root()->type->status(behind_root(), out);
	result = strstr(json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN), words);
	json_object_put(out);
	return result;
}

/* A write that began before takes as long. */
static void a_write_under_way_is_one_that_the_device_has(void **state)
{
	live_load(ROOT);
	live_begin();
	live_write_all('x');
	live_ask(1, IO_WRITE, 0, 'y'); /* its bytes are on their way to both */
	behind_mirror()->legs[1].is_slow = true;
	behind_work();
	assert_string_equal(live_states(), "il");
	while (!mirror_leg_is_behind(behind_mirror(), 1)) /* what came first stays where it is */
		live_end_one(live_pending_count - 1, 0);
	behind_work();
	live_now += 11 * SECOND;
	behind_work();
	assert_int_equal(live_results[1], LIVE_UNDER_WAY);
	assert_true(mirror_leg_is_behind(behind_mirror(), 1));
	live_end_all();
	live_stop();
}

/* Time passes until something ends: what goes to that leg takes that long, all else none. */
static void pass_with(unsigned slow, uint64_t takes)
{
	static struct sub_io *seen[LIVE_PENDING_MAX];
	static uint64_t due[LIVE_PENDING_MAX];
	static unsigned count;
	unsigned i, j, kept = 0, first = 0;

	for (i = 0; i < live_pending_count; i++) /* those that were seen stand first, in order */
		if (i >= count || seen[i] != live_pending[i])
			break;
	for (kept = i, j = kept; j < live_pending_count; j++) {
		seen[j] = live_pending[j];
		due[j] = live_now + (live_pending[j]->leaf->place == slow ? takes : 0);
	}
	count = live_pending_count;
	for (i = 1; i < count; i++)
		first = due[i] < due[first] ? i : first;
	if (count && due[first] <= live_timer) {
		live_now = due[first] > live_now ? due[first] : live_now;
		memmove(&seen[first], &seen[first + 1], (count - first - 1) * sizeof(*seen));
		memmove(&due[first], &due[first + 1], (count - first - 1) * sizeof(*due));
		count--;
		live_end_one(first, 0);
	} else {
		live_tick();
	}
}

/* As slow as can be, all by itself: it is found, put behind, and writes don't wait for it. */
static void a_leg_that_takes_five_seconds_is_put_behind(void **state)
{
	unsigned steps;

	live_load(ROOT);
	live_begin();
	live_write_all('x');
	while (behind_mirror()->dirty_count)
		live_step();
	live_ask(1, IO_WRITE, 0, 'y');
	for (steps = 0; behind_mirror()->behind.missed == 0; steps++) {
		assert_true(steps < STEPS_MAX && live_now < LIVE_BEGUN + 300 * SECOND);
		pass_with(0, 5 * SECOND);
		if (live_results[1] != LIVE_UNDER_WAY)
			live_ask(1, IO_WRITE, 0, 'y');
	}
	live_end_all();
	live_stop();
}

/* Neither for its bytes, nor for the page of a clean region, nor with a flush. */
static void writes_do_not_wait_for_it(void **state)
{
	unsigned i;

	behind_begun(ROOT, 1);
	for (i = 0; i < WINDOW; i++) {
		assert_false(behind_mirror()->regions[3 + i].is_durable);
		live_ask(1, IO_WRITE, (3 + i) * LIVE_BYTES, 'y');
		behind_end_all_but(1);
		assert_int_equal(live_results[1], 0);
		live_ask(1, IO_FLUSH, 0, 0);
		behind_end_all_but(1);
		assert_int_equal(live_results[1], 0);
	}
	assert_true(is_told("\"leg_states\":[\"in_sync\",\"behind\"]"));
	assert_true(is_told("\"behind\":{\"bytes\":16384,\"window\":16384,\"writes\":4}"));
	live_stop();
}

static void what_the_window_has_no_room_for_waits_for_it(void **state)
{
	unsigned i;

	behind_begun(ROOT, 1);
	for (i = 0; i < WINDOW; i++)
		behind_write(i, 'y');
	assert_int_equal(behind_mirror()->behind.count, WINDOW);
	live_ask(1, IO_WRITE, WINDOW * LIVE_BYTES, 'y');
	behind_end_all_but(1);
	assert_int_equal(live_results[1], LIVE_UNDER_WAY);
	live_end_all();
	assert_int_equal(live_results[1], 0);
	assert_int_equal(live_byte_of("b", WINDOW * LIVE_BYTES), 'y');
	live_ask(1, IO_WRITE, 0, 'z'); /* that region is behind already */
	behind_end_all_but(1);
	assert_int_equal(live_results[1], 0);
	live_stop();
}

/* Steps, the leg staying as slow as it is, until that much is behind. */
static void step_until_behind(unsigned place, unsigned count)
{
	unsigned steps;

	for (steps = 0; behind_mirror()->behind.count != count; steps++) {
		assert_true(steps < STEPS_MAX);
		behind_mirror()->legs[place].is_slow = true;
		live_step();
	}
}

static void regions_are_copied_once_they_are_quiet(void **state)
{
	uint64_t written;

	behind_begun(ROOT, 1);
	behind_write(2, 'y');
	written = live_now;
	step_until_behind(1, 0);
	assert_true(live_now >= written + 2 * SECOND);
	assert_int_equal(live_byte_of("b", 2 * LIVE_BYTES), 'y');
	assert_string_equal(live_states(), "ir"); /* the device may be written again at once */
	live_stop();
}

/* A region is made of two pieces' size, so that the first is copied when it is written again. */
static void a_region_that_is_written_while_it_is_copied_is_copied_again(void **state)
{
	static const char large[] = "{'id':'r','type':'mirror','region_size':'256KiB','slow_after_ms':10,"
		"'write_behind':'1MiB'," PAIR "}";
	struct work *work;
	unsigned steps;

	behind_begun(large, 1);
	work = &behind_mirror()->work;
	behind_write(0, 'y');
	for (steps = 0; !(work->slots[0].is_begun && work->slots[0].done); steps++) {
		assert_true(steps < STEPS_MAX);
		behind_mirror()->legs[1].is_slow = true;
		live_step();
	}
	assert_int_equal(live_byte_of("b", 0), 'y');
	live_ask(1, IO_WRITE, 0, 'z');
	while (live_results[1] == LIVE_UNDER_WAY)
		live_step();
	live_until("ii", -1);
	live_stop();
	assert_int_equal(live_byte_of("b", 0), 'z');
}

static void it_is_in_sync_again_once_it_is_quick_and_has_everything(void **state)
{
	unsigned i;

	behind_begun(ROOT, 1);
	for (i = 0; i < WINDOW; i++)
		behind_write(i, 'y');
	behind_mirror()->legs[1].is_slow = false;
	live_until("ii", -1);
	live_end_all();
	behind_assert_same("a", "b");
	assert_int_equal(scene_says("a", 1), LABEL_PEER_IN_SYNC);
	assert_int_equal(scene_says("b", 1), LABEL_PEER_IN_SYNC);
	behind_mirror()->legs[1].is_slow = true; /* labels are not written all the time */
	behind_write(0, 'z');
	behind_work();
	assert_string_equal(live_states(), "ii");
	assert_int_equal(live_byte_of("b", 0), 'z');
	live_now += 61 * SECOND;
	behind_mirror()->legs[1].is_slow = true;
	behind_write(0, 'z');
	behind_work();
	live_end_all();
	assert_string_equal(live_states(), "ir");
	live_stop();
}

static void where_nobody_writes_it_joins_slow_as_it_is(void **state)
{
	unsigned steps;

	behind_begun(ROOT, 1);
	behind_write(2, 'y');
	for (steps = 0; strcmp(live_states(), "ii"); steps++) {
		assert_true(steps < STEPS_MAX);
		behind_mirror()->legs[1].is_slow = true;
		live_step();
	}
	behind_assert_same("a", "b");
	live_stop();
}

static void a_slow_primary_is_none_any_more(void **state)
{
	struct superblock super;

	behind_begun(ROOT, 0);
	assert_string_equal(live_states(), "ri");
	assert_int_equal(behind_mirror()->primary, 1);
	while (behind_mirror()->work.wants_super)
		live_step();
	assert_true(mirror_read_super(behind_root(), 1, &super));
	assert_int_equal(super.primary, 1);
	assert_int_equal(super.tracked[0], behind_mirror()->super.sequence - 1); /* it has the one before */
	behind_write(0, 'y');
	assert_int_equal(live_byte_of("a", 0), 'x');
	live_killed();
	live_load(ROOT);
	assert_string_equal(live_states(), "ri");
	assert_false(behind_mirror()->regions[9].bits & REGION_TODO); /* what it misses is known */
	live_begin();
	live_until("ii", -1);
	live_stop();
	assert_int_equal(live_byte_of("a", 0), 'y');
	behind_assert_same("a", "b");
}

/* It has missed a superblock, too, which it gets then: what it misses is known as ever. */
static void a_slow_primary_goes_on_after_a_clean_stop(void **state)
{
	behind_begun(ROOT, 0);
	while (behind_mirror()->work.wants_super)
		live_step();
	behind_write(0, 'y');
	live_stop();
	live_load(ROOT);
	assert_string_equal(live_states(), "ri");
	assert_int_equal(behind_mirror()->primary, 1);
	assert_int_equal(behind_mirror()->todo_count, 1);
	live_begin();
	live_until("ii", -1);
	live_stop();
	behind_assert_same("a", "b");
}

/* What is still to be made even is read from it alone. */
static void a_slow_primary_stays_that_while_legs_may_differ(void **state)
{
	live_load(ROOT);
	live_begin();
	behind_write(0, 'x');
	behind_mirror()->legs[0].is_slow = true;
	mirror_set_bits(behind_mirror(), 9, REGION_WRITTEN | REGION_TODO, 0);
	behind_mirror()->work.pause_until = UINT64_MAX;
	behind_write(0, 'x');
	behind_work();
	assert_string_equal(live_states(), "ii");
	live_stop();
}

static void a_clean_stop_does_not_wait_and_the_next_start_goes_on(void **state)
{
	behind_begun(ROOT, 1);
	behind_write(2, 'y');
	live_stop();
	assert_int_equal(live_byte_of("b", 2 * LIVE_BYTES), 'x');
	live_load(ROOT);
	assert_string_equal(live_states(), "ir");
	assert_int_equal(behind_mirror()->todo_count, 1);
	live_begin();
	live_until("ii", -1);
	live_stop();
	behind_assert_same("a", "b");
}

static void it_is_no_leg_that_a_spare_is_taken_for(void **state)
{
	behind_begun(SPARED, 1);
	behind_write(2, 'y');
	assert_string_equal(live_states(), "irs");
	live_command("fail", "d1");
	live_until("ifi", -1);
	live_stop();
	behind_assert_same("a", "s");
}

static void it_fails_and_is_added_as_any_leg(void **state)
{
	behind_begun(ROOT, 1);
	behind_write(2, 'y');
	live_command("fail", "d1");
	assert_string_equal(live_states(), "if");
	behind_write(3, 'z');
	live_command("add", "d1");
	live_until("ii", -1);
	assert_int_equal(behind_mirror()->behind.count, 0);
	live_stop();
	behind_assert_same("a", "b");
}

static void nobody_is_behind_while_another_leg_is_rebuilt(void **state)
{
	behind_begun(THREE, 1);
	behind_write(2, 'y');
	assert_int_equal(behind_mirror()->behind.count, 1);
	live_command("fail", "d2");
	live_end_all();
	live_command("add", "d2");
	behind_write(3, 'y');
	assert_int_equal(live_byte_of("b", 3 * LIVE_BYTES), 'y');
	live_until("iii", -1);
	live_stop();
	behind_assert_same("a", "b");
	behind_assert_same("a", "c");
}

/* One quick leg in sync has to be left. */
static void the_last_quick_leg_is_written_with_the_others(void **state)
{
	behind_begin(THREE, 0);
	behind_mirror()->legs[1].is_slow = behind_mirror()->legs[2].is_slow = true;
	live_end_all();
	assert_true(behind_mirror()->legs[0].is_behind);
	behind_write(2, 'y');
	assert_int_equal(live_byte_of("a", 2 * LIVE_BYTES), 'y');
	behind_work();
	assert_false(behind_mirror()->legs[0].is_behind);
	assert_false(behind_mirror()->legs[1].is_behind || behind_mirror()->legs[2].is_behind);
	live_stop();
}

static void write_behind_without_slow_after_is_refused(void **state)
{
	char *said = fixture_messages("", "{'type':'mirror','write_behind':'1MiB','children':[@+16384,@+16384]}");

	assert_non_null(strstr(said, "\"write_behind\" needs \"slow_after_ms\""));
	free(said);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_write_under_way_is_one_that_the_device_has),
		TEST(a_leg_that_takes_five_seconds_is_put_behind),
		TEST(writes_do_not_wait_for_it),
		TEST(what_the_window_has_no_room_for_waits_for_it),
		TEST(regions_are_copied_once_they_are_quiet),
		TEST(a_region_that_is_written_while_it_is_copied_is_copied_again),
		TEST(it_is_in_sync_again_once_it_is_quick_and_has_everything),
		TEST(where_nobody_writes_it_joins_slow_as_it_is),
		TEST(a_slow_primary_is_none_any_more),
		TEST(a_slow_primary_goes_on_after_a_clean_stop),
		TEST(a_slow_primary_stays_that_while_legs_may_differ),
		TEST(a_clean_stop_does_not_wait_and_the_next_start_goes_on),
		TEST(it_is_no_leg_that_a_spare_is_taken_for),
		TEST(it_fails_and_is_added_as_any_leg),
		TEST(nobody_is_behind_while_another_leg_is_rebuilt),
		TEST(the_last_quick_leg_is_written_with_the_others),
		TEST(write_behind_without_slow_after_is_refused),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
