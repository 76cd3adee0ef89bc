// SPDX-License-Identifier: MIT
/* Explaining requests, and the status of a tree: as text, on trees whose leaves need not exist. */
#include "explain.h"
#include "status.h"

#include <json-c/json_object.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

static const char stripe_and_mirror[] =
	"{ \"format\": 1, \"name\": \"vol0\", \"root\": { \"id\": \"l0\", \"type\": \"linear\", "
	"\"children\": ["
	"  { \"id\": \"s0\", \"type\": \"stripe\", \"chunk_size\": \"4KiB\", \"children\": ["
	"    { \"id\": \"d0\", \"type\": \"file\", \"path\": \"/no/d0\", \"size\": \"1MiB\", "
	"\"label\": false },"
	"    { \"id\": \"d1\", \"type\": \"file\", \"path\": \"/no/d1\", \"size\": \"1MiB\", "
	"\"label\": false } ] },"
	"  { \"id\": \"z0\", \"type\": \"zero\", \"size\": \"1MiB\" },"
	"  { \"id\": \"e0\", \"type\": \"error\", \"size\": \"1MiB\" } ] } }";

static const char two_zeroes[] =
	"{ \"format\": 1, \"name\": \"vol0\", \"device\": { \"read_only\": true, \"max_io_size\": "
	"\"4KiB\" },"
	"  \"root\": { \"id\": \"m0\", \"type\": \"mirror\", \"read_policy\": \"round_robin\", "
	"\"children\": ["
	"    { \"id\": \"z0\", \"type\": \"zero\", \"size\": \"2MiB\" },"
	"    { \"id\": \"z1\", \"type\": \"zero\", \"size\": \"2MiB\" } ] } }";

/* The limits and places that leaves_open() would give, so that no file is looked for. */
static struct tree *tree_make(const char *document)
{
	struct err err = { 0 };
	struct tree *tree = tree_parse("./test.json", document, strlen(document), &err);
	unsigned i;

	if (!tree)
		fail_msg("%s", err.text);
	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->node->limits = (struct limits){
			.size = tree->leaves[i]->wanted,
			.logical_block_size = 512,
			.physical_block_size = 4096,
			.io_min = 512,
			.discard_granularity = 512,
			.zeroes_granularity = 512,
		};
	if (tree_open(tree, &err) < 0)
		fail_msg("%s", err.text);
	return tree;
}

/* What explaining gives, or its error; to be freed. */
static char *explained(const char *document, struct request request)
{
	struct tree *tree = tree_make(document);
	struct err err = { 0 };
	char *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (request.kind == IO_READ || request.kind == IO_WRITE)
		request.data.home = DATA_REQUEST;
	if (explain_request(tree, &request, &err, out) < 0)
		fputs(err.text, out);
	err_finish(&err);
	fclose(out);
	tree_destroy(tree);
	return text;
}

struct explanation {
	struct request request;
	const char *text;
};

static void expect(const char *document, const struct explanation *cases, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		char *text = explained(document, cases[i].request);

		assert_string_equal(text, cases[i].text);
		free(text);
	}
}

static void plans_are_shown_within_each_other(void **state)
{
	static const struct explanation cases[] = {
		{ { .kind = IO_WRITE, .flags = IO_FUA, .offset = 2048, .length = 4096 },
			"linear l0 write fua 2048 4096 from 0\n"
			"  wave 0: stripe s0 write fua 2048 4096 from 0\n"
			"    wave 0: file d0 write fua 2048 2048 from 0: /no/d0 at 2048\n"
			"    wave 0: file d1 write fua 0 2048 from 2048: /no/d1 at 0\n" },
		{ { .kind = IO_READ, .offset = (2 << 20) - 512, .length = 1024 },
			"linear l0 read 2096640 1024 from 0\n"
			"  wave 0: stripe s0 read 2096640 512 from 0\n"
			"    wave 0: file d1 read 1048064 512 from 0: /no/d1 at 1048064\n"
			"  wave 0: zero z0 read 0 512 from 512\n"
			"    wave 0: clear 512 from 512\n" },
		{ { .kind = IO_WRITE, .offset = 3 << 20, .length = 512 },
			"linear l0 write 3145728 512 from 0\n"
			"  wave 0: error e0 write 0 512 from 0\n"
			"    ends with EIO\n" },
		{ { .kind = IO_DISCARD, .offset = 0, .length = 2 << 20 },
			"linear l0 discard 0 2097152\n"
			"  wave 0: stripe s0 discard 0 2097152\n"
			"    wave 0: file d0 discard 0 1048576: /no/d0 at 0\n"
			"    wave 0: file d1 discard 0 1048576: /no/d1 at 0\n" },
		{ { .kind = IO_FLUSH }, "linear l0 flush\n"
					"  wave 0: stripe s0 flush\n"
					"    wave 0: file d0 flush: /no/d0\n"
					"    wave 0: file d1 flush: /no/d1\n"
					"  wave 0: zero z0 flush\n"
					"    nothing to do\n"
					"  wave 0: error e0 flush\n"
					"    ends with EIO\n" },
	};

	(void)state;
	expect(stripe_and_mirror, cases, LENGTH_OF(cases));
}

