// SPDX-License-Identifier: MIT
/* The engine over memory: fan-out, merging, waves, short and failed transfers, holds, records. */
#include "memory.h"

#include <errno.h>

#define PAIR "{'type':'mirror','read_policy':'first','children':[@65536,@65536]}"
#define STRIPE "{'type':'stripe','chunk_size':4096,'children':[@65536,@65536]}"

static char data[4 << 20];

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

static void fill(char *bytes, size_t length, unsigned seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		bytes[i] = (char)rand_r(&seed);
}

struct fan {
	const char *device, *root;
	struct request request;
	const char *log;
};

static void requests_fan_out_as_told(void **state)
{
	static const char *const auto_ = "", *const gathered = "'fan_out':'gathered'";
	const struct fan rows[] = {
		{ auto_, "@65536", asks(IO_READ, 512, 1024),
			"submit 0 read 512 1024 linked\ncommit 0 1024\n" },
		{ auto_, "@65536", asks(IO_WRITE, 0, 512),
			"submit 0 write 0 512 linked\ncommit 0 512\n" },
		{ auto_, "@65536", asks(IO_FLUSH, 0, 0), "submit 0 flush\ncommit 0 0\n" },
		{ auto_, "@65536", asks(IO_DISCARD, 0, 512),
			"submit 0 discard 0 512 linked\ncommit 0 0\n" },
		{ auto_, "@65536", fixture_request(IO_WRITE, IO_FUA, 0, 512),
			"submit 0 write fua 0 512 linked\ncommit 0 512\n" },
		{ auto_, "@65536", asks(IO_WRITE_ZEROES, 0, 512),
			"submit 0 write-zeroes 0 512 linked\ncommit 0 0\n" },
		{ auto_, "@65536", fixture_request(IO_WRITE_ZEROES, IO_FUA, 0, 512),
			"submit 0 write-zeroes fua 0 512\nsubmit 0 flush fua\ncommit 0 0\n" },
		{ gathered, "@65536", asks(IO_READ, 512, 1024),
			"submit 0 read 512 1024\ncommit 0 1024\n" },
		{ auto_, STRIPE, asks(IO_READ, 4096, 4096),
			"submit 1 read 0 4096 linked\ncommit 0 4096\n" },
		{ auto_, STRIPE, asks(IO_READ, 3584, 1024),
			"submit 0 read 3584 512\nsubmit 1 read 0 512\ncommit 0 1024\n" },
		{ auto_, "{'type':'linear','children':[" STRIPE ",@4096]}",
			asks(IO_READ, 131072, 512), "submit 2 read 0 512 linked\ncommit 0 512\n" },
		{ auto_, PAIR, asks(IO_READ, 0, 512),
			"submit 0 read 0 512 linked\ncommit 0 512\n" },
		{ auto_, PAIR, asks(IO_WRITE, 0, 512),
			"submit 0 write 0 512\nsubmit 1 write 0 512\ncommit 0 512\n" },
		/* A mirror of one leg holds its writes apart, so that it has to hear of their end.
		 */
		{ auto_, "{'type':'mirror','children':[@65536]}", asks(IO_WRITE, 0, 512),
			"submit 0 write 0 512\ncommit 0 512\n" },
		/* Least pending counts reads in flight. */
		{ auto_, "{'type':'mirror','children':[@65536]}", asks(IO_READ, 0, 512),
			"submit 0 read 0 512\ncommit 0 512\n" },
		{ auto_, "{'type':'linear','children':[{'type':'zero','size':512},@65536]}",
			asks(IO_READ, 0, 1024), "submit 0 read 0 512 linked\ncommit 0 1024\n" },
		{ auto_, "{'type':'linear','children':[{'type':'error','size':512},@65536]}",
			asks(IO_READ, 0, 1024), "submit 0 read 0 512\ncommit 0 -5\n" },
		{ auto_, "{'type':'zero','size':8192}", asks(IO_WRITE, 0, 512), "commit 0 512\n" },
		{ auto_, "{'type':'zero','size':8192}", asks(IO_FLUSH, 0, 0), "commit 0 0\n" },
		{ auto_, "{'type':'error','size':8192}", asks(IO_FLUSH, 0, 0), "commit 0 -5\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		struct memory memory;

		memory_open(&memory, rows[i].device, rows[i].root);
		memory_start(&memory, 0, rows[i].request, data);
		memory_end_all(&memory);
		assert_string_equal(memory_log(&memory), rows[i].log);
		assert_int_equal(memory.commits[0], 1);
		memory_close(&memory);
	}
}

static void a_mebibyte_over_two_legs_is_two_sub_ios(void **state)
{
	struct memory memory;
	const struct engine_stats *stats;

	memory_open(&memory, "'max_io_size':'1MiB'",
		"{'type':'stripe','chunk_size':'64KiB','children':[@4194304,@4194304]}");
	stats = engine_stats(memory.engine);
	fill(data, 1 << 20, 7);
	memory_start(&memory, 3, asks(IO_WRITE, 0, 1 << 20), data);
	assert_string_equal(memory_log(&memory),
		"submit 0 write 0 524288 in 8\nsubmit 1 write 0 524288 in 8\n");
	assert_int_equal(stats->sub_ios, 2);
	assert_int_equal(stats->merged, 14);
	memory_end_all(&memory);
	assert_int_equal(memory.results[3], 1 << 20);
	memset(data + (1 << 20), 0, 1 << 20);
	memory_start(&memory, 3, asks(IO_READ, 0, 1 << 20), data + (1 << 20));
	memory_end_all(&memory);
	assert_memory_equal(data, data + (1 << 20), 1 << 20);
	memory_close(&memory);
}

static void neighbours_in_leaf_and_memory_are_one_vector(void **state)
{
	struct memory memory;

	memory_open(&memory, "", "{'type':'stripe','chunk_size':4096,'children':[@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 512, 32768), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 512 32768\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 32768);
	memory_close(&memory);
}

/* The last request's sub-I/O on leg 0 stood where this one's on leg 1 does now. */
static void a_sub_io_is_never_merged_into_another_leafs(void **state)
{
	struct memory memory;

	memory_open(&memory, "", STRIPE);
	memory_start(&memory, 0, asks(IO_READ, 0, 1024), data);
	memory_end_all(&memory);
	(void)memory_log(&memory);
	memory_start(&memory, 0, asks(IO_WRITE, 8192 - 512, 1024), data);
	assert_string_equal(
		memory_log(&memory), "submit 1 write 3584 512\nsubmit 0 write 4096 512\n");
	memory_end_all(&memory);
	memory_close(&memory);
}

static void requests_of_two_tags_are_not_merged(void **state)
{
	struct memory memory;

	memory_open(&memory, "'fan_out':'gathered'", "@65536");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\nsubmit 0 write 512 512\n");
	memory_end_all(&memory);
	memory_close(&memory);
}

static void short_transfers_are_finished_whatever_their_length(void **state)
{
	static const int lengths[] = { 1, 511, 512, 4095, 4096, 4097, 8191, 8192, 12287 };
	unsigned i;

	for (i = 0; i < LENGTH_OF(lengths); i++) {
		struct memory memory;
		char *back = data + (1 << 20);

		memory_open(&memory, "", STRIPE);
		fill(data, 24576, i);
		memory_start(&memory, 0, asks(IO_WRITE, 0, 24576), data);
		while (memory.pending_count) {
			int left = (int)memory.pending[0].sub->length;

			memory_end(&memory, 0, lengths[i] < left ? lengths[i] : left);
		}
		assert_int_equal(memory.results[0], 24576);
		memset(back, 0, 24576);
		memory_start(&memory, 0, asks(IO_READ, 0, 24576), back);
		while (memory.pending_count) {
			int left = (int)memory.pending[0].sub->length;

			memory_end(&memory, 0, lengths[i] < left ? lengths[i] : left);
		}
		assert_memory_equal(back, data, 24576);
		assert_int_equal(memory.commits[0], 2);
		memory_close(&memory);
	}
}

static void a_leaf_that_ends_early_or_says_too_much_is_an_error(void **state)
{
	static const int results[] = { 0, 8192 };
	unsigned i, linked;

	for (i = 0; i < LENGTH_OF(results); i++)
		for (linked = 0; linked < 2; linked++) {
			struct memory memory;
			struct sub_io *sub;

			memory_open(&memory, linked ? "" : "'fan_out':'gathered'", "@65536");
			memory_start(&memory, 0, asks(IO_READ, 0, 4096), data);
			sub = memory.pending[0].sub;
			memory.pending_count = 0;
			sub->event.end(&sub->event, results[i]);
			assert_int_equal(memory.commits[0], 1);
			assert_int_equal(memory.results[0], -EIO);
			memory_close(&memory);
		}
}

static void again_is_tried_a_hundred_times(void **state)
{
	static const int again[] = { -EAGAIN, -EINTR };
	unsigned i, tries, linked;

	for (i = 0; i < LENGTH_OF(again); i++)
		for (linked = 0; linked < 2; linked++) {
			struct memory memory;

			memory_open(&memory, linked ? "" : "'fan_out':'gathered'", "@65536");
			memory_start(&memory, 0, asks(IO_READ, 0, 512), data);
			for (tries = 0; tries < 100; tries++)
				memory_end(&memory, 0, again[i]);
			assert_int_equal(memory.pending_count, 1);
			assert_int_equal(memory.commits[0], 0);
			memory_end(&memory, 0, again[i]);
			assert_int_equal(memory.results[0], -EIO);
			memory_start(&memory, 0, asks(IO_READ, 0, 512), data);
			for (tries = 0; tries < 100; tries++)
				memory_end(&memory, 0, again[i]);
			memory_end(&memory, 0, MEMORY_FULL);
			assert_int_equal(memory.results[0], 512);
			memory_close(&memory);
		}
}

static void no_flush_is_believed_after_one_has_failed(void **state)
{
	struct memory memory;

	memory_open(&memory, "", "{'type':'linear','children':[@65536,@65536]}");
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	memory_end(&memory, 0, -EAGAIN); /* is no failure */
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 0);
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	memory_end(&memory, 0, -EIO);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], -EIO);
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), NULL);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], -EIO);
	memory_start(&memory, 0, fixture_request(IO_WRITE_ZEROES, IO_FUA, 0, 512), NULL);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], -EIO);
	memory_start(&memory, 0, fixture_request(IO_WRITE_ZEROES, IO_FUA, 65536, 512), NULL);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 0); /* another leaf */
	memory_start(&memory, 0, fixture_request(IO_WRITE, IO_FUA, 0, 512), data);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512); /* durable by itself */
	memory_close(&memory);
}

