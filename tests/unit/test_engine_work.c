// SPDX-License-Identifier: MIT
/* The engine over memory: what nodes do in the background, and when they are asked. */
#include "memory.h"
#include "queue.h"

#include <errno.h>

#define PAGE 4096u

static char data[1 << 20];

/*
 * A node that copies the page at 0 to wherever it has in mind. A flush gives it one to do and wakes
 * it.
 */
struct copier {
	unsigned todo, asked, ended, begun;
	uint64_t again, seen_now;
	int result;
	bool has_bytes; /* as a READ of scratch, not a request of its own words */
	bool is_idle; /* its requests plan nothing */
};

static enum hold copier_hold(
	const struct node *node, const struct request *request, struct range *range)
{
	*range = (struct range){ 0, 1 };
	if (request->kind == IO_WRITE)
		return HOLD_EXCLUSIVE;
	return request->kind == IO_SELF && request->flags == 1 ? HOLD_SHARED : HOLD_NONE;
}

static void copier_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct copier *copier = node->state;

	copier->seen_now = plan->now;
	if (request->kind == IO_FLUSH) {
		copier->todo++;
		plan_wake(plan);
	} else if (request->data.home != DATA_NONE) {
		plan_pass(plan, request, 0, request->offset);
	} else if (request->flags == 2) {
		plan_add(plan, 0, (struct request){ .kind = IO_FLUSH });
	} else if (!copier->is_idle) {
		plan_scratch(plan, IO_READ, 0, 0, 0, 0, PAGE);
		plan_then(plan);
		plan_scratch(plan, IO_WRITE, 0, 0, request->offset, 0, PAGE);
		plan_then(plan);
		plan_self(plan, 0, 0, 2);
	}
	if (request->kind == IO_SELF || request->data.home == DATA_SCRATCH)
		plan_ask(plan);
}

static void copier_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct copier *copier = node->state;
	unsigned i;

	if (request->kind == IO_WRITE || request->flags == 2)
		return;
	copier->ended++;
	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].result < 0 && copier->result == 0)
			copier->result = plan->ops[i].result;
}

static bool copier_work(
	struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct copier *copier = node->state;

	copier->asked++;
	assert_int_equal(request->kind, IO_SELF);
	assert_true(*again == UINT64_MAX);
	if (copier->todo == 0) {
		*again = copier->again;
		return false;
	}
	copier->todo--;
	request->flags = 1;
	request->offset = 8192 + copier->begun++ * PAGE;
	if (copier->has_bytes)
		*request = (struct request){ IO_READ, 0, 0, 512, { DATA_SCRATCH, 512 } };
	return true;
}

static const struct target_type copier_type = {
	.name = "copier",
	.state_size = sizeof(struct copier),
	.stateful = true,
	.timed = true,
	.hold = copier_hold,
	.map = copier_map,
	.resume = copier_resume,
	.work = copier_work,
};

static const struct target_type *type_before;
static void *state_before;
static struct copier copier;
static struct memory memory;

static struct tree *copier_tree(unsigned work_max)
{
	struct tree *tree = fixture_tree("{'type':'linear','children':[@65536]}");

	copier = (struct copier){ .again = UINT64_MAX };
	memory = (struct memory){ 0 };
	type_before = tree->root->type;
	state_before = tree->root->state;
	tree->root->type = &copier_type;
	tree->root->state = &copier;
	tree->root->needs = (struct needs){
		.ops_fixed = 1,
		.self_fixed = 1,
		.self_ops = 1,
		.work_max = work_max,
		.work_ops = 2,
		.work_scratch = PAGE,
	};
	return tree;
}

static void give_back(struct tree *tree)
{
	tree->root->type = type_before;
	tree->root->state = state_before;
}

static void close_copier(void)
{
	give_back(memory.tree);
	memory_close(&memory);
}

static void no_work_is_asked_for_before_the_device_is_live(void **state)
{
	memory_open_tree(&memory, copier_tree(2));
	copier.todo = 1;
	memory_start(&memory, 0, fixture_request(IO_FLUSH, 0, 0, 0), NULL);
	assert_int_equal(copier.asked, 0);
	engine_begin(memory.engine);
	assert_int_equal(copier.begun, 2);
	memory_end_all(&memory);
	close_copier();
}

static void work_is_planned_with_scratch_and_self_ops_of_its_own(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	memset(memory.leaves[0] + LABEL_FRONT, 'x', PAGE);
	copier.todo = 1;
	engine_begin(memory.engine);
	assert_true(engine_is_working(memory.engine));
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory),
		"submit 0 read 0 4096\nsubmit 0 write 8192 4096\nsubmit 0 flush\n");
	assert_false(engine_is_working(memory.engine));
	assert_int_equal(memory.leaves[0][LABEL_FRONT + 8192 + PAGE - 1], 'x');
	assert_int_equal(copier.ended, 1);
	assert_int_equal(engine_stats(memory.engine)->works, 1);
	assert_int_equal(memory.commits[0], 0);
	close_copier();
}

static void as_many_are_under_way_as_the_node_says(void **state)
{
	memory_open_tree(&memory, copier_tree(3));
	copier.todo = 5;
	engine_begin(memory.engine);
	assert_int_equal(memory.pending_count, 3);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 2, MEMORY_FULL);
	memory_end(&memory, 2, MEMORY_FULL);
	assert_int_equal(copier.begun, 4);
	memory_end_all(&memory);
	assert_int_equal(copier.ended, 5);
	close_copier();
}

