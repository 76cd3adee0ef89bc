// SPDX-License-Identifier: MIT
/* thin with more map than memory for it: what is there, what goes, and what is taken for what was there. */
#include "scene.h"

#include "child_io.h"
#include "thin.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <unistd.h>

#define SMALL 512u
#define REACH 32768u /* of a page of entries of SMALL clusters */
#define TABLES 160u
#define TIB (UINT64_C(1) << 40)

static struct tree *tree;

static void start(const char *keys)
{
	char root[512];

	snprintf(root, sizeof(root),
		"{'id':'t','type':'thin',%s,'data':{'id':'f','type':'file','path':'x','direct':false}}", keys);
	scene_document(root);
	assert_true(scene_start((struct assemble_options){ 0 }));
	tree = scene_assembled();
	assert_int_equal(tree_load(tree, &(struct err){ 0 }), 0);
	tree->child_io = CHILD_IO_FULL;
}

static void stop(void)
{
	assert_int_equal(tree_unload(tree, &(struct err){ 0 }), 0);
	scene_stop();
}

static const char small[] = "'size':'5MiB','cluster_size':512,'metadata_cache':512";

static struct thin *thin(void)
{
	return thin_of(tree->root);
}

static uint64_t place(unsigned table)
{
	return (uint64_t)table * REACH + table % 60 * SMALL;
}

static int write_in(unsigned table, char byte)
{
	char bytes[SMALL];

	memset(bytes, byte, sizeof(bytes));
	return child_write(tree->root, place(table), bytes, SMALL);
}

static int read_in(unsigned table, char byte)
{
	char bytes[SMALL], wanted[SMALL];
	int result = child_read(tree->root, place(table), bytes, SMALL);

	memset(wanted, byte, sizeof(wanted));
	if (result == 0)
		assert_memory_equal(bytes, wanted, SMALL);
	return result;
}

static uint64_t told(const char *key)
{
	struct json_object *out = json_object_new_object();
	uint64_t number;

	tree->root->type->status(tree->root, out);
	number = json_object_get_uint64(json_object_object_get(out, key));
	json_object_put(out);
	return number;
}

static void more_map_than_memory_is_read_again(void **state)
{
	unsigned table, life;

	start(small);
	assert_true(told("metadata_cache") < TABLES * SMALL / 2);
	for (table = 0; table < TABLES; table++)
		assert_int_equal(write_in(table, (char)table), 0);
	for (life = 0; life < 2; life++) {
		for (table = 0; table < TABLES; table++)
			assert_int_equal(read_in(table, (char)table), 0);
		assert_true(told("metadata_misses") >= TABLES / 2);
		assert_int_equal(told("metadata_cached"), told("metadata_cache"));
		assert_int_equal(told("allocated"), TABLES * SMALL);
		stop();
		start(small);
	}
	for (table = TABLES; table-- > 0;)
		assert_int_equal(write_in(table, 'w'), 0); /* in place, and never found missing */
	assert_int_equal(told("allocated"), TABLES * SMALL);
	for (table = 0; table < TABLES; table++)
		assert_int_equal(read_in(table, 'w'), 0);
	stop();
}

static void what_is_looked_at_stays(void **state)
{
	unsigned table;
	uint64_t misses;

	start(small);
	for (table = 0; table < TABLES; table++)
		assert_int_equal(write_in(table, 'a'), 0);
	assert_int_equal(read_in(0, 'a'), 0);
	misses = told("metadata_misses");
	for (table = 1; table < TABLES / 2; table++) {
		assert_int_equal(read_in(table, 'a'), 0);
		assert_int_equal(read_in(0, 'a'), 0);
	}
	assert_int_equal(told("metadata_misses"), misses + TABLES / 2 - 1);
	stop();
}

/* A page that the child has been given, and not yet said to keep. */
static void what_is_not_durable_stays(void **state)
{
	uint64_t page = place(7) / REACH;
	unsigned table;

	start(small);
	for (table = 0; table < TABLES; table++)
		assert_int_equal(write_in(table, 'a'), 0);
	assert_int_equal(child_write(tree->root, place(7) + SMALL, (char[SMALL]){ 0 }, SMALL), 0);
	for (table = 0; table < TABLES; table++) {
		assert_int_equal(read_in(table, 'a'), 0);
		assert_non_null(thin()->pages[page]);
	}
	assert_int_equal(child_flush(tree->root), 0);
	for (table = 8; table < TABLES; table++)
		assert_int_equal(read_in(table, 'a'), 0);
	assert_null(thin()->pages[page]);
	stop();
}

