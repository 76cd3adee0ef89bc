// SPDX-License-Identifier: MIT
/* mirror: which legs are asked, what a failing one costs, and what is recorded before an answer. */
#include "fixture.h"

#define MIRROR(policy, children)                                                                   \
	"{'type':'mirror','read_policy':'" policy "','children':[" children "]}"
#define PAIR MIRROR("first", "@+8192,@+8192")
#define TRIPLE MIRROR("first", "@+8192,@+8192,@+8192")
#define QUAD MIRROR("first", "@+8192,@+8192,@+8192,@+8192")
#define REGULAR "{'type':'file','path':'x','size':1056768}"
#define SLOW "{'type':'file','path':'x','size':1056768,'write_mostly':true}"

static struct request read_request(void)
{
	return fixture_request(IO_READ, 0, 512, 1024);
}

static struct request write_request(void)
{
	return fixture_request(IO_WRITE, 0, 512, 1024);
}

/* One request on a fresh tree. */
struct course {
	const char *root;
	enum io_kind kind;
	unsigned flags;
	const char *results, *story;
};

static void check_courses(const struct course *courses, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		struct tree *tree = fixture_tree(courses[i].root);
		struct request request =
			fixture_request(courses[i].kind, courses[i].flags, 512, 1024);

		assert_string_equal(
			fixture_story(tree->root, request, courses[i].results), courses[i].story);
		tree_destroy(tree);
	}
}

#define TWO_WRITES "wave 0: child 0 write 1049088 1024 from 0\nwave 0: child 1 write 1049088 1024 from 0\n"
#define THREE_WRITES TWO_WRITES "wave 0: child 2 write 1049088 1024 from 0\n"

static void writes_go_to_every_leg(void **state)
{
	static const struct course courses[] = {
		{ PAIR, IO_WRITE, 0, "", TWO_WRITES "= 0 0\nresult 0\n" },
		{ PAIR, IO_WRITE, IO_FUA, "",
			"wave 0: child 0 write fua 1049088 1024 from 0\n"
			"wave 0: child 1 write fua 1049088 1024 from 0\n= 0 0\nresult 0\n" },
		{ PAIR, IO_WRITE_ZEROES, IO_NOUNMAP | IO_FUA, "",
			"wave 0: child 0 write-zeroes fua nounmap 1049088 1024\n"
			"wave 0: child 1 write-zeroes fua nounmap 1049088 1024\n= 0 0\nresult 0\n" },
		{ PAIR, IO_DISCARD, 0, "",
			"wave 0: child 0 discard 1049088 1024\n"
			"wave 0: child 1 discard 1049088 1024\n= 0 0\nresult 0\n" },
		{ PAIR, IO_FLUSH, 0, "",
			"wave 0: child 0 flush\nwave 0: child 1 flush\n= 0 0\nresult 0\n" },
		{ PAIR, IO_RECORD, 0, "",
			"wave 0: child 0 record\nwave 0: child 1 record\n= 0 0\nresult 0\n" },
	};

	check_courses(courses, LENGTH_OF(courses));
}

static void a_missed_write_is_recorded_before_it_is_acknowledged(void **state)
{
	static const struct course courses[] = {
		{ PAIR, IO_WRITE, 0, "0 -5 0",
			TWO_WRITES "= 0 -5\nwave 1: child 0 record\n= 0\nresult 0\n" },
		{ PAIR, IO_WRITE, 0, "-5 0 0",
			TWO_WRITES "= -5 0\nwave 1: child 1 record\n= 0\nresult 0\n" },
		{ TRIPLE, IO_WRITE, 0, "0 -28 0 0 0",
			THREE_WRITES "= 0 -28 0\nwave 1: child 0 record\nwave 1: child 2 record\n"
				     "= 0 0\nresult 0\n" },
		{ TRIPLE, IO_WRITE, 0, "-5 -5 0 0",
			THREE_WRITES "= -5 -5 0\nwave 1: child 2 record\n= 0\nresult 0\n" },
		{ PAIR, IO_DISCARD, 0, "-5 0 0",
			"wave 0: child 0 discard 1049088 1024\n"
			"wave 0: child 1 discard 1049088 1024\n= -5 0\n"
			"wave 1: child 1 record\n= 0\nresult 0\n" },
		{ PAIR, IO_WRITE_ZEROES, 0, "0 -5 0",
			"wave 0: child 0 write-zeroes 1049088 1024\n"
			"wave 0: child 1 write-zeroes 1049088 1024\n= 0 -5\n"
			"wave 1: child 0 record\n= 0\nresult 0\n" },
	};

	check_courses(courses, LENGTH_OF(courses));
}

