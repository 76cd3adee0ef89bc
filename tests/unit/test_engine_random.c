// SPDX-License-Identifier: MIT
/* The engine over memory: random trees, for bounds; trees that need too much. */
#include "memory.h"

#include <errno.h>

static char data[4 << 20];

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

/* Random trees, for bounds: the engine asserts that no request outgrows its arena. */
static void print_random_node(FILE *out, unsigned *random, unsigned depth, unsigned mirrors)
{
	static const char *const types[] = { "linear", "stripe", "mirror" };
	unsigned type = (unsigned)rand_r(random) % 8, count, i;

	if (depth == 0 || type >= 5) {
		if (rand_r(random) % 12 == 0)
			fprintf(out, "{'type':'zero','size':%u}", 16384 + (mirrors << 20));
		else
			fprintf(out, "@%u",
				(mirrors << 20) + 16384 + 512 * ((unsigned)rand_r(random) % 64));
		return;
	}
	type %= 3;
	count = 1 + (unsigned)rand_r(random) % (type == 2 ? 2 : 4); /* mirrors multiply their needs */
	fprintf(out, "{'type':'%s','children':[", types[type]);
	for (i = 0; i < count; i++) {
		fputs(i ? "," : "", out);
		print_random_node(out, random, depth - 1, mirrors + (type == 2));
	}
	fprintf(out, "]%s}", type == 1 ? ",'chunk_size':4096" : "");
}

static char *random_root(unsigned seed)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned random = seed;

	print_random_node(out, &random, 4, 0);
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
					 "{'type':'mirror','children':[@+65536,@+65536,@+65536,"
					 "@+65536,@+65536,@+65536,@+65536,@+65536]}]}");
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
		cmocka_unit_test(random_trees_stay_within_their_arenas_and_end_all),
		cmocka_unit_test(a_tree_that_needs_too_much_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
