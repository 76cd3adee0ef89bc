// SPDX-License-Identifier: MIT
/* mirror: what is durable before a write, what is said clean and when, and what is copied: plans. */
#include "fixture.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json.h>

#define PAIR                                                                                       \
	"{'type':'mirror','read_policy':'round_robin','region_size':4096,'children':[@+16384,@+"   \
	"16384]}"
#define MS UINT64_C(1000000)

static struct mirror *mirror;
static struct tree *tree;
static struct fixture_plan course;

static void open_pair(void)
{
	unsigned i;

	tree = fixture_tree(PAIR);
	mirror = tree->root->state;
	/* The fixture takes what is work for self ops: they get what work has. */
	tree->root->needs.self_nested = 1;
	tree->root->needs.self_ops = tree->root->needs.work_ops;
	tree->root->needs.self_scratch = tree->root->needs.work_scratch;
	for (i = 0; i < mirror->region_count; i++) { /* as load() finds it after a clean stop */
		mirror_set_bits(mirror, i, 0, UINT8_MAX);
		mirror->regions[i].is_durable = false;
	}
	assert_int_equal(mirror->region_count, 4);
}

static void close_pair(void)
{
	tree_destroy(tree);
}

static struct request writes(uint64_t offset, uint64_t length)
{
	return fixture_request(IO_WRITE, 0, offset, length);
}

static struct request self(unsigned word, uint64_t offset, uint64_t length)
{
	return (struct request){
		.kind = IO_SELF, .flags = word, .offset = offset, .length = length
	};
}

static const char *plans(void)
{
	static char text[2048];

	plan_print(&course.plan, text, sizeof(text));
	return text;
}

/* All ops so far end like that; then the node is asked again. */
static void end_ops(int result)
{
	struct plan *plan = &course.plan;

	for (; course.begun < plan->count; course.begun++)
		plan->ops[course.begun].result = result;
	plan->ask = false;
	plan_then(plan);
	tree->root->type->resume(tree->root, &course.request, plan);
}

static void make_page_durable(void)
{
	fixture_map(&course, tree->root, self(WORD_PAGE, SELF_RANGES, PAGE_BYTES));
	end_ops(0);
	fixture_finish(&course);
}

static void a_write_to_a_clean_region_waits_for_its_page(void **state)
{
	open_pair();
	assert_string_equal(fixture_story(tree->root, writes(512, 512), ""),
		"wave 0: self 1 4611686018427387904 4096\n"
		"wave 1: child 0 write 1049088 512 from 0\n"
		"wave 1: child 1 write 1049088 512 from 0\n= 0\n= 0 0\nresult 0\n");
	make_page_durable();
	assert_string_equal(fixture_story(tree->root, writes(1024, 512), ""),
		"wave 0: child 0 write 1049600 512 from 0\n"
		"wave 0: child 1 write 1049600 512 from 0\n= 0 0\nresult 0\n");
	assert_non_null(strstr(fixture_story(tree->root, writes(4096, 512), ""), "wave 0: self"));
	close_pair();
}

static void a_write_whose_page_fails_is_not_sent(void **state)
{
	open_pair();
	assert_non_null(strstr(fixture_story(tree->root, writes(512, 512), "-5"), "= -5\nresult -5"));
	assert_int_equal(mirror_legs_used(tree->root), 2); /* nobody missed anything */
	close_pair();
}

static void a_page_goes_durably_to_every_leg_once(void **state)
{
	open_pair();
	fixture_map(&course, tree->root, writes(512, 512));
	fixture_finish(&course);
	fixture_map(&course, tree->root, self(WORD_PAGE, SELF_RANGES, PAGE_BYTES));
	assert_string_equal(plans(), "wave 0: child 0 write fua 4096 4096 from scratch 0\n"
				     "wave 0: child 1 write fua 4096 4096 from scratch 0\n");
	assert_int_equal(mirror_page_bits(course.plan.scratch, 0), REGION_WRITTEN | REGION_DIRTY);
	assert_int_equal(mirror_page_bits(course.plan.scratch, 1), 0);
	end_ops(0);
	fixture_finish(&course);
	fixture_map(&course, tree->root, self(WORD_PAGE, SELF_RANGES, PAGE_BYTES));
	assert_string_equal(plans(), ""); /* who came meanwhile finds it done */
	fixture_finish(&course);
	close_pair();
}

