// SPDX-License-Identifier: MIT
/* The engine over memory: waves, resume(), holds, and what is handed down to the driver. */
#include "memory.h"
#include "mirror.h"

#include <errno.h>

#define TWIN "{'type':'linear','children':[@65536,@65536]}" /* 0 and 1 take each write */
#define PAIR "{'type':'mirror','read_policy':'first','children':[@+65536,@+65536]}"

static char data[4 << 20];

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

/* Targets made for the test, put in place of the linear that the document names. */
static struct request flush_request(void)
{
	return (struct request){ .kind = IO_FLUSH };
}

static void waves_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	plan_pass(plan, request, 0, request->offset);
	plan_pass(plan, request, 1, request->offset);
	plan_then(plan);
	plan_add(plan, 0, flush_request());
	plan_then(plan);
	plan_pass(plan, request, 1, request->offset);
}

static void ask_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	plan_pass(plan, request, 0, request->offset);
	plan_ask(plan);
}

static char asked[64]; /* the results that resume() saw */

static void resume_once(struct node *node, const struct request *request, struct plan *plan)
{
	size_t length = 0;
	unsigned i;

	(void)node;
	for (i = 0; i < plan->count; i++)
		length += (size_t)snprintf(
			asked + length, sizeof(asked) - length, "%d ", plan->ops[i].result);
	if (plan->io_state && *(int *)plan->io_state) {
		plan_end(plan, 0);
		return;
	}
	*(int *)plan->io_state = 1;
	plan_pass(plan, request, 1, request->offset);
	plan_ask(plan);
}

static void end_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	plan_pass(plan, request, 0, request->offset);
	plan_end(plan, -EPERM);
}

static void gap_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	plan_part(plan, request, 0, 512, 0, 0);
	plan_part(plan, request, 512, 512, 0, 1024);
	plan_part(plan, request, 1024, 512, 0, 1536);
	plan_part(plan, request, 1536, 512, 0, 512);
}

static const struct target_type gap_type = { .name = "gap", .map = gap_map };
static const struct target_type waves_type = { .name = "waves", .map = waves_map };
static const struct target_type waves_resumed_type = {
	.name = "waves",
	.io_state_size = sizeof(int),
	.map = waves_map,
	.resume = resume_once,
};
static const struct target_type ask_type = {
	.name = "ask",
	.io_state_size = sizeof(int),
	.map = ask_map,
	.resume = resume_once,
};
static void twin_map(struct node *node, const struct request *request, struct plan *plan)
{
	if (request->kind == IO_READ)
		plan_pass(plan, request, 0, request->offset);
	else
		plan_all(plan, node, request);
}

static enum hold twin_hold(const struct node *node, const struct request *request,
	struct range *range)
{
	(void)node;
	*range = (struct range){ request->offset, request->length };
	return request->kind == IO_WRITE || request->kind == IO_DISCARD ? HOLD_EXCLUSIVE : HOLD_NONE;
}

/* A mirror that keeps nothing and has no services, so that its writes may be handed down. */
static const struct target_type twin_type = { .name = "twin", .map = twin_map, .hold = twin_hold };
static const struct target_type end_type = { .name = "end", .map = end_map };

static struct node type_node; /* what to give back before the tree goes */

static void open_typed(struct memory *memory, const struct target_type *type)
{
	struct tree *tree = fixture_tree("{'type':'linear','children':[@65536,@65536]}");

	type_node.type = tree->root->type;
	tree->root->type = type;
	tree->root->needs = (struct needs){ .ops_fixed = 8 };
	memory_open_tree(memory, tree);
}

static void close_typed(struct memory *memory)
{
	memory->tree->root->type = type_node.type;
	memory_close(memory);
}

/* The same with a driver that takes requests down; the node is the tree's nth. */
static struct node *open_twin(struct memory *memory, const char *root, unsigned n)
{
	struct tree *tree = fixture_tree(root);

	type_node.type = tree->nodes[n]->type;
	tree->nodes[n]->type = &twin_type;
	memory_open_passing_tree(memory, tree);
	return tree->nodes[n];
}

static void close_twin(struct memory *memory, struct node *twin)
{
	twin->type = type_node.type;
	memory_close(memory);
}

static void ops_that_are_no_neighbours_stay_apart(void **state)
{
	struct memory memory;

	open_typed(&memory, &gap_type);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 2048), data);
	assert_string_equal(memory_log(&memory),
		"submit 0 write 0 512\nsubmit 0 write 1024 1024\nsubmit 0 write 512 512\n");
	memory_end_all(&memory);
	close_typed(&memory);
}

static void a_wave_starts_when_all_before_it_have_succeeded(void **state)
{
	struct memory memory;

	open_typed(&memory, &waves_type);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\nsubmit 1 write 0 512\n");
	memory_end(&memory, 1, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "submit 0 flush\n");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "submit 1 write 0 512\n");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "commit 0 512\n");
	close_typed(&memory);
}

