// SPDX-License-Identifier: MIT
/*
 * Snapshots of a thin that is live: whatever write is the last that the power lets through, and although
 * what was written before it and not flushed is lost, the image is whole, with the snapshot or without;
 * and what was written while it was made is in it or not, never in part.
 */
#include "live.h"

#include "../past.h"
#include "child_io.h"
#include "thin_next.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLUSTER LIVE_BYTES
#define CLUSTERS 1024u
#define TABLE_SPAN (2u << 20) /* what one L2 table maps */
#define UNFLUSHED_MAX 4096
#define WAITS_MAX 10000

static struct {
	off_t offset;
	size_t length;
	char *before;
} unflushed[UNFLUSHED_MAX];
static unsigned unflushed_count;
static bool is_watched;

static void forget(void)
{
	while (unflushed_count)
		free(unflushed[--unflushed_count].before);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (is_watched) {
		assert_true(unflushed_count < UNFLUSHED_MAX);
		unflushed[unflushed_count].offset = offset;
		unflushed[unflushed_count].length = length;
		unflushed[unflushed_count].before = calloc(1, length);
		assert_true(pread(fd, unflushed[unflushed_count++].before, length, offset) >= 0);
	}
	return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

/* The last write has come through, and of those before it only what was flushed. */
static void cut(void)
{
	int fd = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	unsigned i;

	for (i = unflushed_count; i-- > 0;)
		if (i + 1 < unflushed_count)
			assert_true(syscall(SYS_pwrite64, fd, unflushed[i].before, unflushed[i].length,
					    unflushed[i].offset) >= 0);
	forget();
	close(fd);
}

static void load_size(const char *keys)
{
	char root[512];

	snprintf(root, sizeof(root), "{'id':'t','type':'thin',%s,'discard':'ignore',"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}", keys);
	live_load(root);
}

static void load(void)
{
	load_size("'size':'4MiB','cluster_size':4096");
}

static struct thin *thin(void)
{
	return thin_of(scene_assembled()->root);
}

/* A verb of the thin's with a name; false with what it says. */
static bool command(const char *verb, const char *name, struct json_object *answer, char *said)
{
	struct node *node = scene_assembled()->root;
	struct json_object *made = answer ? answer : json_object_new_object();
	struct err err = { 0 };
	char text[512];
	struct json *arguments;
	int result;

	snprintf(text, sizeof(text), "{\"name\":\"%s\"}", name);
	arguments = json_parse("arguments", text, strlen(text), &err);
	assert_non_null(arguments);
	result = node->type->command(node, verb, arguments, made, &err);
	if (said)
		snprintf(said, 512, "%s", err.text ? err.text : "");
	err_finish(&err);
	json_destroy(arguments);
	if (!answer)
		json_object_put(made);
	if (live_engine)
		engine_wake(live_engine, node);
	return result == 0;
}

static void end_first(void)
{
	bool is_flush = live_pending[0]->kind == IO_FLUSH;

	live_end_one(0, 0);
	if (is_flush)
		forget();
}

static void end_all(void)
{
	while (live_pending_count)
		end_first();
}

static void make(const char *name)
{
	assert_true(command("snapshot-create", name, NULL, NULL));
	end_all();
	assert_null(thin()->next);
	assert_int_equal(thin()->made.result, 0);
}

static void read_file(void *context, uint64_t offset, void *bytes, uint64_t length)
{
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);

	memset(bytes, 0, length);
	assert_true(pread(fd, bytes, length, (off_t)offset) >= 0);
	close(fd);
}

static const struct past image = { .read = read_file };

/* What the nth snapshot has at a cluster. */
static char past_at(uint32_t index, uint64_t offset)
{
	uint64_t size, l1 = past_table(&image, index, &size);
	char sector[512];

	assert_true(offset < size);
	(void)past_sector(&image, l1, offset, sector);
	return sector[0];
}

static void a_snapshot_keeps_what_the_device_had(void **state)
{
	load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(TABLE_SPAN, 'b'), 0);
	live_begin();
	make("one");
	live_ask(0, IO_WRITE, 0, 'c');
	live_ask(1, IO_WRITE, CLUSTER, 'd');
	live_ask(2, IO_DISCARD, TABLE_SPAN, 0);
	end_all();
	make("two");
	live_ask(0, IO_WRITE, 0, 'e');
	end_all();
	assert_int_equal(past_wrong_flags(&image), 0);
	live_stop();
	load(); /* which counts all */
	assert_int_equal(live_byte_at(0), 'e');
	assert_int_equal(live_byte_at(CLUSTER), 'd');
	assert_int_equal(live_byte_at(TABLE_SPAN), 0);
	assert_int_equal(thin()->leaked, 0);
	live_stop();
	assert_int_equal(past_count(&image), 2);
	assert_int_equal(past_wrong_flags(&image), 0);
	assert_int_equal(past_at(0, 0), 'a');
	assert_int_equal(past_at(0, CLUSTER), 0);
	assert_int_equal(past_at(0, TABLE_SPAN), 'b');
	assert_int_equal(past_at(1, 0), 'c');
	assert_int_equal(past_at(1, CLUSTER), 'd');
	assert_int_equal(past_at(1, TABLE_SPAN), 0);
}