/* A region that gets dirty while a page is on its way is not in that page. */
static void a_page_covers_what_was_dirty_when_it_began(void **state)
{
	struct fixture_plan late;

	open_pair();
	fixture_map(&late, tree->root, writes(0, 512));
	fixture_finish(&late);
	fixture_map(&course, tree->root, self(WORD_PAGE, SELF_RANGES, PAGE_BYTES));
	fixture_map(&late, tree->root, writes(4096, 512));
	fixture_finish(&late);
	end_ops(0);
	fixture_finish(&course);
	assert_true(mirror->regions[0].is_durable);
	assert_false(mirror->regions[1].is_durable);
	close_pair();
}

static void clear_at(uint64_t now)
{
	struct request request = self(WORD_CLEAR, 0, 0);

	fixture_map(&course, tree->root, request);
	fixture_finish(&course);
	mirror->work.is_clearing = true;
	course.plan.count = 0;
	(void)now;
}

/* The state after a write to region 0 that has ended. */
static void write_once(void)
{
	fixture_map(&course, tree->root, writes(0, 512));
	fixture_finish(&course);
	make_page_durable();
	mirror_unmark(tree->root, &(struct request){ .offset = 0, .length = 512 });
	assert_true(mirror->regions[0].is_recent);
	mirror->regions[0].is_recent = false;
	mirror->regions[0].stamp = (uint32_t)-6000; /* six seconds before the fixture's clock */
}

static void what_is_quiet_is_said_clean_after_a_flush(void **state)
{
	open_pair();
	write_once();
	fixture_map(&course, tree->root, self(WORD_CLEAR, 0, 0));
	assert_string_equal(plans(), "wave 0: child 0 flush\nwave 0: child 1 flush\n");
	end_ops(0);
	assert_int_equal(course.plan.count, 3);
	assert_int_equal(course.plan.ops[2].request.kind, IO_SELF);
	assert_true(mirror->regions[0].bits & REGION_DIRTY); /* until its page is written */
	fixture_finish(&course);
	make_page_durable();
	assert_int_equal(mirror->regions[0].bits, REGION_WRITTEN);
	assert_false(mirror->regions[0].is_durable);
	close_pair();
}

static void what_is_in_use_stays_dirty(void **state)
{
	open_pair();
	write_once();
	mirror->regions[0].is_recent = true;
	clear_at(0);
	assert_false(mirror->regions[0].bits & REGION_IDLE);
	write_once();
	mirror->regions[0].writers = 1;
	clear_at(0);
	assert_false(mirror->regions[0].bits & REGION_IDLE);
	mirror->regions[0].writers = 0;
	clear_at(0);
	assert_true(mirror->regions[0].bits & REGION_IDLE);
	close_pair();
}

static void a_write_after_the_flush_began_keeps_its_region_dirty(void **state)
{
	struct fixture_plan late;

	open_pair();
	write_once();
	fixture_map(&course, tree->root, self(WORD_CLEAR, 0, 0));
	fixture_map(&late, tree->root, writes(512, 512));
	fixture_finish(&late);
	end_ops(0);
	assert_int_equal(course.plan.count, 2); /* no page */
	fixture_finish(&course);
	assert_true(mirror->regions[0].bits & REGION_DIRTY);
	assert_true(mirror->regions[0].is_durable);
	close_pair();
}

static void a_failed_flush_says_nothing_clean(void **state)
{
	open_pair();
	write_once();
	fixture_map(&course, tree->root, self(WORD_CLEAR, 0, 0));
	course.plan.ops[0].result = -EIO;
	course.plan.ops[1].result = -EIO;
	course.begun = 2;
	end_ops(0);
	fixture_finish(&course);
	assert_true(mirror->regions[0].bits & REGION_DIRTY);
	assert_false(mirror->regions[0].bits & (REGION_IDLE | REGION_SETTLED));
	close_pair();
}

