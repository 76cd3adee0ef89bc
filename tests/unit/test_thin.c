// SPDX-License-Identifier: MIT
/* thin on a real file: the plans it makes, what it tells, and when it tells that room is short. */
#include "scene.h"

#include "child_io.h"
#include "explain.h"
#include "notice.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <stdlib.h>

#define CLUSTER 65536u

static struct tree *tree;

static void start(const char *keys)
{
	char root[512];

	snprintf(root, sizeof(root),
		"{'id':'t','type':'thin','size':'4MiB',%s'data':{'id':'f','type':'file','path':'x',"
		"'direct':false,%s}}",
		keys, strstr(keys, "low") ? "'size':'1MiB'" : "'label':false");
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

static int write_cluster(unsigned cluster)
{
	static char bytes[CLUSTER];

	return child_write(tree->root, (uint64_t)cluster * CLUSTER, bytes, CLUSTER);
}

static void plans(enum io_kind kind, uint64_t offset, uint64_t length, const char *wanted)
{
	struct request request = {
		.kind = kind,
		.offset = offset,
		.length = length,
		.data.home = kind == IO_READ || kind == IO_WRITE ? DATA_REQUEST : DATA_NONE,
	};
	struct err err = { 0 };
	char *text, *path;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(explain_request(tree, &request, &err, out), 0);
	fclose(out);
	for (path = text; (path = strstr(path, ": /"));) /* the place on the leaf is the same number */
		memmove(path, path + strcspn(path, "\n"), strlen(path + strcspn(path, "\n")) + 1);
	assert_string_equal(text, wanted);
	free(text);
}

static void what_is_mapped_is_one_op(void **state)
{
	start("");
	assert_int_equal(write_cluster(3), 0);
	plans(IO_READ, 3 * CLUSTER + 4096, 4096,
		"thin t read 200704 4096 from 0\n"
		"  wave 0: file f read 331776 4096 from 0\n");
	plans(IO_WRITE, 3 * CLUSTER + 4096, 4096,
		"thin t write 200704 4096 from 0\n"
		"  wave 0: file f write 331776 4096 from 0\n");
	stop();
}

static void what_is_not_is_cleared_or_asked_for(void **state)
{
	start("");
	assert_int_equal(write_cluster(3), 0);
	plans(IO_READ, 2 * CLUSTER, 2 * CLUSTER,
		"thin t read 131072 131072 from 0\n"
		"  wave 0: clear 65536 from 0\n"
		"  wave 0: file f read 327680 65536 from 65536\n");
	plans(IO_WRITE, 8 * CLUSTER, 4096,
		"thin t write 524288 4096 from 0\n"
		"  wave 0: file f write 393216 4096 from 0\n"
		"  wave 0: clear 61440 from scratch 65536\n"
		"  wave 1: file f write 397312 61440 from scratch 65536\n"
		"  then t is asked again\n");
	plans(IO_DISCARD, 3 * CLUSTER, CLUSTER,
		"thin t discard 196608 65536\n"
		"  wave 0: self 3 0 0\n"
		"  then t is asked again\n");
	plans(IO_FLUSH, 0, 0,
		"thin t flush\n"
		"  wave 0: file f flush\n"
		"  then t is asked again\n");
	stop();
}

static struct json_object *told(void)
{
	struct json_object *out = json_object_new_object();

	tree->root->type->status(tree->root, out);
	return out;
}

static uint64_t told_number(const char *key)
{
	struct json_object *out = told();
	uint64_t number = json_object_get_uint64(json_object_object_get(out, key));

	json_object_put(out);
	return number;
}

static void little_room_is_told_once(void **state)
{
	struct notice notice;
	unsigned cluster;
	uint64_t before;

	assert_true(notice_open() >= 0);
	start("'low_water_mark':'512KiB',");
	before = told_number("available");
	assert_true(before > 512 << 10);
	assert_int_equal(write_cluster(0), 0);
	assert_int_equal(told_number("available"), before - 2 * CLUSTER); /* its table, too */
	assert_false(notice_next(&notice));
	for (cluster = 1; write_cluster(cluster) == 0; cluster++)
		assert_true(cluster < 16);
	assert_true(notice_next(&notice));
	assert_string_equal(notice.what, "low_water_mark");
	assert_ptr_equal(notice.node, tree->root);
	assert_true(notice.number < 512 << 10);
	assert_true(notice_next(&notice));
	assert_string_equal(notice.what, "no_space");
	assert_int_equal(write_cluster(cluster), -ENOSPC);
	assert_int_equal(write_cluster(0), 0); /* what exists goes on */
	assert_false(notice_next(&notice));
	assert_int_equal(told_number("no_space"), 2);
	stop();
	notice_close();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_mapped_is_one_op),
		TEST(what_is_not_is_cleared_or_asked_for),
		TEST(little_room_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
