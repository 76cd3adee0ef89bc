// SPDX-License-Identifier: MIT
/* mirror: legs compared while the device is live: who is wrong, what is written, what is left alone. */
#include "fixture.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json.h>

#define SIZE 16384
#define THREE                                                                                      \
	"{'type':'mirror','region_size':4096,'children':[@+16384,@+16384,@+16384]}"
#define PAIR "{'type':'mirror','region_size':4096,'children':[@+16384,@+16384]}"

static struct mirror *mirror;
static struct tree *tree;
static struct fixture_plan course;
static uint32_t piece; /* of scratch, for each leg */

static void open_scrub(const char *root, bool repairs, unsigned believed)
{
	struct scrub_wish wish = { .repairs = repairs, .believed = believed };
	struct err err = { 0 };
	unsigned i;

	tree = fixture_tree(root);
	mirror = tree->root->state;
	/* The fixture takes what is work for self ops: they get what work has. */
	tree->root->needs.self_ops = tree->root->needs.work_ops;
	tree->root->needs.self_scratch = tree->root->needs.work_scratch;
	for (i = 0; i < mirror->region_count; i++)
		mirror_set_bits(mirror, i, REGION_WRITTEN, UINT8_MAX);
	piece = COPY_BYTES / tree->root->child_count / PAGE_BYTES * PAGE_BYTES;
	assert_int_equal(mirror_scrub_begin(tree->root, &wish, &err), 0);
}

static void close_scrub(void)
{
	fixture_finish(&course);
	tree_destroy(tree);
}

/* Begins the only piece at that time, of which all legs hold the same. */
static void begin_piece_at(uint64_t now)
{
	struct request request = { .kind = IO_SELF };
	uint64_t again = UINT64_MAX;

	assert_true(mirror_scrub_next(tree->root, now, &request, &again));
	assert_int_equal(request.length, SIZE);
	fixture_map(&course, tree->root, request);
	course.plan.now = now;
	memset(course.plan.scratch, 7, COPY_BYTES);
}

static void begin_piece(void)
{
	begin_piece_at(0);
}

static char *bytes_of(unsigned leg, uint32_t offset)
{
	return (char *)course.plan.scratch + leg * piece + offset;
}

static void end_ops(int result)
{
	struct plan *plan = &course.plan;

	for (; course.begun < plan->count; course.begun++)
		if (plan->ops[course.begun].result == OP_WAITING)
			plan->ops[course.begun].result = result;
	plan->ask = false;
	plan_then(plan);
	tree->root->type->resume(tree->root, &course.request, plan);
}

static const char *plans(void)
{
	static char text[2048];

	plan_print(&course.plan, text, sizeof(text));
	return text;
}

static const char *ranges(void)
{
	static char text[1024];
	struct json_object *out = json_object_new_object(), *scrub, *found;

	mirror_scrub_status(tree->root, out);
	assert_true(json_object_object_get_ex(out, "scrub", &scrub));
	assert_true(json_object_object_get_ex(scrub, "ranges", &found));
	(void)snprintf(text, sizeof(text), "%s", json_object_to_json_string_ext(found, 0));
	json_object_put(out);
	return text;
}

static void every_leg_in_sync_is_read_under_one_hold(void **state)
{
	struct range range;

	open_scrub(THREE, false, LEGS_MAX);
	begin_piece();
	assert_string_equal(plans(), "wave 0: child 0 read 1048576 16384 from scratch 0\n"
				     "wave 0: child 1 read 1048576 16384 from scratch 40960\n"
				     "wave 0: child 2 read 1048576 16384 from scratch 81920\n");
	assert_int_equal(mirror_hold(tree->root, &course.request, &range), HOLD_EXCLUSIVE);
	assert_int_equal(range.length, SIZE);
	end_ops(0);
	assert_int_equal(course.plan.count, 3);
	assert_int_equal(mirror->scrub.done, SIZE);
	assert_int_equal(mirror->scrub.differing, 0);
	close_scrub();
}

