// SPDX-License-Identifier: MIT
/*
 * thin's load(): whatever write is the last that the power lets through, and although what was
 * written before it and not flushed is lost, the next start finds all that the image held.
 */
#include "scene.h"

#include "child_io.h"
#include "lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES 131072u
#define UNFLUSHED_MAX 512

static struct {
	off_t offset;
	size_t length;
	char *before;
} unflushed[UNFLUSHED_MAX];
static unsigned unflushed_count;
static int writes_left = -1; /* -1: the power stays */

static void forget(unsigned first)
{
	while (unflushed_count > first)
		free(unflushed[--unflushed_count].before);
}

/* The last write has come through, and of those before it only what was flushed. */
static void cut(int fd)
{
	unsigned i;

	for (i = unflushed_count; i-- > 0;)
		if (i + 1 < unflushed_count)
			assert_true(syscall(SYS_pwrite64, fd, unflushed[i].before, unflushed[i].length,
					    unflushed[i].offset) >= 0);
	forget(0);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	ssize_t result;

	if (writes_left == 0) {
		errno = EIO;
		return -1;
	}
	if (writes_left > 0) {
		assert_true(unflushed_count < UNFLUSHED_MAX);
		unflushed[unflushed_count].offset = offset;
		unflushed[unflushed_count].length = length;
		unflushed[unflushed_count].before = calloc(1, length);
		assert_true(pread(fd, unflushed[unflushed_count++].before, length, offset) >= 0);
	}
	result = syscall(SYS_pwrite64, fd, bytes, length, offset);
	if (writes_left > 0 && --writes_left == 0)
		cut(fd);
	return result;
}

int fdatasync(int fd)
{
	if (writes_left == 0) {
		errno = EIO;
		return -1;
	}
	forget(0);
	return 0;
}

int fsync(int fd)
{
	return 0;
}

static bool start(void)
{
	struct err err = { 0 };
	int result;

	if (!scene_start((struct assemble_options){ 0 }))
		return false;
	result = tree_load(scene_assembled(), &err);
	err_finish(&err);
	scene_assembled()->child_io = CHILD_IO_FULL;
	return result == 0;
}

static void stop(void)
{
	assert_int_equal(tree_unload(scene_assembled(), &(struct err){ 0 }), 0);
	scene_stop();
}

/* An image as other programs make it: its refcount table counts 8 MiB, of 32. */
static void make_short(const char *name)
{
	static char bytes[BYTES];
	static const char one[4] = { 0, 0, 0, 1 };
	int fd;

	scene_document("{'id':'t','type':'thin','size':'32MiB','cluster_size':512,"
		       "'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}");
	assert_true(start());
	memset(bytes, 'x', BYTES);
	assert_int_equal(child_write(scene_assembled()->root, 1 << 20, bytes, BYTES), 0);
	stop();
	fd = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, one, sizeof(one), 56), 4);
	close(fd);
	scene_copy("x", name);
}

static void check_bytes(void)
{
	static char bytes[BYTES];
	unsigned i;

	assert_int_equal(child_read(scene_assembled()->root, 1 << 20, bytes, BYTES), 0);
	for (i = 0; i < BYTES; i++)
		assert_int_equal(bytes[i], 'x');
}

static uint32_t table_clusters(void)
{
	unsigned char bytes[4];
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, bytes, sizeof(bytes), 56), 4);
	close(fd);
	return (uint32_t)bytes[2] << 8 | bytes[3];
}

static void a_longer_refcount_table_can_stop_at_any_write(void **state)
{
	int writes, ended = 0, grown = 0;

	make_short("short");
	for (writes = 1; !ended; writes++) {
		scene_copy("short", "x");
		writes_left = writes;
		ended = start() && writes_left > 0;
		writes_left = -1;
		forget(0);
		scene_close();
		grown += table_clusters() > 1;
		assert_true(start());
		check_bytes();
		assert_true(table_clusters() > 1);
		stop();
		assert_true(start());
		check_bytes();
		stop();
	}
	assert_true(writes > 6); /* counts, the table, the header */
	assert_true(grown > 0);
}

/*
 * After an unclean stop a start writes the tables again, and breaks off. What it has read is still not
 * known to be durable: the labels must tell the next start of the unclean stop.
 */
static void a_start_that_fails_forgets_no_unclean_stop(void **state)
{
	struct label label;
	struct err err = { 0 };
	int writes;

	scene_document("{'id':'t','type':'thin','size':'1MiB','data':{'id':'f','type':'file',"
		       "'path':'x','direct':false,'size':'2MiB','label':true}}");
	for (writes = 2; writes < 5; writes++) { /* a label's copy, the other; the tables */
		assert_true(start());
		scene_close();
		assert_true(scene_assemble(scene_plain));
		writes_left = writes;
		assert_int_equal(lifetime_start(scene_assembled(), &err), -1);
		writes_left = -1; /* it was there for a moment */
		forget(0);
		err_finish(&err);
		lifetime_undo(scene_assembled(), true);
		scene_close();
		scene_label("x", &label);
		assert_true(label.flags & LABEL_OPEN);
		label_finish(&label);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_longer_refcount_table_can_stop_at_any_write),
		TEST(a_start_that_fails_forgets_no_unclean_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