static void a_linked_one_that_fails_or_falls_short_goes_on_gathered(void **state)
{
	static const struct {
		int result;
		const char *log;
	} rows[] = {
		{ -EIO, "submit 0 read 0 4096 linked\ncommit 0 -5\n" },
		{ 512, "submit 0 read 0 4096 linked\nsubmit 0 read 512 3584\ncommit 0 4096\n" },
		{ -EAGAIN, "submit 0 read 0 4096 linked\nsubmit 0 read 0 4096\ncommit 0 4096\n" },
		{ MEMORY_FULL, "submit 0 read 0 4096 linked\ncommit 0 4096\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		struct memory memory;
		const struct engine_stats *stats;

		memory_open(&memory, "", "@65536");
		stats = engine_stats(memory.engine);
		memory_start(&memory, 0, asks(IO_READ, 0, 4096), data);
		memory_end(&memory, 0, rows[i].result);
		memory_end_all(&memory);
		assert_string_equal(memory_log(&memory), rows[i].log);
		assert_int_equal(memory.commits[0], 1);
		assert_int_equal(stats->linked, 1);
		assert_int_equal(stats->unlinked, rows[i].result != MEMORY_FULL);
		/* The tag is linked again with its next request. */
		memory_start(&memory, 0, asks(IO_READ, 0, 4096), data);
		assert_string_equal(memory_log(&memory), "submit 0 read 0 4096 linked\n");
		memory_end_all(&memory);
		memory_close(&memory);
	}
}

static void a_linked_read_that_fails_is_tried_on_the_other_leg(void **state)
{
	struct memory memory;

	memory_open(&memory, "", PAIR);
	memory_start(&memory, 0, asks(IO_READ, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory),
		"submit 0 read 0 512 linked\nsubmit 1 read 0 512\ncommit 0 512\n");
	memory_close(&memory);
}

static void the_rest_of_a_failed_wave_is_awaited(void **state)
{
	struct memory memory;

	memory_open(&memory, "", STRIPE);
	memory_start(&memory, 0, asks(IO_READ, 0, 8192), data);
	memory_end(&memory, 0, -ENOSPC);
	assert_int_equal(memory.commits[0], 0);
	memory_end(&memory, 0, -EIO);
	assert_int_equal(memory.results[0], -ENOSPC);
	memory_close(&memory);
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

static void what_the_device_does_not_have_is_refused(void **state)
{
	const struct {
		const char *device, *root;
		struct request request;
		int result;
	} rows[] = {
		{ "", "@65536", asks(IO_READ, 65536, 512), -EINVAL },
		{ "", "@65536", asks(IO_READ, 65536 - 512, 1024), -EINVAL },
		{ "", "@65536", asks(IO_DISCARD, 512, UINT64_MAX - 511), -EINVAL },
		{ "", "@65536", asks(IO_DISCARD, UINT64_MAX - 511, 512), -EINVAL },
		{ "", "@65536", asks(IO_READ, 100, 512), -EINVAL },
		{ "", "@65536", asks(IO_READ, 0, 513), -EINVAL },
		{ "", "@65536", asks(IO_WRITE, 0, 0), -EINVAL },
		{ "'logical_block_size':4096", "@65536", asks(IO_READ, 512, 4096), -EINVAL },
		{ "'logical_block_size':4096", "@65536", asks(IO_READ, 0, 512), -EINVAL },
		{ "'max_io_size':4096", "@65536", asks(IO_READ, 0, 4096 + 512), -EINVAL },
		{ "'max_io_size':4096", "@65536", asks(IO_DISCARD, 0, 65536), 0 },
		{ "'max_io_size':4096", "@65536", asks(IO_READ, 65536 - 4096, 4096), 4096 },
		{ "'read_only':true", "@65536", asks(IO_WRITE, 0, 512), -EROFS },
		{ "'read_only':true", "@65536", asks(IO_DISCARD, 0, 512), -EROFS },
		{ "'read_only':true", "@65536", asks(IO_READ, 0, 512), 512 },
		{ "'read_only':true", "@65536", asks(IO_FLUSH, 0, 0), 0 },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		struct memory memory;

		memory_open(&memory, rows[i].device, rows[i].root);
		memory_start(&memory, 0, rows[i].request, data);
		assert_int_equal(memory.pending_count, rows[i].result >= 0);
		memory_end_all(&memory);
		assert_int_equal(memory.results[0], rows[i].result);
		assert_int_equal(engine_stats(memory.engine)->errors, rows[i].result < 0);
		memory_close(&memory);
	}
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
		"submit 0 write 0 1024\nsubmit 1 write 0 1024\n"
		"submit 0 write 1536 512\nsubmit 1 write 1536 512\n");
	assert_int_equal(engine_stats(memory.engine)->held, 2);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory), "");
	memory_end(&memory, 0, MEMORY_FULL);
	assert_string_equal(memory_log(&memory),
		"commit 0 1024\nsubmit 0 write 512 1024\nsubmit 1 write 512 1024\n");
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
	const struct engine_stats *stats;

	memory_open_passing(&memory, PAIR);
	stats = engine_stats(memory.engine);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\n");
	memory_start(&memory, 1, asks(IO_DISCARD, 4096, 512), NULL);
	assert_string_equal(memory_log(&memory), "pass 1 in 2\n");
	memory_start(&memory, 2, asks(IO_READ, 4096, 512), data);
	assert_string_equal(memory_log(&memory), "pass 2 in 1\n");
	memory_start(&memory, 3, asks(IO_FLUSH, 0, 0), NULL);
	assert_string_equal(memory_log(&memory), "submit 0 flush\nsubmit 1 flush\n");
	memory_end_all(&memory);
	assert_int_equal(stats->passed, 3);
	assert_int_equal(stats->gathered, 1);
	memory_close(&memory);
}

