// SPDX-License-Identifier: MIT
/*
 * thin over a file whose sub-I/Os end when the test says so, fail, or never end: the daemon is
 * killed there, and the next start must find what was acknowledged, and nobody else's bytes.
 *
 * What is freed is not punched here ("discard": "ignore"), so that it is reserve at once, and the
 * lowest cluster of a reserve is the first to be taken.
 */
#include "live.h"

#include "child_io.h"

#include <errno.h>

#define CLUSTER LIVE_BYTES
#define TABLE_SPAN (2u << 20) /* what one L2 table maps */

static void load(void)
{
	live_load("{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,'discard':'ignore',"
		  "'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}");
}

/*
 * The entry's end is on its way to the disk when somebody flushes: the flush proves nothing of it,
 * and what it named is not free.
 */
static void a_cluster_is_named_until_its_entrys_end_is_flushed(void **state)
{
	load();
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	live_ask(0, IO_WRITE_ZEROES, 0, 0);
	assert_int_equal(live_pending_count, 1); /* the entries' page */
	live_ask(1, IO_FLUSH, 0, 0);
	assert_int_equal(live_pending[1]->kind, IO_FLUSH);
	live_end_one(1, 0);
	assert_int_equal(live_results[1], 0);
	live_ask(2, IO_WRITE, TABLE_SPAN / 2, 'b');
	assert_int_equal(live_pending[1]->kind, IO_WRITE);
	live_end_one(1, 0);
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	live_killed();
	load();
	assert_int_equal(live_byte_at(0), 'a');
	assert_int_equal(live_byte_at(TABLE_SPAN / 2), 0);
	live_stop();
}

/* The entries could not be written, and are not on the disk: memory must not keep them. */
static void an_entry_that_was_not_written_is_written_by_the_next_write(void **state)
{
	load();
	assert_int_equal(live_write(CLUSTER, 'a'), 0); /* the table is there */
	live_begin();
	live_ask(0, IO_WRITE, 0, 'b');
	live_end_one(0, 0); /* bytes */
	assert_int_equal(live_pending[0]->kind, IO_FLUSH);
	live_end_one(0, 0);
	assert_int_equal(live_pending[0]->kind, IO_WRITE);
	live_end_one(0, -EIO); /* entries */
	live_end_all();
	assert_int_equal(live_results[0], -EIO);
	live_ask(0, IO_WRITE, 0, 'c');
	live_end_all();
	assert_int_equal(live_results[0], 0);
	live_killed();
	load();
	assert_int_equal(live_byte_at(0), 'c');
	assert_int_equal(live_byte_at(CLUSTER), 'a');
	live_stop();
}

/* Whatever sub-I/O is the last: a new table, where another's bytes were, says nothing of its own. */
static void a_new_table_shows_nothing_of_its_clusters_past(void **state)
{
	unsigned last, done = 0;
	int result = LIVE_UNDER_WAY;

	for (last = 0; result == LIVE_UNDER_WAY; last++) {
		scene_file("x", 0);
		load();
		assert_int_equal(live_write(0, 'a'), 0);
		assert_int_equal(child_zero(scene_assembled()->root, 0, CLUSTER), 0);
		assert_int_equal(child_flush(scene_assembled()->root), 0); /* its cluster is reserve */
		live_begin();
		live_ask(0, IO_WRITE, TABLE_SPAN, 'b');
		for (done = 0; done < last && live_pending_count; done++)
			live_end_one(0, 0);
		result = live_results[0];
		live_killed();
		load();
		assert_int_equal(live_byte_at(0), 0);
		assert_int_equal(live_byte_at(TABLE_SPAN + CLUSTER), 0);
		assert_true(live_byte_at(TABLE_SPAN) == 'b' || (result && live_byte_at(TABLE_SPAN) == 0));
		live_stop();
	}
	assert_int_equal(result, 0);
	assert_true(done >= 6); /* the table, a flush, the L1, bytes, a flush, entries */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_cluster_is_named_until_its_entrys_end_is_flushed),
		TEST(an_entry_that_was_not_written_is_written_by_the_next_write),
		TEST(a_new_table_shows_nothing_of_its_clusters_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
