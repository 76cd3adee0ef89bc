// SPDX-License-Identifier: MIT
/* zero and error: plans and sizes. */
#include "fixture.h"

static void zero_clears_reads_and_forgets_the_rest(void **state)
{
	struct tree *tree = fixture_tree("{'type':'zero','size':8192}");
	static const struct {
		enum io_kind kind;
		const char *story;
	} rows[] = {
		{ IO_READ, "wave 0: clear 1024 from 0\n= 0\nresult 0\n" },
		{ IO_WRITE, "result 0\n" },
		{ IO_WRITE_ZEROES, "result 0\n" },
		{ IO_DISCARD, "result 0\n" },
		{ IO_FLUSH, "result 0\n" },
		{ IO_RECORD, "result 0\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++)
		assert_string_equal(
			fixture_story(tree->root, fixture_request(rows[i].kind, 0, 512, 1024), ""),
			rows[i].story);
	tree_destroy(tree);
}

static void zero_clears_its_own_part_of_the_buffer(void **state)
{
	struct tree *tree = fixture_tree("{'type':'zero','size':8192}");
	struct request request = fixture_request(IO_READ, 0, 0, 512);

	request.data.offset = 4096;
	assert_string_equal(fixture_story(tree->root, request, ""),
		"wave 0: clear 512 from 4096\n= 0\nresult 0\n");
	tree_destroy(tree);
}

static void error_fails_every_request(void **state)
{
	struct tree *tree = fixture_tree("{'type':'error','size':8192}");
	unsigned kind;

	for (kind = 0; kind < IO_KINDS; kind++)
		if (kind != IO_CLEAR)
			assert_string_equal(
				fixture_story(tree->root, fixture_request(kind, 0, 512, 1024), ""),
				"result -5\n");
	tree_destroy(tree);
}

static void sizes_are_whole_blocks(void **state)
{
	struct tree *tree = fixture_tree("{'type':'zero','size':8191}");

	assert_int_equal(tree->root->limits.size, 7680);
	tree_destroy(tree);
	tree = fixture_tree("{'type':'error','size':513}");
	assert_int_equal(tree->root->limits.size, 512);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_clears_reads_and_forgets_the_rest),
		cmocka_unit_test(zero_clears_its_own_part_of_the_buffer),
		cmocka_unit_test(error_fails_every_request),
		cmocka_unit_test(sizes_are_whole_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
