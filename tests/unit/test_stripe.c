// SPDX-License-Identifier: MIT
/* stripe: plans, geometry, and what it refuses. */
#include "mapping.h"

#define STRIPE(children) "{'type':'stripe','chunk_size':4096,'children':[" children "]}"

static const enum io_kind ranged[] = { IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD };

struct golden {
	const char *root;
	enum io_kind kind;
	unsigned flags;
	uint64_t offset, length;
	const char *plan;
};

static const struct golden goldens[] = {
	{ STRIPE("@16384,@16384"), IO_READ, 0, 0, 512, "wave 0: child 0 read 0 512 from 0\n" },
	{ STRIPE("@16384,@16384"), IO_READ, 0, 4096 - 512, 512,
		"wave 0: child 0 read 3584 512 from 0\n" },
	{ STRIPE("@16384,@16384"), IO_READ, 0, 4096, 512, "wave 0: child 1 read 0 512 from 0\n" },
	{ STRIPE("@16384,@16384"), IO_READ, 0, 8192, 512,
		"wave 0: child 0 read 4096 512 from 0\n" },
	{ STRIPE("@16384,@16384"), IO_WRITE, IO_FUA, 4096 - 512, 1024,
		"wave 0: child 0 write fua 3584 512 from 0\n"
		"wave 0: child 1 write fua 0 512 from 512\n" },
	{ STRIPE("@16384,@16384"), IO_WRITE, 0, 8192 - 512, 4096 + 1024,
		"wave 0: child 1 write 3584 512 from 0\n"
		"wave 0: child 0 write 4096 4096 from 512\n"
		"wave 0: child 1 write 4096 512 from 4608\n" },
	{ STRIPE("@16384,@16384"), IO_WRITE, 0, 32768 - 512, 512,
		"wave 0: child 1 write 15872 512 from 0\n" },
	{ STRIPE("@16384,@16384,@16384"), IO_WRITE_ZEROES, IO_NOUNMAP, 0, 3 * 16384,
		"wave 0: child 0 write-zeroes nounmap 0 16384\n"
		"wave 0: child 1 write-zeroes nounmap 0 16384\n"
		"wave 0: child 2 write-zeroes nounmap 0 16384\n" },
	{ STRIPE("@16384,@16384,@16384"), IO_DISCARD, 0, 4096 + 512, 3 * 4096,
		"wave 0: child 0 discard 4096 4096\n"
		"wave 0: child 1 discard 512 4096\n"
		"wave 0: child 2 discard 0 4096\n" },
	{ STRIPE("@16384,@16384,@16384"), IO_DISCARD, 0, 4096 + 512, 1024,
		"wave 0: child 1 discard 512 1024\n" },
	{ STRIPE("@16384,@16384,@16384"), IO_FLUSH, 0, 0, 0,
		"wave 0: child 0 flush\nwave 0: child 1 flush\nwave 0: child 2 flush\n" },
	{ STRIPE("@16384,@16384"), IO_RECORD, 0, 0, 0,
		"wave 0: child 0 record\nwave 0: child 1 record\n" },
	{ STRIPE("@16384"), IO_READ, 0, 4096 - 512, 4096 + 1024,
		"wave 0: child 0 read 3584 512 from 0\n"
		"wave 0: child 0 read 4096 4096 from 512\n"
		"wave 0: child 0 read 8192 512 from 4608\n" },
};

static void each_request_has_its_plan(void **state)
{
	unsigned i;

	for (i = 0; i < LENGTH_OF(goldens); i++) {
		const struct golden *golden = &goldens[i];
		struct tree *tree = fixture_tree(golden->root);
		struct fixture_plan course;
		char text[4096];

		fixture_map(&course, tree->root,
			fixture_request(
				golden->kind, golden->flags, golden->offset, golden->length));
		plan_print(&course.plan, text, sizeof(text));
		assert_string_equal(text, golden->plan);
		fixture_finish(&course);
		tree_destroy(tree);
	}
}

static void every_request_on_one_to_five_legs_maps_each_sector_once(void **state)
{
	static const char *const roots[] = {
		STRIPE("@8192"),
		STRIPE("@12288,@12288"),
		STRIPE("@8192,@8704,@12287"),
		STRIPE("@8192,@8192,@8192,@8192"),
		STRIPE("@8192,@8192,@8192,@8192,@8192"),
	};
	unsigned sectors_per_chunk = 4096 / MAPPING_SECTOR, legs, i, kind;

	for (legs = 1; legs <= LENGTH_OF(roots); legs++) {
		struct tree *tree = fixture_tree(roots[legs - 1]);
		struct mapped map[MAPPING_SECTORS_MAX];
		unsigned count = legs * (legs == 2 ? 3 : 2) * sectors_per_chunk;

		for (i = 0; i < count; i++) {
			unsigned chunk = i / sectors_per_chunk;

			map[i].child = chunk % legs;
			map[i].sector = chunk / legs * sectors_per_chunk + i % sectors_per_chunk;
		}
		for (kind = 0; kind < LENGTH_OF(ranged); kind++)
			mapping_check(tree->root, map, count, ranged[kind]);
		tree_destroy(tree);
	}
}