static void what_an_absent_leg_misses_is_marked(void **state)
{
	open_pair();
	write_once();
	assert_true(mirror_fail(tree->root, 1));
	mirror->regions[0].bits |= REGION_SETTLED;
	make_page_durable();
	assert_int_equal(mirror->regions[0].bits, REGION_WRITTEN | REGION_CHANGED);
	close_pair();
}

static void a_leg_that_is_copied_to_is_written_and_not_read(void **state)
{
	struct request flush = fixture_request(IO_FLUSH, 0, 0, 0);
	unsigned i;

	open_pair();
	mirror->legs[1].state = LEG_REBUILDING;
	assert_non_null(strstr(fixture_story(tree->root, writes(0, 512), ""), "child 1 write"));
	assert_string_equal(
		fixture_story(tree->root, flush, ""), "wave 0: child 0 flush\n= 0\nresult 0\n");
	for (i = 0; i < 4; i++)
		assert_non_null(strstr(fixture_story(tree->root,
					       fixture_request(IO_READ, 0, 0, 512), ""),
			"child 0 read"));
	/* When it fails there is nothing to record: it is stale by the labels. */
	assert_false(mirror_fail(tree->root, 1));
	assert_int_equal(mirror->unrecorded, 0);
	close_pair();
}

static void where_legs_may_differ_only_the_primary_is_read(void **state)
{
	static const uint8_t reasons[] = { REGION_TODO, REGION_UNEVEN };
	unsigned i, j;

	for (i = 0; i < LENGTH_OF(reasons); i++) {
		open_pair();
		mirror->primary = 1;
		mirror_set_bits(mirror, 1, reasons[i], 0);
		for (j = 0; j < 4; j++)
			assert_non_null(strstr(fixture_story(tree->root,
						       fixture_request(IO_READ, 0, 3584, 1024), ""),
				"child 1 read"));
		close_pair();
	}
}

static void a_piece_is_copied_from_the_primary_to_the_others(void **state)
{
	open_pair();
	mirror->primary = 1;
	mirror_set_bits(mirror, 2, REGION_TODO | REGION_DIRTY | REGION_WRITTEN, 0);
	mirror->work.slots[0] = (struct copy_slot){ true, true, 2, 0, 0 };
	fixture_map(&course, tree->root, self(WORD_COPY, 8192, 4096));
	assert_string_equal(plans(), "wave 0: child 1 read 1056768 4096 from scratch 0\n");
	memset(course.plan.scratch, 1, 4096);
	end_ops(0);
	assert_string_equal(plans(), "wave 0: child 1 read 1056768 4096 from scratch 0\n"
				     "wave 1: child 0 write 1056768 4096 from scratch 0\n");
	end_ops(0);
	fixture_finish(&course);
	assert_int_equal(mirror->regions[2].bits, REGION_COPIED | REGION_DIRTY | REGION_WRITTEN);
	close_pair();
}

/* Whose bytes may be in memory only, as a flush of them has failed in an earlier life. */
static void what_is_in_doubt_is_written_to_the_leg_that_was_read_too(void **state)
{
	open_pair();
	mirror_set_bits(mirror, 2, REGION_DIRTY | REGION_WRITTEN, 0);
	mirror->regions[2].is_doubted = true;
	assert_true(mirror_fail(tree->root, 1)); /* also where there is no other */
	mirror_find_todo(tree->root);
	mirror_drop_todo(mirror);
	assert_true(mirror->regions[2].bits & REGION_TODO);
	mirror->work.slots[0] = (struct copy_slot){ true, true, 2, 0, 0 };
	fixture_map(&course, tree->root, self(WORD_COPY, 8192, 4096));
	memset(course.plan.scratch, 1, 4096);
	end_ops(0);
	assert_string_equal(plans(), "wave 0: child 0 read 1056768 4096 from scratch 0\n"
				     "wave 1: child 0 write 1056768 4096 from scratch 0\n");
	end_ops(0);
	end_ops(0); /* and the record of the leg that has failed */
	fixture_finish(&course);
	mirror_settle(tree->root, &mirror->regions[2]);
	assert_false(mirror->regions[2].is_doubted);
	close_pair();
}