static void a_request_wakes_the_node(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	engine_begin(memory.engine);
	assert_int_equal(copier.asked, 1);
	memory_start(&memory, 0, fixture_request(IO_READ, 0, 0, 512), data);
	assert_int_equal(copier.asked, 1);
	memory_start(&memory, 1, fixture_request(IO_FLUSH, 0, 0, 0), NULL);
	assert_int_equal(copier.asked, 2);
	engine_wake(memory.engine, memory.tree->root);
	assert_int_equal(copier.begun, 1);
	memory_end_all(&memory);
	assert_int_equal(copier.ended, 1);
	close_copier();
}

static void a_node_is_asked_again_when_it_says(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	memory.now = 1000;
	copier.again = 5000;
	engine_begin(memory.engine);
	assert_string_equal(memory_log(&memory), "timer 5000\n");
	memory.now = 4999;
	copier.todo = 1;
	engine_tick(memory.engine); /* too early: the timer has to be set anew */
	assert_string_equal(memory_log(&memory), "timer 5000\n");
	assert_int_equal(copier.asked, 1);
	memory.now = 5000;
	copier.again = UINT64_MAX;
	engine_tick(memory.engine);
	assert_int_equal(copier.begun, 1);
	assert_int_equal(copier.seen_now, 5000);
	memory_end_all(&memory);
	assert_null(strstr(memory_log(&memory), "timer"));
	close_copier();
}

static void an_earlier_time_moves_the_timer_and_a_later_one_does_not(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	copier.again = 5000;
	engine_begin(memory.engine);
	copier.again = 6000;
	engine_wake(memory.engine, memory.tree->root);
	assert_string_equal(memory_log(&memory), "timer 5000\n");
	copier.again = 3000;
	engine_wake(memory.engine, memory.tree->root);
	assert_string_equal(memory_log(&memory), "timer 3000\n");
	close_copier();
}

static void nothing_is_begun_after_quiesce_and_what_runs_ends(void **state)
{
	memory_open_tree(&memory, copier_tree(2));
	copier.todo = 4;
	engine_begin(memory.engine);
	engine_quiesce(memory.engine);
	assert_true(engine_is_working(memory.engine));
	memory_end_all(&memory);
	assert_false(engine_is_working(memory.engine));
	assert_int_equal(copier.begun, 2);
	assert_int_equal(copier.ended, 2);
	engine_wake(memory.engine, memory.tree->root);
	engine_tick(memory.engine);
	assert_int_equal(copier.begun, 2);
	close_copier();
}

static void the_node_sees_that_its_work_failed(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	copier.todo = 1;
	engine_begin(memory.engine);
	memory_end(&memory, 0, -EIO);
	assert_int_equal(copier.ended, 1);
	assert_int_equal(copier.result, -EIO);
	assert_false(engine_is_working(memory.engine));
	close_copier();
}

static void work_waits_for_ranges_as_requests_do(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	memory_start(&memory, 0, fixture_request(IO_WRITE, 0, 0, 512), data);
	copier.todo = 1;
	engine_begin(memory.engine);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\n");
	assert_int_equal(copier.begun, 1);
	memory_start(&memory, 1, fixture_request(IO_WRITE, 0, 0, 512), data);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "commit 0 512\nsubmit 0 read 0 4096\n");
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	(void)memory_log(&memory);
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "commit 1 512\n");
	close_copier();
}

static void work_may_read_into_scratch(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	copier.todo = 1;
	copier.has_bytes = true;
	engine_begin(memory.engine);
	assert_string_equal(memory_log(&memory), "submit 0 read 0 512\n");
	memory_end_all(&memory);
	assert_int_equal(copier.ended, 1);
	close_copier();
}

/* Requests that end at once: the kernel's have their turn in between. */
static void work_without_end_does_not_starve_requests(void **state)
{
	memory_open_tree(&memory, copier_tree(1));
	copier.is_idle = true;
	copier.todo = UINT32_MAX;
	memory.now = 77;
	engine_begin(memory.engine);
	assert_string_equal(memory_log(&memory), "timer 77\n");
	assert_true(copier.begun > 1 && copier.begun < 1000);
	copier.todo = 1;
	engine_tick(memory.engine);
	assert_int_equal(copier.todo, 0);
	close_copier();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_work_is_asked_for_before_the_device_is_live),
		cmocka_unit_test(work_is_planned_with_scratch_and_self_ops_of_its_own),
		cmocka_unit_test(as_many_are_under_way_as_the_node_says),
		cmocka_unit_test(a_request_wakes_the_node),
		cmocka_unit_test(a_node_is_asked_again_when_it_says),
		cmocka_unit_test(an_earlier_time_moves_the_timer_and_a_later_one_does_not),
		cmocka_unit_test(nothing_is_begun_after_quiesce_and_what_runs_ends),
		cmocka_unit_test(the_node_sees_that_its_work_failed),
		cmocka_unit_test(work_waits_for_ranges_as_requests_do),
		cmocka_unit_test(work_may_read_into_scratch),
		cmocka_unit_test(work_without_end_does_not_starve_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
