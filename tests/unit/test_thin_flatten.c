// SPDX-License-Identifier: MIT
/*
 * thin's flatten: what is in backing comes into the image while that is served, and then the image stands
 * by itself. Wherever the power goes, the next start finds the same bytes, with or without the backing as
 * the header says.
 */
#include "jobs.h"

#include "child_io.h"
#include "qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SIZE (256u * LIVE_BYTES)
#define HEADER_FORMAT 112 /* where our header has the extension about the backing's format */

/* Only the test's own power fails. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

static char expected[SIZE], found[SIZE];
static const char *cluster_size = "4096";
static unsigned backed = 9 * LIVE_BYTES + 512; /* what backing has: its last cluster is cut short */

static const char *document(const char *keys, bool is_based)
{
	static char text[512];

	snprintf(text, sizeof(text),
		"{'id':'t','type':'thin','size':'%u','cluster_size':%s,%s'data':{'id':'f','type':'file',"
		"'path':'x','direct':false,'label':false}%s}",
		SIZE, cluster_size, keys,
		is_based ? ",'backing':{'id':'b','type':'file','path':'b','direct':false}" : "");
	return text;
}

/* Backing has bytes, zeroes, and bytes; the image has two clusters of its own, one of them zeroes. */
static void make(const char *keys)
{
	int fd = open(scene_path("b"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unsigned i;

	memset(expected, 0, sizeof(expected));
	for (i = 0; i < backed; i++)
		if (i < 2 * LIVE_BYTES || i >= 4 * LIVE_BYTES)
			expected[i] = (char)(i / 512 + 1);
	assert_int_equal(pwrite(fd, expected, backed, 0), backed);
	close(fd);
	live_load(document(keys, true));
	assert_int_equal(live_write(LIVE_BYTES, 'a'), 0);
	live_begin();
	live_ask(0, IO_WRITE_ZEROES, 5 * LIVE_BYTES, 0);
	live_end_all();
	memset(expected + LIVE_BYTES, 'a', LIVE_BYTES);
	if (live_results[0] == 0) /* else clusters are larger */
		memset(expected + 5 * LIVE_BYTES, 0, LIVE_BYTES);
}

static void check_bytes(void)
{
	unsigned at;

	for (at = 0; at < SIZE; at += LIVE_BYTES)
		assert_int_equal(child_read(scene_assembled()->root, at, found + at, LIVE_BYTES), 0);
	assert_memory_equal(found, expected, SIZE);
}

static const char *state(void)
{
	return jobs_state("flatten");
}

static bool is_flat(void)
{
	unsigned char bytes[8];
	static const unsigned char none[8];
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, bytes, 8, 8), 8);
	close(fd);
	return !memcmp(bytes, none, 8);
}

/* By itself the image has all. */
static void check_alone(void)
{
	live_load(document("", false));
	check_bytes();
	live_stop();
}

static void all_that_is_in_backing_comes_into_the_image(const char *keys)
{
	make(keys);
	assert_string_equal(state(), "never");
	jobs_ask("flatten", "{}", NULL);
	assert_string_equal(state(), "running");
	live_end_all();
	assert_string_equal(state(), "done");
	assert_true(is_flat());
	live_ask(0, IO_READ, 8 * LIVE_BYTES, 0);
	live_ask(1, IO_READ, SIZE - LIVE_BYTES, 1); /* has no bytes anywhere */
	live_end_all();
	assert_int_equal(live_buffers[0][0], expected[8 * LIVE_BYTES]);
	assert_int_equal(live_buffers[1][0], 0);
	jobs_ask("flatten", "{}", "thin t: its image stands on no backing file\n");
	live_stop();
	live_load(document(keys, true)); /* the document may go on naming it */
	assert_string_equal(state(), "done");
	check_bytes();
	live_stop();
	scene_remove("b");
	check_alone();
}

static void what_is_in_backing_comes_into_the_image(void **unused)
{
	all_that_is_in_backing_comes_into_the_image("");
}

static void with_small_clusters_and_a_small_cache_too(void **unused)
{
	cluster_size = "512";
	all_that_is_in_backing_comes_into_the_image("'metadata_cache':512,");
	cluster_size = "4096";
}

/* A piece is a part of one. */
static void with_large_clusters_too(void **unused)
{
	cluster_size = "524288";
	backed += 220 * LIVE_BYTES;
	all_that_is_in_backing_comes_into_the_image("");
	backed -= 220 * LIVE_BYTES;
	cluster_size = "4096";
}