static void a_failed_flush_fails_the_leg(void **state)
{
	static const struct course courses[] = {
		{ PAIR, IO_FLUSH, 0, "-5 0 0",
			"wave 0: child 0 flush\nwave 0: child 1 flush\n= -5 0\n"
			"wave 1: child 1 record\n= 0\nresult 0\n" },
		{ PAIR, IO_FLUSH, 0, "-5 -5",
			"wave 0: child 0 flush\nwave 0: child 1 flush\n= -5 -5\nresult "
			"-5\n" },
	};

	check_courses(courses, LENGTH_OF(courses));
}

static void a_failing_record_fails_its_leg_and_starts_another_round(void **state)
{
	static const struct course courses[] = {
		{ TRIPLE, IO_WRITE, 0, "0 0 -5 -5 0 0",
			THREE_WRITES "= 0 0 -5\nwave 1: child 0 record\nwave 1: child 1 record\n"
				     "= -5 0\nwave 2: child 1 record\n= 0\nresult 0\n" },
		{ QUAD, IO_WRITE, 0, "-5 0 0 0 -5 0 0 -5 0 0",
			THREE_WRITES "wave 0: child 3 write 1049088 1024 from 0\n= -5 0 0 0\n"
				     "wave 1: child 1 record\nwave 1: child 2 record\n"
				     "wave 1: child 3 record\n= -5 0 0\n"
				     "wave 2: child 2 record\nwave 2: child 3 record\n= -5 0\n"
				     "wave 3: child 3 record\n= 0\nresult 0\n" },
		{ PAIR, IO_WRITE, 0, "-5 0 -28",
			TWO_WRITES "= -5 0\nwave 1: child 1 record\n= -28\nresult -28\n" },
	};

	check_courses(courses, LENGTH_OF(courses));
}

static void the_last_leg_in_sync_is_never_failed(void **state)
{
	struct tree *tree = fixture_tree(PAIR);

	assert_string_equal(fixture_story(tree->root, write_request(), "-5 -28"),
		TWO_WRITES "= -5 -28\nresult -28\n");
	assert_true(tree->root->children[0]->failed);
	assert_false(tree->root->children[1]->failed);
	/* That leg 0 has missed something isn't durable yet: the next write sees to it. */
	assert_string_equal(fixture_story(tree->root, write_request(), ""),
		"wave 0: child 1 write 1049088 1024 from 0\nwave 0: child 1 record\n"
		"= 0 0\nresult 0\n");
	assert_string_equal(fixture_story(tree->root, write_request(), ""),
		"wave 0: child 1 write 1049088 1024 from 0\n= 0\nresult 0\n");
	assert_string_equal(fixture_story(tree->root, read_request(), ""),
		"wave 0: child 1 read 1049088 1024 from 0\n= 0\nresult 0\n");
	tree_destroy(tree);
}

static void a_flush_waits_for_a_record_that_is_due(void **state)
{
	struct tree *tree = fixture_tree(PAIR);

	fixture_story(tree->root, write_request(), "-5 -28");
	assert_string_equal(fixture_story(tree->root, fixture_request(IO_FLUSH, 0, 0, 0), "0 -5"),
		"wave 0: child 1 flush\nwave 0: child 1 record\n= 0 -5\nresult -5\n");
	assert_string_equal(fixture_story(tree->root, fixture_request(IO_FLUSH, 0, 0, 0), ""),
		"wave 0: child 1 flush\nwave 0: child 1 record\n= 0 0\nresult 0\n");
	assert_string_equal(fixture_story(tree->root, fixture_request(IO_FLUSH, 0, 0, 0), ""),
		"wave 0: child 1 flush\n= 0\nresult 0\n");
	tree_destroy(tree);
}

