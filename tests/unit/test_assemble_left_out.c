// SPDX-License-Identifier: MIT
/* Assembly: a leg that can't be written to when the device is started is left out, and known as stale. */
#include "scene.h"

#include "lifetime.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOREVER 1000

static struct stat bad; /* the file whose writes fail */
static int good_writes, bad_writes; /* of it: so many that work, then so many that don't */
static int met; /* how often one has failed */

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	struct stat found;

	if (fstat(fd, &found) == 0 && found.st_ino == bad.st_ino && found.st_dev == bad.st_dev &&
		--good_writes < 0 && --bad_writes >= 0) {
		(void)syscall(SYS_pwrite64, fd, bytes, length / 1024 * 512, offset); /* torn */
		met++;
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	return 0;
}

static void fail_writes(const char *name, int good, int count)
{
	assert_int_equal(stat(scene_path(name), &bad), 0);
	good_writes = good;
	bad_writes = count;
	met = 0;
}

static void fail_no_more(void)
{
	bad = (struct stat){ 0 };
}

/* Both copies of the label call these leaves stale, a bit for each. */
static void assert_called_stale(const char *by, unsigned places)
{
	struct label label;
	unsigned copy, i;

	for (copy = 0; copy < LABEL_COPIES; copy++) {
		scene_label(by, &label);
		for (i = 0; i < label.leaf_count; i++)
			assert_int_equal(label.peers[i].state,
				places & 1u << i ? LABEL_PEER_STALE : LABEL_PEER_IN_SYNC);
		assert_true(label.flags & LABEL_OPEN);
		assert_int_equal(label.damaged, copy > 0);
		assert_false(label.mixed);
		if (copy == 0)
			scene_write(by, label_offset(label.generation), "rotten");
		label_finish(&label);
	}
}

/* It is brought up to date by the next start. */
static void assert_comes_back(unsigned leg)
{
	fail_no_more();
	if (!scene_start(scene_plain))
		scene_said("");
	assert_true(scene_assembled()->root->children[leg]->rebuilding);
	scene_stop();
}

/* Whichever of its writes fails, for good or once. */
static void a_leg_whose_label_cannot_be_written_is_left_out(void **state)
{
	int good, count;

	for (count = 1; count <= FOREVER; count += FOREVER - 1)
		for (good = 0;; good++) {
			fail_no_more();
			scene_file("a", 0);
			scene_file("b", 0);
			scene_two_legs("'mirror'");
			scene_tree("'mirror','annotations':'a longer document'", "a b");
			fail_writes("b", good, count);
			assert_true(scene_start(scene_plain));
			if (!met)
				break;
			scene_noted("mirror r: leg d1 is left out: writing the label of b: Input/output error\n");
			assert_true(scene_assembled()->root->children[1]->failed);
			assert_false(scene_assembled()->root->children[0]->failed);
			scene_close();
			assert_called_stale("a", 1u << 1);
			assert_comes_back(1);
		}
	fail_no_more();
	assert_int_equal(good, 3); /* as it was read, and twice anew */
}

/* The first leg's fellow has been told of nothing when it is written: it must be written again. */
static void those_written_before_are_told_too(void **state)
{
	scene_tree("'mirror'", "a b c");
	scene_run();
	fail_writes("c", 2, FOREVER);
	assert_true(scene_start(scene_plain));
	scene_close();
	assert_called_stale("a", 1u << 2);
	assert_called_stale("b", 1u << 2);
	assert_comes_back(2);
}

static void a_stop_says_clean_without_it(void **state)
{
	struct label label;

	scene_two_legs("'mirror'");
	fail_writes("b", 0, FOREVER);
	assert_true(scene_start(scene_plain));
	scene_stop();
	scene_label("a", &label);
	assert_false(label.flags & LABEL_OPEN);
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	label_finish(&label);
	assert_comes_back(1);
}

