// SPDX-License-Identifier: MIT
/* mirror: a leg is replaced while it serves, on a live device over real files. */
#include "live.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json.h>
#include <unistd.h>

#define FILE_OF(id, path) "{'id':'" id "','type':'file','path':'" path "','size':'2MiB','direct':false}"
#define BEGIN "{'id':'r','type':'mirror','region_size':4096,"
#define LEGS "'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "],"
#define SPARE "'spares':[" FILE_OF("s0", "s") "]}"
#define SPARES "'spares':[" FILE_OF("s0", "s") "," FILE_OF("s1", "t") "]}"
#define ROOT BEGIN LEGS SPARE
#define TWO_ROOT BEGIN LEGS SPARES
#define ALONE_ROOT BEGIN "'children':[" FILE_OF("d0", "a") "]," SPARE
#define SLOW BEGIN "'recovery_rate':{'min':4096,'max':4096}," /* a region per second */
#define STEPS_MAX 20000 /* of all that a test may do until something is so */

static const struct node *leg(unsigned place)
{
	return scene_assembled()->root->children[place];
}

static struct mirror *mirror_of(void)
{
	return scene_assembled()->root->state;
}

static void assert_has_all(const char *name, char first, char others)
{
	unsigned i;

	assert_int_equal(live_byte_of(name, 0), first);
	for (i = 1; i < LIVE_REGIONS; i++)
		assert_int_equal(live_byte_of(name, i * LIVE_BYTES), others);
}

/* The root's status has that in it. */
static bool is_told(const char *words)
{
	struct json_object *out = json_object_new_object();
	const struct node *root = scene_assembled()->root;
	bool result;

	root->type->status(root, out);
	result = strstr(json_object_to_json_string_ext(out, 0), words);
	json_object_put(out);
	return result;
}

/* Full of 'x', and quiet: no mark tells what was written but those that are made for the spare. */
static void begin(const char *root)
{
	live_load(root);
	live_begin();
	live_write_all('x');
	while (mirror_of()->dirty_count)
		live_step();
}

/* The verb is refused; *said is of static storage. */
static void refused(const char *text, const char *why)
{
	struct node *root = scene_assembled()->root;
	struct err err = { 0 };
	struct json *arguments = json_parse("arguments", text, strlen(text), &err);

	assert_int_equal(root->type->command(root, "replace", arguments, NULL, &err), -1);
	assert_string_equal(err.text, why);
	err_finish(&err);
	json_destroy(arguments);
}

static void the_old_leg_serves_until_the_spare_has_everything(void **state)
{
	begin(ROOT);
	live_command("replace", "d1");
	live_until("iir", -1);
	assert_true(is_told("\"replacing\":[{\"leg\":\"d1\",\"by\":\"s0\"}]"));
	live_ask(0, IO_WRITE, 0, 'y');
	live_end_all();
	assert_int_equal(live_results[0], 0);
	assert_int_equal(live_byte_of("b", 0), 'y');
	assert_int_equal(live_byte_of("s", 0), 'y');
	live_until("isi", -1);
	live_end_all();
	assert_int_equal(scene_says("a", 1), LABEL_PEER_SPARE);
	assert_int_equal(scene_says("a", 2), LABEL_PEER_IN_SYNC);
	assert_int_equal(scene_says("s", 1), LABEL_PEER_SPARE);
	assert_int_equal(scene_says("s", 2), LABEL_PEER_IN_SYNC);
	assert_false(leg(1)->failed);
	assert_false(is_told("replacing"));
	live_ask(0, IO_WRITE, LIVE_BYTES, 'z');
	live_end_all();
	live_stop();
	assert_int_equal(live_byte_of("b", LIVE_BYTES), 'x');
	assert_int_equal(live_byte_of("s", LIVE_BYTES), 'z');
	assert_int_equal(live_byte_of("s", 2 * LIVE_BYTES), 'x');
}

