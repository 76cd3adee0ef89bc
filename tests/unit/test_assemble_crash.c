// SPDX-License-Identifier: MIT
/* Assembly: whatever write of a start or a stop is the last, the next create finds its way. */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How many writes still do something: the last of them stops half-way, all later ones fail. */
static int writes_left = -1;

/* What a power cut takes back: writes since the last flush, and those that a failed flush has lost. */
#define UNFLUSHED_MAX 64
static struct unflushed {
	off_t offset;
	size_t length;
	char *before;
	bool is_lost;
} unflushed[UNFLUSHED_MAX];
static unsigned unflushed_count;
static int flushes_left = -1; /* that work; the next one fails, and then all do again. -1: all do */
static bool has_cache; /* all this is kept */

static void forget(unsigned i)
{
	free(unflushed[i].before);
	memmove(&unflushed[i], &unflushed[i + 1], (--unflushed_count - i) * sizeof(*unflushed));
}

static void remember(int fd, size_t length, off_t offset)
{
	struct unflushed *write = &unflushed[unflushed_count++];

	assert_true(unflushed_count <= UNFLUSHED_MAX);
	*write = (struct unflushed){ offset, length, calloc(1, length), false };
	assert_true(pread(fd, write->before, length, offset) >= 0);
}

/* What was lost is on the disk once it has been written again. */
static void forget_flushed(void)
{
	unsigned i, j;

	for (i = unflushed_count; i-- > 0;) {
		if (unflushed[i].is_lost)
			continue;
		for (j = i; j-- > 0;)
			if (unflushed[j].offset >= unflushed[i].offset &&
				unflushed[j].offset + unflushed[j].length <=
					unflushed[i].offset + unflushed[i].length) {
				forget(j);
				i--;
			}
		forget(i);
	}
}

/* Of each write the first half comes through. */
static void cut_power(const char *name)
{
	int fd = open(scene_path(name), O_RDWR | O_CLOEXEC);

	for (; unflushed_count; forget(unflushed_count - 1)) {
		const struct unflushed *write = &unflushed[unflushed_count - 1];

		size_t half = write->length / 1024 * 512;

		assert_true(syscall(SYS_pwrite64, fd, write->before + half, write->length - half,
				    write->offset + (off_t)half) >= 0);
	}
	close(fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (writes_left < 0 || writes_left > 1) {
		writes_left -= writes_left > 1;
		if (has_cache)
			remember(fd, length, offset);
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
	unsigned i;

	if (flushes_left == 0) {
		flushes_left = -1;
		for (i = 0; i < unflushed_count; i++)
			unflushed[i].is_lost = true;
		errno = EIO;
		return -1;
	}
	flushes_left -= flushes_left > 0;
	forget_flushed();
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
		assert_string_equal(label.geometry, "mirror(region_size=auto)[leaf,leaf]");
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
	assert_int_equal(writes, 7);
}

/* Of itself each label may say more than its fellow's does, but never less than what is used. */
static void a_growth_can_stop_at_any_write(void **state)
{
	struct assemble_options grow = { .grow = true };
	int writes, ended;

	for (writes = 0, ended = 0; !ended; writes++) {
		uint64_t size;

		assert_true(writes < 100);
		if (scene_has("a"))
			scene_remove("a");
		if (scene_has("b"))
			scene_remove("b");
		scene_two_legs("'stripe'");
		scene_document("{'id':'r','type':'stripe','children':["
			       "{'id':'d0','type':'file','path':'a','size':'3MiB','direct':false},"
			       "{'id':'d1','type':'file','path':'b','size':'3MiB','direct':false}]}");
		writes_left = writes + 1;
		ended = scene_start(grow);
		scene_close();
		writes_left = -1;
		if (!scene_start((struct assemble_options){ .sizes_by_label = true }))
			scene_said("");
		size = scene_assembled()->root->limits.size;
		assert_true(size == 2 * SCENE_SIZE || size == 2 * (SCENE_SIZE + SCENE_MIB));
		if (ended)
			assert_int_equal(size, 2 * (SCENE_SIZE + SCENE_MIB));
		scene_stop();
		assert_true(scene_start(grow));
		assert_int_equal(
			scene_assembled()->root->limits.size, 2 * (SCENE_SIZE + SCENE_MIB));
		scene_stop();
		assert_string_equal(scene_read("a", SCENE_DATA), "of a");
	}
	assert_int_equal(writes, 2 + 4 + 1); /* both labels as they were, two copies of each */
}

/*
 * A daemon was killed while it wrote a label, or its flush failed: the file shows what the disk need
 * not have. Before anything is built upon it, by overwriting the other copy, it is written again.
 */
static void labels_that_were_read_are_durable_before_others_are_written(void **state)
{
	int flushes, writes, started = 0, ended;

	for (flushes = 0; !started; flushes++)
		for (writes = 1, ended = 0; !ended; writes++) {
			scene_file("a", 0);
			scene_tree("'linear'", "a");
			scene_run();
			has_cache = true;
			flushes_left = flushes;
			started = scene_start(scene_plain);
			flushes_left = -1;
			scene_close();
			writes_left = writes;
			ended = scene_start(scene_plain);
			scene_close();
			writes_left = -1;
			has_cache = false;
			cut_power("a");
			scene_run();
		}
	assert_true(flushes > 2);
}

/*
 * It is the newest copy that is written again, and others may know its generation: not a bit of it may
 * change, so that a write that stops half-way leaves it whole.
 */
static void labels_are_written_again_as_they_are(void **state)
{
	uint64_t before;

	scene_two_legs("'mirror'");
	assert_true(scene_start(scene_plain));
	scene_close();
	before = scene_sum("a b");
	scene_tree("'mirror','annotations':'a longer document'", "a b");
	writes_left = 1;
	assert_false(scene_start(scene_plain));
	writes_left = -1;
	scene_close();
	assert_int_equal(scene_sum("a b"), before);
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
		TEST(a_growth_can_stop_at_any_write),
		TEST(labels_that_were_read_are_durable_before_others_are_written),
		TEST(labels_are_written_again_as_they_are),
		TEST(a_format_can_stop_at_any_write),
		TEST(a_format_that_stopped_gives_way_to_another_document),
		TEST(a_stop_can_stop_at_any_write),
	};

	return cmocka_run_group_tests_name("assemble: crash", tests, NULL, NULL);
}
