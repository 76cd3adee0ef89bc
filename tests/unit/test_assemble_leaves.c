// SPDX-License-Identifier: MIT
/* A tree of leaves alone: its document is the labels', with paths and name as they are now. */
#include "assemble_leaves.h"
#include "scene.h"

#include <unistd.h>

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

static const char *document_of(const struct tree *tree, char text[4096])
{
	size_t length;
	const char *from = json_text(tree->document, &length);

	snprintf(text, 4096, "%.*s", (int)length, from);
	return text;
}

static void the_document_follows_its_leaves(void **state)
{
	char text[4096], expected[4096], *paths[2];
	struct err err = { 0 };
	struct tree *tree;

	scene_two_legs("'stripe'");
	scene_rename("a", "moved \"a\"");
	scene_rename("b", "x");
	paths[0] = strdup(scene_path("x"));
	paths[1] = strdup(scene_path("moved \"a\""));
	tree = assemble_leaves(paths, 2, "other", &err);
	assert_non_null(tree);
	assert_string_equal(tree->name, "other");
	assert_string_equal(tree->leaves[0]->path, paths[1]);
	assert_string_equal(tree->leaves[1]->path, paths[0]);
	assert_false(tree->leaves[0]->not_given || tree->leaves[1]->not_given);
	snprintf(expected, sizeof(expected), "\"path\":\"%.*s\\\"a\\\"\"",
		(int)(strlen(paths[1]) - strlen("\"a\"")), paths[1]);
	assert_non_null(strstr(document_of(tree, text), expected));
	assert_null(strstr(text, "\"path\":\"a\""));
	assert_non_null(strstr(text, "\"size\":\"2MiB\",\"direct\":false}]}")); /* the rest stays */
	tree_destroy(tree);
	free(paths[0]);
	free(paths[1]);
}

static void what_has_not_moved_changes_nothing(void **state)
{
	char before[4096], after[4096], *paths[2];
	struct err err = { 0 };
	struct tree *tree;

	scene_two_legs("'stripe'");
	paths[0] = strdup(scene_path("a"));
	paths[1] = strdup(scene_path("b"));
	tree = assemble_leaves(paths, 2, NULL, &err);
	(void)document_of(tree, before);
	tree_destroy(tree);
	scene_document("{'type':'zero','size':4096}"); /* whatever it says: nobody reads it */
	tree = assemble_leaves(paths, 2, NULL, &err);
	assert_string_equal(document_of(tree, after), before);
	tree_destroy(tree);
	free(paths[0]);
	free(paths[1]);
}

static void what_is_missing_is_not_looked_for(void **state)
{
	struct err err = { 0 };
	struct tree *tree;
	char *path;

	scene_two_legs("'mirror'");
	path = strdup(scene_path("b"));
	tree = assemble_leaves(&path, 1, NULL, &err);
	assert_non_null(tree);
	assert_true(tree->leaves[0]->not_given);
	assert_int_equal(leaves_open(tree, LEAF_PROBE, &err), -1); /* although "a" is there */
	assert_non_null(
		strstr(err.text, "none of the leaves given is leaf 0 of the tree, which was a"));
	err_finish(&err);
	tree_destroy(tree);
	free(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_document_follows_its_leaves),
		TEST(what_has_not_moved_changes_nothing),
		TEST(what_is_missing_is_not_looked_for),
	};

	return cmocka_run_group_tests_name("assemble: leaves", tests, NULL, NULL);
}
