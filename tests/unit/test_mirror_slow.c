// SPDX-License-Identifier: MIT
/* mirror: a leg that answers slowly is read last. */
#include "fixture.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json.h>

#define MS UINT64_C(1000000)
#define PAIR                                                                                       \
	"{'type':'mirror','read_policy':'first','slow_after_ms':10,'region_size':4096,"            \
	"'children':[@+16384,@+16384]}"

static struct mirror *mirror;
static struct tree *tree;
static struct fixture_plan course, probe;
static uint64_t now;

static void open_pair(const char *root)
{
	unsigned i;

	tree = fixture_tree(root);
	mirror = tree->root->state;
	tree->root->needs.self_ops = tree->root->needs.work_ops; /* the fixture takes work for self ops */
	tree->root->needs.self_scratch = tree->root->needs.work_scratch;
	for (i = 0; i < mirror->region_count; i++)
		mirror_set_bits(mirror, i, REGION_WRITTEN, UINT8_MAX);
	now = 5;
}

/* A request from above, and which leg it reads. */
static unsigned read_leg(void)
{
	unsigned place;

	fixture_map(&course, tree->root, fixture_request(IO_READ, 0, 0, 512));
	place = course.plan.ops[0].child;
	mirror->slow.is_asleep &= !course.plan.wake; /* work() is asked */
	fixture_finish(&course);
	return place;
}

static bool begin_probe(uint64_t *again)
{
	struct request request = { .kind = IO_SELF };

	*again = UINT64_MAX;
	if (!mirror_slow_next(tree->root, now, &request, again))
		return false;
	assert_int_equal(request.length, 0); /* it holds nothing */
	fixture_map(&probe, tree->root, request);
	assert_int_equal(probe.plan.count, 1);
	assert_int_equal(probe.plan.ops[0].request.kind, IO_READ);
	assert_int_equal(probe.plan.ops[0].child, mirror->slow.place);
	assert_true(probe.plan.ops[0].request.offset >= MIRROR_FRONT);
	return true;
}

static void end_probe(int result)
{
	probe.plan.ops[0].result = result;
	probe.plan.now = now;
	tree->root->type->resume(tree->root, &probe.request, &probe.plan);
	fixture_finish(&probe);
}

/* Each leg is asked once, leg 0 taking so long; the other answers at once. */
static void probe_both(uint64_t took)
{
	unsigned i;
	uint64_t again;

	for (i = 0; i < 2; i++) {
		(void)read_leg();
		now += 1000 * MS;
		assert_true(begin_probe(&again));
		now += mirror->slow.place == 0 ? took : 1;
		end_probe(0);
	}
}

static void no_leg_is_asked_without_a_limit(void **state)
{
	struct request request = { .kind = IO_SELF };
	uint64_t again = UINT64_MAX;

	open_pair("{'type':'mirror','children':[@+16384,@+16384]}");
	assert_int_equal(tree->root->needs.work_max, WORK_MAX);
	(void)read_leg();
	assert_false(mirror_slow_next(tree->root, now, &request, &again));
	assert_true(again == UINT64_MAX);
	tree_destroy(tree);
}

static void a_leg_that_is_slow_twice_is_read_last(void **state)
{
	open_pair(PAIR);
	assert_int_equal(tree->root->needs.work_max, WORK_MAX + 1); /* one that hangs keeps nobody */
	probe_both(11 * MS);
	assert_int_equal(read_leg(), 0); /* once is no state */
	probe_both(10 * MS); /* not longer */
	probe_both(11 * MS);
	assert_int_equal(read_leg(), 0);
	probe_both(11 * MS);
	assert_int_equal(read_leg(), 1);
	tree_destroy(tree);
}

static void it_is_quick_again_after_four_in_a_row(void **state)
{
	unsigned i;

	open_pair(PAIR);
	probe_both(20 * MS); /* as long as two together */
	assert_int_equal(read_leg(), 1);
	for (i = 0; i < 3; i++)
		probe_both(1 * MS);
	probe_both(11 * MS);
	for (i = 0; i < 3; i++)
		probe_both(1 * MS);
	assert_int_equal(read_leg(), 1);
	probe_both(1 * MS);
	assert_int_equal(read_leg(), 0);
	tree_destroy(tree);
}