static void copy(uint64_t offset, void *bytes, bool writes)
{
	int fd = open(scene_path("x"), O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(writes ? pwrite(fd, bytes, SMALL, (off_t)offset) : pread(fd, bytes, SMALL, (off_t)offset),
		SMALL);
	close(fd);
}

/* It may be a table, and even a right one of long ago: it is not what was written last. */
static void an_old_page_is_not_taken_for_the_new(void **state)
{
	char old[SMALL], new[SMALL];
	uint64_t host, page = place(7) / REACH;
	unsigned table;

	start(small);
	for (table = 0; table < TABLES; table++)
		assert_int_equal(write_in(table, 'a'), 0);
	host = thin_page_host(thin(), page);
	copy(host, old, false);
	assert_int_equal(child_write(tree->root, place(7) + SMALL, old, SMALL), 0);
	copy(host, new, false);
	assert_memory_not_equal(old, new, SMALL);
	assert_int_equal(child_flush(tree->root), 0);
	for (table = 8; table < TABLES; table++)
		assert_int_equal(read_in(table, 'a'), 0);
	copy(host, old, true);
	assert_int_equal(read_in(7, 'a'), -EIO);
	assert_int_equal(write_in(7, 'b'), -EIO);
	assert_int_equal(read_in(8, 'a'), 0);
	copy(host, new, true);
	assert_int_equal(read_in(7, 'a'), 0);
	stop();
}

/* Extents one behind the other; how many have bytes. */
static unsigned count_extents(void)
{
	uint64_t offset = 0, end = 0;
	unsigned count = 0, i;
	bool is_more;

	do {
		struct json_object *answer = json_object_new_object(), *extents, *next;
		struct err err = { 0 };
		struct json *arguments;
		char text[64];

		snprintf(text, sizeof(text), "{\"offset\":%llu}", (unsigned long long)offset);
		arguments = json_parse("map", text, strlen(text), &err);
		assert_int_equal(tree->root->type->command(tree->root, "map", arguments, answer, &err), 0);
		extents = json_object_object_get(answer, "extents");
		for (i = 0; i < json_object_array_length(extents); i++) {
			struct json_object *extent = json_object_array_get_idx(extents, i);

			assert_int_equal(json_object_get_uint64(json_object_object_get(extent, "start")), end);
			end += json_object_get_uint64(json_object_object_get(extent, "length"));
			count += json_object_get_boolean(json_object_object_get(extent, "data"));
		}
		is_more = json_object_object_get_ex(answer, "next", &next);
		offset = is_more ? json_object_get_uint64(next) : 0;
		if (is_more && thin()->cache.wanted) { /* as the background would bring it */
			char bytes[SMALL];

			assert_int_equal(child_read(tree->root, (thin()->cache.wanted - 1) * REACH, bytes, SMALL), 0);
			thin()->cache.wanted = 0;
		}
		json_destroy(arguments);
		json_object_put(answer);
	} while (is_more);
	assert_int_equal(end, tree->root->limits.size);
	return count;
}

static void the_map_is_told_of_what_is_not_in_memory(void **state)
{
	unsigned table;

	start(small);
	for (table = 0; table < TABLES; table++)
		assert_int_equal(write_in(table, 'a'), 0);
	assert_int_equal(count_extents(), TABLES);
	stop();
	assert_true(scene_open(LEAF_PROBE) && scene_assemble(scene_dry));
	tree = scene_assembled();
	tree->child_io = CHILD_IO_PROBE;
	assert_int_equal(count_extents(), TABLES);
	scene_close();
}

static uint64_t resident(void)
{
	unsigned long long size, pages;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%llu %llu", &size, &pages), 2);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 1 TiB with a table in each of 200 places: more pages than it may keep. */
static void a_large_volume_keeps_within_its_bound(void **state)
{
	uint64_t before = resident();
	unsigned i, life;
	char bytes[4096];

	for (life = 0; life < 2; life++) {
		start("'size':'1TiB','metadata_cache':'600KiB'");
		for (i = 0; i < 200; i++) {
			uint64_t offset = TIB / 200 * i & ~UINT64_C(4095);

			memset(bytes, (int)i, sizeof(bytes));
			if (life == 0)
				assert_int_equal(child_write(tree->root, offset, bytes, sizeof(bytes)), 0);
			memset(bytes, 0, sizeof(bytes));
			assert_int_equal(child_read(tree->root, offset, bytes, sizeof(bytes)), 0);
			assert_int_equal((unsigned char)bytes[4095], i % 256);
		}
		assert_in_range(told("metadata_cached"), 1, 600 << 10);
		assert_true(life == 0 || told("metadata_misses") > 0);
		assert_true(resident() - before < 96 << 20); /* and what the sanitizers add */
		stop();
	}
}

/*
 * 1 TiB, of which the file below has all, so that counts are for twice as much: all tables together take no more than
 * metadata_cache's default. Memory for all of it is taken at the start.
 */
static void a_large_volume_s_tables_are_within_the_default(void **state)
{
	static const char keys[] = "'size':'1TiB'";
	uint64_t bound = THIN_CACHE_DEFAULT, before, i;
	char bytes[4096] = { 1 };

	start(keys);
	assert_in_range(told("metadata_memory"), bound * 3 / 4, bound);
	stop();
	assert_int_equal(truncate(scene_path("x"), (off_t)(TIB + (TIB >> 10))), 0);
	before = resident();
	start(keys);
	assert_true(thin()->clusters >= 2 * TIB >> thin()->cluster_bits);
	for (i = 0; i < 100; i++)
		assert_int_equal(child_write(tree->root, i << 25, bytes, sizeof(bytes)), 0);
	assert_in_range(told("metadata_memory"), bound * 3 / 4, bound);
	assert_true(resident() < before + bound + (32 << 20)); /* and what the sanitizers add */
	stop();
	start(keys);
	assert_in_range(told("metadata_memory"), bound * 3 / 4, bound);
	assert_int_equal(told("leaked"), 0);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(more_map_than_memory_is_read_again, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(what_is_looked_at_stays, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(what_is_not_durable_stays, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(an_old_page_is_not_taken_for_the_new, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(the_map_is_told_of_what_is_not_in_memory, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_large_volume_keeps_within_its_bound, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_large_volume_s_tables_are_within_the_default, scene_setup, scene_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