static void what_a_deleted_snapshot_alone_had_is_free(void **state)
{
	uint64_t used, cluster;

	load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(TABLE_SPAN, 'b'), 0);
	live_stop();
	load();
	used = thin()->used;
	live_begin();
	make("one");
	live_ask(0, IO_WRITE, 0, 'c');
	live_ask(1, IO_WRITE, CLUSTER, 'h');
	end_all();
	make("two");
	live_ask(0, IO_WRITE, 0, 'd');
	end_all();
	assert_true(command("snapshot-delete", "one", NULL, NULL));
	live_ask(0, IO_WRITE, TABLE_SPAN, 'e'); /* which both have, while the one goes */
	end_all();
	assert_int_equal(past_count(&image), 1);
	assert_int_equal(past_wrong_flags(&image), 0);
	live_ask(0, IO_WRITE, 0, 'f');
	end_all();
	live_stop();
	assert_int_equal(past_at(0, 0), 'c');
	assert_int_equal(past_at(0, TABLE_SPAN), 'b');
	load();
	assert_int_equal(thin()->leaked, 0);
	live_begin();
	assert_true(command("snapshot-delete", "2", NULL, NULL)); /* by its id */
	while (thin()->next && thin()->next->step != NEXT_PAGES)
		end_first();
	live_ask(0, IO_WRITE, CLUSTER, 'g'); /* which the two have, up to now */
	end_all();
	assert_int_equal(thin()->gone.count, 0);
	for (cluster = 0; cluster < thin()->clusters; cluster++)
		assert_int_equal(thin()->less[cluster], 0); /* no name is missing that is still counted */
	assert_int_equal(past_wrong_flags(&image), 0);
	live_stop();
	assert_int_equal(past_count(&image), 0);
	load();
	assert_int_equal(thin()->leaked, 0);
	assert_int_equal(thin()->used, used + 1);
	assert_int_equal(live_byte_at(0), 'f');
	assert_int_equal(live_byte_at(CLUSTER), 'g');
	assert_int_equal(live_byte_at(TABLE_SPAN), 'e');
	live_stop();
}

static void a_write_waits_for_the_switch_and_is_not_in_it(void **state)
{
	unsigned waits;

	load();
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	assert_true(command("snapshot-create", "one", NULL, NULL));
	for (waits = 0; !thin()->unmappers; waits++) {
		assert_true(waits < WAITS_MAX);
		end_first();
	}
	live_ask(0, IO_WRITE, 0, 'b'); /* would have gone in place */
	live_ask(1, IO_READ, 0, 0);
	for (waits = 0; thin()->next; waits++) {
		assert_true(waits < WAITS_MAX);
		assert_int_equal(live_results[0], LIVE_UNDER_WAY);
		assert_int_equal(live_results[1], LIVE_UNDER_WAY);
		live_now += 1000000;
		end_first();
	}
	assert_true(thin()->made.pause >= 1000000);
	end_all();
	assert_int_equal(live_results[0], 0);
	live_stop();
	assert_int_equal(past_at(0, 0), 'a');
	load();
	assert_int_equal(live_byte_at(0), 'b');
	live_stop();
}

/* Two small writes to one cluster that could have gone in place when they came. */
static void writes_that_came_before_the_switch_end_do_not_share(void **state)
{
	load_size("'size':'4MiB','cluster_size':65536");
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(CLUSTER, 'a'), 0);
	live_begin();
	assert_true(command("snapshot-create", "one", NULL, NULL));
	while (!thin()->unmappers)
		end_first();
	live_ask(0, IO_WRITE, 0, 'b');
	live_ask(1, IO_WRITE, CLUSTER, 'c');
	end_all();
	live_ask(2, IO_FLUSH, 0, 0);
	end_all();
	live_stop();
	load_size("'size':'4MiB','cluster_size':65536");
	assert_int_equal(live_byte_at(0), 'b');
	assert_int_equal(live_byte_at(CLUSTER), 'c');
	live_stop();
}