static void clusters_of_zeroes_take_no_room(void **unused)
{
	make("");
	jobs_ask("flatten", "{}", NULL);
	live_end_all();
	assert_int_equal(jobs_told("flatten_copied"), 6 * LIVE_BYTES); /* two are zeroes, two are there */
	assert_int_equal(jobs_told("allocated"), 7 * LIVE_BYTES); /* with that of 'a' */
	live_stop();
}

static void a_write_meanwhile_is_kept(void **unused)
{
	make("");
	jobs_ask("flatten", "{}", NULL);
	live_end_one(0, 0); /* the first cluster has been read */
	live_ask(0, IO_WRITE, 0, 'b');
	live_ask(1, IO_WRITE, 8 * LIVE_BYTES, 'c');
	live_ask(2, IO_WRITE_ZEROES, 7 * LIVE_BYTES, 0);
	live_end_all();
	assert_int_equal(live_results[0] | live_results[1] | live_results[2], 0);
	assert_string_equal(state(), "done");
	memset(expected, 'b', LIVE_BYTES);
	memset(expected + 8 * LIVE_BYTES, 'c', LIVE_BYTES);
	memset(expected + 7 * LIVE_BYTES, 0, LIVE_BYTES);
	live_stop();
	check_alone();
}

/* "done" says that backing may be overwritten: nobody reads there any more. */
static void done_is_said_when_nobody_reads_backing(void **unused)
{
	unsigned i;

	make("");
	jobs_ask("flatten", "{}", NULL);
	while (jobs_done() < backed)
		live_end_one(0, 0); /* up to the header */
	live_ask(0, IO_READ, 2 * LIVE_BYTES, 'z'); /* is in the image as little as before */
	for (i = 0; i < live_pending_count;)
		if (live_pending[i]->kind == IO_READ)
			i++;
		else
			live_end_one(i, 0), i = 0;
	if (live_pending_count)
		assert_string_equal(state(), "running");
	live_end_all();
	assert_string_equal(state(), "done");
	assert_int_equal(live_buffers[0][0], 0);
	live_stop();
}

/* What the power leaves: all; what was flushed; that and the last write. */
enum remains { REMAINS_ALL, REMAINS_FLUSHED, REMAINS_LAST, REMAINS };

static struct {
	uint64_t offset, length; /* the last write */
} last;

/* Ends the first that is pending. */
static void step(void)
{
	const struct sub_io *sub = live_pending[0];
	bool is_flush = sub->kind == IO_FLUSH;

	if (sub->kind == IO_WRITE) {
		last.offset = sub->offset;
		last.length = sub->length;
	}
	live_end_one(0, 0);
	if (is_flush) {
		scene_copy("x", "flushed");
		last.length = 0;
	}
}

static void cut(enum remains remains)
{
	static char bytes[1 << 20];
	int from, to;

	live_killed();
	if (remains == REMAINS_ALL)
		return;
	from = open(scene_path("x"), O_RDONLY | O_CLOEXEC);
	to = open(scene_path("flushed"), O_RDWR | O_CLOEXEC);
	if (remains == REMAINS_LAST && last.length) {
		assert_true(last.length <= sizeof(bytes));
		assert_int_equal(pread(from, bytes, last.length, (off_t)last.offset), last.length);
		assert_int_equal(pwrite(to, bytes, last.length, (off_t)last.offset), last.length);
	}
	close(from);
	close(to);
	scene_copy("flushed", "x");
}

/* True: it was done before so many of its sub-I/Os. */
static bool is_right_after(unsigned steps, enum remains remains, unsigned *flats)
{
	bool is_done;

	scene_copy("begun", "x");
	scene_copy("x", "flushed");
	last.length = 0;
	live_load(document("", true));
	live_begin();
	jobs_ask("flatten", "{}", NULL);
	for (; steps && live_pending_count; steps--)
		step();
	is_done = !strcmp(state(), "done");
	assert_int_equal(is_done, live_pending_count == 0);
	cut(remains);
	assert_true(is_flat() || !is_done);
	*flats += is_flat();
	if (is_flat())
		check_alone();
	live_load(document("", true));
	check_bytes();
	live_begin();
	if (!is_flat()) { /* it goes on */
		jobs_ask("flatten", "{}", NULL);
		live_end_all();
		assert_string_equal(state(), "done");
	}
	live_stop();
	check_alone();
	return is_done;
}