static void offsets_beyond_32_bits_of_chunks_are_exact(void **state)
{
	struct tree *tree = fixture_tree("{'type':'stripe','chunk_size':4096,'children':["
					 "{'type':'file','path':'x','size':'7000PiB'}]}");
	uint64_t offset = tree->root->limits.size - 8192 - 512;

	assert_int_equal(tree->root->limits.size, UINT64_C(7000) << 50);
	assert_string_equal(
		fixture_story(tree->root, fixture_request(IO_DISCARD, 0, offset, 8192), ""),
		"wave 0: child 0 discard 7881299347898359296 8192\n= 0\nresult 0\n");
	tree_destroy(tree);
	tree = fixture_tree("{'type':'stripe','chunk_size':4096,'children':["
			    "{'type':'file','path':'x','size':'1PiB'},{'type':'file','path':'y','"
			    "size':'1PiB'}]}");
	assert_string_equal(
		fixture_story(tree->root,
			fixture_request(IO_READ, 0, (UINT64_C(2) << 50) - 4096 - 512, 1024), ""),
		"wave 0: child 0 read 1125899906842112 512 from 0\n"
		"wave 0: child 1 read 1125899906838528 512 from 512\n= 0 0\nresult 0\n");
	tree_destroy(tree);
}

static void a_whole_device_discard_needs_one_op_for_each_leg(void **state)
{
	struct tree *tree = fixture_tree("{'type':'stripe','chunk_size':4096,'children':["
					 "{'type':'file','path':'x','size':'1TiB'},{'type':'file','"
					 "path':'y','size':'1TiB'}]}");

	assert_string_equal(fixture_story(tree->root,
				    fixture_request(IO_DISCARD, 0, 0, tree->root->limits.size), ""),
		"wave 0: child 0 discard 0 1099511627776\n"
		"wave 0: child 1 discard 0 1099511627776\n= 0 0\nresult 0\n");
	tree_destroy(tree);
}

static void any_failed_op_is_the_result(void **state)
{
	struct tree *tree = fixture_tree(STRIPE("@16384,@16384,@16384"));
	struct request request = fixture_request(IO_WRITE, 0, 0, 3 * 4096);
	static const char *const ops = "wave 0: child 0 write 0 4096 from 0\n"
				       "wave 0: child 1 write 0 4096 from 4096\n"
				       "wave 0: child 2 write 0 4096 from 8192\n";
	static const struct {
		const char *results, *tail;
	} rows[] = {
		{ "0 0 0", "= 0 0 0\nresult 0\n" },
		{ "-5 0 0", "= -5 0 0\nresult -5\n" },
		{ "0 -28 0", "= 0 -28 0\nresult -28\n" },
		{ "0 0 -5", "= 0 0 -5\nresult -5\n" },
		{ "0 -28 -5", "= 0 -28 -5\nresult -28\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		const char *story = fixture_story(tree->root, request, rows[i].results);

		assert_memory_equal(story, ops, strlen(ops));
		assert_string_equal(story + strlen(ops), rows[i].tail);
	}
	tree_destroy(tree);
}

static void limits_are_the_smallest_legs_whole_chunks(void **state)
{
	struct tree *tree = fixture_tree(STRIPE("@16384,@12287,@16384"));

	assert_int_equal(tree->root->limits.size, 3 * 8192);
	assert_int_equal(tree->root->unused, 8192 + 4095 + 8192);
	assert_int_equal(tree->root->limits.io_min, 4096);
	assert_int_equal(tree->root->limits.io_opt, 3 * 4096);
	tree_destroy(tree);
}

static void what_cannot_be_a_stripe_is_refused(void **state)
{
	static const struct {
		const char *root, *message;
	} rows[] = {
		{ "{'type':'stripe','chunk_size':3000,'children':[@16384]}",
			"stripe: chunk_size 3000 is not a power of two (t.json:1, "
			"/root/chunk_size)\n" },
		{ "{'type':'stripe','chunk_size':2048,'children':[@16384]}",
			"stripe: chunk_size 2048 is outside 4096 to 1073741824 (t.json:1, "
			"/root/chunk_size)\n" },
		{ "{'type':'stripe','chunk_size':'2GiB','children':[@16384]}",
			"stripe: chunk_size 2147483648 is outside 4096 to 1073741824 (t.json:1, "
			"/root/chunk_size)\n" },
		{ "{'type':'stripe','chunk_size':0,'children':[@16384]}",
			"stripe: chunk_size 0 is outside 4096 to 1073741824 (t.json:1, "
			"/root/chunk_size)\n" },
		{ STRIPE("@16384,@4095"),
			"stripe: the smallest leg has 4095 bytes, less than one chunk of 4096 "
			"(t.json:1, /root)\n" },
		{ "{'type':'stripe','chunk_size':4096,'children':["
		  "{'type':'file','path':'x','size':'7EiB'},"
		  "{'type':'file','path':'y','size':'7EiB'},"
		  "{'type':'file','path':'z','size':'7EiB'}]}",
			"stripe: 3 legs of 8070450532247928832 bytes are over 2^64 bytes "
			"(t.json:1, "
			"/root)\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		char *messages = fixture_messages("", rows[i].root);

		assert_string_equal(messages, rows[i].message);
		free(messages);
	}
}

static void the_smallest_chunk_and_leg_are_taken(void **state)
{
	struct tree *tree = fixture_tree(STRIPE("@4096"));

	assert_int_equal(tree->root->limits.size, 4096);
	tree_destroy(tree);
	tree = fixture_tree(
		"{'type':'stripe','children':[{'type':'file','path':'x','size':'1GiB'}]}");
	assert_int_equal(tree->root->limits.io_min, 65536);
	tree_destroy(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_has_its_plan),
		cmocka_unit_test(every_request_on_one_to_five_legs_maps_each_sector_once),
		cmocka_unit_test(offsets_beyond_32_bits_of_chunks_are_exact),
		cmocka_unit_test(a_whole_device_discard_needs_one_op_for_each_leg),
		cmocka_unit_test(any_failed_op_is_the_result),
		cmocka_unit_test(limits_are_the_smallest_legs_whole_chunks),
		cmocka_unit_test(what_cannot_be_a_stripe_is_refused),
		cmocka_unit_test(the_smallest_chunk_and_leg_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
