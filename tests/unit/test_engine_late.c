// SPDX-License-Identifier: MIT
/* The engine over memory: leaves that don't answer in time, and what they do afterwards. */
#include "engine_internal.h"
#include "memory.h"

#include <errno.h>

#define PAIR "{'type':'mirror','timeout':2,'read_policy':'first','children':[@65536,@65536]}"
#define THREE "{'type':'mirror','timeout':2,'read_policy':'first','children':[@65536,@65536,@65536]}"
#define BLOCK 512u

static struct memory memory;
static char data[MEMORY_TAGS][65536];

/* Where the tag's bytes are now. */
static char *buffer(unsigned tag)
{
	return memory.data[tag] ? memory.data[tag] : data[tag];
}

static void start(unsigned tag, enum io_kind kind, uint64_t offset, uint64_t length)
{
	memory_start(&memory, tag, fixture_request(kind, 0, offset, length), buffer(tag));
}

static void start_write(unsigned tag, uint64_t offset, char byte)
{
	memset(buffer(tag), byte, BLOCK);
	start(tag, IO_WRITE, offset, BLOCK);
}

/* The pending one of that kind on the leaf that was submitted first. */
static unsigned find(unsigned leaf, enum io_kind kind)
{
	unsigned n;

	for (n = 0; n < memory.pending_count; n++)
		if (memory.pending[n].sub->leaf->place == leaf && memory.pending[n].sub->kind == kind)
			return n;
	fail_msg("leaf %u has no %s pending", leaf, io_kind_name(kind));
	return 0;
}

static void end(unsigned leaf, enum io_kind kind)
{
	memory_end(&memory, find(leaf, kind), MEMORY_FULL);
}

static struct leaf *leaf_at(unsigned place)
{
	return memory.tree->leaves[place];
}

static char *bytes_at(unsigned leaf, uint64_t offset)
{
	return memory.leaves[leaf] + leaf_at(leaf)->data_offset + offset;
}

/* Leg 0 hangs in a write; the mirror has gone on and recorded it. */
static void hang_a_write(void)
{
	start_write(0, 4096, 'a');
	end(1, IO_WRITE);
	memory_pass_time(&memory, 3);
	end(1, IO_WRITE); /* both copies of the label */
	end(1, IO_WRITE);
	assert_int_equal(memory.commits[0], 1);
	assert_int_equal(memory.results[0], BLOCK);
}

static void a_write_that_hangs_fails_its_leg_in_time_and_not_before(void **state)
{
	memory_open_timed(&memory, PAIR);
	start_write(0, 4096, 'a');
	end(1, IO_WRITE);
	memory_log(&memory);
	memory_pass_time(&memory, 2);
	assert_string_equal(memory_log(&memory), "");
	memory_pass_time(&memory, 1);
	assert_memory_equal(memory_log(&memory), "moved 0\nsubmit 1 write fua", 26);
	assert_true(memory.tree->root->children[0]->failed);
	end(1, IO_WRITE);
	end(1, IO_WRITE);
	assert_int_equal(memory.results[0], BLOCK);
	assert_int_equal(engine_stats(memory.engine)->late, 1);
	assert_false(child_may_return(memory.tree->root->children[0]));
	end(0, IO_WRITE);
	assert_int_equal(memory.commits[0], 1);
	assert_int_equal(engine_late(memory.engine), 0);
	assert_true(child_may_return(memory.tree->root->children[0]));
	assert_false(leaf_at(0)->has_missed);
	memory_close(&memory);
}

static void a_late_write_writes_the_bytes_that_it_was_begun_with(void **state)
{
	memory_open_timed(&memory, PAIR);
	hang_a_write();
	start_write(0, 8192, 'b');
	end(1, IO_WRITE);
	start_write(0, 8192 + BLOCK, 'c'); /* the late one's home must not be taken yet */
	end(0, IO_WRITE);
	assert_int_equal(*bytes_at(0, 4096), 'a');
	assert_int_equal(*bytes_at(0, 4096 + BLOCK - 1), 'a');
	end(1, IO_WRITE);
	assert_int_equal(*bytes_at(1, 8192), 'b');
	assert_int_equal(*bytes_at(1, 8192 + BLOCK), 'c');
	memory_close(&memory);
}

