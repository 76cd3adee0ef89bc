// SPDX-License-Identifier: MIT
/* Child I/O and the hooks that use it, from a read tree to a stopped one, over real files. */
#include "child_io.h"
#include "lifetime.h"
#include "scene.h"

#include <errno.h>

#define BLOCK 512

/*
 * A linear that counts its starts in the first block of its child: probe() looks whether it has
 * done so before, load() writes the next number, unload() marks it as left in order.
 */
struct block {
	uint32_t starts, is_clean;
	char rest[BLOCK - 8];
};

static struct {
	struct block probed, block;
	bool load_fails, unload_fails; /* the root's */
} kept;

static const struct target_type *linear;
static struct tree *tree;
static struct err err, notes;
static char story[256];

static void tell(const char *what, const struct node *node)
{
	size_t length = strlen(story);

	snprintf(story + length, sizeof(story) - length, "%s %s, ", what, node->id);
}

static void assert_told(const char *expected)
{
	assert_string_equal(story, expected);
	story[0] = '\0';
}

static int probe(struct node *node, struct err *messages)
{
	struct block write = { 0 };

	tell("probe", node);
	assert_int_equal(child_read(node->children[0], 0, &kept.probed, BLOCK), 0);
	assert_int_equal(child_write(node->children[0], 0, &write, BLOCK), -EROFS);
	assert_int_equal(child_flush(node->children[0]), -EROFS);
	return 0;
}

static int open_(struct node *node, struct err *messages)
{
	tell("open", node);
	return linear->open(node, messages);
}

static int load(struct node *node, struct err *messages)
{
	struct node *child = node->children[0];

	tell("load", node);
	if (kept.load_fails && !node->parent)
		return err_add(messages, "it can't be loaded");
	kept.block = kept.probed;
	kept.block.starts++;
	kept.block.is_clean = false;
	assert_int_equal(child_write(child, 0, &kept.block, BLOCK), 0);
	assert_int_equal(child_flush(child), 0);
	return 0;
}

static int unload(struct node *node, struct err *messages)
{
	struct node *child = node->children[0];

	tell("unload", node);
	if (kept.unload_fails && !node->parent)
		return err_add(messages, "it can't be unloaded");
	assert_int_equal(child_read(child, 0, &kept.block, BLOCK), 0);
	kept.block.is_clean = true;
	return child_write(child, 0, &kept.block, BLOCK) < 0 ? err_add(messages, "no") : 0;
}

static struct target_type keeper;

/* Up to where requests could be served. */
static bool start(const char *document)
{
	struct assemble_options options = { 0 };
	unsigned i;

	scene_document(document);
	err_finish(&err);
	err_finish(&notes);
	story[0] = '\0';
	tree = tree_read(scene_path("tree.json"), &err);
	assert_non_null(tree);
	for (i = 0; i < tree->node_count; i++)
		if (!strncmp(tree->nodes[i]->id, "keeper", 6)) {
			linear = tree->nodes[i]->type;
			keeper = *linear;
			keeper.probe = probe;
			keeper.open = open_;
			keeper.load = load;
			keeper.unload = unload;
			tree->nodes[i]->type = &keeper;
		}
	if (lifetime_prepare(tree, &options, &err, &notes) == 0) {
		if (lifetime_start(tree, &err, &notes) == 0)
			return true;
		lifetime_undo(tree, true);
	}
	tree_destroy(tree);
	tree = NULL;
	return false;
}

static bool stop(void)
{
	int result = lifetime_stop(tree, &err);

	tree_destroy(tree);
	tree = NULL;
	return result == 0;
}

#define LEAF(name) "{'id':'" name "','type':'file','path':'" name "','size':'2MiB','direct':false}"
#define SMALL(name) "{'id':'" name "','type':'file','path':'" name "','size':'1MiB','direct':false}"
#define PAIR "{'id':'m','type':'mirror','children':[" LEAF("a") "," LEAF("b") "]}"
#define ONE "{'id':'keeper','type':'linear','children':[" PAIR "]}"
#define TWO "{'id':'keeper0','type':'linear','children':[{'id':'keeper1','type':'linear','children':[" \
	LEAF("a") "]}]}"

static int teardown(void **state)
{
	tree_destroy(tree);
	tree = NULL;
	err_finish(&err);
	err_finish(&notes);
	memset(&kept, 0, sizeof(kept));
	return scene_teardown(state);
}

static void what_is_unloaded_is_probed_at_the_next_start(void **state)
{
	assert_true(start(ONE));
	assert_int_equal(kept.probed.starts, 0);
	assert_true(stop());
	assert_true(start(ONE));
	assert_int_equal(kept.probed.starts, 1);
	assert_true(kept.probed.is_clean);
	tree_destroy(tree); /* a crash */
	assert_true(start(ONE));
	assert_int_equal(kept.probed.starts, 2);
	assert_false(kept.probed.is_clean);
	assert_true(stop());
}

static void a_mirror_below_is_written_on_all_legs(void **state)
{
	assert_true(start(ONE));
	assert_true(stop());
	assert_int_equal(*scene_read("a", LABEL_FRONT + SCENE_MIB), 1);
	assert_int_equal(*scene_read("b", LABEL_FRONT + SCENE_MIB), 1);
}

