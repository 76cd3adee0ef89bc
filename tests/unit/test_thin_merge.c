// SPDX-License-Identifier: MIT
/*
 * thin's commit: what the image holds over its backing is written there while that is served, and the image is
 * empty then. Wherever the power goes, in whatever order the two files lose what wasn't flushed, the next start finds
 * the same bytes, and can do the rest.
 */
#include "jobs.h"

#include "child_io.h"
#include "thin.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SIZE (24u * LIVE_BYTES)
#define LARGE_SIZE (512u * LIVE_BYTES) /* of clusters that are larger than a piece */

/* Only the test's own power fails. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

static char expected[LARGE_SIZE], found[LARGE_SIZE];
static unsigned size = SIZE;
static const char *cluster_size = "4096";
static const char *word = "'commit':true,";

static const char *document(const char *keys)
{
	static char text[512];

	snprintf(text, sizeof(text),
		"{'id':'t','type':'thin','size':'%u','cluster_size':%s,%s%s'data':{'id':'f','type':'file',"
		"'path':'x','direct':false,'label':false},'backing':{'id':'b','type':'file','path':'b','direct':false}}",
		size, cluster_size, keys, word);
	return text;
}

static void put(unsigned cluster, char byte)
{
	assert_int_equal(live_write(cluster * LIVE_BYTES, byte), 0);
	memset(expected + cluster * LIVE_BYTES, byte, LIVE_BYTES);
}

static void clear(unsigned tag, unsigned cluster)
{
	live_ask(tag, IO_WRITE_ZEROES, cluster * LIVE_BYTES, 0);
	live_end_all();
	if (live_results[tag] == 0) /* else clusters are larger */
		memset(expected + cluster * LIVE_BYTES, 0, LIVE_BYTES);
}

/*
 * Backing has bytes, but for zeroes in the clusters 8 to 11. The image has bytes in 1, 2, 4 and 20, zeroes in 5 over
 * bytes and in 9 over zeroes. It is live then.
 */