static void what_ends_late_is_nothing_to_the_tags_next_request(void **state)
{
	const int results[] = { MEMORY_FULL, -EIO, -EAGAIN };
	unsigned i;

	for (i = 0; i < LENGTH_OF(results); i++) {
		memory_open_timed(&memory, PAIR);
		hang_a_write();
		start_write(0, 8192, 'b');
		memory_log(&memory);
		memory_end(&memory, find(0, IO_WRITE), results[i]);
		assert_string_equal(memory_log(&memory), "");
		assert_int_equal(memory.commits[0], 1);
		end(1, IO_WRITE);
		assert_int_equal(memory.commits[0], 2);
		assert_int_equal(memory.results[0], BLOCK);
		memory_close(&memory);
	}
}

static void a_late_read_does_not_touch_what_another_leg_has_read(void **state)
{
	memory_open_timed(&memory, PAIR);
	memset(bytes_at(0, 0), 'o', BLOCK);
	memset(bytes_at(1, 0), 'n', BLOCK);
	start(0, IO_READ, 0, BLOCK);
	memory_pass_time(&memory, 3);
	assert_false(memory.tree->root->children[0]->failed);
	end(1, IO_READ);
	assert_int_equal(memory.results[0], BLOCK);
	end(0, IO_READ);
	assert_int_equal(*buffer(0), 'n');
	assert_int_equal(data[0][0], 'o'); /* which the tag doesn't use any more */
	memory_close(&memory);
}

static void a_late_read_in_its_second_home_is_left_too(void **state)
{
	memory_open_timed(&memory, THREE);
	memset(bytes_at(0, 0), 'o', BLOCK);
	memset(bytes_at(1, 0), 'p', BLOCK);
	memset(bytes_at(2, 0), 'n', BLOCK);
	start(0, IO_READ, 0, BLOCK);
	memory_pass_time(&memory, 3); /* leg 1 is asked */
	memory_pass_time(&memory, 3); /* leg 2 */
	end(2, IO_READ);
	start(1, IO_READ, 0, BLOCK);
	end(1, IO_READ); /* late */
	end(0, IO_READ); /* late */
	assert_int_equal(*buffer(0), 'n');
	end(2, IO_READ);
	assert_int_equal(*buffer(1), 'n');
	assert_int_equal(engine_late(memory.engine), 0);
	memory_close(&memory);
}

static void nobody_moves_to_where_late_io_may_come(void **state)
{
	memory_open_timed(&memory, THREE);
	memset(bytes_at(0, 0), 'o', BLOCK);
	memset(bytes_at(2, 0), 'n', BLOCK);
	start(0, IO_READ, 0, BLOCK);
	memory_pass_time(&memory, 3);
	end(1, IO_READ); /* it has left its first home to leg 0 */
	start(1, IO_READ, 0, BLOCK);
	memory_pass_time(&memory, 3);
	end(2, IO_READ);
	end(0, IO_READ);
	assert_int_equal(*buffer(1), 'n');
	end(1, IO_READ);
	memory_close(&memory);
}

/* Leaf 2 is the stripe's second column, or the first leg of it. */
static void check_bytes_move_along(const char *root)
{
	memory_open_timed(&memory, root);
	memset(bytes_at(1, 0), 'a', 4096);
	memset(bytes_at(2, 0), 'b', 8192);
	start(0, IO_READ, 0, 16384);
	memory_pass_time(&memory, 3); /* leaf 0 is late, leaf 2 has time */
	end(2, IO_READ);
	memset(bytes_at(1, 4096), 'a', 4096);
	end(1, IO_READ);
	assert_int_equal(memory.results[0], 16384);
	assert_int_equal(buffer(0)[0], 'a');
	assert_int_equal(buffer(0)[4096], 'b');
	assert_int_equal(buffer(0)[8192], 'a');
	assert_int_equal(buffer(0)[16383], 'b');
	end(0, IO_READ);
	assert_int_equal(buffer(0)[0], 'a');
	memory_close(&memory);
}