/* Labels call nobody in sync that doesn't have everything, and nobody stale that is needed. */
static void labels_call_the_spare_one_until_it_has_everything(void **state)
{
	bool was_seen = false;

	begin(ROOT);
	live_command("replace", "d1");
	while (strcmp(live_states(), "isi") || live_pending_count) {
		assert_true(scene_says("a", 1) == LABEL_PEER_IN_SYNC || scene_says("s", 2) == LABEL_PEER_IN_SYNC);
		if (scene_says("a", 2) == LABEL_PEER_IN_SYNC)
			assert_has_all("s", 'x', 'x');
		was_seen |= scene_says("a", 1) == LABEL_PEER_IN_SYNC && scene_says("a", 2) == LABEL_PEER_IN_SYNC;
		live_step();
	}
	assert_true(was_seen);
	live_stop();
}

static void a_replacement_goes_on_after_a_crash(void **state)
{
	unsigned before, after;

	begin(SLOW LEGS SPARE);
	live_command("replace", "d1");
	live_until("iir", -1);
	while (mirror_of()->work.wants_super)
		live_step();
	before = mirror_of()->todo_count;
	while (mirror_of()->todo_count > before - 8)
		live_step();
	live_killed();
	assert_int_equal(scene_says("a", 2), LABEL_PEER_SPARE);
	live_load(SLOW LEGS SPARE);
	assert_string_equal(live_states(), "iir");
	after = mirror_of()->todo_count;
	assert_int_equal(before, LIVE_REGIONS);
	assert_true(after >= 8 && after < 14);
	live_begin();
	live_until("isi", -1);
	live_stop();
	assert_has_all("s", 'x', 'x');
}

static void it_goes_on_after_a_clean_stop_too(void **state)
{
	begin(SLOW LEGS SPARE);
	live_command("replace", "d1");
	live_until("iir", -1);
	live_stop();
	live_load(ROOT);
	assert_string_equal(live_states(), "iir");
	live_begin();
	live_until("isi", -1);
	live_stop();
	assert_has_all("s", 'x', 'x');
}

/* As a spare it was put back: what it misses is not what the marks say. */
static void a_spare_that_was_put_back_meanwhile_begins_again(void **state)
{
	begin(SLOW LEGS SPARE);
	scene_copy("s", "old");
	live_command("replace", "d1");
	while (mirror_of()->work.wants_super || mirror_of()->todo_count > LIVE_REGIONS / 2)
		live_step();
	live_killed();
	scene_copy("old", "s");
	live_load(ROOT);
	assert_int_equal(mirror_of()->todo_count, LIVE_REGIONS);
	live_begin();
	live_until("isi", -1);
	live_stop();
	assert_has_all("s", 'x', 'x');
}

/* Which of its leaves was put back, or fell behind, no label tells: it isn't in sync, after all. */
static void a_spare_of_several_leaves_begins_again(void **state)
{
	static const char root[] = SLOW LEGS
		"'spares':[{'id':'s0','type':'stripe','chunk_size':4096,'children':[" FILE_OF("e0", "s") ","
		FILE_OF("e1", "t") "]}]}";

	begin(root);
	live_command("replace", "d1");
	while (mirror_of()->work.wants_super || mirror_of()->todo_count > LIVE_REGIONS / 2)
		live_step();
	live_killed();
	live_load(root);
	assert_string_equal(live_states(), "iir");
	assert_int_equal(mirror_of()->todo_count, LIVE_REGIONS);
	live_begin();
	live_until("isi", -1);
	live_stop();
}

/* The daemon dies after any write to any leaf: one of both has everything, and two do in the end. */
static void a_crash_at_any_moment_loses_nothing(void **state)
{
	unsigned moment, steps, resumed = 0, both = 0;
	bool has_ended = false;

	for (moment = 0; !has_ended; moment++) {
		scene_file("a", 0);
		scene_file("b", 0);
		scene_file("s", 0);
		begin(ROOT);
		live_command("replace", "d1");
		live_ask(1, IO_WRITE, 0, 'y');
		for (steps = 0; steps < moment && !has_ended; steps++) {
			live_step();
			has_ended = !strcmp(live_states(), "isi") && live_pending_count == 0;
		}
		live_killed();
		live_load(ROOT);
		resumed += !strcmp(live_states(), "iir");
		both += !strcmp(live_states(), "iii");
		live_begin();
		live_ask(0, IO_WRITE, 0, 'z');
		for (steps = 0; live_results[0] == LIVE_UNDER_WAY || strchr(live_states(), 'r') ||
				strchr(live_states(), 'j') || !strcmp(live_states(), "iii");
			steps++) {
			assert_true(steps < STEPS_MAX);
			live_step();
		}
		live_stop();
		assert_has_all("a", 'z', 'x');
		assert_has_all(scene_says("a", 2) == LABEL_PEER_IN_SYNC ? "s" : "b", 'z', 'x');
		assert_true(scene_says("a", 1) != scene_says("a", 2));
		live_load(ROOT);
		assert_true(!strcmp(live_states(), "isi") || !strcmp(live_states(), "iis"));
		live_stop();
	}
	assert_true(moment > 50 && resumed > 20 && both > 0);
}