/* What a forced format leaves in the data is no start that probe() may count. */
static void leaves_that_will_be_formatted_are_probed_as_zeroes(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES);
	scene_file("b", SCENE_LEAF_BYTES);
	scene_write("a", LABEL_FRONT + SCENE_MIB, "\x07");
	scene_write("b", LABEL_FRONT + SCENE_MIB, "\x07");
	assert_true(start(ONE));
	assert_int_equal(kept.probed.starts, 0);
	assert_true(stop());
}

static void children_load_first_and_parents_unload_first(void **state)
{
	assert_true(start(TWO));
	assert_told("probe keeper1, open keeper1, probe keeper0, open keeper0, "
		    "load keeper1, load keeper0, ");
	assert_true(stop());
	assert_told("unload keeper0, unload keeper1, ");
}

static void a_failed_load_unloads_the_others_and_leaves_the_labels_unclean(void **state)
{
	struct label label;

	kept.load_fails = true;
	scene_file("a", SCENE_LEAF_BYTES);
	assert_false(start(TWO));
	assert_string_equal(err.text, "it can't be loaded\n");
	assert_told("probe keeper1, open keeper1, probe keeper0, open keeper0, "
		    "load keeper1, load keeper0, unload keeper1, ");
	scene_label("a", &label);
	assert_true(label.flags & LABEL_OPEN);
	label_finish(&label);
}

static void a_failed_unload_leaves_the_labels_unclean(void **state)
{
	struct label label;

	assert_true(start(TWO));
	kept.unload_fails = true;
	story[0] = '\0';
	assert_false(stop());
	assert_told("unload keeper0, unload keeper1, ");
	scene_label("a", &label);
	assert_true(label.flags & LABEL_OPEN);
	label_finish(&label);
}

static void what_has_failed_is_neither_loaded_nor_unloaded(void **state)
{
	assert_true(start("{'id':'m','type':'mirror','children':["
			  "{'id':'keeper0','type':'linear','children':[" LEAF("a") "]},"
			  "{'id':'keeper1','type':'linear','children':[" LEAF("b") "]}]}"));
	tree->root->children[0]->failed = true;
	story[0] = '\0';
	assert_true(stop());
	assert_told("unload keeper1, ");
}

static void any_length_at_any_place_in_memory_is_moved(void **state)
{
	static char out[2 << 20], in[2 << 20];
	struct node *child;
	unsigned i;

	for (i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 2654435761u >> 13);
	assert_true(start("{'id':'top','type':'linear','children':[{'id':'l','type':'stripe',"
			  "'chunk_size':4096,'children':[" SMALL("a") "," SMALL("b") "]}]}"));
	child = tree->root->children[0];
	tree->child_io = CHILD_IO_FULL;
	assert_int_equal(child_write(child, 512, out + 1, (2 << 20) - 1024), 0);
	assert_int_equal(child_read(child, 512, in + 3, (2 << 20) - 1024), 0);
	assert_memory_equal(out + 1, in + 3, (2 << 20) - 1024);
	assert_int_equal(child_zero(child, 4096, 12288), 0);
	assert_int_equal(child_read(child, 0, in, 2 << 20), 0);
	memset(out + 1 - 512 + 4096, 0, 12288);
	assert_memory_equal(out + 1, in + 512, (2 << 20) - 1024);
	assert_int_equal(child_discard(child, 0, 4096), 0);
	assert_int_equal(child_flush(child), 0);
	assert_int_equal(child_read(child, 100, in, 512), -EINVAL);
	assert_int_equal(child_read(child, 2 << 20, in, 512), -EINVAL);
	tree->child_io = CHILD_IO_NONE;
	assert_true(stop());
}

static void a_child_without_write_zeroes_is_written_zeroes(void **state)
{
	char in[1024];
	struct node *child;

	assert_true(start("{'id':'top','type':'linear','children':[" LEAF("a") "]}"));
	child = tree->root->children[0];
	child->limits.zeroes_granularity = child->limits.discard_granularity = 0;
	tree->child_io = CHILD_IO_FULL;
	memset(in, 1, sizeof(in));
	assert_int_equal(child_write(child, 0, in, sizeof(in)), 0);
	assert_int_equal(child_zero(child, 512, 512), 0);
	assert_int_equal(child_discard(child, 0, 512), 0);
	assert_int_equal(child_read(child, 0, in, sizeof(in)), 0);
	assert_int_equal(in[511], 1);
	assert_int_equal(in[512], 0);
	assert_int_equal(in[1023], 0);
	tree->child_io = CHILD_IO_NONE;
	assert_true(stop());
}

#define HOOK_TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOOK_TEST(what_is_unloaded_is_probed_at_the_next_start),
		HOOK_TEST(a_mirror_below_is_written_on_all_legs),
		HOOK_TEST(leaves_that_will_be_formatted_are_probed_as_zeroes),
		HOOK_TEST(children_load_first_and_parents_unload_first),
		HOOK_TEST(a_failed_load_unloads_the_others_and_leaves_the_labels_unclean),
		HOOK_TEST(a_failed_unload_leaves_the_labels_unclean),
		HOOK_TEST(what_has_failed_is_neither_loaded_nor_unloaded),
		HOOK_TEST(any_length_at_any_place_in_memory_is_moved),
		HOOK_TEST(a_child_without_write_zeroes_is_written_zeroes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