/* Another request fails a leg while our record is on its way: it doesn't cover that. */
static void a_record_covers_only_what_had_failed_when_it_began(void **state)
{
	struct tree *tree = fixture_tree(TRIPLE);
	struct node *mirror = tree->root;
	struct fixture_plan first;
	struct plan *plan = &first.plan;

	fixture_map(&first, mirror, write_request());
	plan->ops[0].result = -5;
	plan->ops[1].result = plan->ops[2].result = 0;
	plan_then(plan);
	mirror->type->resume(mirror, &first.request, plan);
	assert_int_equal(plan->count, 5); /* records on legs 1 and 2 */
	fixture_story(mirror, write_request(), "-5 0 0 0 -5"); /* its record on leg 2 fails */
	plan->ops[3].result = plan->ops[4].result = 0;
	plan_then(plan);
	mirror->type->resume(mirror, &first.request, plan);
	assert_int_equal(plan->result, PLAN_RUNNING);
	assert_int_equal(plan->count, 6);
	assert_int_equal(plan->ops[5].request.kind, IO_RECORD);
	assert_int_equal(plan->ops[5].child, 2);
	fixture_finish(&first);
	tree_destroy(tree);
}

static void a_read_is_tried_on_each_leg_in_turn(void **state)
{
	static const struct course courses[] = {
		{ PAIR, IO_READ, 0, "0", "wave 0: child 0 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ PAIR, IO_READ, 0, "-5 0",
			"wave 0: child 0 read 1049088 1024 from 0\n= -5\n"
			"wave 1: child 1 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ MIRROR("round_robin", "@+8192,@+8192"), IO_READ, 0, "-5 0",
			"wave 0: child 0 read 1049088 1024 from 0\n= -5\n"
			"wave 1: child 1 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ MIRROR("least_pending", "@+8192,@+8192"), IO_READ, 0, "-5 0",
			"wave 0: child 0 read 1049088 1024 from 0\n= -5\n"
			"wave 1: child 1 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ MIRROR("least_pending", "@+8192,@+8192"), IO_READ, 0, "0",
			"wave 0: child 0 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ TRIPLE, IO_READ, 0, "-5 -61 0",
			"wave 0: child 0 read 1049088 1024 from 0\n= -5\n"
			"wave 1: child 1 read 1049088 1024 from 0\n= -61\n"
			"wave 2: child 2 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ PAIR, IO_READ, 0, "-5 -61",
			"wave 0: child 0 read 1049088 1024 from 0\n= -5\n"
			"wave 1: child 1 read 1049088 1024 from 0\n= -61\nresult -61\n" },
		{ MIRROR("first", SLOW "," REGULAR), IO_READ, 0, "0",
			"wave 0: child 1 read 1049088 1024 from 0\n= 0\nresult 0\n" },
		{ MIRROR("least_pending", SLOW "," REGULAR), IO_READ, 0, "-5 0",
			"wave 0: child 1 read 1049088 1024 from 0\n= -5\n"
			"wave 1: child 0 read 1049088 1024 from 0\n= 0\nresult 0\n" },
	};

	check_courses(courses, LENGTH_OF(courses));
}

static void a_leg_with_read_errors_is_read_last_and_written_still(void **state)
{
	struct tree *tree = fixture_tree(PAIR);

	fixture_story(tree->root, read_request(), "-5 0");
	assert_false(tree->root->children[0]->failed);
	assert_string_equal(fixture_story(tree->root, read_request(), ""),
		"wave 0: child 1 read 1049088 1024 from 0\n= 0\nresult 0\n");
	assert_string_equal(
		fixture_story(tree->root, write_request(), ""), TWO_WRITES "= 0 0\nresult 0\n");
	tree_destroy(tree);
}

static unsigned first_child(struct node *node, struct fixture_plan *course)
{
	fixture_map(course, node, read_request());
	return course->plan.ops[0].child;
}

