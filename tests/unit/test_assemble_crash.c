// SPDX-License-Identifier: MIT
/* Assembly: whatever write of a start or a stop is the last, the next create finds its way. */
#include "scene.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How many writes still do something: the last of them stops half-way, all later ones fail. */
static int writes_left = -1;

/* Flushes before the first write to any leaf, and whether there was one. */
static int flushes_first;
static bool has_written;

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	has_written = true;
	if (writes_left < 0 || writes_left > 1) {
		writes_left -= writes_left > 1;
		return syscall(SYS_pwrite64, fd, bytes, length, offset);
	}
	if (writes_left == 1) /* torn */
		(void)syscall(SYS_pwrite64, fd, bytes, length / 1024 * 512, offset);
	writes_left = 0;
	errno = EIO;
	return -1;
}

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	flushes_first += !has_written;
	return 0;
}

int fsync(int fd)
{
	return 0;
}

/* Whatever write of a start is the last, the next start finds the tree and the whole of a document.
 */
static void a_change_of_document_can_stop_at_any_write(void **state)
{
	struct label label;
	int writes, ended, leaf;

	for (writes = 0, ended = 0; !ended; writes++) {
		scene_file("a", 0);
		scene_file("b", 0);
		scene_two_legs("'mirror'");
		scene_tree("'mirror','annotations':'a longer document'", "a b");
		writes_left = writes + 1;
		ended = scene_start(scene_plain);
		scene_close();
		writes_left = -1;
		scene_label("a", &label);
		assert_string_equal(label.geometry, "mirror[leaf,leaf]");
		label_finish(&label);
		if (!scene_start(scene_plain))
			scene_said("");
		assert_false(scene_assembled()->root->children[0]->failed);
		assert_false(scene_assembled()->root->children[1]->failed);
		scene_stop();
		for (leaf = 0; leaf < 2; leaf++) {
			scene_label(leaf ? "b" : "a", &label);
			assert_non_null(strstr(label.document, "a longer document"));
			assert_false(label.mixed || label.damaged);
			label_finish(&label);
		}
		assert_string_equal(scene_read("a", SCENE_DATA), "of a");
	}
	assert_int_equal(writes, 5);
}

/*
 * A daemon was killed while it wrote a label: the page cache shows it, the disk may not have it. Before it
 * is built upon, by overwriting the other copy or by telling the others of it, it is made durable.
 */
static void labels_that_were_read_are_durable_before_any_is_written(void **state)
{
	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_plain));
	scene_close();
	flushes_first = 0;
	has_written = false;
	assert_true(scene_start(scene_plain));
	assert_int_equal(flushes_first, 2);
	scene_stop();
}

/* Until the first start has ended, nothing was served: the next create needs no --force. */
static void a_format_can_stop_at_any_write(void **state)
{
	int writes, ended;

	for (writes = 0, ended = 0; !ended; writes++) {
		assert_true(writes < 100);
		scene_file("a", SCENE_LEAF_BYTES);
		scene_file("b", SCENE_LEAF_BYTES);
		scene_tree("'mirror'", "a b");
		writes_left = writes + 1;
		ended = scene_start(scene_plain);
		scene_close();
		writes_left = -1;
		if (!scene_start(scene_plain))
			scene_said("");
		scene_stop();
		scene_run();
	}
	assert_int_equal(writes, 2 * 6 + 4 + 4 + 1);
}

static void a_format_that_stopped_gives_way_to_another_document(void **state)
{
	scene_tree("'mirror'", "a b");
	writes_left = 9; /* a has its label, b not yet */
	assert_false(scene_start(scene_plain));
	writes_left = -1;
	scene_tree("'stripe'", "b c a");
	assert_true(scene_start(scene_plain));
	scene_stop();
	scene_tree("'mirror'", "x y");
	writes_left = 13; /* both have a label, and both still say that it is being made */
	assert_false(scene_start(scene_plain));
	writes_left = -1;
	scene_tree("'stripe'", "y x");
	assert_true(scene_start(scene_plain));
	scene_stop();
}

static void a_stop_can_stop_at_any_write(void **state)
{
	struct err err = { 0 };
	int writes;

	for (writes = 0; writes < 4; writes++) {
		scene_two_legs("'mirror'");
		assert_true(scene_start(scene_plain));
		writes_left = writes + 1;
		assert_true(assemble_stop(scene_assembled(), &err) < 0);
		err_finish(&err);
		scene_close();
		writes_left = -1;
		assert_true(scene_start(scene_plain));
		assert_false(scene_assembled()->root->children[0]->failed);
		assert_false(scene_assembled()->root->children[1]->failed);
		scene_stop();
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_change_of_document_can_stop_at_any_write),
		TEST(labels_that_were_read_are_durable_before_any_is_written),
		TEST(a_format_can_stop_at_any_write),
		TEST(a_format_that_stopped_gives_way_to_another_document),
		TEST(a_stop_can_stop_at_any_write),
	};

	return cmocka_run_group_tests_name("assemble: crash", tests, NULL, NULL);
}
