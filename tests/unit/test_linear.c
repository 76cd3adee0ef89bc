// SPDX-License-Identifier: MIT
/* linear: plans, windows, and what it refuses. */
#include "mapping.h"

#define LINEAR(children) "{'type':'linear','children':[" children "]}"

static const enum io_kind ranged[] = { IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD };

static const struct {
	const char *root;
	enum io_kind kind;
	unsigned flags;
	uint64_t offset, length;
	const char *plan;
} goldens[] = {
	{ LINEAR("@4096,@8192"), IO_READ, 0, 0, 512, "wave 0: child 0 read 0 512 from 0\n" },
	{ LINEAR("@4096,@8192"), IO_READ, 0, 3584, 512, "wave 0: child 0 read 3584 512 from 0\n" },
	{ LINEAR("@4096,@8192"), IO_READ, 0, 3584, 1024,
		"wave 0: child 0 read 3584 512 from 0\nwave 0: child 1 read 0 512 from 512\n" },
	{ LINEAR("@4096,@8192"), IO_WRITE, IO_FUA, 4096, 512,
		"wave 0: child 1 write fua 0 512 from 0\n" },
	{ LINEAR("@4096,@8192"), IO_WRITE, 0, 4096 + 8192 - 512, 512,
		"wave 0: child 1 write 7680 512 from 0\n" },
	{ LINEAR("@512,@512,@512"), IO_DISCARD, 0, 0, 1536,
		"wave 0: child 0 discard 0 512\nwave 0: child 1 discard 0 512\n"
		"wave 0: child 2 discard 0 512\n" },
	{ LINEAR("@1000,@512"), IO_READ, 0, 0, 1024,
		"wave 0: child 0 read 0 512 from 0\nwave 0: child 1 read 0 512 from 512\n" },
	{ LINEAR("@512,@511,@512"), IO_WRITE_ZEROES, IO_NOUNMAP, 0, 1024,
		"wave 0: child 0 write-zeroes nounmap 0 512\n"
		"wave 0: child 2 write-zeroes nounmap 0 512\n" },
	{ LINEAR("@512,@512"), IO_FLUSH, 0, 0, 0,
		"wave 0: child 0 flush\nwave 0: child 1 flush\n" },
	{ LINEAR("@512,@512"), IO_RECORD, 0, 0, 0,
		"wave 0: child 0 record\nwave 0: child 1 record\n" },
	{ "{'type':'linear','offset':1024,'size':2048,'children':[@8192]}", IO_READ, 0, 512, 1536,
		"wave 0: child 0 read 1536 1536 from 0\n" },
	{ "{'type':'linear','offset':1024,'children':[@8192]}", IO_DISCARD, 0, 0, 7168,
		"wave 0: child 0 discard 1024 7168\n" },
};

static void each_request_has_its_plan(void **state)
{
	unsigned i;

	for (i = 0; i < LENGTH_OF(goldens); i++) {
		struct tree *tree = fixture_tree(goldens[i].root);
		struct fixture_plan course;
		char text[4096];

		fixture_map(&course, tree->root,
			fixture_request(goldens[i].kind, goldens[i].flags, goldens[i].offset,
				goldens[i].length));
		plan_print(&course.plan, text, sizeof(text));
		assert_string_equal(text, goldens[i].plan);
		fixture_finish(&course);
		tree_destroy(tree);
	}
}

static void check_all(const char *root, const unsigned *sizes, unsigned children, unsigned skip)
{
	struct tree *tree = fixture_tree(root);
	struct mapped map[MAPPING_SECTORS_MAX];
	unsigned count = 0, child, i, kind;

	for (child = 0; child < children; child++)
		for (i = 0; i < sizes[child]; i++)
			map[count++] = (struct mapped){ child, i + skip };
	for (kind = 0; kind < LENGTH_OF(ranged); kind++)
		mapping_check(tree->root, map, count, ranged[kind]);
	tree_destroy(tree);
}