/* Allocating, overwriting, and unmapping, all in the course of it. */
static void ask_some(unsigned step)
{
	static const struct {
		enum io_kind kind;
		uint64_t offset;
		char byte;
	} some[] = {
		{ IO_WRITE, 0, '1' },
		{ IO_WRITE, 5 * CLUSTER, '2' },
		{ IO_DISCARD, CLUSTER, 0 },
		{ IO_WRITE, TABLE_SPAN, '3' }, /* where there is no table yet */
		{ IO_FLUSH, 0, 0 },
		{ IO_WRITE, CLUSTER, '4' },
		{ IO_DISCARD, 5 * CLUSTER, 0 },
	};

	if (step % 2 == 0 && step / 2 < sizeof(some) / sizeof(*some))
		live_ask(step / 2, some[step / 2].kind, some[step / 2].offset, some[step / 2].byte);
}

/* Beside the last flush before the switch: a new entry is written, and not durable by that. */
static void end_late_write(void)
{
	live_ask(LIVE_TAGS - 1, IO_WRITE, 9 * CLUSTER, 'n');
	while (live_results[LIVE_TAGS - 1] == LIVE_UNDER_WAY && live_pending_count > 1) {
		bool is_flush = live_pending[1]->kind == IO_FLUSH;

		live_end_one(1, 0);
		if (is_flush)
			forget();
	}
	live_end_one(0, 0); /* it began before: nothing is forgotten */
}

static const char *cut_verb;

/* True: it had ended before. */
static bool run_and_cut(unsigned steps, char *in_place)
{
	bool has_ended;
	unsigned step, tag;

	load();
	live_begin();
	for (tag = 0; tag < LIVE_TAGS; tag++)
		live_results[tag] = LIVE_UNDER_WAY;
	is_watched = true;
	assert_true(command(cut_verb, "one", NULL, NULL));
	for (step = 0; step < steps && live_pending_count; step++) {
		ask_some(step);
		if (thin()->next && thin()->next->step == NEXT_FLUSH && live_pending_count == 1 &&
			live_pending[0]->kind == IO_FLUSH && live_results[LIVE_TAGS - 1] == LIVE_UNDER_WAY)
			end_late_write();
		else
			end_first();
	}
	has_ended = !thin()->next && !live_pending_count;
	*in_place = live_results[0] == LIVE_UNDER_WAY ? 0 : '1';
	is_watched = false;
	cut();
	live_killed();
	return has_ended;
}

static void check_after_cut(unsigned *made)
{
	bool is_new = !strcmp(cut_verb, "snapshot-create");

	assert_int_equal(past_wrong_flags(&image), 0);
	load(); /* nothing is counted less than it is named */
	assert_true(live_byte_at(0) == 'a' || live_byte_at(0) == '1');
	assert_int_equal(live_byte_at(2 * CLUSTER), 'c');
	if (thin()->header.snapshot_count) {
		assert_int_equal(past_at(0, 2 * CLUSTER), 'c');
		assert_int_equal(past_at(0, 9 * CLUSTER), is_new ? 'n' : 0);
		assert_true(past_at(0, 0) == 'a' || (past_at(0, 0) == '1' && is_new));
		(*made)++;
	}
	assert_int_equal(live_write(7 * CLUSTER, 'z'), 0);
	assert_int_equal(live_write(2 * CLUSTER, 'y'), 0);
	live_stop();
	assert_int_equal(past_wrong_flags(&image), 0);
	if (past_count(&image))
		assert_int_equal(past_at(0, 2 * CLUSTER), 'c');
	load();
	/* A name that a shared cluster lost, and a crash took from memory, only `check --repair` finds. */
	assert_true(thin()->leaked <= (is_new ? 0 : 2));
	live_stop();
}

static void cut_at_any_write(const char *verb)
{
	unsigned steps, made = 0;
	bool has_ended = false;
	char in_place;

	load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(CLUSTER, 'b'), 0);
	assert_int_equal(live_write(2 * CLUSTER, 'c'), 0);
	cut_verb = verb;
	if (strcmp(verb, "snapshot-create") != 0) {
		live_begin();
		make("one");
	}
	live_stop();
	scene_copy("x", "before");
	for (steps = 1; !has_ended; steps++) {
		assert_true(steps < 1000);
		scene_copy("before", "x");
		has_ended = run_and_cut(steps, &in_place);
		check_after_cut(&made);
	}
	assert_true(steps > 20);
	assert_true(made > 1 && made + 1 < steps);
}