/*
 * Of a mirror below only one leg was read: another one may hold something else, and be shown once that has
 * failed. What is copied is written to all of them.
 */
static void what_a_mirror_below_has_shown_is_written_to_it_too(void **state)
{
	tree = fixture_tree("{'type':'mirror','region_size':4096,'children':[{'type':'linear',"
			    "'children':[@+1048576,{'type':'mirror','children':[@+1048576]}]},@+16384]}");
	mirror = tree->root->state;
	assert_true(mirror->legs[0].has_mirror);
	assert_false(mirror->legs[1].has_mirror);
	tree->root->needs.self_ops = tree->root->needs.work_ops;
	tree->root->needs.self_scratch = tree->root->needs.work_scratch;
	mirror_set_bits(mirror, 0, REGION_WRITTEN | REGION_UNEVEN | REGION_TODO, UINT8_MAX);
	mirror->work.slots[0] = (struct copy_slot){ true, true, 0, 0, 0 };
	fixture_map(&course, tree->root, self(WORD_COPY, 0, 4096));
	memset(course.plan.scratch, 1, 4096);
	end_ops(0);
	assert_string_equal(plans(), "wave 0: child 0 read 1048576 4096 from scratch 0\n"
				     "wave 1: child 0 write 1048576 4096 from scratch 0\n"
				     "wave 1: child 1 write 1048576 4096 from scratch 0\n");
	end_ops(0);
	fixture_finish(&course);
	close_pair();
}

/* Else it could meet another version than the copy has read, which the copy then changes back. */
static void a_read_never_falls_between_a_copys_read_and_its_write(void **state)
{
	struct request request = fixture_request(IO_READ, 0, 3584, 1024);
	struct range range;

	open_pair();
	assert_int_equal(mirror_hold(tree->root, &request, &range), HOLD_NONE);
	mirror_set_bits(mirror, 1, REGION_TODO, 0);
	assert_int_equal(mirror_hold(tree->root, &request, &range), HOLD_SHARED);
	assert_int_equal(range.offset, 3584);
	assert_int_equal(range.length, 1024);
	(void)fixture_story(tree->root, request, "");
	assert_int_equal(mirror->regions[1].writers, 0); /* it was none */
	close_pair();
}

static void holes_stay_holes(void **state)
{
	open_pair();
	mirror_set_bits(mirror, 2, REGION_TODO, 0);
	mirror->work.slots[0] = (struct copy_slot){ true, true, 2, 0, 0 };
	fixture_map(&course, tree->root, self(WORD_COPY, 8192, 4096));
	memset(course.plan.scratch, 0, 4096);
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 1: child 1 write-zeroes 1056768 4096\n"));
	course.plan.ops[1].result = -EOPNOTSUPP; /* it knows no zeroing after all */
	course.begun = 2;
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 2: child 1 write 1056768 4096 from scratch 0\n"));
	end_ops(0);
	fixture_finish(&course);
	assert_int_equal(mirror->regions[2].bits, REGION_COPIED);
	close_pair();
}

/* The leg that was read fails before the read ends: nobody goes by it any more. */
static void what_a_failed_leg_gave_is_copied_nowhere(void **state)
{
	open_pair();
	mirror_set_bits(mirror, 2, REGION_TODO, 0);
	mirror->work.slots[0] = (struct copy_slot){ true, true, 2, 0, 0 };
	fixture_map(&course, tree->root, self(WORD_COPY, 8192, 4096));
	memset(course.plan.scratch, 1, 4096);
	assert_true(mirror_fail(tree->root, 0));
	end_ops(0);
	assert_int_equal(course.plan.count, 1);
	fixture_finish(&course);
	close_pair();
}

static void a_write_that_fails_on_the_last_leg_leaves_something_to_copy(void **state)
{
	open_pair();
	mirror->legs[1].state = LEG_REBUILDING;
	mirror->regions[0].is_durable = true;
	assert_non_null(strstr(fixture_story(tree->root, writes(0, 512), "-5 0"), "result -5"));
	assert_true(mirror->regions[0].bits & REGION_TODO);
	close_pair();
}