static void every_request_maps_each_sector_once(void **state)
{
	check_all(LINEAR("@10240"), (unsigned[]){ 20 }, 1, 0);
	check_all(LINEAR("@512,@1536,@3584,@5632"), (unsigned[]){ 1, 3, 7, 11 }, 4, 0);
	check_all(
		LINEAR("@5632,@511,@513,@1023,@0,@4096"), (unsigned[]){ 11, 0, 1, 1, 0, 8 }, 6, 0);
	check_all(LINEAR("@0,@0,@512,@0,@1024,@0"), (unsigned[]){ 0, 0, 1, 0, 2, 0 }, 6, 0);
	check_all("{'type':'linear','offset':1536,'size':5120,'children':[@8192]}",
		(unsigned[]){ 10 }, 1, 3);
	check_all("{'type':'linear','offset':1536,'children':[@8191]}", (unsigned[]){ 12 }, 1, 3);
}

static void blocks_of_the_largest_child_round_all_of_them(void **state)
{
	struct tree *tree = fixture_tree(LINEAR(
		"@5120,{'type':'file','path':'x','size':8192,'annotations':{'block':4096}}"));

	assert_int_equal(tree->root->limits.logical_block_size, 4096);
	assert_int_equal(tree->root->limits.size, 4096 + 8192);
	assert_string_equal(fixture_story(tree->root, fixture_request(IO_READ, 0, 4096, 4096), ""),
		"wave 0: child 1 read 0 4096 from 0\n= 0\nresult 0\n");
	tree_destroy(tree);
}

static void any_failed_op_is_the_result(void **state)
{
	struct tree *tree = fixture_tree(LINEAR("@512,@512"));
	struct request request = fixture_request(IO_READ, 0, 0, 1024);

	assert_non_null(strstr(fixture_story(tree->root, request, "-5 0"), "result -5\n"));
	assert_non_null(strstr(fixture_story(tree->root, request, "0 -61"), "result -61\n"));
	assert_non_null(strstr(fixture_story(tree->root, request, "-28 -5"), "result -28\n"));
	tree_destroy(tree);
}

static void what_cannot_be_linear_is_refused(void **state)
{
	static const struct {
		const char *root, *message;
	} rows[] = {
		{ "{'type':'linear','size':0,'children':[@8192]}",
			"linear: size 0, the least is one block (t.json:1, /root/size)\n" },
		{ "{'type':'linear','offset':8192,'children':[@8192]}",
			"linear: offset 8192 with size 0 ends after its child file1, which has "
			"8192 "
			"bytes (t.json:1, /root)\n" },
		{ "{'type':'linear','offset':512,'size':8192,'children':[@8192]}",
			"linear: offset 512 with size 8192 ends after its child file1, which has "
			"8192 bytes (t.json:1, /root)\n" },
		{ "{'type':'linear','offset':512,'size':9223372036854775807,'children':[@8192]}",
			"linear: offset 512 with size 9223372036854775807 ends after its child "
			"file1, "
			"which has 8192 bytes (t.json:1, /root)\n" },
		{ "{'type':'linear','offset':100,'size':512,'children':[@8192]}",
			"linear: offset 100 and size 512 must be multiples of the block size 512 "
			"(t.json:1, /root)\n" },
		{ "{'type':'linear','offset':512,'size':100,'children':[@8192]}",
			"linear: offset 512 and size 100 must be multiples of the block size 512 "
			"(t.json:1, /root)\n" },
		{ LINEAR("{'type':'file','path':'a','size':'7EiB'},{'type':'file','path':'b',"
			 "'size':'7EiB'},{'type':'file','path':'c','size':'7EiB'}"),
			"linear: the children's sizes add up to over 2^64 bytes (t.json:1, "
			"/root)\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		char *messages = fixture_messages("", rows[i].root);

		assert_string_equal(messages, rows[i].message);
		free(messages);
	}
}

static void a_window_may_end_where_its_child_does(void **state)
{
	struct tree *tree =
		fixture_tree("{'type':'linear','offset':512,'size':7680,'children':[@8192]}");

	assert_int_equal(tree->root->limits.size, 7680);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_has_its_plan),
		cmocka_unit_test(every_request_maps_each_sector_once),
		cmocka_unit_test(blocks_of_the_largest_child_round_all_of_them),
		cmocka_unit_test(any_failed_op_is_the_result),
		cmocka_unit_test(what_cannot_be_linear_is_refused),
		cmocka_unit_test(a_window_may_end_where_its_child_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