static void least_pending_reads_the_leg_with_the_fewest_reads_in_flight(void **state)
{
	struct tree *tree = fixture_tree(MIRROR("least_pending", "@+8192,@+8192,@+8192"));
	struct fixture_plan courses[6];
	unsigned i;

	for (i = 0; i < 6; i++)
		assert_int_equal(first_child(tree->root, &courses[i]), i % 3);
	/* Leg 1's first read ends, unseen but counted: it is the one with the fewest. */
	assert_true(courses[1].plan.tell);
	assert_false(courses[1].plan.ask);
	tree->root->type->ended(tree->root, &courses[1].request, &courses[1].plan);
	fixture_finish(&courses[1]);
	assert_int_equal(first_child(tree->root, &courses[1]), 1);
	for (i = 0; i < 6; i++)
		fixture_finish(&courses[i]);
	tree_destroy(tree);
}

/* A read that a leg has failed is the next one's to count, until it has ended, and then nobody's. */
static void a_read_is_counted_where_it_is_tried(void **state)
{
	struct tree *tree = fixture_tree(MIRROR("least_pending", "@+8192,@+8192,@+8192"));
	struct node *mirror = tree->root;
	struct fixture_plan tried, next[4];
	unsigned i;

	assert_int_equal(first_child(mirror, &tried), 0);
	for (i = 0; i < 2; i++) {
		tried.plan.ops[i].result = -5;
		plan_then(&tried.plan);
		mirror->type->resume(mirror, &tried.request, &tried.plan);
		assert_int_equal(tried.plan.ops[i + 1].child, i + 1);
	}
	assert_int_equal(first_child(mirror, &next[0]), 2); /* the one without errors */
	tried.plan.ops[2].result = -5;
	plan_then(&tried.plan);
	mirror->type->resume(mirror, &tried.request, &tried.plan);
	assert_int_equal(tried.plan.result, -5);
	mirror->type->ended(mirror, &tried.request, &tried.plan);
	mirror->type->ended(mirror, &next[0].request, &next[0].plan);
	for (i = 1; i < 4; i++) /* all alike again */
		assert_int_equal(first_child(mirror, &next[i]), i - 1);
	for (i = 0; i < 4; i++)
		fixture_finish(&next[i]);
	fixture_finish(&tried);
	tree_destroy(tree);
}

static void round_robin_reads_the_legs_in_turn(void **state)
{
	struct tree *tree = fixture_tree(MIRROR("round_robin", "@+8192,@+8192,@+8192"));
	static const unsigned turns[] = { 0, 1, 2, 0, 1, 2, 0 };
	static const unsigned without_1[] = { 2, 0, 2, 0 };
	unsigned i;

	for (i = 0; i < LENGTH_OF(turns); i++) {
		struct fixture_plan course;

		assert_int_equal(first_child(tree->root, &course), turns[i]);
		fixture_finish(&course);
	}
	tree->root->children[1]->failed = true;
	assert_int_equal(tree->root->type->open(tree->root, &(struct err){ 0 }), 0);
	for (i = 0; i < LENGTH_OF(without_1); i++) {
		struct fixture_plan course;

		assert_int_equal(first_child(tree->root, &course), without_1[i]);
		fixture_finish(&course);
	}
	tree_destroy(tree);
}

static void a_leg_that_cannot_discard_or_zero_is_no_worse_a_copy(void **state)
{
	struct tree *tree = fixture_tree(PAIR);

	assert_non_null(
		strstr(fixture_story(tree->root, fixture_request(IO_DISCARD, 0, 0, 512), "0 -95"),
			"result -95\n"));
	assert_non_null(strstr(
		fixture_story(tree->root, fixture_request(IO_WRITE_ZEROES, 0, 0, 512), "-95 0"),
		"result -95\n"));
	assert_false(tree->root->children[0]->failed);
	assert_false(tree->root->children[1]->failed);
	tree_destroy(tree);
}

