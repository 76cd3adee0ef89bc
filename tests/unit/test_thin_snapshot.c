// SPDX-License-Identifier: MIT
/*
 * Snapshots of a thin that is live: what was written while one was made is in it or not, never in part; what
 * becomes of them otherwise, and what is refused. With crashes and failures: test_thin_snapshot_crash.c.
 */
#include "pasts.h"

#include "child_io.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAITS_MAX 10000

static void a_snapshot_keeps_what_the_device_had(void **state)
{
	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(TABLE_SPAN, 'b'), 0);
	live_begin();
	pasts_do("snapshot-create", "one");
	live_ask(0, IO_WRITE, 0, 'c');
	live_ask(1, IO_WRITE, CLUSTER, 'd');
	live_ask(2, IO_DISCARD, TABLE_SPAN, 0);
	live_end_all();
	pasts_do("snapshot-create", "two");
	live_ask(0, IO_WRITE, 0, 'e');
	live_end_all();
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	live_stop();
	pasts_load(); /* which counts all */
	assert_int_equal(live_byte_at(0), 'e');
	assert_int_equal(live_byte_at(CLUSTER), 'd');
	assert_int_equal(live_byte_at(TABLE_SPAN), 0);
	assert_int_equal(pasts_thin()->leaked, 0);
	live_stop();
	assert_int_equal(past_count(&pasts_image), 2);
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	assert_int_equal(pasts_at(0, 0), 'a');
	assert_int_equal(pasts_at(0, CLUSTER), 0);
	assert_int_equal(pasts_at(0, TABLE_SPAN), 'b');
	assert_int_equal(pasts_at(1, 0), 'c');
	assert_int_equal(pasts_at(1, CLUSTER), 'd');
	assert_int_equal(pasts_at(1, TABLE_SPAN), 0);
}

static void what_a_deleted_snapshot_alone_had_is_free(void **state)
{
	uint64_t used, cluster;

	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(TABLE_SPAN, 'b'), 0);
	live_stop();
	pasts_load();
	used = pasts_thin()->used;
	live_begin();
	pasts_do("snapshot-create", "one");
	live_ask(0, IO_WRITE, 0, 'c');
	live_ask(1, IO_WRITE, CLUSTER, 'h');
	live_end_all();
	pasts_do("snapshot-create", "two");
	live_ask(0, IO_WRITE, 0, 'd');
	live_end_all();
	assert_true(pasts_command("snapshot-delete", "one", NULL, NULL));
	live_ask(0, IO_WRITE, TABLE_SPAN, 'e'); /* which both have, while the one goes */
	live_end_all();
	assert_int_equal(past_count(&pasts_image), 1);
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	live_ask(0, IO_WRITE, 0, 'f');
	live_end_all();
	live_stop();
	assert_int_equal(pasts_at(0, 0), 'c');
	assert_int_equal(pasts_at(0, TABLE_SPAN), 'b');
	pasts_load();
	assert_int_equal(pasts_thin()->leaked, 0);
	live_begin();
	assert_true(pasts_command("snapshot-delete", "2", NULL, NULL)); /* by its id */
	while (pasts_thin()->next && pasts_thin()->next->step != NEXT_PAGES)
		live_end_one(0, 0);
	live_ask(0, IO_WRITE, CLUSTER, 'g'); /* which the two have, up to now */
	live_end_all();
	assert_int_equal(pasts_thin()->gone.count, 0);
	for (cluster = 0; cluster < pasts_thin()->clusters; cluster++)
		assert_int_equal(thin_counts_less(&pasts_thin()->counts, cluster), 0); /* no name is missing that is still counted */
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	live_stop();
	assert_int_equal(past_count(&pasts_image), 0);
	pasts_load();
	assert_int_equal(pasts_thin()->leaked, 0);
	assert_int_equal(pasts_thin()->used, used + 1);
	assert_int_equal(live_byte_at(0), 'f');
	assert_int_equal(live_byte_at(CLUSTER), 'g');
	assert_int_equal(live_byte_at(TABLE_SPAN), 'e');
	live_stop();
}

