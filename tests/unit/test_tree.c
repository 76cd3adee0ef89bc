// SPDX-License-Identifier: MIT
/* The tree: from document to nodes and limits, and what is refused with which words. */
#include "fixture.h"

static void nodes_are_in_document_order_and_leaves_in_places(void **state)
{
	struct tree *tree = fixture_tree("{'id':'r','type':'linear','children':["
					 "{'id':'m','type':'mirror','children':[@+8192,@+8192]},"
					 "{'id':'z','type':'zero','size':512},@4096]}");
	static const char *const ids[] = { "r", "m", "file2", "file3", "z", "file5" };
	unsigned i;

	assert_int_equal(tree->node_count, LENGTH_OF(ids));
	for (i = 0; i < tree->node_count; i++) {
		assert_string_equal(tree->nodes[i]->id, ids[i]);
		assert_int_equal(tree->nodes[i]->index, i);
	}
	assert_int_equal(tree->leaf_count, 3);
	for (i = 0; i < 3; i++)
		assert_int_equal(tree->leaves[i]->place, i);
	assert_ptr_equal(tree->leaves[1]->node, tree->nodes[3]);
	assert_ptr_equal(tree->nodes[3]->parent, tree->nodes[1]);
	assert_int_equal(tree->nodes[5]->place, 2);
	assert_int_equal(tree->root->limits.size, 8192 + 512 + 4096);
	tree_destroy(tree);
}

static void limits_go_up_through_the_tree(void **state)
{
	struct tree *tree = fixture_tree(
		"{'type':'stripe','chunk_size':4096,'children':["
		"{'type':'mirror','children':[@+20480,"
		"{'type':'file','path':'y','size':1064960,'annotations':{'block':1024,'zeroes':0}}]},"
		"{'type':'linear','children':[@8192,{'type':'file','path':'z','size':16384,"
		"'annotations':{'block':2048,'discard':8192}}]}]}");
	const struct limits *limits = &tree->root->limits;

	assert_int_equal(limits->size, 2 * 16384);
	assert_int_equal(limits->logical_block_size, 2048);
	assert_int_equal(limits->physical_block_size, 2048);
	assert_int_equal(limits->discard_granularity, 8192);
	assert_int_equal(limits->zeroes_granularity, 0);
	assert_false(limits->read_only);
	tree_destroy(tree);
}

static void one_read_only_leaf_makes_the_device_so(void **state)
{
	struct tree *tree =
		fixture_tree("{'type':'linear','children':[@8192,{'type':'file',"
			     "'path':'x','size':512,'annotations':{'read_only':true}}]}");

	assert_true(tree->root->limits.read_only);
	tree_destroy(tree);
}

static void the_device_has_its_defaults(void **state)
{
	struct tree *tree = fixture_tree("@8192");

	assert_int_equal(tree->device.driver, DRIVER_AUTO);
	assert_int_equal(tree->device.fan_out, FAN_OUT_AUTO);
	assert_int_equal(tree->device.queues, 1);
	assert_int_equal(tree->device.queue_depth, 128);
	assert_int_equal(tree->device.logical_block_size, 512);
	assert_int_equal(tree->device.max_io_size, 512 << 10);
	tree_destroy(tree);
}

static void a_larger_block_size_rounds_the_device(void **state)
{
	struct err err = { 0 };
	struct tree *tree = fixture_try("'logical_block_size':4096", "@8704", &err);

	assert_non_null(tree);
	assert_int_equal(tree->root->limits.size, 8192);
	assert_int_equal(tree->root->limits.logical_block_size, 4096);
	tree_destroy(tree);
}

static void what_the_tree_cannot_be_is_said(void **state)
{
	static const struct {
		const char *device, *root, *message;
	} rows[] = {
		{ "", "@511", "t: the device would have no block (t.json:1, /root)\n" },
		{ "'logical_block_size':512",
			"{'type':'file','path':'x','size':8192,'annotations':{'block':4096}}",
			"logical_block_size 512 is below the 4096 that the leaves need (t.json:1, "
			"/device/logical_block_size)\n" },
		{ "'max_io_size':5000", "@8192",
			"max_io_size 5000 is not a multiple of 4096 from 4096 to 4194304 "
			"(t.json:1, /device/max_io_size)\n" },
		{ "", "{'type':'linear','id':'a','children':[{'type':'zero','id':'a','size':512}]}",
			"id \"a\" is in use by the node of line 1 (t.json:1, "
			"/root/children/0)\n" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		char *messages = fixture_messages(rows[i].device, rows[i].root);

		assert_string_equal(messages, rows[i].message);
		free(messages);
	}
}

static char *nested(unsigned depth)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned i;

	for (i = 1; i < depth; i++)
		fputs("{'type':'linear','children':[", out);
	fputs("@8192", out);
	for (i = 1; i < depth; i++)
		fputs("]}", out);
	fclose(out);
	return text;
}

static void depth_ends_at_32(void **state)
{
	char *deep = nested(TREE_DEPTH_MAX), *deeper = nested(TREE_DEPTH_MAX + 1), *messages;

	tree_destroy(fixture_tree(deep));
	messages = fixture_messages("", deeper);
	assert_non_null(
		strstr(messages, "nodes are nested deeper than the limit of 32 (t.json:1, "));
	free(messages);
	free(deep);
	free(deeper);
}

static void leaves_end_at_1024(void **state)
{
	char *text = NULL, *messages;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned i;

	fputs("{'type':'linear','children':[@512,{'type':'linear','children':[", out);
	for (i = 0; i < TREE_LEAVES_MAX; i++)
		fputs(i ? ",@512" : "@512", out);
	fputs("]}]}", out);
	fclose(out);
	messages = fixture_messages("", text);
	assert_non_null(strstr(messages, "the tree has more than 4096 nodes or 1024 leaves"));
	free(messages);
	free(text);
}

static void geometry_is_what_must_not_change(void **state)
{
	static const struct {
		const char *root, *geometry;
	} rows[] = {
		{ "@8192", "leaf" },
		{ "{'type':'stripe','chunk_size':'8KiB','children':[@8192,@8192]}",
			"stripe(chunk_size=8192)[leaf,leaf]" },
		{ "{'type':'mirror','children':[{'type':'linear','offset':512,'children':[@+8192]},"
		  "{'type':'zero','size':1049088}]}",
			"mirror(region_size=auto)[linear(offset=512,size=0)[leaf],zero]" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(rows); i++) {
		struct tree *tree = fixture_tree(rows[i].root);
		char *geometry = tree_geometry(tree);

		assert_string_equal(geometry, rows[i].geometry);
		free(geometry);
		tree_destroy(tree);
	}
}

static void a_document_without_a_directory_is_said(void **state)
{
	struct err err = { 0 };

	assert_null(tree_read("/nonexistent/tree.json", &err));
	assert_string_equal(err.text, "/nonexistent/tree.json: its directory can't be found\n");
	err_finish(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_are_in_document_order_and_leaves_in_places),
		cmocka_unit_test(limits_go_up_through_the_tree),
		cmocka_unit_test(one_read_only_leaf_makes_the_device_so),
		cmocka_unit_test(the_device_has_its_defaults),
		cmocka_unit_test(a_larger_block_size_rounds_the_device),
		cmocka_unit_test(what_the_tree_cannot_be_is_said),
		cmocka_unit_test(depth_ends_at_32),
		cmocka_unit_test(leaves_end_at_1024),
		cmocka_unit_test(geometry_is_what_must_not_change),
		cmocka_unit_test(a_document_without_a_directory_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