static void what_the_driver_gives_back_is_begun_again(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, PAIR);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	(void)memory_log(&memory);
	engine_restart(memory.engine, 0);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\nsubmit 1 write 0 512\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	memory_close(&memory);
}

static void a_range_is_held_until_the_driver_has_ended_it(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, PAIR);
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
	memory_close(&memory);
}

/* One part waits for a range; for the other, the bytes are fetched. Then all is planned again. */
static void what_is_fetched_does_nothing_until_it_is_back(void **state)
{
	struct memory memory;

	memory_open_passing(&memory,
		"{'type':'linear','children':[{'type':'mirror','children':[@1024,@1024]},@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 512, 512), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 1024), data);
	assert_string_equal(memory_log(&memory), "pass 0 in 2\npoll\nfetch 1\n");
	memory.ended[0] = true;
	engine_poll(memory.engine);
	assert_string_equal(memory_log(&memory), "");
	engine_restart(memory.engine, 1);
	assert_string_equal(memory_log(&memory),
		"submit 0 write 512 512\nsubmit 1 write 512 512\nsubmit 2 write 0 512\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], 1024);
	memory_close(&memory);
}

static enum label_found decode(
	const struct memory *memory, unsigned place, unsigned copy, struct label *label)
{
	/* Only head and peers are written while live; the texts are there from the format. */
	static char whole[LABEL_COPY_STRIDE];
	char why[200];
	struct label texts = memory->tree->leaves[place]->label;

	(void)label_encode_copy(&texts, whole);
	memcpy(whole, memory->leaves[place] + copy * LABEL_COPY_STRIDE, 8192);
	return label_decode(
		whole, sizeof(whole), copy * LABEL_COPY_STRIDE, label, why, sizeof(why));
}

static void a_record_says_which_leaves_are_stale(void **state)
{
	struct memory memory;
	struct label label;

	memory_open(&memory, "",
		"{'type':'mirror','children':["
		"{'type':'stripe','chunk_size':4096,'children':[@65536,@65536]},@131072]}");
	memory_start(&memory, 0, asks(IO_WRITE, 4096, 512), data);
	memory_end(&memory, 0, -EIO); /* leg 0, by its second leaf */
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 0);
	assert_int_equal(memory.pending_count, 1);
	assert_int_equal(memory.pending[0].sub->leaf->place, 2);
	assert_int_equal(memory.pending[0].sub->flags, IO_FUA);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(decode(&memory, 2, 1, &label), LABEL_FOUND);
	assert_int_equal(label.generation, 3);
	assert_int_equal(label.peers[0].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[2].state, LABEL_PEER_IN_SYNC);
	assert_int_equal(label.peers[2].generation, 2); /* durable when it was written */
	label_finish(&label);
	memory_close(&memory);
}

static void a_record_names_no_generation_that_is_still_being_written(void **state)
{
	struct memory memory;
	struct label label;

	memory_open(&memory, "", "{'type':'mirror','children':[@65536,@65536,@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 2); /* leaf 1's record is on its way, and leaf 2's */
	assert_int_equal(memory.tree->leaves[1]->label.generation, 3);
	memory_end(&memory, 1, MEMORY_FULL);
	assert_int_equal(decode(&memory, 2, 1, &label), LABEL_FOUND);
	assert_int_equal(label.peers[1].generation, 2);
	label_finish(&label);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void a_mirror_goes_on_without_a_leg_that_fails_everything(void **state)
{
	struct memory memory;

	memory_open(&memory, "",
		"{'type':'mirror','read_policy':'first','children':[{'type':'error','size':65536},@"
		"65536]}");
	memory_start(&memory, 0, asks(IO_READ, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 read 0 512\n");
	memory_start(&memory, 1, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 512\n");
	memory_end(&memory, 1, MEMORY_FULL);
	assert_int_equal(memory.commits[1], 0); /* the record */
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(memory.results[1], 512);
	(void)memory_log(&memory);
	memory_start(&memory, 1, asks(IO_FLUSH, 0, 0), NULL);
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "submit 0 flush\ncommit 1 0\n");
	memory_close(&memory);
}

static void records_of_one_leaf_are_shared(void **state)
{
	struct memory memory;
	unsigned tag;

	memory_open(&memory, "", "{'type':'mirror','children':[@65536,@65536]}");
	for (tag = 0; tag < 4; tag++)
		memory_start(&memory, tag, asks(IO_WRITE, tag * 512, 512), data);
	for (tag = 0; tag < 4; tag++) {
		memory_end(&memory, 0, MEMORY_FULL);
		memory_end(&memory, 0, -EIO);
	}
	/* The first writes the label; the others came meanwhile and share what follows it. */
	assert_int_equal(memory.pending_count, 1);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 1);
	assert_int_equal(memory.commits[1] + memory.commits[2] + memory.commits[3], 0);
	assert_int_equal(memory.pending_count, 1);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 0);
	for (tag = 0; tag < 4; tag++)
		assert_int_equal(memory.results[tag], 512);
	assert_int_equal(memory.tree->leaves[0]->label.generation, 4);
	memory_close(&memory);
}

static void a_record_that_failed_leaves_the_whole_copy_alone(void **state)
{
	struct memory memory;

	memory_open(&memory, "", "{'type':'mirror','children':[@65536,@65536,@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 2); /* records on leaves 1 and 2 */
	assert_int_equal(memory.pending[0].sub->offset, LABEL_COPY_STRIDE);
	memory_end(&memory, 0, -EIO);
	assert_int_equal(memory.tree->leaves[1]->label.generation, 2);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 1); /* leaf 1 is stale by now, leaf 2 says so */
	assert_int_equal(memory.pending[0].sub->leaf->place, 2);
	assert_int_equal(memory.commits[0], 0);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	memory_close(&memory);
}

static void a_short_record_is_finished(void **state)
{
	struct memory memory;
	struct label label;

	memory_open(&memory, "", "{'type':'mirror','children':[@65536,@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, 512);
	assert_int_equal(memory.commits[0], 0);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(decode(&memory, 1, 1, &label), LABEL_FOUND);
	label_finish(&label);
	memory_close(&memory);
}

static void a_leaf_without_a_label_cannot_record(void **state)
{
	struct memory memory;

	memory_open(&memory, "", PAIR);
	memory.tree->leaves[1]->labelled = false;
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.results[0], -EOPNOTSUPP);
	memory_close(&memory);
}

/* Random trees, for bounds: the engine asserts that no request outgrows its arena. */
static void print_random_node(FILE *out, unsigned *random, unsigned depth)
{
	static const char *const types[] = { "linear", "stripe", "mirror" };
	unsigned type = (unsigned)rand_r(random) % 8, count, i;

	if (depth == 0 || type >= 5) {
		if (rand_r(random) % 12 == 0)
			fprintf(out, "{'type':'zero','size':%u}", 16384);
		else
			fprintf(out, "@%u", 16384 + 512 * ((unsigned)rand_r(random) % 64));
		return;
	}
	type %= 3;
	count = 1 + (unsigned)rand_r(random) % 4;
	fprintf(out, "{'type':'%s','children':[", types[type]);
	for (i = 0; i < count; i++) {
		fputs(i ? "," : "", out);
		print_random_node(out, random, depth - 1);
	}
	fprintf(out, "]%s}", type == 1 ? ",'chunk_size':4096" : "");
}

static char *random_root(unsigned seed)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned random = seed;

	print_random_node(out, &random, 4);
	fclose(out);
	return text;
}

static int random_result(const struct sub_io *sub, unsigned *random, unsigned failures)
{
	bool has_bytes = sub->kind == IO_READ || sub->kind == IO_WRITE;

	if ((unsigned)rand_r(random) % 100 < failures)
		return rand_r(random) % 4 ? -EIO : -EAGAIN;
	if (has_bytes && sub->length > 512 && rand_r(random) % 4 == 0)
		return 512 * (1 + rand_r(random) % (int)(sub->length / 512));
	return MEMORY_FULL;
}

static void start_random(struct memory *memory, unsigned tag, unsigned *random)
{
	enum io_kind kind = (enum io_kind)(rand_r(random) % (IO_FLUSH + 1));
	unsigned blocks = (unsigned)(memory->tree->root->limits.size / 512);
	unsigned offset = (unsigned)rand_r(random) % blocks;
	unsigned most = blocks - offset < 128 ? blocks - offset : 128;
	unsigned length = 1 + (unsigned)rand_r(random) % most;

	if (kind == IO_FLUSH)
		offset = length = 0;
	memory_start(memory, tag, asks(kind, offset * 512, length * 512), data + tag * 65536);
}

static void run_random_tree(unsigned seed)
{
	char *root = random_root(seed);
	struct memory memory;
	unsigned random = seed, started[MEMORY_TAGS] = { 0 }, step, tag;
	unsigned failures = seed % 3 ? seed % 20 : 0;

	memory_open(&memory, "'max_io_size':65536", root);
	for (step = 0; step < 400; step++) {
		tag = (unsigned)rand_r(&random) % MEMORY_TAGS;
		if (started[tag] == memory.commits[tag] && step < 300) {
			started[tag]++;
			start_random(&memory, tag, &random);
		} else if (memory.pending_count) {
			unsigned n = (unsigned)rand_r(&random) % memory.pending_count;

			memory_end(&memory, n,
				random_result(memory.pending[n].sub, &random, failures));
		}
	}
	memory_end_all(&memory);
	for (tag = 0; tag < MEMORY_TAGS; tag++)
		assert_int_equal(started[tag], memory.commits[tag]);
	assert_true(memory.pending_most <= engine_fan_out_max(memory.engine) * MEMORY_TAGS);
	memory_close(&memory);
	free(root);
}

static void random_trees_stay_within_their_arenas_and_end_all(void **state)
{
	unsigned seed;

	for (seed = 1; seed <= 300; seed++)
		run_random_tree(seed);
}

static void a_tree_that_needs_too_much_memory_is_refused(void **state)
{
	struct err err = { 0 };
	struct tree *tree = fixture_tree("{'type':'stripe','chunk_size':4096,'children':["
					 "{'type':'mirror','children':[@65536,@65536,@65536,@65536,"
					 "@65536,@65536,@65536,@65536]}]}");
	struct engine_config config = { .tree = tree, .depth = 4096, .max_io = 4 << 20 };
	struct engine *engine;

	assert_int_equal(engine_open(&engine, &config, &err), -1);
	assert_non_null(strstr(err.text, "for queue_depth 4096; lower queue_depth or max_io_size"));
	assert_null(engine);
	err_finish(&err);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_fan_out_as_told),
		cmocka_unit_test(a_mebibyte_over_two_legs_is_two_sub_ios),
		cmocka_unit_test(neighbours_in_leaf_and_memory_are_one_vector),
		cmocka_unit_test(a_sub_io_is_never_merged_into_another_leafs),
		cmocka_unit_test(requests_of_two_tags_are_not_merged),
		cmocka_unit_test(short_transfers_are_finished_whatever_their_length),
		cmocka_unit_test(a_leaf_that_ends_early_or_says_too_much_is_an_error),
		cmocka_unit_test(again_is_tried_a_hundred_times),
		cmocka_unit_test(no_flush_is_believed_after_one_has_failed),
		cmocka_unit_test(a_linked_one_that_fails_or_falls_short_goes_on_gathered),
		cmocka_unit_test(a_linked_read_that_fails_is_tried_on_the_other_leg),
		cmocka_unit_test(the_rest_of_a_failed_wave_is_awaited),
		cmocka_unit_test(ops_that_are_no_neighbours_stay_apart),
		cmocka_unit_test(a_wave_starts_when_all_before_it_have_succeeded),
		cmocka_unit_test(a_failed_wave_is_the_last),
		cmocka_unit_test(resume_sees_what_was_given_up_and_may_overrule),
		cmocka_unit_test(who_asks_is_resumed_after_success_and_not_linked),
		cmocka_unit_test(a_plan_that_map_has_ended_starts_nothing),
		cmocka_unit_test(what_the_device_does_not_have_is_refused),
		cmocka_unit_test(writes_that_overlap_on_a_mirror_keep_their_order),
		cmocka_unit_test(what_nobody_has_to_hear_of_is_handed_down),
		cmocka_unit_test(what_the_driver_gives_back_is_begun_again),
		cmocka_unit_test(a_range_is_held_until_the_driver_has_ended_it),
		cmocka_unit_test(what_is_fetched_does_nothing_until_it_is_back),
		cmocka_unit_test(a_record_says_which_leaves_are_stale),
		cmocka_unit_test(a_record_names_no_generation_that_is_still_being_written),
		cmocka_unit_test(a_mirror_goes_on_without_a_leg_that_fails_everything),
		cmocka_unit_test(records_of_one_leaf_are_shared),
		cmocka_unit_test(a_record_that_failed_leaves_the_whole_copy_alone),
		cmocka_unit_test(a_short_record_is_finished),
		cmocka_unit_test(a_leaf_without_a_label_cannot_record),
		cmocka_unit_test(random_trees_stay_within_their_arenas_and_end_all),
		cmocka_unit_test(a_tree_that_needs_too_much_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
