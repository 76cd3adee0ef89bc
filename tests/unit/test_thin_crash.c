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

static bool grows; /* start() may make it larger */

static bool start(void)
{
	struct err err = { 0 };
	int result;

	if (!scene_start((struct assemble_options){ .grow = grows }))
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

static void make_small(const char *size)
{
	static char bytes[BYTES];
	char root[256];

	snprintf(root, sizeof(root), "{'id':'t','type':'thin','size':'%s','cluster_size':512,"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}", size);
	scene_document(root);
	if (!scene_has("x")) {
		assert_true(start());
		memset(bytes, 'x', BYTES);
		assert_int_equal(child_write(scene_assembled()->root, 1 << 20, bytes, BYTES), 0);
		stop();
		/* What others leave behind a table: an entry that would be believed. */
		scene_copy("x", "small");
	}
}

static uint64_t header_number(uint64_t at, unsigned width)
{
	unsigned char bytes[8] = { 0 };
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);
	uint64_t number = 0;
	unsigned i;

	assert_int_equal(pread(fd, bytes, width, (off_t)at), width);
	close(fd);
	for (i = 0; i < width; i++)
		number = number << 8 | bytes[i];
	return number;
}

/* A table of 63 entries that tell of 32 KiB each, with room for one more, and rubbish in it. */
static void make_small_with_rubbish(void)
{
	static const char rubbish[8] = { (char)0x80, 0, 0, 0, 0, 0, 0x12, 0 };
	int fd;

	make_small("2016KiB");
	assert_int_equal(header_number(36, 4), 63);
	fd = open(scene_path("small"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, rubbish, 8, (off_t)header_number(40, 8) + 63 * 8), 8);
	close(fd);
}

static void a_larger_device_can_stop_at_any_write(void **state)
{
	int writes, ended = 0, grown = 0;

	make_small_with_rubbish();
	make_small("2MiB");
	for (writes = 1; !ended; writes++) {
		scene_copy("small", "x");
		grows = true;
		writes_left = writes;
		ended = start() && writes_left > 0;
		writes_left = -1;
		forget(0);
		scene_close();
		grown += header_number(24, 8) == 2 << 20;
		grows = false;
		assert_true(start()); /* counts all, and so finds what rubbish would name */
		check_bytes();
		assert_int_equal(scene_assembled()->root->limits.size, header_number(24, 8));
		stop();
		grows = true;
		assert_true(start());
		check_bytes();
		assert_int_equal(scene_assembled()->root->limits.size, 2 << 20);
		stop();
		assert_int_equal(header_number(24, 8), 2 << 20);
		assert_int_equal(header_number(36, 4), 64);
	}
	grows = false;
	assert_true(writes > 2);
	assert_true(grown > 0);
}

static void a_device_becomes_no_larger_than_its_table_and_not_unasked(void **state)
{
	make_small("2016KiB");
	make_small("2MiB");
	assert_true(start());
	assert_int_equal(scene_assembled()->root->limits.size, 2016 << 10);
	stop();
	make_small("2049KiB");
	assert_false(scene_start((struct assemble_options){ .grow = true }));
	scene_said("thin t: size 2098176 is more than the 2097152 that its image's L1 table has room for; "
		   "see qemu-img resize (tree.json:1, /root/size)\n");
	make_small("1MiB"); /* never smaller */
	assert_true(scene_start((struct assemble_options){ .grow = true }));
	assert_int_equal(scene_assembled()->root->limits.size, 2016 << 10);
	scene_stop();
}

static void a_backing_that_is_longer_would_show_through(void **state)
{
	static const char *const root = "{'id':'t','type':'thin','size':'%s',"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'label':false},"
		"'backing':{'id':'b','type':'zero','size':'3MiB'}}";
	char text[512];

	snprintf(text, sizeof(text), root, "2MiB");
	scene_document(text);
	assert_true(start());
	stop();
	snprintf(text, sizeof(text), root, "3MiB");
	scene_document(text);
	assert_false(scene_start((struct assemble_options){ .grow = true }));
	scene_said("thin t: it can't become larger than 2097152 bytes: its backing has 3145728, which would "
		   "show through (tree.json:1, /root/size)\n");
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
		assert_int_equal(lifetime_start(scene_assembled(), &err, &err), -1);
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
		TEST(a_larger_device_can_stop_at_any_write),
		TEST(a_device_becomes_no_larger_than_its_table_and_not_unasked),
		TEST(a_backing_that_is_longer_would_show_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