static void a_snapshot_can_stop_at_any_write(void **state)
{
	cut_at_any_write("snapshot-create");
}

static void so_can_its_end(void **state)
{
	cut_at_any_write("snapshot-delete");
}

static void fail_everywhere(const char *verb)
{
	bool is_new = !strcmp(verb, "snapshot-create");
	unsigned fails;
	char said[512];

	load();
	assert_int_equal(live_write(0, 'a'), 0);
	if (!is_new) {
		live_begin();
		make("one");
	}
	live_stop();
	scene_copy("x", "before");
	for (fails = 0;; fails++) {
		bool is_header, is_flush;
		unsigned i;

		scene_copy("before", "x");
		load();
		live_begin();
		assert_true(command(verb, "one", NULL, NULL));
		for (i = 0; i < fails && live_pending_count; i++)
			live_end_one(0, 0);
		if (!live_pending_count) {
			assert_int_equal(thin()->header.snapshot_count, is_new);
			live_stop();
			break;
		}
		is_header = live_pending[0]->kind == IO_WRITE && live_pending[0]->offset == 0;
		is_flush = live_pending[0]->kind == IO_FLUSH;
		live_end_one(0, -EIO);
		end_all();
		assert_false(command("snapshot-made", "", NULL, said));
		assert_non_null(strstr(said, "writing its tables: error 5"));
		assert_int_equal(thin()->failed, strstr(said, "next start") != NULL);
		assert_true(!is_header || thin()->failed);
		live_ask(0, IO_READ, 0, 0);
		end_all();
		assert_int_equal(live_results[0], thin()->failed ? -EIO : 0);
		assert_int_equal(command("snapshot-create", "two", NULL, NULL), !is_flush && !thin()->failed);
		end_all();
		if (is_flush) /* the leaf takes no more of them */
			live_killed();
		else
			live_stop();
		load();
		assert_int_equal(live_byte_at(0), 'a');
		assert_int_equal(thin()->leaked, 0);
		live_stop();
	}
	assert_true(fails > 8);
}

static void what_fails_on_the_way_changes_nothing(void **state)
{
	fail_everywhere("snapshot-create");
}

static void nor_does_it_while_one_is_deleted(void **state)
{
	fail_everywhere("snapshot-delete");
}

/* Its L1 table has come to name what the device has now: what was counted at the start isn't there. */
static void a_snapshot_that_is_not_what_it_was_is_not_deleted(void **state)
{
	uint64_t size, l1;
	char said[512], entry[8];
	int fd;

	load();
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	make("one");
	live_ask(0, IO_WRITE, 0, 'b');
	end_all();
	l1 = past_table(&image, 0, &size);
	fd = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, entry, 8, (off_t)past_number(&image, 40, 8)), 8);
	assert_int_equal(syscall(SYS_pwrite64, fd, entry, 8, l1), 8);
	close(fd);
	assert_true(command("snapshot-delete", "one", NULL, NULL));
	end_all();
	assert_false(command("snapshot-made", "", NULL, said));
	assert_non_null(strstr(said, "error 5; nothing has changed"));
	assert_int_equal(thin()->header.snapshot_count, 1);
	live_killed();
}

static void what_no_snapshot_can_be_called_is_refused(void **state)
{
	char said[512], longest[257];

	load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_true(command("snapshots", "", NULL, said));
	live_begin();
	make("one");
	assert_false(command("snapshot-create", "one", NULL, said));
	assert_string_equal(said, "thin t: there is a snapshot of the name or id \"one\"\n");
	assert_false(command("snapshot-create", "1", NULL, said));
	assert_false(command("snapshot-delete", "two", NULL, said));
	assert_string_equal(said, "thin t has 0 snapshots of the name or id \"two\"\n");
	assert_false(command("snapshot-create", "", NULL, said));
	assert_string_equal(said, "thin t: a snapshot's name has 1 to 255 bytes, not 0\n");
	memset(longest, 'n', 256);
	longest[256] = '\0';
	assert_false(command("snapshot-create", longest, NULL, said));
	assert_string_equal(said, "thin t: a snapshot's name has 1 to 255 bytes, not 256\n");
	assert_false(command("snapshot-create", "a\\nb", NULL, said));
	assert_string_equal(said, "thin t: byte 2 of the snapshot's name is the control character 10\n");
	assert_true(command("snapshot-create", longest + 1, NULL, said));
	assert_false(command("snapshot-create", "two", NULL, said));
	assert_string_equal(said, "thin t: another snapshot is being made or deleted\n");
	end_all();
	assert_int_equal(thin()->header.snapshot_count, 2);
	live_stop();
}