static void bytes_that_came_in_time_move_along(void **state)
{
	check_bytes_move_along("{'type':'stripe','chunk_size':4096,'children':["
		"{'type':'mirror','timeout':2,'read_policy':'first','children':[@65536,@65536]},"
		"{'type':'mirror','timeout':60,'read_policy':'first','children':[@65536,@65536]}]}");
}

static void bytes_of_a_leaf_without_a_timeout_move_along(void **state)
{
	check_bytes_move_along("{'type':'stripe','chunk_size':4096,'children':["
		"{'type':'mirror','timeout':2,'read_policy':'first','children':[@65536,@65536]},"
		"@65536]}");
}

static void the_last_leg_is_waited_for(void **state)
{
	memory_open_timed(&memory, PAIR);
	start_write(0, 4096, 'a');
	memory_pass_time(&memory, 100); /* both hang: one of them has to say what became of it */
	assert_int_equal(engine_late(memory.engine), 1);
	assert_int_equal(memory.commits[0], 0);
	end(0, IO_WRITE); /* late: it has missed the write all the same, and can't stand in */
	memory_pass_time(&memory, 100);
	assert_int_equal(memory.commits[0], 0);
	end(1, IO_WRITE);
	memory_end_all(&memory); /* the record */
	assert_int_equal(memory.results[0], BLOCK);
	assert_true(memory.tree->root->children[0]->failed);
	start_write(0, 4096, 'b');
	memory_pass_time(&memory, 100);
	assert_int_equal(memory.commits[0], 1);
	end(1, IO_WRITE);
	assert_int_equal(memory.results[0], BLOCK);
	memory_close(&memory);
}

static void a_leaf_without_a_timeout_is_waited_for(void **state)
{
	memory_open_timed(&memory,
		"{'type':'mirror','timeout':0,'read_policy':'first','children':[@65536,@65536]}");
	start(0, IO_READ, 0, BLOCK);
	memory_pass_time(&memory, 100);
	assert_int_equal(memory.pending_count, 1);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void no_label_is_written_while_a_late_write_may_read_it(void **state)
{
	char before[LABEL_UPDATE_MAX];
	struct node *root;

	memory_open_timed(&memory, THREE);
	root = memory.tree->root;
	start_write(0, 4096, 'a');
	memory_end(&memory, find(2, IO_WRITE), -EIO);
	end(0, IO_WRITE);
	end(1, IO_WRITE); /* both record that leg 2 has failed */
	memory_pass_time(&memory, 1);
	end(1, IO_WRITE);
	end(1, IO_WRITE);
	memory_pass_time(&memory, 2); /* leg 0 doesn't */
	assert_true(root->children[0]->failed);
	end(1, IO_WRITE);
	end(1, IO_WRITE);
	assert_int_equal(memory.results[0], BLOCK);
	memcpy(before, leaf_at(0)->label_memory, sizeof(before));

	root->children[0]->failed = root->children[2]->failed = false; /* too early */
	start_write(1, 8192, 'b');
	memory_end(&memory, find(2, IO_WRITE), -EIO);
	memory_end(&memory, find(1, IO_WRITE), MEMORY_FULL);
	memory_end(&memory, memory.pending_count - 1, MEMORY_FULL); /* leg 0's write, not its label */
	memory_log(&memory);
	assert_memory_equal(before, leaf_at(0)->label_memory, sizeof(before));
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], BLOCK);
	assert_true(root->children[0]->failed);
	memory_end_all(&memory);
	assert_false(leaf_at(0)->record.is_late);
	assert_int_equal(engine_late(memory.engine), 0);
	memory_close(&memory);
}

