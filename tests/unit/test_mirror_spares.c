// SPDX-License-Identifier: MIT
/* mirror: legs that stand by, on a live device over real files. */
#include "live.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json.h>
#include <unistd.h>

#define FILE_OF(id, path) "{'id':'" id "','type':'file','path':'" path "','size':'2MiB','direct':false}"
#define BEGIN "{'id':'r','type':'mirror','region_size':4096,"
#define LEGS                                                                                       \
	"'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "],"                              \
	"'spares':[" FILE_OF("s0", "s") "," FILE_OF("s1", "t") "]}"
#define ROOT BEGIN LEGS
#define SLOW_ROOT BEGIN "'recovery_rate':{'min':4096,'max':4096}," LEGS /* a region per second */
#define STEPS_MAX 20000 /* of all that a test may do until something is so */

static struct mirror *mirror_of(void)
{
	return scene_assembled()->root->state;
}

static void begin(void)
{
	live_load(ROOT);
	live_begin();
}

static void a_spare_is_neither_written_nor_flushed_nor_read(void **state)
{
	unsigned i;

	begin();
	for (i = 0; i < 3; i++) {
		static const enum io_kind kinds[] = { IO_WRITE, IO_FLUSH, IO_READ };

		live_ask(0, kinds[i], 0, 'x');
		while (live_results[0] == LIVE_UNDER_WAY) {
			assert_true(live_pending[0]->leaf->place < 2);
			live_end_one(0, 0);
		}
	}
	assert_string_equal(live_states(), "iiss");
	live_stop();
	assert_int_equal(live_byte_of("s", 0), 0);
}

static void a_spare_is_brought_up_to_date_in_a_failed_legs_place(void **state)
{
	begin();
	live_write_all('x');
	live_write_failing(1, 0, 'y');
	live_until("ifrs", -1);
	assert_true(scene_assembled()->root->children[1]->spare);
	assert_false(scene_assembled()->root->children[2]->spare);
	live_until("ifis", -1);
	live_stop();
	assert_int_equal(live_byte_of("s", 0), 'y');
	assert_int_equal(live_byte_of("s", 15 * LIVE_BYTES), 'x');
	assert_int_equal(live_byte_of("b", 0), 'x');
	assert_int_equal(scene_says("a", 1), LABEL_PEER_SPARE);
	assert_int_equal(scene_says("a", 2), LABEL_PEER_IN_SYNC);
	assert_int_equal(scene_says("s", 1), LABEL_PEER_SPARE);
	assert_int_equal(scene_says("s", 2), LABEL_PEER_IN_SYNC);
}

static void a_spare_that_fails_is_followed_by_the_next(void **state)
{
	begin();
	live_write_all('x');
	live_write_failing(1, 0, 'y');
	live_until("iffr", 2);
	live_until("iffi", -1);
	live_write_failing(3, LIVE_BYTES, 'z'); /* and now there is none left */
	live_end_all();
	assert_string_equal(live_states(), "ifff");
	live_stop();
	assert_int_equal(live_byte_of("a", LIVE_BYTES), 'z');
}

/* Where it was when the daemon was killed: what it has is not copied again. */
static void a_spare_goes_on_after_a_crash(void **state)
{
	unsigned before, after;

	live_load(SLOW_ROOT);
	live_begin();
	live_write_all('x');
	live_write_failing(1, 0, 'y');
	live_until("ifrs", -1);
	before = mirror_of()->todo_count;
	while (mirror_of()->todo_count > before - 8)
		live_step();
	live_killed();
	live_load(SLOW_ROOT);
	assert_string_equal(live_states(), "isrs"); /* the file b is there */
	after = mirror_of()->todo_count;
	assert_int_equal(before, 16);
	assert_true(after >= 8 && after < 14);
	live_begin();
	live_until("isis", -1);
	live_stop();
	assert_int_equal(live_byte_of("s", 0), 'y');
	assert_int_equal(live_byte_of("s", 9 * LIVE_BYTES), 'x');
}

/* What nobody was writing stands in no mark but those that are made for the spare. */
static void what_was_clean_is_copied_too(void **state)
{
	begin();
	live_write_all('x');
	while (mirror_of()->dirty_count)
		live_step();
	live_write_failing(1, 0, 'y');
	live_until("ifrs", -1);
	while (mirror_of()->work.wants_super)
		live_step();
	live_killed();
	live_load(ROOT);
	live_begin();
	live_until("isis", -1);
	live_stop();
	assert_int_equal(live_byte_of("s", 0), 'y');
	assert_int_equal(live_byte_of("s", 9 * LIVE_BYTES), 'x');
}

/* Its marks were dropped, as nobody waits for it: whatever its superblock says, all is copied. */
static void a_leg_whose_place_was_taken_begins_anew(void **state)
{
	begin();
	live_write_all('x');
	live_write_failing(1, 0, 'y');
	live_until("ifis", -1);
	live_write_all('z');
	live_command("add", "d1");
	assert_string_equal(live_states(), "isis");
	live_command("fail", "s0");
	live_until("irfs", -1); /* the first one that stands by */
	live_until("iifs", -1);
	live_stop();
	assert_int_equal(live_byte_of("b", 0), 'z');
	assert_int_equal(live_byte_of("b", 15 * LIVE_BYTES), 'z');
}