/* Small clusters: an L1 table of two in a row, more map than memory for it, many refcount blocks. */
static void a_map_that_is_not_all_in_memory_is_copied(void **state)
{
	static const char keys[] = "'size':'5MiB','cluster_size':512,'metadata_cache':512";
	unsigned table;

	load_size(keys);
	for (table = 0; table < 160; table++)
		assert_int_equal(live_write(table * 32768u, (char)(table + 1)), 0);
	live_begin();
	assert_true(thin()->cache.evicts);
	make("one");
	for (table = 0; table < 160; table += 3) {
		live_ask(0, IO_WRITE, table * 32768u, 'w');
		end_all();
	}
	live_stop();
	assert_int_equal(past_wrong_flags(&image), 0);
	load_size(keys);
	assert_int_equal(thin()->leaked, 0);
	for (table = 0; table < 160; table++) {
		assert_int_equal(live_byte_at(table * 32768u), table % 3 ? (char)(table + 1) : 'w');
		assert_int_equal(past_at(0, table * 32768u), (char)(table + 1));
	}
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
	assert_true(command("snapshot-create", "one", NULL, NULL));
	end_all();
	assert_false(command("snapshot-made", "", NULL, said));
	assert_non_null(strstr(said, "there is no room for another generation of its tables"));
	live_ask(0, IO_WRITE, 0, 'b'); /* in place, as ever */
	end_all();
	assert_int_equal(live_results[0], 0);
	live_stop();
	live_load(document);
	assert_int_equal(thin()->leaked, 0);
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
	assert_true(command("flatten", "", NULL, said));
	assert_false(command("snapshot-create", "one", NULL, said));
	assert_non_null(strstr(said, "thin t is being flattened"));
	assert_true(command("stop-flatten", "", NULL, said));
	assert_false(command("snapshot-create", "one", NULL, said)); /* a piece of it is still on its way */
	end_all();
	assert_true(command("snapshot-create", "one", NULL, said));
	assert_false(command("flatten", "", NULL, said));
	assert_string_equal(said, "thin t: a snapshot is being made or deleted; flatten it afterwards\n");
	end_all();
	assert_int_equal(thin()->made.result, 0);
	assert_false(command("flatten", "", NULL, said));
	assert_string_equal(said, "thin t: its 1 snapshots are based on the backing too; delete them first\n");
	live_stop();
}

/* The second refcount block is being named by the table while the snapshot begins, and that fails. */
static void no_room_is_taken_in_a_refcount_block_that_is_still_on_its_way(void **state)
{
	static const char keys[] = "'size':'4MiB','cluster_size':512";
	unsigned written, fails = 0;

	load_size(keys);
	live_begin();
	for (written = 0; !fails; written++) {
		bool is_begun = false;

		assert_true(written < 8192);
		live_ask(0, IO_WRITE, written * 512u, 'a');
		while (live_pending_count) {
			uint64_t table = thin()->header.refcount_table_offset;
			bool lists = live_pending[0]->kind == IO_WRITE && live_pending[0]->offset >= table &&
				live_pending[0]->offset < table + 512;

			if (lists && !is_begun) {
				is_begun = true;
				assert_true(command("snapshot-create", "one", NULL, NULL));
				live_end_one(0, -EIO);
				fails++;
			} else {
				end_first();
			}
		}
	}
	assert_null(thin()->next);
	assert_int_equal(thin()->made.result, 0);
	live_stop();
	load_size(keys);
	assert_int_equal(thin()->leaked, 0);
	live_stop();
	assert_int_equal(past_at(0, 0), 'a');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_snapshot_keeps_what_the_device_had),
		TEST(what_a_deleted_snapshot_alone_had_is_free),
		TEST(a_write_waits_for_the_switch_and_is_not_in_it),
		TEST(writes_that_came_before_the_switch_end_do_not_share),
		TEST(a_snapshot_can_stop_at_any_write),
		TEST(so_can_its_end),
		TEST(what_fails_on_the_way_changes_nothing),
		TEST(nor_does_it_while_one_is_deleted),
		TEST(a_snapshot_that_is_not_what_it_was_is_not_deleted),
		TEST(what_no_snapshot_can_be_called_is_refused),
		TEST(a_map_that_is_not_all_in_memory_is_copied),
		TEST(there_must_be_room_for_its_tables),
		TEST(neither_a_snapshot_nor_a_flatten_begins_beside_the_other),
		TEST(no_room_is_taken_in_a_refcount_block_that_is_still_on_its_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