static void a_write_waits_for_the_switch_and_is_not_in_it(void **state)
{
	unsigned waits;

	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	assert_true(pasts_command("snapshot-create", "one", NULL, NULL));
	for (waits = 0; !pasts_thin()->unmappers; waits++) {
		assert_true(waits < WAITS_MAX);
		live_end_one(0, 0);
	}
	live_ask(0, IO_WRITE, 0, 'b'); /* would have gone in place */
	live_ask(1, IO_READ, 0, 0);
	for (waits = 0; pasts_thin()->next; waits++) {
		assert_true(waits < WAITS_MAX);
		assert_int_equal(live_results[0], LIVE_UNDER_WAY);
		assert_int_equal(live_results[1], LIVE_UNDER_WAY);
		live_now += 1000000;
		live_end_one(0, 0);
	}
	assert_true(pasts_thin()->made.pause >= 1000000);
	live_end_all();
	assert_int_equal(live_results[0], 0);
	live_stop();
	assert_int_equal(pasts_at(0, 0), 'a');
	pasts_load();
	assert_int_equal(live_byte_at(0), 'b');
	live_stop();
}

/* Two small writes to one cluster that could have gone in place when they came. */
static void writes_that_came_before_the_switch_end_do_not_share(void **state)
{
	pasts_load_keys("'size':'4MiB','cluster_size':65536");
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(CLUSTER, 'a'), 0);
	live_begin();
	assert_true(pasts_command("snapshot-create", "one", NULL, NULL));
	while (!pasts_thin()->unmappers)
		live_end_one(0, 0);
	live_ask(0, IO_WRITE, 0, 'b');
	live_ask(1, IO_WRITE, CLUSTER, 'c');
	live_end_all();
	live_ask(2, IO_FLUSH, 0, 0);
	live_end_all();
	live_stop();
	pasts_load_keys("'size':'4MiB','cluster_size':65536");
	assert_int_equal(live_byte_at(0), 'b');
	assert_int_equal(live_byte_at(CLUSTER), 'c');
	live_stop();
}

/* Its L1 table has come to name what the device has now: what was counted at the start isn't there. */
static void a_snapshot_that_is_not_what_it_was_is_not_deleted(void **state)
{
	uint64_t size, l1;
	char said[512], entry[8];
	int fd;

	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	pasts_do("snapshot-create", "one");
	live_ask(0, IO_WRITE, 0, 'b');
	live_end_all();
	l1 = past_table(&pasts_image, 0, &size);
	fd = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, entry, 8, (off_t)past_number(&pasts_image, 40, 8)), 8);
	assert_int_equal(syscall(SYS_pwrite64, fd, entry, 8, l1), 8);
	close(fd);
	assert_true(pasts_command("snapshot-delete", "one", NULL, NULL));
	live_end_all();
	assert_false(pasts_command("snapshot-made", "", NULL, said));
	assert_non_null(strstr(said, "error 5; nothing has changed"));
	assert_int_equal(pasts_thin()->header.snapshot_count, 1);
	live_killed();
}

static void what_no_snapshot_can_be_called_is_refused(void **state)
{
	char said[512], longest[257];

	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_true(pasts_command("snapshots", "", NULL, said));
	live_begin();
	pasts_do("snapshot-create", "one");
	assert_false(pasts_command("snapshot-create", "one", NULL, said));
	assert_string_equal(said, "thin t: there is a snapshot of the name or id \"one\"\n");
	assert_false(pasts_command("snapshot-create", "1", NULL, said));
	assert_false(pasts_command("snapshot-delete", "two", NULL, said));
	assert_string_equal(said, "thin t has 0 snapshots of the name or id \"two\"\n");
	assert_false(pasts_command("snapshot-create", "", NULL, said));
	assert_string_equal(said, "thin t: a snapshot's name has 1 to 255 bytes, not 0\n");
	memset(longest, 'n', 256);
	longest[256] = '\0';
	assert_false(pasts_command("snapshot-create", longest, NULL, said));
	assert_string_equal(said, "thin t: a snapshot's name has 1 to 255 bytes, not 256\n");
	assert_false(pasts_command("snapshot-create", "a\\nb", NULL, said));
	assert_string_equal(said, "thin t: byte 2 of the snapshot's name is the control character 10\n");
	assert_true(pasts_command("snapshot-create", longest + 1, NULL, said));
	assert_false(pasts_command("snapshot-create", "two", NULL, said));
	assert_string_equal(said, "thin t: another snapshot is being made, deleted or gone back to\n");
	live_end_all();
	assert_int_equal(pasts_thin()->header.snapshot_count, 2);
	live_stop();
}