/* Ends what is under way except writes of labels. */
static void end_all_but_records(void)
{
	unsigned i = 0;

	while (i < live_pending_count)
		if (live_pending[i]->offset < LABEL_FRONT)
			i++;
		else
			live_end_one(i, 0);
}

static void what_the_old_leg_misses_waits_for_the_record(void **state)
{
	begin(ROOT);
	live_command("replace", "d1");
	live_until("isi", -1);
	live_ask(0, IO_WRITE, 0, 'y');
	end_all_but_records();
	assert_int_equal(scene_says("a", 1), LABEL_PEER_IN_SYNC);
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	live_end_all();
	assert_int_equal(scene_says("a", 1), LABEL_PEER_SPARE);
	assert_int_equal(live_results[0], 0);
	live_stop();
	assert_int_equal(live_byte_of("b", 0), 'x');
}

static void where_the_old_leg_fails_the_spare_goes_on_in_its_place(void **state)
{
	unsigned before;

	begin(SLOW LEGS SPARES);
	live_command("replace", "d1");
	while (mirror_of()->work.wants_super || mirror_of()->todo_count > LIVE_REGIONS / 2)
		live_step();
	before = mirror_of()->todo_count;
	live_write_failing(1, 0, 'y');
	live_until("ifrs", -1);
	live_end_all();
	assert_true(leg(1)->spare);
	assert_false(leg(2)->spare);
	assert_false(is_told("replacing"));
	assert_true(mirror_of()->todo_count <= before);
	live_until("ifis", -1);
	live_stop();
	assert_has_all("s", 'y', 'x');
	assert_int_equal(scene_says("a", 1), LABEL_PEER_SPARE);
}

/* At any moment: also when the background, which is to see that the leg has failed, has its hands full. */
static void a_leg_that_fails_and_is_added_at_once_stands_by(void **state)
{
	unsigned moment, steps, times = 0;
	bool has_ended = false;

	for (moment = 0; !has_ended; moment++) {
		scene_file("a", 0);
		scene_file("b", 0);
		scene_file("s", 0);
		begin(ROOT);
		live_command("replace", "d1");
		for (steps = 0; steps < moment && !has_ended; steps++) {
			live_step();
			has_ended = !strcmp(live_states(), "isi");
		}
		if (!has_ended && leg(1)->spare == false) {
			live_command("fail", "d1");
			live_command("add", "d1");
			times++;
		}
		live_until("isi", -1);
		assert_true(leg(1)->spare);
		assert_false(leg(2)->spare);
		live_stop();
	}
	assert_true(times > 10);
}

static void where_the_spare_fails_all_is_as_before(void **state)
{
	begin(ROOT);
	live_command("replace", "d1");
	live_until("iir", -1);
	live_write_failing(2, 0, 'y');
	live_until("iif", -1);
	while (mirror_of()->work.wants_super || live_pending_count)
		live_step();
	assert_true(leg(2)->spare);
	assert_false(is_told("replacing"));
	live_killed();
	live_load(ROOT);
	assert_string_equal(live_states(), "iis"); /* it is there, and nobody has asked again */
	live_stop();
	assert_has_all("b", 'y', 'x');
}

