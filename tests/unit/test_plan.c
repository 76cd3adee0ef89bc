// SPDX-License-Identifier: MIT
/* Plans: what the filling functions put down, and how it prints. */
#include "fixture.h"

static struct op ops[8];

static struct plan empty_plan(void)
{
	return (struct plan){ .ops = ops, .capacity = 8, .result = PLAN_RUNNING };
}

static void assert_prints(const struct plan *plan, const char *expected)
{
	char text[1024];

	assert_int_equal(plan_print(plan, text, sizeof(text)), strlen(expected));
	assert_string_equal(text, expected);
}

static void an_empty_plan_prints_nothing(void **state)
{
	struct plan plan = empty_plan();

	assert_prints(&plan, "");
}

static void every_kind_prints_what_it_has(void **state)
{
	static const struct {
		struct request request;
		const char *text;
	} rows[] = {
		{ { IO_READ, 0, 4096, 512, { DATA_REQUEST, 0 } },
			"wave 0: child 3 read 4096 512 from 0\n" },
		{ { IO_WRITE, IO_FUA, 1, 2, { DATA_REQUEST, 3 } },
			"wave 0: child 3 write fua 1 2 from 3\n" },
		{ { IO_WRITE_ZEROES, IO_FUA | IO_NOUNMAP, 5, 6, { DATA_NONE, 0 } },
			"wave 0: child 3 write-zeroes fua nounmap 5 6\n" },
		{ { IO_DISCARD, 0, 5, UINT64_MAX, { DATA_NONE, 0 } },
			"wave 0: child 3 discard 5 18446744073709551615\n" },
		{ { IO_FLUSH, 0, 0, 0, { DATA_NONE, 0 } }, "wave 0: child 3 flush\n" },
		{ { IO_RECORD, 0, 0, 0, { DATA_NONE, 0 } }, "wave 0: child 3 record\n" },
		{ { IO_CLEAR, 0, 7, 8, { DATA_REQUEST, 9 } }, "wave 0: clear 8 from 9\n" },
		{ { IO_COPY, 0, 7, 8, { DATA_REQUEST, 9 } },
			"wave 0: copy 8 from scratch 7 to 9\n" },
		{ { IO_SELF, 4, 7, 8, { DATA_NONE, 0 } }, "wave 0: self 4 7 8\n" },
		{ { IO_CLEAR, 0, 7, 8, { DATA_SCRATCH, 9 } },
			"wave 0: clear 8 from scratch 9\n" },
		{ { IO_READ, 0, 4096, 512, { DATA_SCRATCH, 1 } },
			"wave 0: child 3 read 4096 512 from scratch 1\n" },
	};
	unsigned i;

	assert_int_equal(LENGTH_OF(rows), IO_KINDS + 2); /* two of them from scratch too */
	for (i = 0; i < LENGTH_OF(rows); i++) {
		struct plan plan = empty_plan();

		plan_add(&plan, 3, rows[i].request);
		assert_prints(&plan, rows[i].text);
	}
}

static void a_text_that_is_cut_keeps_its_whole_length(void **state)
{
	struct plan plan = empty_plan();
	char whole[256], text[256];
	size_t length, size;

	plan_add(&plan, 0, fixture_request(IO_FLUSH, 0, 0, 0));
	plan_add(&plan, 1, fixture_request(IO_WRITE, 0, 512, 512));
	plan_end(&plan, -5);
	length = plan_print(&plan, whole, sizeof(whole));
	assert_string_equal(whole, "wave 0: child 0 flush\n"
				   "wave 0: child 1 write 512 512 from 0\nend -5\n");
	assert_int_equal(plan_print(&plan, NULL, 0), length);
	for (size = 1; size <= length + 1; size++) {
		memset(text, '#', sizeof(text));
		assert_int_equal(plan_print(&plan, text, size), length);
		assert_int_equal(strlen(text), size - 1);
		assert_memory_equal(text, whole, size - 1);
		assert_int_equal(text[size], '#');
	}
}

static void a_part_moves_range_and_bytes(void **state)
{
	struct request request = fixture_request(IO_WRITE, IO_FUA, 8192, 4096);
	struct plan plan = empty_plan();

	request.data.offset = 1024;
	plan_part(&plan, &request, 512, 1536, 2, 65536);
	plan_pass(&plan, &request, 1, 0);
	plan_clear(&plan, &request, 4096 - 512, 512);
	assert_prints(&plan, "wave 0: child 2 write fua 65536 1536 from 1536\n"
			     "wave 0: child 1 write fua 0 4096 from 1024\n"
			     "wave 0: clear 512 from 4608\n");
}

static void a_part_without_bytes_has_no_place_in_the_buffer(void **state)
{
	struct request request = fixture_request(IO_DISCARD, 0, 0, UINT64_C(1) << 40);
	struct plan plan = empty_plan();
	struct op *op = plan_part(&plan, &request, UINT64_C(1) << 39, 512, 0, 0);

	assert_int_equal(op->request.data.home, DATA_NONE);
	assert_int_equal(op->request.data.offset, 0);
}

static void then_opens_a_wave_only_behind_ops(void **state)
{
	struct plan plan = empty_plan();

	plan_then(&plan);
	plan_then(&plan);
	plan_add(&plan, 0, fixture_request(IO_FLUSH, 0, 0, 0));
	plan_then(&plan);
	plan_then(&plan);
	plan_add(&plan, 1, fixture_request(IO_FLUSH, 0, 0, 0));
	plan_add(&plan, 2, fixture_request(IO_FLUSH, 0, 0, 0));
	plan_then(&plan);
	plan_add(&plan, 3, fixture_request(IO_FLUSH, 0, 0, 0));
	assert_prints(&plan, "wave 0: child 0 flush\nwave 1: child 1 flush\n"
			     "wave 1: child 2 flush\nwave 2: child 3 flush\n");
}

static void a_new_op_waits(void **state)
{
	struct plan plan = empty_plan();
	struct op *op = plan_add(&plan, 0, fixture_request(IO_FLUSH, 0, 0, 0));

	assert_int_equal(op->result, OP_WAITING);
	assert_false(plan.ask);
	plan_ask(&plan);
	assert_true(plan.ask);
	assert_int_equal(plan.result, PLAN_RUNNING);
	plan_end(&plan, 0);
	assert_int_equal(plan.result, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_plan_prints_nothing),
		cmocka_unit_test(every_kind_prints_what_it_has),
		cmocka_unit_test(a_text_that_is_cut_keeps_its_whole_length),
		cmocka_unit_test(a_part_moves_range_and_bytes),
		cmocka_unit_test(a_part_without_bytes_has_no_place_in_the_buffer),
		cmocka_unit_test(then_opens_a_wave_only_behind_ops),
		cmocka_unit_test(a_new_op_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