static void the_power_may_go_at_any_moment(void **unused)
{
	enum remains remains;

	make("");
	live_stop();
	scene_copy("x", "begun");
	for (remains = REMAINS_ALL; remains < REMAINS; remains++) {
		unsigned steps = 0, flats = 0;

		while (!is_right_after(steps, remains, &flats))
			steps++;
		assert_true(steps > 12);
		assert_in_range(flats, remains == REMAINS_FLUSHED ? 1 : 2, 3);
	}
}

static void what_could_not_be_read_or_written_is_told_and_may_be_tried_again(void **unused)
{
	unsigned failing, steps, failed = 0;
	bool is_done = false;

	for (failing = 0; !is_done; failing++) {
		if (scene_has("x"))
			scene_remove("x");
		make("");
		jobs_ask("flatten", "{}", NULL);
		for (steps = 0; steps < failing && live_pending_count; steps++)
			live_end_one(0, 0);
		is_done = live_pending_count == 0;
		if (!is_done && live_pending[0]->kind != IO_FLUSH) /* none would be believed any more */
			live_end_one(0, -ENOSPC);
		live_end_all();
		if (strcmp(state(), "done") != 0) {
			failed++;
			assert_string_equal(state(), "failed");
			assert_int_equal(jobs_told("flatten_error"), ENOSPC);
			jobs_ask("flatten", "{}", NULL);
			live_end_all();
			assert_string_equal(state(), "done");
		}
		live_stop();
		check_alone();
	}
	assert_true(failed > 8); /* a read, the bytes and the entries of each of three pieces; the header */
}

static void it_keeps_to_its_rate(void **unused)
{
	make("");
	jobs_ask("flatten", "{\"rate\": 4096}", NULL);
	while (live_end_all(), !strcmp(state(), "running"))
		live_tick();
	assert_string_equal(state(), "done");
	assert_int_equal(live_now - LIVE_BEGUN, 8 * UINT64_C(1000000000)); /* of ten clusters two are there */
	live_stop();
}

static void it_can_be_stopped_and_goes_on(void **unused)
{
	make("");
	jobs_ask("flatten", "{}", NULL);
	live_end_one(0, 0);
	jobs_ask("stop-flatten", "{}", NULL);
	live_end_all();
	assert_string_equal(state(), "stopped");
	assert_int_equal(jobs_told("flatten_copied"), LIVE_BYTES);
	assert_false(is_flat());
	jobs_ask("flatten", "{}", NULL);
	live_end_all();
	assert_string_equal(state(), "done");
	assert_int_equal(jobs_told("flatten_copied"), 6 * LIVE_BYTES);
	live_stop();
	check_alone();
}

/* An image of a program that says nothing of the format can't say either that it was flattened. */
static void what_could_not_be_told_durably_is_refused(void **unused)
{
	static const unsigned char other[4] = { 1, 2, 3, 4 };
	int fd;

	make("");
	live_stop();
	fd = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, other, 4, HEADER_FORMAT), 4);
	close(fd);
	live_load(document("", true));
	live_begin();
	jobs_ask("flatten", "{}", "thin t: its header doesn't say the backing's format in its first sector; see "
			     "qemu-img rebase -u -F\n");
	live_stop();
}

static void an_image_that_never_had_a_backing_gets_none(void **unused)
{
	make("");
	live_stop();
	scene_remove("x");
	live_load(document("", false));
	live_stop();
	scene_document(document("", true));
	assert_false(scene_start(scene_plain));
	scene_said("thin t: its image stands on no backing file, and the document gives it one "
		   "(tree.json:1, /root)\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_in_backing_comes_into_the_image),
		TEST(with_small_clusters_and_a_small_cache_too),
		TEST(with_large_clusters_too),
		TEST(clusters_of_zeroes_take_no_room),
		TEST(a_write_meanwhile_is_kept),
		TEST(done_is_said_when_nobody_reads_backing),
		TEST(the_power_may_go_at_any_moment),
		TEST(what_could_not_be_read_or_written_is_told_and_may_be_tried_again),
		TEST(it_keeps_to_its_rate),
		TEST(it_can_be_stopped_and_goes_on),
		TEST(what_could_not_be_told_durably_is_refused),
		TEST(an_image_that_never_had_a_backing_gets_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
