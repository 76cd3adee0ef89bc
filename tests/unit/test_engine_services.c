// SPDX-License-Identifier: MIT
/* The engine over memory: scratch, self ops, work and time, by targets made for the test. */
#include "memory.h"

#include <errno.h>

#define PAGE 4096u
#define SELF_BASE (UINT64_C(1) << 62)

static char data[1 << 20];

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

/* What to give back before the tree goes. */
static const struct target_type *type_before;
static void *state_before;

static struct tree *typed_tree(const char *root, const struct target_type *type, struct needs needs)
{
	struct tree *tree = fixture_tree(root);

	type_before = tree->root->type;
	tree->root->type = type;
	tree->root->needs = needs;
	state_before = tree->root->state;
	tree->root->state = calloc(1, type->state_size + 1);
	return tree;
}

static void close_typed(struct memory *memory)
{
	free(memory->tree->root->state);
	memory->tree->root->type = type_before;
	memory->tree->root->state = state_before;
	memory_close(memory);
}

/* Scratch */

static void copy_map(struct node *node, const struct request *request, struct plan *plan)
{
	assert_non_null(plan->scratch);
	assert_int_equal((uintptr_t)plan->scratch % PAGE, 0);
	if (request->kind == IO_READ && request->offset >= 32768) {
		plan_scratch(plan, IO_READ, 0, 0, 0, 0, 512);
		return;
	}
	if (request->kind == IO_READ) {
		plan_pass(plan, request, 0, request->offset);
		return;
	}
	/* One sector of the table, the request's bytes, and one more, side by side on the leaf. */
	memset(plan->scratch, 't', 512);
	plan_scratch(plan, IO_WRITE, 0, 0, request->offset, 0, 512);
	plan_pass(plan, request, 0, request->offset + 512);
	plan_scratch(plan, IO_WRITE, 0, 0, request->offset + 512 + request->length, 512, 512);
	plan_then(plan);
	plan_scratch(plan, IO_CLEAR, 0, 0, 0, 1024, 512);
	plan_then(plan);
	plan_scratch(plan, IO_WRITE, IO_FUA, 0, 16384, 1024, 512);
	memset((char *)plan->scratch + 512, 'u', 1024);
}

static const struct target_type copy_type = { .name = "copy", .map = copy_map };
static const struct needs copy_needs = { .ops_fixed = 8, .scratch = PAGE };