static void a_failed_wave_is_the_last(void **state)
{
	struct memory memory;

	open_typed(&memory, &waves_type);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 1, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.results[0], -EIO);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	(void)memory_log(&memory);
	memory_end(&memory, 0, -ENOSPC);
	assert_string_equal(memory_log(&memory), "commit 0 -28\n");
	close_typed(&memory);
}

static void resume_sees_what_was_given_up_and_may_overrule(void **state)
{
	struct memory memory;

	open_typed(&memory, &waves_resumed_type);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, -EIO);
	assert_string_equal(asked, "0 -5 -125 -125 ");
	assert_string_equal(memory_log(&memory),
		"submit 0 write 0 512\nsubmit 1 write 0 512\nsubmit 1 write 0 512\n");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(asked, "0 -5 -125 -125 0 ");
	assert_int_equal(memory.results[0], 512);
	close_typed(&memory);
}

static void who_asks_is_resumed_after_success_and_not_linked(void **state)
{
	struct memory memory;

	open_typed(&memory, &ask_type);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\n");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "submit 1 write 0 512\n");
	memory_end(&memory, 0, -EIO);
	assert_string_equal(asked, "0 -5 ");
	assert_int_equal(memory.results[0], 512);
	close_typed(&memory);
}

static void a_plan_that_map_has_ended_starts_nothing(void **state)
{
	struct memory memory;

	open_typed(&memory, &end_type);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "commit 0 -1\n");
	close_typed(&memory);
}

static void writes_that_overlap_on_a_mirror_keep_their_order(void **state)
{
	struct memory memory;

	memory_open(&memory, "", PAIR);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 1024), data);
	memory_start(&memory, 2, asks(IO_WRITE, 1536, 512), data);
	memory_start(&memory, 3, asks(IO_WRITE_ZEROES, 1024, 512), NULL);
	assert_string_equal(memory_log(&memory),
		"submit 0 write 1048576 1024\nsubmit 1 write 1048576 1024\n"
		"submit 0 write 1050112 512\nsubmit 1 write 1050112 512\n");
	assert_int_equal(engine_stats(memory.engine)->held, 2);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory),
		"commit 0 1024\nsubmit 0 write 1049088 1024\nsubmit 1 write 1049088 1024\n");
	memory_end(&memory, 2, MEMORY_FULL);
	memory_end(&memory, 2, -EIO); /* holds are released by failed requests too, at their end */
	assert_int_equal(memory.commits[1], 0); /* its record is on its way */
	memory_end_all(&memory);
	assert_int_equal(memory.commits[1], 1);
	assert_int_equal(memory.commits[3], 1);
	memory_close(&memory);
}