/* Flush, then the record that says so, on its own label first, then it is read. */
static void a_leg_joins_when_its_flush_and_the_record_are_durable(void **state)
{
	open_pair();
	mirror->legs[1].state = LEG_REBUILDING;
	tree->root->children[1]->rebuilding = true;
	fixture_map(&course, tree->root, self(WORD_JOIN, 0, 0));
	assert_string_equal(plans(), "wave 0: child 1 flush\n"
				     "wave 0: self 1 4611686018427387904 4096\n");
	assert_true(tree->root->children[1]->rebuilding);
	assert_non_null(strstr(
		fixture_story(tree->root, fixture_request(IO_FLUSH, 0, 0, 0), ""), "child 1 flush"));
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 1: child 1 record\n"));
	assert_null(strstr(plans(), "child 0 record"));
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 2: child 0 record\nwave 2: child 1 record\n"));
	assert_false(tree->root->children[1]->rebuilding);
	assert_int_equal(mirror->legs[1].state, LEG_JOINING);
	end_ops(0);
	fixture_finish(&course);
	assert_int_equal(mirror->legs[1].state, LEG_IN_SYNC);
	close_pair();
}

/* What became of regions while it was away stands in pages that it doesn't have. */
static void a_leg_that_joins_is_given_every_page(void **state)
{
	open_pair();
	mirror->legs[1].state = LEG_REBUILDING;
	mirror_set_bits(mirror, 2, REGION_WRITTEN | REGION_DIRTY, 0);
	mirror->regions[2].is_durable = true; /* on the other leg */
	fixture_map(&course, tree->root, self(WORD_PAGE, SELF_RANGES, PAGE_BYTES));
	assert_string_equal(plans(), "");
	fixture_finish(&course);
	fixture_map(&course, tree->root, self(WORD_JOIN, 0, 0));
	fixture_finish(&course);
	fixture_map(&course, tree->root, self(WORD_PAGE, SELF_RANGES, PAGE_BYTES));
	assert_non_null(strstr(plans(), "child 1 write fua 4096 4096 from scratch 0\n"));
	assert_int_equal(mirror_page_bits(course.plan.scratch, 2), REGION_WRITTEN | REGION_DIRTY);
	fixture_finish(&course);
	close_pair();
}

static void a_leg_whose_last_flush_fails_does_not_join(void **state)
{
	open_pair();
	mirror->legs[1].state = LEG_REBUILDING;
	tree->root->children[1]->rebuilding = true;
	fixture_map(&course, tree->root, self(WORD_JOIN, 0, 0));
	end_ops(-EIO);
	assert_int_equal(mirror->legs[1].state, LEG_FAILED);
	fixture_finish(&course);
	close_pair();
}

static void what_a_leg_could_not_read_is_written_there_again(void **state)
{
	struct request request;
	uint64_t again = UINT64_MAX;

	open_pair();
	assert_non_null(strstr(
		fixture_story(tree->root, fixture_request(IO_READ, 0, 512, 512), "-5 0"), "result 0"));
	assert_true(mirror_work(tree->root, 0, &request, &again));
	assert_int_equal(request.offset, 512); /* held, so that no write comes between */
	assert_int_equal(request.length, 512);
	fixture_map(&course, tree->root, request);
	assert_string_equal(plans(), "wave 0: child 1 read 1049088 512 from scratch 0\n");
	end_ops(0);
	assert_non_null(strstr(plans(), "wave 1: child 0 write 1049088 512 from scratch 0\n"));
	end_ops(0);
	fixture_finish(&course);
	assert_int_equal(mirror->legs[0].repaired, 1);
	close_pair();
}

/* Another leg may hold something older or newer than what has been read there. */
static void nothing_is_written_over_the_primary_where_legs_may_differ(void **state)
{
	struct request request;
	uint64_t again = UINT64_MAX;

	open_pair();
	mirror_set_bits(mirror, 0, REGION_WRITTEN | REGION_DIRTY | REGION_TODO, 0);
	assert_non_null(strstr(
		fixture_story(tree->root, fixture_request(IO_READ, 0, 512, 512), "-5 0"), "result 0"));
	assert_true(mirror_work(tree->root, 0, &request, &again));
	fixture_map(&course, tree->root, request);
	end_ops(0);
	assert_null(strstr(plans(), "write"));
	fixture_finish(&course);
	assert_int_equal(mirror->work.repair_count, 0);
	assert_int_equal(mirror->legs[0].repaired, 0);
	close_pair();
}