static void scratch_is_written_beside_the_requests_bytes(void **state)
{
	struct memory memory;
	char *leaf;

	memory_open_tree(&memory, typed_tree("{'type':'linear','children':[@65536]}", &copy_type,
		copy_needs));
	memset(data, 'd', 512);
	memory_start(&memory, 0, asks(IO_WRITE, 4096, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 4096 1536 in 3\n");
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "submit 0 write fua 16384 512\ncommit 0 512\n");
	leaf = memory.leaves[0] + LABEL_FRONT;
	assert_int_equal(leaf[4096], 't');
	assert_int_equal(leaf[4096 + 512], 'd');
	assert_int_equal(leaf[4096 + 1024], 'u');
	assert_int_equal(leaf[16384], 0);
	close_typed(&memory);
}

static void each_request_has_scratch_of_its_own(void **state)
{
	struct memory memory;

	memory_open_tree(&memory, typed_tree("{'type':'linear','children':[@65536]}", &copy_type,
		copy_needs));
	memset(data, 'a', 512);
	memset(data + 512, 'b', 512);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_start(&memory, 1, asks(IO_WRITE, 8192, 512), data + 512);
	assert_ptr_not_equal(memory.pending[0].sub->vectors->iov_base,
		memory.pending[1].sub->vectors->iov_base);
	memory_end_all(&memory);
	assert_int_equal(memory.leaves[0][LABEL_FRONT + 8192 + 512], 'b');
	close_typed(&memory);
}

/* Two scratches on the way down: each node has its own, and names it from where it stands. */
static void nested_scratch_map(struct node *node, const struct request *request, struct plan *plan)
{
	memset(plan->scratch, 'A' + (int)node->index, 512);
	if (request->kind == IO_WRITE && request->data.home == DATA_REQUEST)
		plan_scratch(plan, IO_WRITE, 0, 0, request->offset, 0, 512);
	else
		plan_pass(plan, request, 0, request->offset);
	plan_scratch(plan, IO_WRITE, 0, 0, request->offset + 4096, 0, 512);
}

static const struct target_type nested_scratch_type = { .name = "n", .map = nested_scratch_map };

static void a_childs_scratch_is_not_its_parents(void **state)
{
	struct tree *tree = typed_tree(
		"{'type':'linear','children':[{'type':'linear','children':[@65536]}]}",
		&nested_scratch_type, copy_needs);
	struct node *child = tree->root->children[0];
	const struct target_type *before = child->type;
	struct memory memory;

	child->type = &nested_scratch_type;
	child->needs = copy_needs;
	memory_open_tree(&memory, tree);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end_all(&memory);
	assert_int_equal(memory.leaves[0][LABEL_FRONT], 'A');
	assert_int_equal(memory.leaves[0][LABEL_FRONT + 8192], 'B');
	child->type = before;
	close_typed(&memory);
}

static void scratch_is_never_handed_down(void **state)
{
	struct memory memory;

	memory_open_passing_tree(&memory, typed_tree("{'type':'linear','children':[@65536]}",
		&copy_type, copy_needs));
	memory_start(&memory, 0, asks(IO_READ, 0, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 1\n");
	memory_start(&memory, 2, asks(IO_READ, 32768, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 read 0 512 linked\n");
	memory_start(&memory, 1, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "fetch 1\n");
	engine_restart(memory.engine, 1);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 1536 in 3\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], 512);
	assert_int_equal(memory.results[2], 512);
	close_typed(&memory);
}

/*
 * Self ops: "make counter p durable". The node counts writes in memory; each is acknowledged once a
 * page that counts it is on the leaf.
 */
struct counter {
	uint32_t value, written;
	unsigned maps; /* plans of writes: each request must be planned once */
};

static enum hold counter_hold(
	const struct node *node, const struct request *request, struct range *range)
{
	if (request->kind != IO_SELF)
		return HOLD_NONE;
	*range = (struct range){ SELF_BASE + request->flags * PAGE, PAGE };
	return HOLD_EXCLUSIVE;
}

static void counter_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct counter *counter = node->state;

	if (request->kind == IO_WRITE) {
		counter->maps++;
		counter->value++;
		plan_pass(plan, request, 0, request->offset);
		plan_then(plan);
		plan_self(plan, counter->value, 0, 7);
	} else if (request->kind == IO_SELF && request->offset > counter->written) {
		memcpy(plan->scratch, &counter->value, sizeof(counter->value));
		*(uint32_t *)plan->io_state = counter->value;
		plan_scratch(plan, IO_WRITE, IO_FUA, 0, 32768, 0, 512);
		plan_ask(plan);
	} else if (request->kind == IO_READ) {
		plan_pass(plan, request, 0, request->offset);
	}
}

static void counter_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct counter *counter = node->state;

	if (request->kind == IO_SELF && plan->ops[0].result == 0)
		counter->written = *(uint32_t *)plan->io_state;
}

static const struct target_type counter_type = {
	.name = "counter",
	.state_size = sizeof(struct counter),
	.io_state_size = sizeof(uint32_t),
	.stateful = true,
	.hold = counter_hold,
	.map = counter_map,
	.resume = counter_resume,
};
static const struct needs counter_needs = {
	.ops_fixed = 1,
	.self_fixed = 1,
	.self_ops = 1,
	.self_scratch = PAGE,
};

static void open_counter(struct memory *memory)
{
	memory_open_tree(memory, typed_tree("{'type':'linear','children':[@65536]}", &counter_type,
		counter_needs));
}

static void a_request_waits_for_its_self_op(void **state)
{
	struct memory memory;

	open_counter(&memory);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\n");
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "submit 0 write fua 32768 512\ncommit 0 512\n");
	assert_int_equal(engine_stats(memory.engine)->selfs, 1);
	close_typed(&memory);
}

static void self_ops_that_wait_for_each_other_commit_as_a_group(void **state)
{
	struct memory memory;
	unsigned tag;

	open_counter(&memory);
	for (tag = 0; tag < 4; tag++)
		memory_start(&memory, tag, asks(IO_WRITE, tag * 4096, 512), data);
	(void)memory_log(&memory);
	for (tag = 0; tag < 4; tag++)
		memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "submit 0 write fua 32768 512\n");
	assert_int_equal(engine_stats(memory.engine)->held, 3);
	memory_end(&memory, 0, MEMORY_FULL); /* it counts all four: they had been counted by then */
	assert_string_equal(
		memory_log(&memory), "commit 0 512\ncommit 1 512\ncommit 2 512\ncommit 3 512\n");
	close_typed(&memory);
}

static void a_failed_self_op_fails_its_request_alone(void **state)
{
	struct memory memory;

	open_counter(&memory);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_start(&memory, 1, asks(IO_WRITE, 4096, 512), data);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	(void)memory_log(&memory);
	memory_end(&memory, 0, -EIO);
	assert_string_equal(memory_log(&memory), "commit 0 -5\nsubmit 0 write fua 32768 512\n");
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "commit 1 512\n");
	close_typed(&memory);
}

