// SPDX-License-Identifier: MIT
/* The engine over memory: fan-out, merging, short and failed transfers, what is refused. */
#include "memory.h"

#include <errno.h>

#define PAIR "{'type':'mirror','read_policy':'first','children':[@+65536,@+65536]}"
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
			"submit 0 read 1048576 512 linked\ncommit 0 512\n" },
		{ auto_, PAIR, asks(IO_WRITE, 0, 512),
			"submit 0 write 1048576 512\nsubmit 1 write 1048576 512\ncommit 0 512\n" },
		/* A mirror of one leg holds its writes apart, so that it has to hear of their end.
		 */
		{ auto_, "{'type':'mirror','children':[@+65536]}", asks(IO_WRITE, 0, 512),
			"submit 0 write 1048576 512\ncommit 0 512\n" },
		/* Least pending counts reads in flight. */
		{ auto_, "{'type':'mirror','children':[@+65536]}", asks(IO_READ, 0, 512),
			"submit 0 read 1048576 512\ncommit 0 512\n" },
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

/* The second one would begin where a sub-I/O of the first ended, whose memory is still as it was. */
static void what_has_ended_takes_no_neighbour(void **state)
{
	struct memory memory;

	memory_open(&memory, "", STRIPE);
	memory_start(&memory, 0, asks(IO_WRITE, 4096 - 512, 1024), data);
	memory_end_all(&memory);
	(void)memory_log(&memory);
	memory_start(&memory, 0, asks(IO_WRITE, 4096 + 512, 512), data);
	assert_string_equal(memory_log(&memory), "submit 1 write 512 512 linked\n");
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
		"submit 0 read 1048576 512 linked\nsubmit 1 read 1048576 512\ncommit 0 512\n");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_fan_out_as_told),
		cmocka_unit_test(a_mebibyte_over_two_legs_is_two_sub_ios),
		cmocka_unit_test(neighbours_in_leaf_and_memory_are_one_vector),
		cmocka_unit_test(a_sub_io_is_never_merged_into_another_leafs),
		cmocka_unit_test(what_has_ended_takes_no_neighbour),
		cmocka_unit_test(requests_of_two_tags_are_not_merged),
		cmocka_unit_test(short_transfers_are_finished_whatever_their_length),
		cmocka_unit_test(a_leaf_that_ends_early_or_says_too_much_is_an_error),
		cmocka_unit_test(again_is_tried_a_hundred_times),
		cmocka_unit_test(no_flush_is_believed_after_one_has_failed),
		cmocka_unit_test(a_linked_one_that_fails_or_falls_short_goes_on_gathered),
		cmocka_unit_test(a_linked_read_that_fails_is_tried_on_the_other_leg),
		cmocka_unit_test(the_rest_of_a_failed_wave_is_awaited),
		cmocka_unit_test(what_the_device_does_not_have_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