static void a_leg_that_hangs_is_slow_before_it_answers(void **state)
{
	uint64_t again;

	open_pair(PAIR);
	(void)read_leg();
	mirror->slow.place = 1;
	assert_true(begin_probe(&again));
	now += 19 * MS;
	assert_false(begin_probe(&again));
	assert_int_equal(again, 5 + 20 * MS);
	assert_int_equal(read_leg(), 0);
	now += 1 * MS;
	assert_false(begin_probe(&again));
	assert_int_equal(read_leg(), 1);
	end_probe(0);
	tree_destroy(tree);
}

static void nobody_is_asked_while_nobody_reads(void **state)
{
	uint64_t again;

	unsigned i;

	open_pair(PAIR);
	for (i = 0; i < 2; i++) { /* each leg once more: what hangs may be all that is wanted */
		assert_true(begin_probe(&again));
		end_probe(0);
		now += 1000 * MS;
	}
	assert_false(begin_probe(&again));
	assert_true(again == UINT64_MAX);
	fixture_map(&course, tree->root, fixture_request(IO_READ, 0, 0, 512));
	assert_true(course.plan.wake);
	fixture_finish(&course);
	assert_true(begin_probe(&again));
	end_probe(0);
	fixture_map(&course, tree->root, fixture_request(IO_READ, 0, 0, 512));
	assert_false(course.plan.wake);
	fixture_finish(&course);
	assert_false(begin_probe(&again));
	assert_int_equal(again, now + 200 * MS);
	tree_destroy(tree);
}

static void legs_that_are_all_slow_are_read_as_if_none_was(void **state)
{
	open_pair(PAIR);
	mirror->legs[0].is_slow = mirror->legs[1].is_slow = true;
	assert_int_equal(read_leg(), 0);
	tree_destroy(tree);
}

static void where_legs_may_differ_a_slow_primary_is_read_all_the_same(void **state)
{
	open_pair(PAIR);
	mirror->legs[0].is_slow = true;
	mirror_set_bits(mirror, 0, REGION_TODO, 0);
	assert_int_equal(read_leg(), 0);
	tree_destroy(tree);
}

static void a_probe_that_fails_says_nothing_of_time(void **state)
{
	uint64_t again;

	open_pair(PAIR);
	(void)read_leg();
	mirror->slow.place = 1;
	assert_true(begin_probe(&again));
	now += 20 * MS;
	end_probe(-EIO);
	assert_false(mirror->legs[0].is_slow);
	assert_int_equal(mirror->work.repair_count, 1); /* as any that can't be read */
	tree_destroy(tree);
}

static void the_status_calls_it_slow(void **state)
{
	struct json_object *out = json_object_new_object(), *states, *latencies;

	open_pair(PAIR);
	probe_both(20 * MS);
	tree->root->type->status(tree->root, out);
	assert_true(json_object_object_get_ex(out, "leg_states", &states));
	assert_string_equal(json_object_to_json_string_ext(states, 0), "[\"slow\",\"in_sync\"]");
	assert_true(json_object_object_get_ex(out, "latency_us", &latencies));
	assert_string_equal(json_object_to_json_string_ext(latencies, 0), "[20000,0]");
	json_object_put(out);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_leg_is_asked_without_a_limit),
		cmocka_unit_test(a_leg_that_is_slow_twice_is_read_last),
		cmocka_unit_test(it_is_quick_again_after_four_in_a_row),
		cmocka_unit_test(a_leg_that_hangs_is_slow_before_it_answers),
		cmocka_unit_test(nobody_is_asked_while_nobody_reads),
		cmocka_unit_test(legs_that_are_all_slow_are_read_as_if_none_was),
		cmocka_unit_test(where_legs_may_differ_a_slow_primary_is_read_all_the_same),
		cmocka_unit_test(a_probe_that_fails_says_nothing_of_time),
		cmocka_unit_test(the_status_calls_it_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