/* Small clusters: an L1 table of two in a row, more map than memory for it, many refcount blocks. */
static void a_map_that_is_not_all_in_memory_is_copied(void **state)
{
	static const char keys[] = "'size':'5MiB','cluster_size':512,'metadata_cache':512";
	unsigned table;

	pasts_load_keys(keys);
	for (table = 0; table < 160; table++)
		assert_int_equal(live_write(table * 32768u, (char)(table + 1)), 0);
	live_begin();
	assert_true(pasts_thin()->cache.evicts);
	pasts_do("snapshot-create", "one");
	for (table = 0; table < 160; table += 3) {
		live_ask(0, IO_WRITE, table * 32768u, 'w');
		live_end_all();
	}
	live_stop();
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	pasts_load_keys(keys);
	assert_int_equal(pasts_thin()->leaked, 0);
	for (table = 0; table < 160; table++) {
		assert_int_equal(live_byte_at(table * 32768u), table % 3 ? (char)(table + 1) : 'w');
		assert_int_equal(pasts_at(0, table * 32768u), (char)(table + 1));
	}
	live_stop();
}

static uint64_t host_of(uint64_t offset)
{
	return thin_lookup(pasts_thin(), offset >> pasts_thin()->cluster_bits).host >> pasts_thin()->cluster_bits;
}

/* Cells become wider as clusters get more names, at a snapshot or at a start, and narrow again at the next start. */
static void more_snapshots_than_a_small_count_says(void **state)
{
	uint64_t used, memory;
	char name[8];
	unsigned i;

	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	live_stop();
	pasts_load();
	used = pasts_thin()->used;
	memory = pasts_thin()->memory;
	live_begin();
	for (i = 1; i <= 17; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		pasts_do("snapshot-create", name);
		assert_int_equal(thin_count_of(pasts_thin(), host_of(0)), i + 1);
		assert_int_equal(pasts_thin()->counts.bits, i < 3 ? 4 : i < 15 ? 8 : 16);
		assert_int_equal(pasts_thin()->memory,
			memory + pasts_thin()->counts.length * (pasts_thin()->counts.bits - 4) / 8);
	}
	live_stop();
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	pasts_load();
	assert_int_equal(pasts_thin()->leaked, 0);
	assert_int_equal(pasts_thin()->counts.bits, 16);
	assert_int_equal(thin_count_of(pasts_thin(), host_of(0)), 18);
	live_begin();
	live_ask(0, IO_WRITE, 0, 'b');
	live_end_all();
	for (i = 17; i > 0; i--) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(pasts_at(i - 1, 0), 'a');
		pasts_do("snapshot-delete", name);
	}
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	live_stop();
	pasts_load();
	assert_int_equal(pasts_thin()->leaked, 0);
	assert_int_equal(pasts_thin()->used, used);
	assert_int_equal(pasts_thin()->counts.bits, 4);
	assert_int_equal(live_byte_at(0), 'b');
	live_stop();
}