static void what_the_kernel_would_not_ask_is_refused(void **state)
{
	static const struct explanation cases[] = {
		{ { .kind = IO_READ, .offset = 4 << 20, .length = 512 },
			"read 4194304 512: ends after the device, which has 4194304 bytes\n" },
		{ { .kind = IO_READ, .offset = UINT64_MAX - 511, .length = 512 },
			"read 18446744073709551104 512: ends after the device, which has 4194304 "
			"bytes\n" },
		{ { .kind = IO_READ, .offset = 100, .length = 512 },
			"read 100 512: offset and length must be multiples of the block size "
			"512\n" },
		{ { .kind = IO_READ, .offset = 0, .length = 0 },
			"read 0 0: offset and length must be multiples of the block size 512, and "
			"length not 0\n" },
		{ { .kind = IO_READ, .offset = 0, .length = 1 << 20 },
			"read: length 1048576 is over max_io_size 524288; the kernel would split "
			"it\n" },
	};
	static const struct explanation read_only[] = {
		{ { .kind = IO_WRITE, .offset = 0, .length = 512 },
			"write: the device is read-only\n" },
		{ { .kind = IO_READ, .offset = 0, .length = 512 },
			"mirror m0 read 0 512 from 0\n"
			"  wave 0: zero z0 read 1048576 512 from 0\n"
			"    wave 0: clear 512 from 0\n" },
	};

	(void)state;
	expect(stripe_and_mirror, cases, LENGTH_OF(cases));
	expect(two_zeroes, read_only, LENGTH_OF(read_only));
}

static char *status_text(const struct json *status)
{
	char *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	status_print(status, out);
	fclose(out);
	return text;
}

static void a_live_status_is_shown(void **state)
{
	static const char wanted[] =
		"vol0  /dev/ubdb3  4 MiB  ubd, degraded for 3 s, pid 77\n"
		"  blocks of 512, 1 queue of 128, fan-out auto, memory 1.5 MiB\n"
		"  read                   12 requests       48 KiB\n"
		"  flush                   3 requests\n"
		"  linked 5, gathered 0, passed 0, unlinked 0, restarted 0, sub_ios 0, merged 0, "
		"held 0, resumed 0, self_ops 0, works 0, "
		"errors 1\n"
		"\n"
		"l0  linear  4 MiB\n"
		"|- s0  stripe  2 MiB  chunk_size=4096\n"
		"|  |- d0  file  1 MiB  FAILED  /no/d0  sub-I/Os 0, errors 2\n"
		"|  `- d1  file  1 MiB  /no/d1  sub-I/Os 9\n"
		"|- z0  zero  1 MiB\n"
		"`- e0  error  1 MiB\n";
	struct tree *tree = tree_make(stripe_and_mirror);
	struct status_facts facts = {
		.path = "/dev/ubdb3", .driver = "ubd", .id = 3, .pid = 77, .memory = 3 << 19
	};
	struct err err = { 0 };
	struct json_object *made;
	struct json *status;
	const char *json;
	char *text;

	(void)state;
	(void)clock_gettime(CLOCK_MONOTONIC, &facts.started);
	facts.started.tv_sec -= 3;
	facts.stats.requests[IO_READ] = 12;
	facts.stats.bytes[IO_READ] = 12 * 4096;
	facts.stats.requests[IO_FLUSH] = 3;
	facts.stats.linked = 5;
	facts.stats.errors = 1;
	tree->leaves[0]->node->failed = true;
	tree->leaves[0]->errors = 2;
	tree->leaves[1]->sub_ios = 9;
	made = status_make(tree, &facts);
	json = json_object_to_json_string(made);
	status = json_parse("status", json, strlen(json), &err);
	assert_non_null(status);
	text = status_text(status);
	assert_string_equal(text, wanted);
	assert_string_equal(status_state(status), "degraded");
	free(text);
	json_destroy(status);
	json_object_put(made);
	tree_destroy(tree);
}

static void sizes_are_shown_in_units(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 512, "512 B" },
		{ 1023, "1023 B" },
		{ 1024, "1 KiB" },
		{ 1536, "1.5 KiB" },
		{ (1 << 20) - 1, "1023.9 KiB" },
		{ UINT64_C(5) << 40, "5 TiB" },
		{ UINT64_MAX, "15.9 EiB" },
	};
	char text[SIZE_TEXT_MAX];
	unsigned i;

	(void)state;
	for (i = 0; i < LENGTH_OF(cases); i++)
		assert_string_equal(size_text(cases[i].bytes, text), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans_are_shown_within_each_other),
		cmocka_unit_test(what_the_kernel_would_not_ask_is_refused),
		cmocka_unit_test(a_live_status_is_shown),
		cmocka_unit_test(sizes_are_shown_in_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