static void what_nobody_has_to_hear_of_is_handed_down(void **state)
{
	struct memory memory;
	struct node *twin;
	const struct engine_stats *stats;

	twin = open_twin(&memory, TWIN, 0);
	stats = engine_stats(memory.engine);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\n");
	memory_start(&memory, 1, asks(IO_DISCARD, 4096, 512), NULL);
	assert_string_equal(memory_log(&memory), "pass 1 in 2\n");
	memory_start(&memory, 2, asks(IO_READ, 4096, 512), data);
	assert_string_equal(memory_log(&memory), "pass 2 in 1\n");
	memory_start(&memory, 3, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(memory_log(&memory), "pass 3 in 2\n");
	assert_int_equal(stats->passed, 4);
	assert_int_equal(stats->gathered, 0);
	close_twin(&memory, twin);
}

/* One that the driver failed succeeds when it is tried again, which proves nothing. */
static void a_flush_that_the_driver_failed_is_not_believed_again(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, "{'type':'linear','children':[@65536]}");
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(memory_log(&memory), "pass 0 in 1\n");
	engine_flush_failed(memory.tree->leaves[0]);
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 0 flush\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], -EIO);
	(void)memory_log(&memory);
	memory_start(&memory, 1, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(memory_log(&memory), "submit 0 flush\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], -EIO);
	memory_start(&memory, 2, asks(IO_READ, 0, 512), data);
	assert_non_null(strstr(memory_log(&memory), "pass 2 in 1\n"));
	memory_close(&memory);
}

/* A flush of the driver's and one of ours on one leaf: a leaf tells of an error once, and only one would hear of it. */
static void open_two_flushes(struct memory *memory)
{
	memory_open_passing(memory, "{'type':'linear','children':[@65536]}");
	memory_start(memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	memory_start(memory, 1, asks(IO_FLUSH, 0, 0), NULL);
	engine_restart(memory->engine, 1); /* a flush was not what failed */
	assert_string_equal(memory_log(memory), "pass 0 in 1\npass 1 in 1\npoll\n");
}

static void a_flush_waits_for_what_the_driver_has_of_flushes(void **state)
{
	struct memory memory;

	open_two_flushes(&memory);
	engine_poll(memory.engine);
	assert_string_equal(memory_log(&memory), "poll\n");
	memory_start(&memory, 2, asks(IO_FLUSH, 0, 0), NULL); /* else it might wait for ever */
	assert_string_equal(memory_log(&memory), "poll\n");
	memory.ended[0] = true;
	engine_poll(memory.engine);
	assert_string_equal(memory_log(&memory), "submit 0 flush\nsubmit 0 flush\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], 0);
	assert_int_equal(memory.results[2], 0);
	memory_close(&memory);
}

static void no_flush_is_handed_down_beside_one_of_ours(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, "{'type':'linear','children':[@65536]}");
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "pass 0 in 1\nsubmit 0 flush\n");
	memory_start(&memory, 1, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(memory_log(&memory), "submit 0 flush\n");
	memory_end_all(&memory);
	(void)memory_log(&memory);
	memory_start(&memory, 2, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(memory_log(&memory), "pass 2 in 1\n");
	memory_close(&memory);
}


static void a_flush_fails_with_the_drivers(void **state)
{
	struct memory memory;

	open_two_flushes(&memory);
	engine_flush_failed(memory.tree->leaves[0]);
	engine_restart(memory.engine, 0);
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], -EIO);
	assert_int_equal(memory.results[0], -EIO);
	memory_close(&memory);
}

/* Nobody tells of the end of what was handed down: it is looked for before it counts. */
static void reads_of_a_mirror_are_handed_down_and_counted(void **state)
{
	struct memory memory;
	unsigned tag;

	memory_open_passing(&memory, "{'type':'mirror','children':[@+65536,@+65536]}");
	for (tag = 0; tag < 4; tag++) {
		memory_start(&memory, tag, asks(IO_READ, tag * 4096, 512), data);
		assert_ptr_equal(memory.passed_to[tag], memory.tree->leaves[tag % 2]);
	}
	memory.ended[1] = memory.ended[3] = true; /* leg 1 is the quicker one */
	for (tag = 4; tag < 6; tag++) {
		memory_start(&memory, tag, asks(IO_READ, tag * 4096, 512), data);
		assert_ptr_equal(memory.passed_to[tag], memory.tree->leaves[1]);
	}
	/* One that failed is counted anew: it is on leg 0 still. */
	(void)memory_log(&memory);
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 0 read 1048576 512\n");
	memory_end(&memory, 0, -EIO);
	assert_string_equal(memory_log(&memory), "submit 1 read 1048576 512\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	memory_close(&memory);
}

static void what_the_driver_gives_back_is_begun_again(void **state)
{
	struct memory memory;
	struct node *twin;

	twin = open_twin(&memory, TWIN, 0);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	(void)memory_log(&memory);
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\nsubmit 1 write 0 512\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	close_twin(&memory, twin);
}

/* Neither a plan nor an op was made of it; what fails is planned all the same. */
static void what_is_one_leafs_is_handed_down_whole(void **state)
{
	struct memory memory;

	memory_open_passing(&memory,
		"{'type':'linear','children':[@65536,{'type':'stripe','children':[@131072,@131072]}]}");
	memory_start(&memory, 0, asks(IO_WRITE, 65536 + 65536, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 1\n");
	assert_ptr_equal(memory.passed_to[0], memory.tree->leaves[2]);
	memory_start(&memory, 1, asks(IO_READ, 65536 + 65536 - 512, 1024), data);
	assert_string_equal(memory_log(&memory), "pass 1 in 2\n");
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 2 write 0 512\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(engine_stats(memory.engine)->passed, 2);
	memory_close(&memory);
}

static void a_range_is_held_until_the_driver_has_ended_it(void **state)
{
	struct memory memory;
	struct node *twin;

	twin = open_twin(&memory, TWIN, 0);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 1024), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\npoll\n");
	engine_poll(memory.engine);
	assert_string_equal(memory_log(&memory), "poll\n");
	memory.ended[0] = true;
	engine_poll(memory.engine);
	assert_string_equal(memory_log(&memory), "pass 1 in 2\n");
	memory_start(&memory, 0, asks(IO_WRITE, 4096, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\n");
	close_twin(&memory, twin);
}

/* Part of it may have happened: nobody may find the node between that and its second try. */
static void what_is_given_back_keeps_its_turn(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, PAIR);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 1024), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\npoll\n");
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 0 write 1048576 1024\nsubmit 1 write 1048576 1024\n");
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "commit 0 1024\npass 1 in 2\n");
	memory_close(&memory);
}

/*
 * The same below a linear: the mirror must neither let another one in between nor believe that nobody
 * writes there.
 */
static void what_is_given_back_keeps_its_turn_further_down(void **state)
{
	struct tree *tree = fixture_tree("{'type':'linear','children':["
					 "{'type':'mirror','region_size':4096,'children':[@+65536,@+65536]},@65536]}");
	struct mirror *mirror = tree->nodes[1]->state;
	struct memory memory;

	memory_open_passing_tree(&memory, tree);
	memory_start(&memory, 0, asks(IO_WRITE, 65024, 1024), data); /* the mirror's end, and what follows */
	memory_start(&memory, 1, asks(IO_WRITE, 64512, 1024), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 3\npoll\n");
	assert_int_equal(mirror->regions[15].writers, 1);
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 0 write 1113600 512\nsubmit 1 write 1113600 512\n"
						 "submit 2 write 0 512\n");
	assert_int_equal(mirror->regions[15].writers, 1);
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "pass 1 in 2\ncommit 0 1024\n"); /* its part has ended */
	assert_int_equal(mirror->regions[15].writers, 1);
	memory.ended[1] = true;
	engine_begin(memory.engine);
	assert_int_equal(mirror->regions[15].writers, 0);
	memory_close(&memory);
}

/* One part waits for a range; for the other, the bytes are fetched. Then all is planned again. */
static void what_is_fetched_does_nothing_until_it_is_back(void **state)
{
	struct memory memory;
	struct node *twin;

	twin = open_twin(&memory,
		"{'type':'linear','children':[{'type':'linear','size':1024,'children':[@65536]},@65536]}", 1);
	memory_start(&memory, 0, asks(IO_WRITE, 512, 512), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 1024), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 1\npoll\nfetch 1\n");
	memory.ended[0] = true;
	engine_poll(memory.engine);
	assert_string_equal(memory_log(&memory), "");
	engine_restart(memory.engine, 1);
	assert_string_equal(memory_log(&memory),
		"submit 0 write 512 512\nsubmit 1 write 0 512\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], 1024);
	close_twin(&memory, twin);
}

/* Nothing is to be made durable first: the driver has all it needs. Else the bytes come first. */
static void a_mirrors_write_is_handed_down_where_its_region_is_dirty(void **state)
{
	struct tree *tree = fixture_tree("{'type':'mirror','region_size':4096,'children':[@+65536,@+65536]}");
	struct mirror *mirror = tree->root->state;
	struct memory memory;

	memory_open_passing_tree(&memory, tree);
	mirror->regions[1].is_durable = false;
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\n");
	memory_start(&memory, 1, asks(IO_WRITE, 4096, 512), data);
	assert_string_equal(memory_log(&memory), "fetch 1\n");
	assert_int_equal(mirror->regions[1].writers, 1);
	engine_restart(memory.engine, 1);
	assert_int_equal(mirror->regions[1].writers, 1);
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], 512);
	assert_int_equal(engine_stats(memory.engine)->selfs, 1); /* not one for either plan */
	assert_int_equal(mirror->regions[1].writers, 0);
	assert_int_equal(mirror->regions[0].writers, 1);
	memory.ended[0] = true;
	engine_begin(memory.engine); /* who asks for work knows what has ended */
	assert_int_equal(mirror->regions[0].writers, 0);
	memory_close(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ops_that_are_no_neighbours_stay_apart),
		cmocka_unit_test(a_wave_starts_when_all_before_it_have_succeeded),
		cmocka_unit_test(a_failed_wave_is_the_last),
		cmocka_unit_test(resume_sees_what_was_given_up_and_may_overrule),
		cmocka_unit_test(who_asks_is_resumed_after_success_and_not_linked),
		cmocka_unit_test(a_plan_that_map_has_ended_starts_nothing),
		cmocka_unit_test(writes_that_overlap_on_a_mirror_keep_their_order),
		cmocka_unit_test(what_nobody_has_to_hear_of_is_handed_down),
		cmocka_unit_test(a_flush_that_the_driver_failed_is_not_believed_again),
		cmocka_unit_test(a_flush_waits_for_what_the_driver_has_of_flushes),
		cmocka_unit_test(no_flush_is_handed_down_beside_one_of_ours),
		cmocka_unit_test(a_flush_fails_with_the_drivers),
		cmocka_unit_test(reads_of_a_mirror_are_handed_down_and_counted),
		cmocka_unit_test(what_the_driver_gives_back_is_begun_again),
		cmocka_unit_test(what_is_one_leafs_is_handed_down_whole),
		cmocka_unit_test(a_range_is_held_until_the_driver_has_ended_it),
		cmocka_unit_test(what_is_given_back_keeps_its_turn),
		cmocka_unit_test(what_is_given_back_keeps_its_turn_further_down),
		cmocka_unit_test(what_is_fetched_does_nothing_until_it_is_back),
		cmocka_unit_test(a_mirrors_write_is_handed_down_where_its_region_is_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