static void make(const char *keys)
{
	int fd = open(scene_path("b"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned i;

	for (i = 0; i < size; i++)
		expected[i] = i / LIVE_BYTES >= 8 && i / LIVE_BYTES < 12 ? 0 : (char)(i / 512 + 1);
	assert_int_equal(pwrite(fd, expected, size, 0), size);
	close(fd);
	if (scene_has("x"))
		scene_remove("x");
	live_load(document(keys));
	put(1, 'a');
	put(2, 'b');
	put(4, 'c');
	put(20, 'd');
	live_begin();
	clear(0, 5);
	clear(1, 9);
}

static const char *state(void)
{
	return jobs_state("commit");
}

static void read_all(const char *name, char *bytes)
{
	int fd = open(scene_path(name), O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, bytes, size, 0), size);
	close(fd);
}

static void check_backing(void)
{
	read_all("b", found);
	assert_memory_equal(found, expected, size);
}

static void read_device(void)
{
	unsigned at;

	for (at = 0; at < size; at += LIVE_BYTES)
		assert_int_equal(child_read(scene_assembled()->root, at, found + at, LIVE_BYTES), 0);
}

/* In another life. */
static void check_bytes(void)
{
	live_load(document(""));
	read_device();
	assert_memory_equal(found, expected, size);
	live_stop();
}

static void commit(void)
{
	jobs_ask("commit", "{}", NULL);
	assert_string_equal(state(), "running");
	live_end_all();
	assert_string_equal(state(), "done");
}

static void all_goes_into_backing(const char *keys)
{
	make(keys);
	assert_string_equal(state(), "never");
	commit();
	assert_int_equal(jobs_told("allocated"), 0);
	check_backing();
	live_ask(0, IO_READ, 4 * LIVE_BYTES, 0);
	live_end_all();
	assert_int_equal(live_buffers[0][0], 'c');
	live_stop();
	check_bytes();
}

static void what_the_image_holds_goes_into_backing(void **unused)
{
	all_goes_into_backing("");
}

static void with_small_clusters_and_a_small_cache_too(void **unused)
{
	cluster_size = "512";
	all_goes_into_backing("'metadata_cache':512,");
	cluster_size = "4096";
}

static void with_large_clusters_too(void **unused)
{
	cluster_size = "1048576";
	size = LARGE_SIZE;
	all_goes_into_backing("");
	size = SIZE;
	cluster_size = "4096";
}

/*
 * Where backing reads as zeroes already they are made there all the same, as what it shows may have been lost by a flush
 * that failed in an earlier life; and no bytes are written, but where it turns out not to know how.
 */
static void zeroes_are_made_in_backing(const char *keys, unsigned flags, unsigned kinds[6], int answer)
{
	make("");
	live_stop();
	scene_remove("x");
	live_load(document(keys));
	live_begin();
	memset(kinds, 0, 6 * sizeof(*kinds));
	read_all("b", expected);
	clear(0, 9);
	jobs_ask("commit", "{}", NULL);
	while (live_pending_count) {
		const struct sub_io *sub = live_pending[0];
		bool is_backing = sub->leaf->place == 1, is_offload = is_backing && sub->kind == IO_WRITE_ZEROES;

		kinds[sub->kind] += is_backing;
		if (is_offload)
			assert_int_equal(sub->flags, flags);
		if (is_backing && sub->kind != IO_FLUSH) {
			assert_int_equal(sub->offset, 9 * LIVE_BYTES);
			assert_int_equal(sub->length, LIVE_BYTES);
		}
		live_end_one(0, is_offload ? answer : 0);
	}
	assert_string_equal(state(), "done");
	assert_int_equal(jobs_told("allocated"), 0);
	check_backing();
	live_stop();
}

static void zeroes_take_no_room_in_backing(void **unused)
{
	unsigned kinds[6];

	zeroes_are_made_in_backing("", 0, kinds, 0);
	assert_int_equal(kinds[IO_WRITE_ZEROES], 1);
	assert_int_equal(kinds[IO_WRITE], 0);
	assert_int_equal(kinds[IO_FLUSH], 1);
}

/* It was given all of its room beforehand, say. */
static void zeroes_give_no_room_back_where_nothing_is_to_be(void **unused)
{
	unsigned kinds[6];

	zeroes_are_made_in_backing("'discard':'ignore',", IO_NOUNMAP, kinds, 0);
	assert_int_equal(kinds[IO_WRITE_ZEROES], 1);
	assert_int_equal(kinds[IO_DISCARD], 0);
	zeroes_are_made_in_backing("'discard':'ignore',", IO_NOUNMAP, kinds, -EOPNOTSUPP);
	assert_int_equal(kinds[IO_WRITE], 1);
}

static void zeroes_are_written_where_backing_can_not_zero(void **unused)
{
	unsigned kinds[6];

	zeroes_are_made_in_backing("", 0, kinds, -EOPNOTSUPP);
	assert_int_equal(kinds[IO_WRITE_ZEROES], 1);
	assert_int_equal(kinds[IO_WRITE], 1);
	assert_int_equal(kinds[IO_FLUSH], 1);
}

/* Of a cluster that is more than one piece, one by one. */
static void zeroes_of_a_large_cluster_too(void **unused)
{
	unsigned refused, offloads = 0;

	cluster_size = "1048576";
	size = LARGE_SIZE;
	for (refused = 0; refused < 2; refused++) {
		make("");
		live_stop();
		live_load(document(""));
		assert_int_equal(child_zero(scene_assembled()->root, 1 << 20, 1 << 20), 0);
		memset(expected + (1 << 20), 0, 1 << 20);
		live_begin();
		jobs_ask("commit", "{}", NULL);
		while (live_pending_count) {
			bool is_offload = live_pending[0]->leaf->place == 1 && live_pending[0]->kind == IO_WRITE_ZEROES;

			offloads += is_offload;
			live_end_one(0, is_offload && refused ? -EOPNOTSUPP : 0);
		}
		assert_string_equal(state(), "done");
		assert_int_equal(jobs_told("allocated"), 0);
		check_backing();
		live_stop();
		check_bytes();
	}
	assert_true(offloads > 2);
	size = SIZE;
	cluster_size = "4096";
}

static void with_keep_the_image_stays_as_it_is(void **unused)
{
	uint64_t allocated;

	make("");
	allocated = jobs_told("allocated");
	jobs_ask("commit", "{\"keep\":true}", NULL);
	jobs_ask("commit", "{}", "thin t is being committed with \"keep\"; let that end, or stop it first (commit --stop)\n");
	live_end_all();
	assert_string_equal(state(), "done");
	assert_int_equal(jobs_told("allocated"), allocated);
	check_backing();
	live_stop();
	check_bytes();
}

/* Whenever a write or a discard comes, the device has it, and another commit brings it to backing. */
static void what_is_written_meanwhile_is_kept(void **unused)
{
	unsigned steps = 0, i;
	bool is_done = false;

	for (; !is_done; steps++) {
		make("");
		jobs_ask("commit", "{}", NULL);
		for (i = 0; i < steps && live_pending_count; i++)
			live_end_one(0, 0);
		is_done = live_pending_count == 0;
		live_ask(0, IO_WRITE, 1 * LIVE_BYTES + 512, 'e'); /* across two clusters */
		live_ask(1, IO_WRITE, 20 * LIVE_BYTES, 'f');
		live_ask(2, IO_DISCARD, 4 * LIVE_BYTES, 0);
		live_ask(3, IO_READ, 20 * LIVE_BYTES, 0);
		memset(expected + LIVE_BYTES + 512, 'e', LIVE_BYTES);
		memset(expected + 20 * LIVE_BYTES, 'f', LIVE_BYTES);
		memset(expected + 4 * LIVE_BYTES, 0, LIVE_BYTES);
		while (live_pending_count) /* the other way round */
			live_end_one(live_pending_count - 1, 0);
		assert_int_equal(live_results[0] | live_results[1] | live_results[2] | live_results[3], 0);
		assert_int_equal(live_buffers[3][0], 'f');
		assert_string_equal(state(), "done");
		commit();
		assert_int_equal(jobs_told("allocated"), 0);
		check_backing();
		live_stop();
		check_bytes();
	}
	assert_true(steps > 10);
}

/* What the power leaves of a file: all; what was flushed; that and the last write. */
enum remains { REMAINS_ALL, REMAINS_FLUSHED, REMAINS_LAST, REMAINS };

static struct {
	const char *name, *flushed;
	uint64_t offset, length; /* the last write */
} files[] = { { .name = "x", .flushed = "x-flushed" }, { .name = "b", .flushed = "b-flushed" } };

/* Ends the nth that is pending. */
static void step(unsigned n)
{
	const struct sub_io *sub = live_pending[n];
	unsigned place = sub->leaf->place;
	bool is_flush = sub->kind == IO_FLUSH;

	if (sub->kind == IO_WRITE || sub->kind == IO_WRITE_ZEROES) {
		files[place].offset = sub->offset;
		files[place].length = sub->length;
	}
	live_end_one(n, 0);
	if (is_flush) {
		scene_copy(files[place].name, files[place].flushed);
		files[place].length = 0;
	}
}

static void cut(unsigned place, enum remains remains)
{
	static char bytes[1 << 20];
	int from, to;

	if (remains == REMAINS_ALL)
		return;
	from = open(scene_path(files[place].name), O_RDONLY | O_CLOEXEC);
	to = open(scene_path(files[place].flushed), O_RDWR | O_CLOEXEC);
	if (remains == REMAINS_LAST && files[place].length) {
		assert_int_equal(pread(from, bytes, files[place].length, (off_t)files[place].offset),
			files[place].length);
		assert_int_equal(pwrite(to, bytes, files[place].length, (off_t)files[place].offset),
			files[place].length);
	}
	close(from);
	close(to);
	scene_copy(files[place].flushed, files[place].name);
}

static void begin_again(void)
{
	unsigned i;

	scene_copy("x-begun", "x");
	scene_copy("b-begun", "b");
	for (i = 0; i < 2; i++) {
		scene_copy(files[i].name, files[i].flushed);
		files[i].length = 0;
	}
	live_load(document(""));
	live_begin();
}

/* True: it was done before so many of its sub-I/Os. A write may race, and be flushed by the `flush`-th step. */
static bool is_right_after(unsigned steps, enum remains image, enum remains backing, bool races)
{
	char old[LIVE_BYTES];
	bool is_done, is_durable = false;
	unsigned i;

	begin_again();
	memcpy(old, expected + 2 * LIVE_BYTES, LIVE_BYTES);
	jobs_ask("commit", "{}", NULL);
	for (i = 0; i < steps && live_pending_count; i++) {
		if (races && i == steps / 3)
			live_ask(0, IO_WRITE, 2 * LIVE_BYTES, 'r');
		if (races && i > steps / 3 && live_results[0] == 0 && live_results[1] == LIVE_UNDER_WAY + 1)
			live_ask(1, IO_FLUSH, 0, 0);
		step(0);
	}
	is_done = live_pending_count == 0;
	is_durable = live_results[1] == 0;
	live_killed();
	cut(0, image);
	cut(1, backing);
	live_load(document(""));
	read_device();
	if (!memcmp(found + 2 * LIVE_BYTES, old, LIVE_BYTES))
		assert_false(is_durable);
	else
		memset(expected + 2 * LIVE_BYTES, 'r', LIVE_BYTES);
	assert_memory_equal(found, expected, size);
	live_begin();
	commit();
	assert_int_equal(jobs_told("allocated"), 0);
	live_stop();
	check_backing();
	memcpy(expected + 2 * LIVE_BYTES, old, LIVE_BYTES);
	return is_done;
}

static void the_power_may_go_at_any_moment(void **unused)
{
	unsigned cuts, steps;

	make("");
	live_stop();
	scene_copy("x", "x-begun");
	scene_copy("b", "b-begun");
	for (cuts = 0; cuts < REMAINS * REMAINS * 2; cuts++) {
		for (steps = 0;; steps++) {
			live_results[0] = LIVE_UNDER_WAY;
			live_results[1] = LIVE_UNDER_WAY + 1; /* not asked yet */
			if (is_right_after(steps, cuts % REMAINS, cuts / REMAINS % REMAINS, cuts / REMAINS / REMAINS))
				break;
		}
		assert_true(steps > 12);
	}
}

static void what_could_not_be_read_or_written_is_told_and_may_be_tried_again(void **unused)
{
	unsigned failing, i, failed = 0;
	bool is_done = false;

	for (failing = 0; !is_done; failing++) {
		make("");
		jobs_ask("commit", "{}", NULL);
		for (i = 0; i < failing && live_pending_count; i++)
			live_end_one(0, 0);
		is_done = live_pending_count == 0;
		if (!is_done && live_pending[0]->kind != IO_FLUSH) /* none would be believed any more */
			live_end_one(0, -ENOSPC);
		live_end_all();
		if (strcmp(state(), "done") != 0) {
			failed++;
			assert_string_equal(state(), "failed");
			assert_int_equal(jobs_told("commit_error"), ENOSPC);
			commit();
		}
		assert_int_equal(jobs_told("allocated"), 0);
		check_backing();
		live_stop();
		check_bytes();
	}
	assert_true(failed > 8); /* of each of four runs a read, a write, and the entries */
}

/* What backing can't flush is not dropped. */
static void what_is_not_durable_stays_in_the_image(void **unused)
{
	make("");
	jobs_ask("commit", "{}", NULL);
	while (live_pending[0]->leaf->place != 1 || live_pending[0]->kind != IO_FLUSH)
		live_end_one(0, 0);
	live_end_one(0, -EIO);
	live_end_all();
	assert_string_equal(state(), "failed");
	assert_int_equal(jobs_told("allocated"), 4 * LIVE_BYTES);
	jobs_ask("commit", "{}", NULL); /* no later one proves anything */
	live_end_all();
	assert_string_equal(state(), "failed");
	assert_int_equal(jobs_told("allocated"), 4 * LIVE_BYTES);
	live_killed();
	check_bytes();
}

static void it_keeps_to_its_rate(void **unused)
{
	make("");
	jobs_ask("commit", "{\"rate\": 4096}", NULL);
	while (live_end_all(), !strcmp(state(), "running"))
		live_tick();
	assert_string_equal(state(), "done");
	assert_int_equal(live_now - LIVE_BEGUN, 6 * UINT64_C(1000000000));
	live_stop();
}

static void it_can_be_stopped_and_does_the_rest(void **unused)
{
	make("");
	jobs_ask("commit", "{}", NULL);
	live_end_one(0, 0);
	jobs_ask("stop-commit", "{}", NULL);
	jobs_ask("commit", "{}", "thin t: its last commit has not ended yet; ask again\n");
	live_end_all();
	assert_string_equal(state(), "stopped");
	assert_int_equal(jobs_told("commit_copied"), 2 * LIVE_BYTES);
	assert_int_equal(jobs_told("allocated"), 2 * LIVE_BYTES);
	commit();
	assert_int_equal(jobs_told("commit_copied"), 4 * LIVE_BYTES);
	check_backing();
	live_stop();
}

static void nothing_else_that_changes_the_map_runs_beside_it(void **unused)
{
	make("");
	jobs_ask("commit", "{}", NULL);
	jobs_ask("flatten", "{}", "thin t is being committed; flatten it afterwards, or stop that first (commit --stop)\n");
	jobs_ask("trim", "{}", "thin t is being committed; trim it afterwards, or stop that first (commit --stop)\n");
	jobs_ask("snapshot-create", "{\"name\":\"s\"}", "thin t is being committed: a snapshot would be based on a backing that "
						    "changes; let that end, or stop it first (commit --stop)\n");
	live_end_all();
	jobs_ask("snapshot-create", "{\"name\":\"s\"}", NULL);
	jobs_ask("commit", "{}", "thin t: a snapshot is being made, deleted or gone back to; commit it afterwards\n");
	live_end_all();
	jobs_ask("commit", "{}", "thin t: its 1 snapshots are based on the backing too, and would change with it; delete them "
				 "first\n");
	live_stop();
	make("");
	jobs_ask("flatten", "{}", NULL);
	jobs_ask("commit", "{}", "thin t is being flattened; let that end, or stop it first (flatten --stop)\n");
	live_end_all();
	jobs_ask("commit", "{}", "thin t: its image stands on no backing file\n");
	live_stop();
}

/* What a flatten had taken in, before it was stopped, a commit has given to backing since. */
static void a_flatten_that_was_stopped_begins_anew_after_it(void **unused)
{
	char *garbage = malloc(SIZE);
	int fd;

	make("");
	jobs_ask("flatten", "{}", NULL);
	while (jobs_done() < 8 * LIVE_BYTES)
		live_end_one(0, 0);
	jobs_ask("stop-flatten", "{}", NULL);
	live_end_all();
	assert_string_equal(jobs_state("flatten"), "stopped");
	commit();
	jobs_ask("flatten", "{}", NULL);
	live_end_all();
	assert_string_equal(jobs_state("flatten"), "done");
	live_stop();
	memset(garbage, 'g', SIZE);
	fd = open(scene_path("b"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, garbage, SIZE), SIZE);
	close(fd);
	free(garbage);
	check_bytes();
}

static void without_a_word_in_the_document_backing_is_only_read(void **unused)
{
	make("");
	live_stop();
	word = "";
	live_load(document(""));
	assert_true(scene_assembled()->leaves[1]->node->limits.read_only);
	live_begin();
	jobs_ask("commit", "{}", "thin t: its backing is only read; with \"commit\": true in the document a create opens that for "
				 "writing, and lets nobody else use it\n");
	live_stop();
	word = "'commit':true,";
}

/* With holes, and no backing, what they had shown would be gone. */
static void none_begins_where_a_flatten_may_have_ended(void **unused)
{
	make("");
	jobs_ask("flatten", "{}", NULL);
	while (live_pending_count && !(live_pending[0]->kind == IO_WRITE && live_pending[0]->offset == 0))
		live_end_one(0, 0);
	assert_true(live_pending_count > 0); /* the header */
	live_end_one(0, -EIO);
	live_end_all();
	assert_string_equal(jobs_state("flatten"), "failed");
	jobs_ask("commit", "{}",
		"thin t: a flatten failed at its end, and the header may name no backing by now: what is committed would be "
		"gone; flatten it again, or stop and serve it anew\n");
	jobs_ask("flatten", "{}", NULL);
	live_end_all();
	assert_string_equal(jobs_state("flatten"), "done");
	live_stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(none_begins_where_a_flatten_may_have_ended),
		TEST(what_the_image_holds_goes_into_backing),
		TEST(with_small_clusters_and_a_small_cache_too),
		TEST(with_large_clusters_too),
		TEST(zeroes_take_no_room_in_backing),
		TEST(zeroes_give_no_room_back_where_nothing_is_to_be),
		TEST(zeroes_are_written_where_backing_can_not_zero),
		TEST(zeroes_of_a_large_cluster_too),
		TEST(with_keep_the_image_stays_as_it_is),
		TEST(what_is_written_meanwhile_is_kept),
		TEST(the_power_may_go_at_any_moment),
		TEST(what_could_not_be_read_or_written_is_told_and_may_be_tried_again),
		TEST(what_is_not_durable_stays_in_the_image),
		TEST(it_keeps_to_its_rate),
		TEST(it_can_be_stopped_and_does_the_rest),
		TEST(nothing_else_that_changes_the_map_runs_beside_it),
		TEST(a_flatten_that_was_stopped_begins_anew_after_it),
		TEST(without_a_word_in_the_document_backing_is_only_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