static void only_what_writes_is_held_apart(void **state)
{
	struct tree *tree = fixture_tree(PAIR);
	static const enum hold holds[IO_KINDS] = {
		[IO_WRITE] = HOLD_EXCLUSIVE,
		[IO_WRITE_ZEROES] = HOLD_EXCLUSIVE,
		[IO_DISCARD] = HOLD_EXCLUSIVE,
		[IO_SELF] = HOLD_EXCLUSIVE,
	};
	unsigned kind;

	for (kind = 0; kind < IO_KINDS; kind++) {
		struct request request = fixture_request(kind, 0, 512, 1024);
		struct range range = { 0, 0 };

		assert_int_equal(tree->root->type->hold(tree->root, &request, &range), holds[kind]);
		assert_int_equal(range.offset, holds[kind] ? 512 : 0);
		assert_int_equal(range.length, holds[kind] ? 1024 : 0);
	}
	tree_destroy(tree);
}

static void the_smallest_leg_gives_the_size_failed_or_not(void **state)
{
	struct tree *tree = fixture_tree(MIRROR("first", "@+8192,@+5119,@+4096"));

	assert_int_equal(tree->root->limits.size, 4096);
	assert_int_equal(tree->root->unused, 4096 + 1023);
	tree->root->children[2]->failed = true;
	tree->root->unused = 0;
	assert_int_equal(tree->root->type->open(tree->root, &(struct err){ 0 }), 0);
	assert_int_equal(tree->root->limits.size, 4096);
	tree_destroy(tree);
}

static void a_mirror_without_a_leg_in_sync_is_refused(void **state)
{
	struct tree *tree = fixture_tree("{'type':'mirror','id':'m','children':[@+8192,@+8192]}");
	struct err err = { 0 };

	tree->root->children[0]->failed = tree->root->children[1]->failed = true;
	assert_int_equal(tree->root->type->open(tree->root, &err), -1);
	assert_string_equal(
		err.text, "mirror: none of the 2 legs of m is in sync (t.json:1, /root)\n");
	err_finish(&err);
	tree_destroy(tree);
}

/*
 * Whatever fails, in whatever order, and whatever other requests do meanwhile: no more ops than the
 * node's needs say (plan_add() asserts it), no acknowledgement while a failure is unrecorded.
 */
static void random_failures_stay_within_the_needs(void **state)
{
	unsigned seed, step;

	for (seed = 1; seed <= 3000; seed++) {
		struct tree *tree = fixture_tree(
			MIRROR("least_pending", "@+8192,@+8192,@+8192,@+8192,@+8192,@+8192"));
		unsigned random = seed;

		for (step = 0; step < 6; step++) {
			enum io_kind kind = (enum io_kind)(rand_r(&random) % 5);
			char results[512] = "";
			size_t length = 0;
			unsigned i;

			for (i = 0; i < 60; i++)
				length +=
					(size_t)snprintf(results + length, sizeof(results) - length,
						"%s ", rand_r(&random) % 4 ? "0" : "-5");
			fixture_story(tree->root, fixture_request(kind, 0, 512, 1024), results);
		}
		tree_destroy(tree);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_go_to_every_leg),
		cmocka_unit_test(a_missed_write_is_recorded_before_it_is_acknowledged),
		cmocka_unit_test(a_failed_flush_fails_the_leg),
		cmocka_unit_test(a_failing_record_fails_its_leg_and_starts_another_round),
		cmocka_unit_test(the_last_leg_in_sync_is_never_failed),
		cmocka_unit_test(a_flush_waits_for_a_record_that_is_due),
		cmocka_unit_test(a_record_covers_only_what_had_failed_when_it_began),
		cmocka_unit_test(a_read_is_tried_on_each_leg_in_turn),
		cmocka_unit_test(a_leg_with_read_errors_is_read_last_and_written_still),
		cmocka_unit_test(least_pending_reads_the_leg_with_the_fewest_reads_in_flight),
		cmocka_unit_test(a_read_is_counted_where_it_is_tried),
		cmocka_unit_test(round_robin_reads_the_legs_in_turn),
		cmocka_unit_test(a_leg_that_cannot_discard_or_zero_is_no_worse_a_copy),
		cmocka_unit_test(only_what_writes_is_held_apart),
		cmocka_unit_test(the_smallest_leg_gives_the_size_failed_or_not),
		cmocka_unit_test(a_mirror_without_a_leg_in_sync_is_refused),
		cmocka_unit_test(random_failures_stay_within_the_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