static void more_than_half_of_the_legs_decide(void **state)
{
	open_scrub(THREE, false, LEGS_MAX);
	begin_piece();
	memset(bytes_of(2, 1024), 8, 1024);
	end_ops(0);
	assert_string_equal(ranges(),
		"[{\"offset\":1024,\"length\":1024,\"legs\":[\"file3\"],\"verdict\":\"wrong\"}]");
	assert_int_equal(course.plan.count, 3); /* nothing is written unasked */
	assert_int_equal(mirror->scrub.differing, 1024);
	assert_int_equal(mirror->scrub.repaired, 0);
	close_scrub();
}

static void what_is_decided_is_written_if_that_is_asked_for(void **state)
{
	unsigned i;

	open_scrub(THREE, true, LEGS_MAX);
	begin_piece();
	*bytes_of(0, SIZE - 1) = 8;
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 1: child 0 write fua 1048576 16384 from scratch 0\n"));
	assert_int_equal(course.plan.count, 4);
	for (i = 0; i < SIZE; i++)
		assert_int_equal(*bytes_of(0, i), 7);
	assert_int_equal(mirror->scrub.done, 0); /* not yet */
	end_ops(0);
	assert_int_equal(mirror->scrub.done, SIZE);
	assert_int_equal(mirror->scrub.repaired, 512);
	close_scrub();
}

static void where_no_majority_is_nothing_is_guessed(void **state)
{
	open_scrub(PAIR, true, LEGS_MAX);
	begin_piece();
	*bytes_of(1, 512) = 8;
	end_ops(0);
	assert_string_equal(ranges(), "[{\"offset\":512,\"length\":512,\"legs\":[\"file1\",\"file2\"],"
				      "\"verdict\":\"undecided\"}]");
	assert_int_equal(course.plan.count, 2);
	assert_int_equal(mirror->scrub.undecided, 512);
	close_scrub();
}

static void the_user_may_believe_a_leg(void **state)
{
	open_scrub(PAIR, true, 1);
	begin_piece();
	*bytes_of(1, 512) = 8;
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 1: child 0 write fua 1048576 16384 from scratch 0\n"));
	assert_int_equal(*bytes_of(0, 512), 8);
	assert_string_equal(ranges(),
		"[{\"offset\":512,\"length\":512,\"legs\":[\"file1\"],\"verdict\":\"wrong\"}]");
	close_scrub();
}

/* It has no say: of the other two, none is more than half. */
static void a_leg_that_cannot_be_read_decides_nothing(void **state)
{
	open_scrub(THREE, true, LEGS_MAX);
	begin_piece();
	course.plan.ops[0].result = -EIO;
	*bytes_of(1, 0) = 8;
	end_ops(0);
	assert_int_equal(mirror->scrub.undecided, 512);
	assert_int_equal(mirror->scrub.unreadable, SIZE);
	assert_int_equal(mirror->work.repair_count, 1); /* it is written there again */
	assert_int_equal(course.plan.count, 3);
	close_scrub();
}

/* Looks at the piece, on which leg 1 holds something else, and expects that it doesn't count yet. */
static void look_in_vain(uint64_t now, char other)
{
	struct request request = { .kind = IO_SELF };
	uint64_t again = UINT64_MAX;

	begin_piece_at(now);
	*bytes_of(1, 512) = other;
	end_ops(0);
	assert_int_equal(course.plan.count, 2); /* nothing is written */
	assert_int_equal(course.plan.result, 0);
	assert_int_equal(mirror->scrub.differing, 0);
	assert_int_equal(mirror->scrub.done, 0);
	fixture_finish(&course);
	assert_false(mirror_scrub_next(tree->root, now, &request, &again));
	assert_int_equal(again, now + 1000000000);
}

static void what_may_be_a_write_half_done_is_looked_at_again(void **state)
{
	open_scrub(PAIR, true, 0);
	mirror_set_bits(mirror, 3, REGION_DIRTY, 0);
	look_in_vain(0, 8);
	begin_piece_at(1000000000);
	end_ops(0);
	assert_int_equal(course.plan.count, 2);
	assert_int_equal(mirror->scrub.differing, 0);
	assert_int_equal(mirror->scrub.looked_again, 1);
	assert_int_equal(mirror->scrub.done, SIZE);
	close_scrub();
}

