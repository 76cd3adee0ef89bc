// SPDX-License-Identifier: MIT
/*
 * A live thin that goes back to a snapshot: what it reads as then, what becomes of what it had, and what is
 * refused. With crashes and failures: test_thin_snapshot_crash.c.
 */
#include "pasts.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAITS_MAX 10000

static void ask(unsigned tag, enum io_kind kind, uint64_t offset, char byte)
{
	live_ask(tag, kind, offset, byte);
	live_end_all();
	assert_int_equal(live_results[tag], 0);
}

static void begin(const char *keys)
{
	pasts_load_keys(keys);
	live_begin();
}

static char read_byte(uint64_t offset)
{
	ask(0, IO_READ, offset, 0);
	return live_buffers[0][0];
}

static const char plain[] = "'size':'4MiB','cluster_size':4096";

static void the_device_is_what_it_was_and_the_snapshot_stays(void **state)
{
	unsigned times;

	begin(plain);
	ask(0, IO_WRITE, 0, 'a');
	ask(1, IO_WRITE, TABLE_SPAN, 'b');
	pasts_do("snapshot-create", "one");
	ask(0, IO_WRITE, 0, 'c');
	ask(1, IO_WRITE, CLUSTER, 'd');
	ask(2, IO_DISCARD, TABLE_SPAN, 0);
	for (times = 0; times < 2; times++) {
		pasts_do("snapshot-revert", "one");
		assert_int_equal(past_wrong_flags(&pasts_image), 0);
		assert_int_equal(read_byte(0), 'a');
		assert_int_equal(read_byte(CLUSTER), 0);
		assert_int_equal(read_byte(TABLE_SPAN), 'b');
		ask(0, IO_WRITE, 0, 'e'); /* which both have */
		ask(0, IO_WRITE, 5 * CLUSTER, 'f');
	}
	assert_int_equal(past_count(&pasts_image), 1);
	assert_int_equal(pasts_at(0, 0), 'a');
	assert_int_equal(pasts_at(0, TABLE_SPAN), 'b');
	live_stop();
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	pasts_load(); /* which counts all */
	assert_int_equal(pasts_thin()->leaked, 0);
	assert_int_equal(live_byte_at(0), 'e');
	assert_int_equal(live_byte_at(5 * CLUSTER), 'f');
	live_stop();
}

static void what_the_device_alone_had_is_free(void **state)
{
	uint64_t used, allocated;
	unsigned i;

	begin(plain);
	ask(0, IO_WRITE, 0, 'a');
	pasts_do("snapshot-create", "one");
	live_stop();
	begin(plain);
	used = pasts_thin()->used - pasts_thin()->reserve.count;
	allocated = pasts_thin()->allocated;
	for (i = 0; i < 100; i++)
		ask(0, IO_WRITE, i * CLUSTER, 'c');
	assert_true(pasts_thin()->allocated > allocated);
	pasts_do("snapshot-revert", "one");
	assert_int_equal(pasts_thin()->allocated, allocated);
	assert_int_equal(pasts_thin()->gone.count, 0);
	live_stop();
	pasts_load();
	assert_int_equal(pasts_thin()->leaked, 0);
	assert_int_equal(pasts_thin()->used - pasts_thin()->reserve.count, used);
	live_stop();
}

/* A name that the device has dropped is still counted; the device gets it back, and is left alone with it. */
static void flags_are_right_when_the_snapshot_goes_too(void **state)
{
	begin(plain);
	ask(0, IO_WRITE, 0, 'a');
	pasts_do("snapshot-create", "one");
	ask(0, IO_WRITE, 0, 'b');
	pasts_do("snapshot-revert", "one");
	pasts_do("snapshot-delete", "one");
	live_stop();
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	pasts_load();
	assert_int_equal(pasts_thin()->leaked, 0);
	assert_int_equal(live_byte_at(0), 'a');
	live_stop();
}

static void wait_for_step(enum thin_next_step step)
{
	unsigned waits;

	for (waits = 0; pasts_thin()->next->step != step; waits++) {
		assert_true(waits < WAITS_MAX);
		live_end_one(0, 0);
		assert_non_null(pasts_thin()->next);
	}
}