static void the_last_leg_in_sync_is_not_left_out(void **state)
{
	scene_two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "b");
	fail_writes("a", 0, FOREVER);
	assert_false(scene_start(scene_plain));
	fail_no_more();
	assert_true(scene_has_said("/a: Input/output error"));
	assert_comes_back(1);
}

static void a_leg_that_is_stale_anyway_is_left_out(void **state)
{
	scene_two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("away", "b");
	fail_writes("b", 0, FOREVER);
	assert_true(scene_start(scene_plain));
	assert_true(scene_assembled()->root->children[1]->failed);
	assert_false(scene_assembled()->root->children[1]->rebuilding);
	scene_close();
	assert_called_stale("a", 1u << 1);
	assert_comes_back(1);
}

/* What stands between the leaf and its mirror goes along; a mirror in which nothing is left, too. */
static void the_nearest_leg_that_can_be_spared_is_left_out(void **state)
{
	struct tree *tree;

	scene_document("{'id':'r','type':'mirror','children':[{'id':'m','type':'mirror','children':["
		       "{'id':'s','type':'stripe','children':["
		       "{'id':'d0','type':'file','path':'a','size':'3MiB'},"
		       "{'id':'d1','type':'file','path':'b','size':'3MiB'}]}]},"
		       "{'id':'d2','type':'file','path':'c','size':'5MiB'}]}");
	scene_run();
	fail_writes("b", 0, FOREVER);
	assert_true(scene_start(scene_plain));
	tree = scene_assembled();
	scene_noted("mirror r: leg m is left out: writing the label of b: Input/output error\n");
	assert_true(tree->root->children[0]->failed);
	assert_false(tree->root->children[1]->failed);
	scene_close();
	assert_called_stale("c", 1u << 0 | 1u << 1);
	assert_comes_back(0);
}

/* Nothing is lost by it, and who makes a device wants to know of a disk that can't be written. */
static void a_new_device_is_refused(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES);
	scene_file("b", SCENE_LEAF_BYTES);
	scene_tree("'mirror'", "a b");
	fail_writes("b", 0, FOREVER);
	assert_false(scene_start(scene_plain));
	fail_no_more();
	assert_true(scene_has_said("/b: Input/output error"));
}

static void assert_leg_states(const char *states)
{
	struct json_object *status = json_object_new_object();
	const struct node *node = scene_assembled()->root;

	node->type->status(node, status);
	assert_string_equal(
		json_object_to_json_string_ext(
			json_object_object_get(status, "leg_states"), JSON_C_TO_STRING_PLAIN),
		states);
	json_object_put(status);
}

/* Its label, or the mirror's own superblock and bitmap; once, so that whatever is tried later is done. */
static void a_mirror_uses_no_leg_that_was_left_out(void **state)
{
	struct err err = { 0 }, notes = { 0 };
	int good;

	for (good = 0;; good++) {
		fail_no_more();
		scene_file("a", 0);
		scene_file("b", 0);
		scene_two_legs("'mirror'");
		assert_true(scene_assemble(scene_plain));
		fail_writes("b", good, 1);
		assert_int_equal(lifetime_start(scene_assembled(), &err, &notes), 0);
		if (!met)
			break;
		assert_leg_states("[\"in_sync\",\"failed\"]");
		assert_true(scene_assembled()->root->children[1]->failed);
		assert_int_equal(lifetime_stop(scene_assembled(), &err), 0);
		scene_close();
		assert_comes_back(1);
	}
	fail_no_more();
	assert_leg_states("[\"in_sync\",\"in_sync\"]");
	assert_int_equal(good, 5);
	assert_null(err.text);
	err_finish(&notes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_leg_whose_label_cannot_be_written_is_left_out),
		TEST(those_written_before_are_told_too),
		TEST(a_stop_says_clean_without_it),
		TEST(the_last_leg_in_sync_is_not_left_out),
		TEST(a_leg_that_is_stale_anyway_is_left_out),
		TEST(the_nearest_leg_that_can_be_spared_is_left_out),
		TEST(a_new_device_is_refused),
		TEST(a_mirror_uses_no_leg_that_was_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