static void what_still_differs_at_the_second_look_counts(void **state)
{
	open_scrub(PAIR, false, LEGS_MAX);
	mirror_set_bits(mirror, 3, REGION_DIRTY, 0);
	look_in_vain(0, 8);
	look_in_vain(1000000000, 9); /* it isn't the same */
	begin_piece_at(2000000000);
	*bytes_of(1, 512) = 9;
	end_ops(0);
	assert_int_equal(mirror->scrub.differing, 512);
	assert_int_equal(mirror->scrub.looked_again, 1);
	assert_int_equal(mirror->scrub.done, SIZE);
	close_scrub();
}

static void it_is_not_looked_at_for_ever(void **state)
{
	unsigned i;

	open_scrub(PAIR, false, LEGS_MAX);
	mirror_set_bits(mirror, 0, REGION_DIRTY, 0);
	for (i = 0; i < 8; i++)
		look_in_vain(i * UINT64_C(1000000000), (char)(8 + i));
	begin_piece_at(i * UINT64_C(1000000000));
	*bytes_of(1, 512) = (char)(8 + i);
	end_ops(0);
	assert_int_equal(mirror->scrub.differing, 512);
	close_scrub();
}

/* It neither counts nor is written: a scrub that began since looks there itself. */
static void a_piece_of_a_scrub_that_was_stopped_is_dropped(void **state)
{
	struct err err = { 0 };

	open_scrub(PAIR, true, 0);
	begin_piece();
	assert_int_equal(mirror_scrub_stop(tree->root, &err), 0);
	*bytes_of(1, 512) = 8;
	end_ops(0);
	assert_int_equal(course.plan.count, 2);
	assert_int_equal(mirror->scrub.differing, 0);
	assert_false(mirror->scrub.is_busy);
	close_scrub();
}

static void what_could_not_be_written_is_not_called_repaired(void **state)
{
	open_scrub(THREE, true, LEGS_MAX);
	begin_piece();
	*bytes_of(0, 0) = 8;
	end_ops(0);
	assert_int_equal(course.plan.count, 4);
	end_ops(-EIO);
	assert_int_equal(mirror->legs[0].state, LEG_FAILED);
	assert_int_equal(mirror->scrub.done, 0); /* its record is under way */
	end_ops(0);
	assert_int_equal(mirror->scrub.done, SIZE);
	assert_int_equal(mirror->scrub.repaired, 0);
	close_scrub();
}

static const char *say(const char *arguments)
{
	static char text[512];
	struct err err = { 0 };
	struct json_object *answer = json_object_new_object();
	struct json *json = json_parse("arguments", arguments, strlen(arguments), &err);

	assert_non_null(json);
	(void)tree->root->type->command(tree->root, "scrub", json, answer, &err);
	(void)snprintf(text, sizeof(text), "%s", err.text ? err.text : "");
	json_destroy(json);
	json_object_put(answer);
	err_finish(&err);
	return text;
}

static void a_scrub_keeps_to_its_rate(void **state)
{
	struct request request = { .kind = IO_SELF };
	uint64_t again = UINT64_MAX;

	tree = fixture_tree("{'type':'mirror','region_size':4096,'children':[@+262144,@+262144]}");
	mirror = tree->root->state;
	mirror_set_bits(mirror, 0, 0, REGION_BITS); /* nothing is compared, and that costs as much */
	assert_string_equal(say("{\"rate\":\"64KiB\"}"), "");
	assert_true(mirror_scrub_next(tree->root, 5, &request, &again));
	assert_int_equal(request.length, 65536);
	fixture_map(&course, tree->root, request);
	assert_false(mirror_scrub_next(tree->root, 6, &request, &again));
	assert_int_equal(again, 1000000005);
	assert_true(mirror_scrub_next(tree->root, 1000000005, &request, &again));
	assert_int_equal(mirror->work.next_copy, 0); /* a resync doesn't wait for that */
	close_scrub();
}

static void what_makes_no_sense_is_refused(void **state)
{
	tree = fixture_tree(PAIR);
	mirror = tree->root->state;
	assert_string_equal(say("{\"rate\":5}"),
		"mirror mirror0: scrub's \"rate\" is bytes per second and a text, as \"10MiB\"\n");
	assert_string_equal(say("{\"rate\":\"0\"}"),
		"mirror mirror0: scrub's \"rate\" is bytes per second and a text, as \"10MiB\"\n");
	assert_string_equal(say("{\"repair\":1}"),
		"mirror mirror0: scrub's \"repair\" is true or false\n");
	assert_string_equal(say("{\"believe\":1}"), "mirror mirror0: \"\" is none of its legs\n");
	assert_int_equal(mirror->scrub.state, SCRUB_NONE);
	tree_destroy(tree);
}