static void verbs_fail_a_leg_and_take_it_in_again(void **state)
{
	struct err err = { 0 };
	struct json *leg = json_parse("a", "{\"leg\":\"file2\"}", 15, &err);
	struct json *other = json_parse("a", "{\"leg\":\"file1\"}", 15, &err);
	struct json_object *answer = json_object_new_object();

	open_pair();
	assert_int_equal(mirror_command(tree->root, "fail", leg, answer, &err), 0);
	assert_true(tree->root->children[1]->failed);
	assert_true(mirror->work.wants_record);
	engine_flush_failed(tree->leaves[1]);
	assert_int_equal(mirror_command(tree->root, "add", leg, answer, &err), -1);
	tree->leaves[1]->flush_failed = false;
	assert_int_equal(mirror_command(tree->root, "fail", other, answer, &err), -1);
	assert_int_equal(mirror_command(tree->root, "add", other, answer, &err), -1);
	mirror_set_bits(mirror, 3, REGION_CHANGED | REGION_WRITTEN, 0);
	assert_int_equal(mirror_command(tree->root, "add", leg, answer, &err), 0);
	assert_true(tree->root->children[1]->rebuilding);
	assert_int_equal(mirror->todo_count, 1);
	assert_true(mirror->work.wants_super);
	assert_string_equal(err.text,
		"mirror mirror0: leg file2 has failed a flush, and none of it is believed any more: it comes "
		"back when the device is started again\n"
		"mirror mirror0: leg file1 is the only one in sync, and can't be failed\n"
		"mirror mirror0: leg file1 is in sync; only one that has failed, or was replaced, can be added\n");
	json_object_put(answer);
	json_destroy(leg);
	json_destroy(other);
	err_finish(&err);
	close_pair();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_to_a_clean_region_waits_for_its_page),
		cmocka_unit_test(a_write_whose_page_fails_is_not_sent),
		cmocka_unit_test(a_page_goes_durably_to_every_leg_once),
		cmocka_unit_test(a_page_covers_what_was_dirty_when_it_began),
		cmocka_unit_test(what_is_quiet_is_said_clean_after_a_flush),
		cmocka_unit_test(what_is_in_use_stays_dirty),
		cmocka_unit_test(a_write_after_the_flush_began_keeps_its_region_dirty),
		cmocka_unit_test(a_failed_flush_says_nothing_clean),
		cmocka_unit_test(what_an_absent_leg_misses_is_marked),
		cmocka_unit_test(a_leg_that_is_copied_to_is_written_and_not_read),
		cmocka_unit_test(where_legs_may_differ_only_the_primary_is_read),
		cmocka_unit_test(a_piece_is_copied_from_the_primary_to_the_others),
		cmocka_unit_test(what_is_in_doubt_is_written_to_the_leg_that_was_read_too),
		cmocka_unit_test(what_a_mirror_below_has_shown_is_written_to_it_too),
		cmocka_unit_test(a_read_never_falls_between_a_copys_read_and_its_write),
		cmocka_unit_test(holes_stay_holes),
		cmocka_unit_test(what_a_failed_leg_gave_is_copied_nowhere),
		cmocka_unit_test(a_write_that_fails_on_the_last_leg_leaves_something_to_copy),
		cmocka_unit_test(a_leg_joins_when_its_flush_and_the_record_are_durable),
		cmocka_unit_test(a_leg_that_joins_is_given_every_page),
		cmocka_unit_test(a_leg_whose_last_flush_fails_does_not_join),
		cmocka_unit_test(what_a_leg_could_not_read_is_written_there_again),
		cmocka_unit_test(nothing_is_written_over_the_primary_where_legs_may_differ),
		cmocka_unit_test(verbs_fail_a_leg_and_take_it_in_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