static void without_spare_memory_a_leaf_is_waited_for(void **state)
{
	unsigned tag;

	memory_open_timed(&memory, THREE);
	for (tag = 0; tag < MEMORY_TAGS; tag++)
		start(tag, IO_READ, 0, BLOCK);
	memory_pass_time(&memory, 3); /* leg 0 keeps them all */
	assert_int_equal(engine_late(memory.engine), MEMORY_TAGS);
	memory_pass_time(&memory, 10); /* so does leg 1, but there is no room to leave them */
	assert_int_equal(engine_late(memory.engine), MEMORY_TAGS);
	memory_end(&memory, MEMORY_TAGS - 1, MEMORY_FULL); /* the last tag's first home … */
	memory_pass_time(&memory, 1);
	assert_int_equal(engine_late(memory.engine), MEMORY_TAGS - 1);
	end(1, IO_READ); /* … is free once its request, which was submitted first, has ended */
	memory_pass_time(&memory, 1);
	assert_int_equal(engine_late(memory.engine), MEMORY_TAGS);
	while (memory.pending_count)
		memory_end(&memory, 0, MEMORY_FULL);
	for (tag = 0; tag < MEMORY_TAGS; tag++)
		assert_int_equal(memory.results[tag], BLOCK);
	assert_int_equal(engine_late(memory.engine), 0);
	memory_close(&memory);
}

static void a_flush_that_fails_late_has_failed(void **state)
{
	memory_open_timed(&memory, PAIR);
	start(0, IO_FLUSH, 0, 0);
	end(1, IO_FLUSH);
	memory_pass_time(&memory, 3);
	end(1, IO_WRITE);
	end(1, IO_WRITE);
	assert_int_equal(memory.results[0], 0);
	assert_false(leaf_at(0)->flush_failed);
	memory_end(&memory, find(0, IO_FLUSH), -EIO);
	assert_true(leaf_at(0)->flush_failed);
	memory_close(&memory);
}

static void a_timeout_without_anybody_to_stand_in_is_refused(void **state)
{
	char *text = fixture_messages("", "{'type':'file','path':'x','size':4096,'timeout':3}");

	assert_non_null(strstr(text, "timeout: no mirror above file"));
	free(text);
	text = fixture_messages("'fan_out':'passthrough'",
		"{'type':'mirror','children':[{'type':'file','path':'x','size':4096,'timeout':3}]}");
	assert_non_null(strstr(text, "nothing bounds what the driver has"));
	free(text);
}

static void a_leafs_own_timeout_goes_before_its_mirrors(void **state)
{
	struct tree *tree = fixture_tree("{'type':'mirror','children':["
		"{'type':'mirror','timeout':5,'children':[@65536,"
		"{'type':'file','path':'x','size':65536,'timeout':7}]},"
		"{'type':'linear','children':[@65536]}]}");

	assert_int_equal(tree->leaves[0]->timeout, 5);
	assert_int_equal(tree->leaves[1]->timeout, 7);
	assert_int_equal(tree->leaves[2]->timeout, 30);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_that_hangs_fails_its_leg_in_time_and_not_before),
		cmocka_unit_test(a_late_write_writes_the_bytes_that_it_was_begun_with),
		cmocka_unit_test(what_ends_late_is_nothing_to_the_tags_next_request),
		cmocka_unit_test(a_late_read_does_not_touch_what_another_leg_has_read),
		cmocka_unit_test(a_late_read_in_its_second_home_is_left_too),
		cmocka_unit_test(nobody_moves_to_where_late_io_may_come),
		cmocka_unit_test(bytes_that_came_in_time_move_along),
		cmocka_unit_test(bytes_of_a_leaf_without_a_timeout_move_along),
		cmocka_unit_test(the_last_leg_is_waited_for),
		cmocka_unit_test(a_leaf_without_a_timeout_is_waited_for),
		cmocka_unit_test(no_label_is_written_while_a_late_write_may_read_it),
		cmocka_unit_test(without_spare_memory_a_leaf_is_waited_for),
		cmocka_unit_test(a_flush_that_fails_late_has_failed),
		cmocka_unit_test(a_timeout_without_anybody_to_stand_in_is_refused),
		cmocka_unit_test(a_leafs_own_timeout_goes_before_its_mirrors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