/* It has everything, and its label may say so already: still it is a spare, and the other one stays. */
static void a_spare_that_fails_as_it_joins_is_a_spare_again(void **state)
{
	unsigned steps;

	begin(ROOT);
	live_command("replace", "d1");
	for (steps = 0; !strchr(live_states(), 'f'); steps++) {
		bool is_bad = !strcmp(live_states(), "iij") && !leg(2)->spare && live_pending_count &&
			live_pending[0]->leaf->place == 2;

		assert_true(steps < STEPS_MAX);
		if (live_pending_count)
			live_end_one(0, is_bad ? -EIO : 0);
		else
			live_tick();
	}
	live_until("iif", -1);
	live_end_all();
	assert_true(leg(2)->spare);
	live_stop();
	assert_int_equal(scene_says("a", 1), LABEL_PEER_IN_SYNC);
	assert_int_equal(scene_says("a", 2), LABEL_PEER_SPARE);
}

static void a_leg_that_fails_comes_first(void **state)
{
	begin(ROOT);
	live_command("replace", "d1");
	live_until("iir", -1);
	live_write_failing(0, 0, 'y');
	live_until("fir", -1);
	live_end_all();
	assert_true(leg(0)->spare);
	live_until("fii", -1);
	live_end_all();
	assert_string_equal(live_states(), "fii"); /* nobody is let go */
	live_stop();
	assert_has_all("b", 'y', 'x');
	assert_has_all("s", 'y', 'x');
}

/* The spare was about to take the other's place; the superblock doesn't know yet that it has taken this one's. */
static void a_crash_after_a_leg_has_failed_lets_nobody_go(void **state)
{
	unsigned moment, steps;
	bool has_ended = false;

	for (moment = 0; !has_ended; moment++) {
		scene_file("a", 0);
		scene_file("b", 0);
		scene_file("s", 0);
		begin(ROOT);
		live_command("replace", "d1");
		live_until("iij", -1);
		while (leg(2)->spare)
			live_step();
		live_command("fail", "d0");
		for (steps = 0; steps < moment && !has_ended; steps++) {
			live_step();
			has_ended = !strcmp(live_states(), "fii") && !live_pending_count &&
				!mirror_of()->work.wants_super;
		}
		live_killed();
		live_load(ROOT);
		live_begin();
		for (steps = 0; strchr(live_states(), 'r') || strchr(live_states(), 'j') ||
				mirror_of()->work.wants_super || mirror_of()->work.wants_record;
			steps++) {
			assert_true(steps < STEPS_MAX);
			live_step();
		}
		assert_true(!strcmp(live_states(), "sii") || !strcmp(live_states(), "isi") ||
			!strcmp(live_states(), "iis"));
		live_stop();
		assert_has_all(scene_says("b", 2) == LABEL_PEER_IN_SYNC ? "s" : "b", 'x', 'x');
	}
	assert_true(moment > 5);
}

static void a_leg_that_fails_is_given_another_spare_if_there_is_one(void **state)
{
	begin(TWO_ROOT);
	live_command("replace", "d1");
	live_until("iirs", -1);
	live_write_failing(0, 0, 'y');
	live_until("fsii", -1);
	live_end_all();
	live_stop();
	assert_has_all("s", 'y', 'x');
	assert_has_all("t", 'y', 'x');
}

static void the_only_leg_is_replaced(void **state)
{
	begin(ALONE_ROOT);
	live_command("replace", "d0");
	live_until("si", -1);
	live_write_all('y');
	live_stop();
	assert_has_all("s", 'y', 'y');
	assert_has_all("a", 'x', 'x');
	live_load(ALONE_ROOT);
	assert_string_equal(live_states(), "si");
	assert_int_equal(live_byte_at(0), 'y');
	live_stop();
}

static void a_replaced_leg_is_not_used_before_it_is_added(void **state)
{
	begin(ROOT);
	live_command("replace", "d1");
	live_until("isi", -1);
	live_end_all();
	live_write_failing(2, 0, 'y');
	live_end_all();
	assert_string_equal(live_states(), "isf");
	assert_true(is_told("[\"in_sync\",\"replaced\",\"failed\"]"));
	live_command("add", "d1");
	live_until("iif", -1);
	live_stop();
	assert_has_all("b", 'y', 'x');
}