static void there_must_be_room_for_its_tables(void **state)
{
	static const char document[] = "{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,'discard':'ignore',"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'size':'64KiB'}}";
	unsigned cluster;
	char said[512];

	live_load(document);
	for (cluster = 0; live_write(cluster * CLUSTER, 'a') == 0; cluster++)
		assert_true(cluster < 16);
	live_begin();
	assert_true(pasts_command("snapshot-create", "one", NULL, NULL));
	live_end_all();
	assert_false(pasts_command("snapshot-made", "", NULL, said));
	assert_non_null(strstr(said, "there is no room for another generation of its tables"));
	live_ask(0, IO_WRITE, 0, 'b'); /* in place, as ever */
	live_end_all();
	assert_int_equal(live_results[0], 0);
	live_stop();
	live_load(document);
	assert_int_equal(pasts_thin()->leaked, 0);
	live_stop();
}

/* While one of the two is under way the other would take the header as it was before. */
static void neither_a_snapshot_nor_a_flatten_begins_beside_the_other(void **state)
{
	static const char document[] = "{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,'discard':'ignore',"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'label':false},"
		"'backing':{'id':'b','type':'file','path':'b','direct':false}}";
	char said[512];
	int fd = open(scene_path("b"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	live_load(document);
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	assert_true(pasts_command("flatten", "", NULL, said));
	assert_false(pasts_command("snapshot-create", "one", NULL, said));
	assert_non_null(strstr(said, "thin t is being flattened"));
	assert_true(pasts_command("stop-flatten", "", NULL, said));
	assert_false(pasts_command("snapshot-create", "one", NULL, said)); /* a piece of it is still on its way */
	live_end_all();
	assert_true(pasts_command("snapshot-create", "one", NULL, said));
	assert_false(pasts_command("flatten", "", NULL, said));
	assert_string_equal(said, "thin t: a snapshot is being made, deleted or gone back to; flatten it afterwards\n");
	live_end_all();
	assert_int_equal(pasts_thin()->made.result, 0);
	assert_false(pasts_command("flatten", "", NULL, said));
	assert_string_equal(said, "thin t: its 1 snapshots are based on the backing too; delete them first\n");
	live_stop();
}

/* The second refcount block is being named by the table while the snapshot begins, and that fails. */
static void no_room_is_taken_in_a_refcount_block_that_is_still_on_its_way(void **state)
{
	static const char keys[] = "'size':'4MiB','cluster_size':512";
	unsigned written, fails = 0;

	pasts_load_keys(keys);
	live_begin();
	for (written = 0; !fails; written++) {
		bool is_begun = false;

		assert_true(written < 8192);
		live_ask(0, IO_WRITE, written * 512u, 'a');
		while (live_pending_count) {
			uint64_t table = pasts_thin()->header.refcount_table_offset;
			bool lists = live_pending[0]->kind == IO_WRITE && live_pending[0]->offset >= table &&
				live_pending[0]->offset < table + 512;

			if (lists && !is_begun) {
				is_begun = true;
				assert_true(pasts_command("snapshot-create", "one", NULL, NULL));
				live_end_one(0, -EIO);
				fails++;
			} else {
				live_end_one(0, 0);
			}
		}
	}
	assert_null(pasts_thin()->next);
	assert_int_equal(pasts_thin()->made.result, 0);
	live_stop();
	pasts_load_keys(keys);
	assert_int_equal(pasts_thin()->leaked, 0);
	live_stop();
	assert_int_equal(pasts_at(0, 0), 'a');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_snapshot_keeps_what_the_device_had),
		TEST(what_a_deleted_snapshot_alone_had_is_free),
		TEST(a_write_waits_for_the_switch_and_is_not_in_it),
		TEST(writes_that_came_before_the_switch_end_do_not_share),
		TEST(a_snapshot_that_is_not_what_it_was_is_not_deleted),
		TEST(what_no_snapshot_can_be_called_is_refused),
		TEST(a_map_that_is_not_all_in_memory_is_copied),
		TEST(more_snapshots_than_a_small_count_says),
		TEST(there_must_be_room_for_its_tables),
		TEST(neither_a_snapshot_nor_a_flatten_begins_beside_the_other),
		TEST(no_room_is_taken_in_a_refcount_block_that_is_still_on_its_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