static void a_write_that_changes_the_node_is_planned_once(void **state)
{
	struct memory memory;

	memory_open_passing_tree(&memory, typed_tree("{'type':'linear','children':[@65536]}",
		&counter_type, counter_needs));
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "fetch 0\n");
	engine_restart(memory.engine, 0);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(((struct counter *)memory.tree->root->state)->maps, 1);
	close_typed(&memory);
}

/* Writes of the first block are plain: one op with their own bytes. */
static bool first_is_plain(const struct node *node, const struct request *request)
{
	assert_true(request->offset + request->length <= node->limits.size);
	return request->offset == 0;
}

static void plain_map(struct node *node, const struct request *request, struct plan *plan)
{
	((struct counter *)node->state)->maps++;
	plan_pass(plan, request, 0, request->offset);
	if (request->offset == 0)
		return;
	plan_then(plan);
	plan_scratch(plan, IO_WRITE, 0, 0, 32768, 0, 512);
}

static void a_plain_write_is_planned_without_its_bytes(void **state)
{
	static const struct target_type type = { .name = "plain", .state_size = sizeof(struct counter),
		.map = plain_map, .is_plain = first_is_plain, .stateful = true };
	const struct needs needs = { .ops_fixed = 2, .scratch = 4096 };
	struct memory memory;

	memory_open_passing_tree(&memory, typed_tree("{'type':'linear','children':[@65536]}",
		&type, needs));
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_start(&memory, 1, asks(IO_WRITE, 4096, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 1\nfetch 1\n");
	assert_int_equal(((struct counter *)memory.tree->root->state)->maps, 1);
	memory_start(&memory, 2, asks(IO_WRITE, UINT64_MAX - 511, 512), data); /* not even asked about */
	assert_string_equal(memory_log(&memory), "fetch 2\n");
	engine_restart(memory.engine, 0); /* the driver couldn't: again, with its bytes */
	engine_restart(memory.engine, 1);
	engine_restart(memory.engine, 2);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(memory.results[1], 512);
	assert_int_equal(memory.results[2], -EINVAL);
	assert_int_equal(((struct counter *)memory.tree->root->state)->maps, 3);
	close_typed(&memory);
}

/* Self ops of self ops: a request asks for word 1, that for word 2, which does the I/O. */
static void chain_map(struct node *node, const struct request *request, struct plan *plan)
{
	if (request->kind != IO_SELF) {
		plan_self(plan, request->offset, 0, 1);
		plan_self(plan, request->offset + 4096, 0, 1);
	} else if (request->flags == 1) {
		plan_self(plan, request->offset, 0, 2);
		plan_then(plan);
		memset(plan->scratch, '1', 512);
		plan_scratch(plan, IO_WRITE, 0, 0, request->offset, 0, 512);
	} else {
		memset(plan->scratch, '2', 512);
		plan_scratch(plan, IO_WRITE, 0, 0, request->offset + 512, 0, 512);
	}
}

static const struct target_type chain_type = {
	.name = "chain",
	.stateful = true,
	.map = chain_map,
};

static void self_ops_nest_twice(void **state)
{
	struct needs needs = {
		.ops_fixed = 0,
		.self_fixed = 2,
		.self_nested = 1,
		.self_ops = 1,
		.self_scratch = PAGE,
	};
	struct memory memory;

	memory_open_tree(&memory,
		typed_tree("{'type':'linear','children':[@65536]}", &chain_type, needs));
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(
		memory_log(&memory), "submit 0 write 512 512\nsubmit 0 write 4608 512\n");
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory),
		"submit 0 write 0 512\nsubmit 0 write 4096 512\ncommit 0 0\n");
	assert_int_equal(memory.leaves[0][LABEL_FRONT], '1');
	assert_int_equal(memory.leaves[0][LABEL_FRONT + 4608], '2');
	assert_int_equal(engine_stats(memory.engine)->selfs, 4);
	assert_int_equal(engine_fan_out_max(memory.engine), 4);
	close_typed(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scratch_is_written_beside_the_requests_bytes),
		cmocka_unit_test(each_request_has_scratch_of_its_own),
		cmocka_unit_test(a_childs_scratch_is_not_its_parents),
		cmocka_unit_test(scratch_is_never_handed_down),
		cmocka_unit_test(a_request_waits_for_its_self_op),
		cmocka_unit_test(self_ops_that_wait_for_each_other_commit_as_a_group),
		cmocka_unit_test(a_failed_self_op_fails_its_request_alone),
		cmocka_unit_test(a_write_that_changes_the_node_is_planned_once),
		cmocka_unit_test(a_plain_write_is_planned_without_its_bytes),
		cmocka_unit_test(self_ops_nest_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