/* That is remembered. */
static void a_replaced_leg_is_not_used_after_a_start_either(void **state)
{
	begin(TWO_ROOT);
	live_command("replace", "d1");
	live_until("isis", -1);
	live_stop();
	live_load(TWO_ROOT);
	live_begin();
	assert_true(is_told("[\"in_sync\",\"replaced\",\"in_sync\",\"spare\"]"));
	live_command("fail", "s0");
	live_until("isfi", -1); /* not the first */
	live_command("add", "d1");
	assert_string_equal(live_states(), "isfi");
	assert_true(is_told("[\"in_sync\",\"spare\",\"failed\",\"in_sync\"]"));
	while (mirror_of()->work.wants_super)
		live_step();
	live_killed();
	live_load(TWO_ROOT);
	assert_true(is_told("[\"in_sync\",\"spare\",\"spare\",\"in_sync\"]"));
	live_stop();
}

/* Labels say it, but no superblock has told yet that it was done. */
static void who_was_let_go_before_a_crash_is_known_as_replaced(void **state)
{
	begin(ROOT);
	live_command("replace", "d1");
	while (scene_says("a", 1) != LABEL_PEER_SPARE)
		live_step();
	assert_true(mirror_of()->work.wants_super);
	live_killed();
	live_load(ROOT);
	assert_true(is_told("[\"in_sync\",\"replaced\",\"in_sync\"]"));
	live_stop();
}

static void what_can_not_be_replaced_is_refused(void **state)
{
	begin(TWO_ROOT);
	refused("{\"leg\":\"s0\"}", "mirror r: leg s0 is standing by; only one in sync can be replaced\n");
	refused("{\"leg\":\"d9\"}", "mirror r: \"d9\" is none of its legs\n");
	refused("{\"leg\":\"d0\",\"with\":\"d1\"}",
		"mirror r: leg d1 is in sync; only a spare that stands by can take a leg's place\n");
	live_command("replace", "d1");
	refused("{\"leg\":\"d1\"}", "mirror r: leg d1 is being replaced by s0 already\n");
	refused("{\"leg\":\"d0\",\"with\":\"s0\"}",
		"mirror r: leg s0 is being brought up to date; only a spare that stands by can take a leg's "
		"place\n");
	live_command("replace", "d0");
	live_until("ssii", -1); /* both at once */
	live_end_all();
	refused("{\"leg\":\"s0\"}", "mirror r: none of its 2 spares stands by\n");
	refused("{\"leg\":\"s0\",\"with\":\"d1\"}",
		"mirror r: leg d1 is replaced; only a spare that stands by can take a leg's place\n");
	live_stop();
	assert_has_all("s", 'x', 'x');
	assert_has_all("t", 'x', 'x');
}

static void without_spares_nothing_is_replaced(void **state)
{
	begin(BEGIN "'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "]}");
	refused("{\"leg\":\"d1\"}", "mirror r: its document has no \"spares\": one of them takes the place of a "
				    "leg that is replaced\n");
	live_stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_old_leg_serves_until_the_spare_has_everything),
		TEST(labels_call_the_spare_one_until_it_has_everything),
		TEST(a_replacement_goes_on_after_a_crash),
		TEST(it_goes_on_after_a_clean_stop_too),
		TEST(a_spare_that_was_put_back_meanwhile_begins_again),
		TEST(a_spare_of_several_leaves_begins_again),
		TEST(a_crash_at_any_moment_loses_nothing),
		TEST(what_the_old_leg_misses_waits_for_the_record),
		TEST(where_the_old_leg_fails_the_spare_goes_on_in_its_place),
		TEST(a_leg_that_fails_and_is_added_at_once_stands_by),
		TEST(where_the_spare_fails_all_is_as_before),
		TEST(a_spare_that_fails_as_it_joins_is_a_spare_again),
		TEST(a_leg_that_fails_comes_first),
		TEST(a_crash_after_a_leg_has_failed_lets_nobody_go),
		TEST(a_leg_that_fails_is_given_another_spare_if_there_is_one),
		TEST(the_only_leg_is_replaced),
		TEST(a_replaced_leg_is_not_used_before_it_is_added),
		TEST(a_replaced_leg_is_not_used_after_a_start_either),
		TEST(who_was_let_go_before_a_crash_is_known_as_replaced),
		TEST(what_can_not_be_replaced_is_refused),
		TEST(without_spares_nothing_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