/* New clusters, dropped ones, shared ones that lose a name, and one for which a commit fails: before the walk and behind it. */
static void what_is_written_meanwhile_is_gone_and_counted(void **state)
{
	static const enum thin_next_step steps[] = { NEXT_NAMES, NEXT_COPY, NEXT_PAGES, NEXT_FLUSH };
	unsigned i;

	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		begin(plain);
		ask(0, IO_WRITE, 0, 'a');
		ask(0, IO_WRITE, CLUSTER, 'a');
		pasts_do("snapshot-create", "one");
		ask(0, IO_WRITE, 2 * CLUSTER, 'b');
		ask(0, IO_WRITE, CLUSTER, 'b');
		assert_true(pasts_command("snapshot-revert", "one", NULL, NULL));
		wait_for_step(steps[i]);
		live_ask(1, IO_WRITE, 0, 'c'); /* shared */
		live_ask(2, IO_DISCARD, CLUSTER, 0);
		live_ask(3, IO_WRITE, 3 * CLUSTER, 'c');
		live_end_all();
		assert_null(pasts_thin()->next);
		assert_int_equal(pasts_thin()->made.result, 0);
		assert_int_equal(past_wrong_flags(&pasts_image), 0);
		assert_int_equal(read_byte(0), 'a');
		assert_int_equal(read_byte(CLUSTER), 'a');
		assert_int_equal(read_byte(2 * CLUSTER), 0);
		assert_int_equal(read_byte(3 * CLUSTER), 0);
		live_stop();
		pasts_load();
		assert_int_equal(pasts_thin()->leaked, 0);
		live_stop();
		scene_remove("x");
	}
}

/* Reads and writes that come while the switch is due find the snapshot's bytes. */
static void what_comes_behind_the_switch_finds_what_was(void **state)
{
	unsigned waits;

	begin(plain);
	ask(0, IO_WRITE, 0, 'a');
	pasts_do("snapshot-create", "one");
	ask(0, IO_WRITE, 0, 'b');
	ask(0, IO_WRITE, 7 * CLUSTER, 'b');
	assert_true(pasts_command("snapshot-revert", "one", NULL, NULL));
	for (waits = 0; !pasts_thin()->unmappers; waits++) {
		assert_true(waits < WAITS_MAX);
		live_end_one(0, 0);
	}
	live_ask(1, IO_READ, 0, 0);
	live_ask(2, IO_WRITE, 7 * CLUSTER, 'c'); /* would have gone in place */
	for (waits = 0; pasts_thin()->next; waits++) {
		assert_true(waits < WAITS_MAX);
		assert_int_equal(live_results[1], LIVE_UNDER_WAY);
		assert_int_equal(live_results[2], LIVE_UNDER_WAY);
		live_end_one(0, 0);
	}
	live_end_all();
	assert_int_equal(live_buffers[1][0], 'a');
	live_stop();
	pasts_load();
	assert_int_equal(live_byte_at(7 * CLUSTER), 'c');
	assert_int_equal(pasts_thin()->leaked, 0);
	live_stop();
}

/* Small clusters: an L1 table of two in a row, more map than memory for it, many refcount blocks. */
static void a_map_that_is_not_all_in_memory_is_gone_back_to(void **state)
{
	static const char keys[] = "'size':'5MiB','cluster_size':512,'metadata_cache':512";
	unsigned table;

	pasts_load_keys(keys);
	for (table = 0; table < 160; table++)
		if (table % 5)
			assert_int_equal(live_write(table * 32768u, (char)(table + 1)), 0);
	live_begin();
	assert_true(pasts_thin()->cache.evicts);
	pasts_do("snapshot-create", "one");
	for (table = 0; table < 160; table += 2)
		ask(0, IO_WRITE, table * 32768u, 'w');
	pasts_do("snapshot-revert", "one");
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	for (table = 0; table < 160; table++)
		assert_int_equal(read_byte(table * 32768u), table % 5 ? (char)(table + 1) : 0);
	live_stop();
	pasts_load_keys(keys);
	assert_int_equal(pasts_thin()->leaked, 0);
	live_stop();
}

/* A page of the map was being read for somebody who tells it: what comes is another map's, and no error. */
static void who_tells_the_map_meanwhile_asks_again(void **state)
{
	static const char keys[] = "'size':'5MiB','cluster_size':512,'metadata_cache':512";
	unsigned table;

	pasts_load_keys(keys);
	for (table = 0; table < 160; table++)
		assert_int_equal(live_write(table * 32768u, 'a'), 0);
	live_begin();
	for (table = 0; pasts_thin()->pages[table]; table++)
		;
	pasts_thin()->cache.wanted = table + 1;
	engine_wake(live_engine, scene_assembled()->root);
	assert_int_equal(live_pending_count, 1);
	pasts_thin()->cache.generation++; /* as a switch does */
	pasts_thin()->cache.sums[table]++;
	live_end_all();
	assert_int_equal(pasts_thin()->cache.unread, 0);
	pasts_thin()->cache.sums[table]--;
	live_stop();
}