static void what_need_not_be_even_is_not_compared(void **state)
{
	static const uint8_t bits[] = { 0, REGION_WRITTEN | REGION_UNEVEN, REGION_WRITTEN | REGION_TODO };
	unsigned i;

	for (i = 0; i < LENGTH_OF(bits); i++) {
		open_scrub(PAIR, false, LEGS_MAX);
		mirror_set_bits(mirror, 3, bits[i] & (uint8_t)~REGION_TODO, UINT8_MAX);
		begin_piece();
		fixture_finish(&course);
		mirror_set_bits(mirror, 3, bits[i], UINT8_MAX);
		fixture_map(&course, tree->root, course.request);
		assert_int_equal(course.plan.count, 0);
		assert_int_equal(mirror->scrub.skipped > 0, true);
		assert_int_equal(mirror->scrub.done, SIZE);
		close_scrub();
	}
}

static void a_scrub_waits_for_a_resync_and_ends(void **state)
{
	struct request request = { .kind = IO_SELF };
	uint64_t again = UINT64_MAX;

	open_scrub(PAIR, false, LEGS_MAX);
	mirror_set_bits(mirror, 0, REGION_TODO, 0);
	assert_false(mirror_scrub_next(tree->root, 0, &request, &again));
	mirror_set_bits(mirror, 0, 0, REGION_TODO);
	begin_piece();
	assert_false(mirror_scrub_next(tree->root, 0, &request, &again)); /* one piece at a time */
	end_ops(0);
	assert_int_equal(mirror->scrub.state, SCRUB_RUNNING);
	assert_false(mirror_scrub_next(tree->root, 0, &request, &again));
	assert_int_equal(mirror->scrub.state, SCRUB_DONE);
	close_scrub();
}

static void a_scrub_needs_two_legs_and_runs_once(void **state)
{
	struct scrub_wish wish = { .believed = LEGS_MAX };
	struct err err = { 0 };

	open_scrub(PAIR, false, LEGS_MAX);
	assert_int_equal(mirror_scrub_begin(tree->root, &wish, &err), -1);
	assert_int_equal(mirror_scrub_stop(tree->root, &err), 0);
	assert_int_equal(mirror_scrub_stop(tree->root, &err), -1);
	mirror->legs[1].state = LEG_REBUILDING;
	assert_int_equal(mirror_scrub_begin(tree->root, &wish, &err), -1);
	mirror->legs[1].state = LEG_IN_SYNC;
	assert_int_equal(mirror_scrub_begin(tree->root, &wish, &err), 0);
	assert_string_equal(err.text, "mirror mirror0 is being scrubbed already\n"
				      "mirror mirror0 is not being scrubbed\n"
				      "mirror mirror0 has one leg in sync: there is nothing to compare it with\n");
	err_finish(&err);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_leg_in_sync_is_read_under_one_hold),
		cmocka_unit_test(more_than_half_of_the_legs_decide),
		cmocka_unit_test(what_is_decided_is_written_if_that_is_asked_for),
		cmocka_unit_test(where_no_majority_is_nothing_is_guessed),
		cmocka_unit_test(the_user_may_believe_a_leg),
		cmocka_unit_test(a_leg_that_cannot_be_read_decides_nothing),
		cmocka_unit_test(what_may_be_a_write_half_done_is_looked_at_again),
		cmocka_unit_test(what_still_differs_at_the_second_look_counts),
		cmocka_unit_test(it_is_not_looked_at_for_ever),
		cmocka_unit_test(a_piece_of_a_scrub_that_was_stopped_is_dropped),
		cmocka_unit_test(what_could_not_be_written_is_not_called_repaired),
		cmocka_unit_test(a_scrub_keeps_to_its_rate),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(what_need_not_be_even_is_not_compared),
		cmocka_unit_test(a_scrub_waits_for_a_resync_and_ends),
		cmocka_unit_test(a_scrub_needs_two_legs_and_runs_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