/* The power goes after any write to any leaf: the next start has everything, and ends in sync. */
static void a_crash_at_any_moment_loses_nothing(void **state)
{
	unsigned moment, steps;
	bool has_ended = false;

	for (moment = 0; !has_ended; moment += 3) {
		scene_file("a", 0);
		scene_file("b", 0);
		scene_file("s", 0);
		scene_file("t", 0);
		begin();
		live_write_all('x');
		live_write_failing(1, 0, 'y');
		for (steps = 0; steps < moment && !has_ended; steps++) {
			live_step();
			has_ended = !strcmp(live_states(), "ifis");
		}
		live_killed();
		live_load(ROOT);
		assert_int_equal(live_byte_at(0), 'y');
		assert_int_equal(live_byte_at(15 * LIVE_BYTES), 'x');
		live_begin();
		for (steps = 0; strchr(live_states(), 'r') || strchr(live_states(), 'j'); steps++) {
			assert_true(steps < STEPS_MAX);
			live_step();
		}
		live_stop();
		assert_int_equal(live_byte_of("a", 0), 'y');
		if (scene_says("a", 2) == LABEL_PEER_IN_SYNC) {
			assert_int_equal(live_byte_of("s", 0), 'y');
			assert_int_equal(live_byte_of("s", 15 * LIVE_BYTES), 'x');
		} else {
			assert_int_equal(scene_says("a", 1), LABEL_PEER_IN_SYNC);
			assert_int_equal(live_byte_of("b", 0), 'y');
		}
	}
	assert_true(moment > 30);
}

/* The one leg in sync fails all that is written to it, at once: no thread may be spent on trying. */
static void a_superblock_that_fails_is_tried_again_after_a_while(void **state)
{
	unsigned steps;

	live_load(BEGIN "'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "]}");
	live_begin();
	live_command("fail", "d1");
	live_end_all();
	live_command("add", "d1");
	for (steps = 0; live_pending_count && steps < 1000; steps++)
		live_end_one(0, live_pending[0]->leaf->place == 0 ? -EIO : 0);
	assert_int_equal(live_pending_count, 0);
	live_until("ii", -1);
	live_stop();
}

static void the_status_tells_who_stands_by(void **state)
{
	struct json_object *out = json_object_new_object();
	const struct node *root;
	const char *text;

	begin();
	root = scene_assembled()->root;
	root->type->status(root, out);
	text = json_object_to_json_string_ext(out, 0);
	assert_non_null(strstr(text, "\"legs\":2,\"legs_in_sync\":2,\"spares\":2,"));
	assert_non_null(strstr(text, "\"leg_states\":[\"in_sync\",\"in_sync\",\"spare\",\"spare\"]"));
	json_object_put(out);
	live_stop();
}

static void assert_not_removed(const char *leg, const char *why)
{
	struct node *root = scene_assembled()->root;
	struct err err = { 0 };
	struct json *arguments;
	char text[100];

	(void)snprintf(text, sizeof(text), "{\"leg\":\"%s\"}", leg);
	arguments = json_parse("arguments", text, strlen(text), &err);
	assert_int_equal(root->type->command(root, "remove", arguments, NULL, &err), -1);
	assert_string_equal(err.text, why);
	err_finish(&err);
	json_destroy(arguments);
}

/* And no spare that was removed is taken in, though one stood by until the next start. */
static void only_a_leg_that_is_not_used_is_removed(void **state)
{
	begin();
	live_write_all('x');
	assert_not_removed("d0",
		"mirror r: leg d0 is in sync; only one that has failed, or stands by, can be removed: `fail` it first\n");
	live_command("remove", "s0");
	assert_string_equal(live_states(), "iifs");
	live_write_failing(1, 0, 'y');
	live_until("iffr", -1);
	assert_not_removed("s1",
		"mirror r: leg s1 is being brought up to date; only one that has failed, or stands by, can be removed: "
		"`fail` it first\n");
	live_command("remove", "d1");
	live_until("iffi", -1);
	live_stop();
	assert_int_equal(live_byte_of("s", 0), 0);
	assert_int_equal(live_byte_of("t", 0), 'y');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_a_leg_that_is_not_used_is_removed),
		TEST(a_spare_is_neither_written_nor_flushed_nor_read),
		TEST(a_spare_is_brought_up_to_date_in_a_failed_legs_place),
		TEST(a_spare_that_fails_is_followed_by_the_next),
		TEST(a_spare_goes_on_after_a_crash),
		TEST(what_was_clean_is_copied_too),
		TEST(a_leg_whose_place_was_taken_begins_anew),
		TEST(a_crash_at_any_moment_loses_nothing),
		TEST(a_superblock_that_fails_is_tried_again_after_a_while),
		TEST(the_status_tells_who_stands_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