/* Its table has come to name what nobody has. */
static void a_snapshot_that_is_not_what_it_was_is_not_gone_back_to(void **state)
{
	uint64_t size, l1, table;
	char said[512], entry[8] = { 0 };
	int fd;

	begin(plain);
	ask(0, IO_WRITE, 0, 'a');
	pasts_do("snapshot-create", "one");
	ask(0, IO_WRITE, 0, 'b');
	l1 = past_table(&pasts_image, 0, &size);
	table = past_number(&pasts_image, l1, 8) & PAST_HOST;
	entry[5] = 0x7f; /* 0x7f0000: beyond what is there */
	fd = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(syscall(SYS_pwrite64, fd, entry, 8, table + 8), 8);
	close(fd);
	assert_true(pasts_command("snapshot-revert", "one", NULL, NULL));
	live_end_all();
	assert_false(pasts_command("snapshot-made", "", NULL, said));
	assert_non_null(strstr(said, "error 5; nothing has changed"));
	assert_int_equal(read_byte(0), 'b');
	live_killed();
}

static void what_can_not_be_gone_back_to_is_refused(void **state)
{
	char said[512];

	begin(plain);
	ask(0, IO_WRITE, 0, 'a');
	assert_false(pasts_command("snapshot-revert", "one", NULL, said));
	assert_string_equal(said, "thin t has 0 snapshots of the name or id \"one\"\n");
	pasts_do("snapshot-create", "one");
	pasts_thin()->header.size += CLUSTER;
	assert_false(pasts_command("snapshot-revert", "one", NULL, said));
	assert_string_equal(said, "thin t has 4198400 bytes, and had 4194304 when the snapshot was made: a device that is "
				  "being served keeps its size; see qemu-img snapshot -a\n");
	pasts_thin()->header.size -= CLUSTER;
	assert_true(pasts_command("snapshot-revert", "1", NULL, NULL)); /* by its id */
	assert_false(pasts_command("snapshot-revert", "one", NULL, said));
	assert_string_equal(said, "thin t: another snapshot is being made, deleted or gone back to\n");
	live_end_all();
	live_stop();
}

static void a_part_of_a_device_does_not_go_back(void **state)
{
	const struct node *root;
	char said[512];
	struct err err = { 0 };
	unsigned i;

	scene_file("y", 1 << 20);
	live_load("{'id':'l','type':'linear','children':[{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,"
		  "'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}},"
		  "{'id':'g','type':'file','path':'y','direct':false,'label':false}]}");
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	root = scene_assembled()->root;
	for (i = 0; i < 2; i++) {
		const char *verb = i ? "snapshot-revert" : "snapshot-create";
		struct json *arguments = json_parse("arguments", "{\"name\":\"one\"}", 14, &err);
		struct json_object *answer = json_object_new_object();

		assert_int_equal(root->children[0]->type->command(root->children[0], verb, arguments, answer, &err), i ? -1 : 0);
		engine_wake(live_engine, root->children[0]);
		live_end_all();
		json_object_put(answer);
		json_destroy(arguments);
	}
	snprintf(said, sizeof(said), "%s", err.text);
	err_finish(&err);
	assert_string_equal(said, "thin t is a part of linear l: with its own bytes of another time that would be damaged; "
				  "only a volume that is all of its device can go back\n");
	live_stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_device_is_what_it_was_and_the_snapshot_stays),
		TEST(what_the_device_alone_had_is_free),
		TEST(flags_are_right_when_the_snapshot_goes_too),
		TEST(what_is_written_meanwhile_is_gone_and_counted),
		TEST(what_comes_behind_the_switch_finds_what_was),
		TEST(a_map_that_is_not_all_in_memory_is_gone_back_to),
		TEST(who_tells_the_map_meanwhile_asks_again),
		TEST(a_snapshot_that_is_not_what_it_was_is_not_gone_back_to),
		TEST(what_can_not_be_gone_back_to_is_refused),
		TEST(a_part_of_a_device_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
