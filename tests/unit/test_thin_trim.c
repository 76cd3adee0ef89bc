// SPDX-License-Identifier: MIT
/*
 * thin's trim: what earlier lives left free in the image goes back to what is below, and nothing else,
 * whatever requests do meanwhile.
 */
#include "live.h"

#include "child_io.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <unistd.h>

#define CLUSTER LIVE_BYTES
#define CLUSTERS 64u
#define SIZE (CLUSTERS * CLUSTER)
#define WRITTEN 40u /* clusters that once had bytes */
#define KEPT 4u /* one of so many still has */

/* Only the test's own power fails. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

static char expected[CLUSTERS]; /* by cluster: the byte of which all consists */

static const char *document(const char *keys)
{
	static char text[512];

	snprintf(text, sizeof(text),
		"{'id':'t','type':'thin','size':'%u','cluster_size':4096,%s'data':{'id':'f','type':'file',"
		"'path':'x','direct':false,'label':false}}",
		SIZE, keys);
	return text;
}

static struct node *node(void)
{
	return scene_assembled()->root;
}

static uint64_t told(const char *key)
{
	struct json_object *out = json_object_new_object();
	uint64_t number;

	node()->type->status(node(), out);
	number = json_object_get_uint64(json_object_object_get(out, key));
	json_object_put(out);
	return number;
}

/* Asks for it, and expects that message; NULL: none. */
static void ask(const char *verb, const char *arguments, const char *message)
{
	struct json_object *answer = json_object_new_object();
	struct err err = { 0 };
	struct json *json = json_parse("arguments", arguments, strlen(arguments), &err);
	int result = node()->type->command(node(), verb, json, answer, &err);

	assert_string_equal(err.text ? err.text : "", message ? message : "");
	assert_int_equal(result, message ? -1 : 0);
	json_object_put(answer);
	json_destroy(json);
	err_finish(&err);
	engine_wake(live_engine, node());
}

static bool is_running(void)
{
	struct json_object *answer = json_object_new_object();
	struct err err = { 0 };
	bool is;

	assert_int_equal(node()->type->command(node(), "trimmed", NULL, answer, &err), 0);
	is = json_object_get_boolean(json_object_object_get(answer, "running"));
	json_object_put(answer);
	return is;
}

/* Clusters of the file that are all of that byte. */
static unsigned count_of(char byte)
{
	char bytes[CLUSTER], wanted[CLUSTER];
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);
	unsigned count = 0;
	off_t at;

	memset(wanted, byte, CLUSTER);
	for (at = 0; pread(fd, bytes, CLUSTER, at) == CLUSTER; at += CLUSTER)
		count += !memcmp(bytes, wanted, CLUSTER);
	close(fd);
	return count;
}

static void check_bytes(void)
{
	unsigned i;

	for (i = 0; i < CLUSTERS; i++)
		assert_int_equal(live_byte_at((uint64_t)i * CLUSTER), expected[i]);
}

/* Runs of clusters with bytes that are nobody's any more; as a clean stop leaves them, or a kill. */
static void leave(bool is_clean)
{
	unsigned i;

	memset(expected, 0, sizeof(expected));
	live_load(document("'discard':'ignore',"));
	for (i = 0; i < WRITTEN; i++)
		assert_int_equal(live_write((uint64_t)i * CLUSTER, 'a'), 0);
	live_begin();
	for (i = 0; i < WRITTEN; i++) {
		if (i % KEPT == 0) {
			expected[i] = 'a';
			continue;
		}
		live_ask(0, IO_WRITE_ZEROES, (uint64_t)i * CLUSTER, 0);
		live_end_all();
		assert_int_equal(live_results[0], 0);
	}
	live_ask(0, IO_FLUSH, 0, 0);
	live_end_all();
	if (is_clean)
		live_stop();
	else
		live_killed();
	assert_int_equal(count_of('a'), WRITTEN);
}

static void what_is_left_goes(bool is_clean)
{
	unsigned free = WRITTEN - WRITTEN / KEPT;

	leave(is_clean);
	live_load(document(""));
	assert_int_equal(told("reserved") >= free * CLUSTER, !is_clean);
	live_begin();
	ask("trim", "{}", NULL);
	assert_true(is_running());
	assert_int_equal(live_pending_count, 1);
	assert_int_equal(live_pending[0]->kind, IO_FLUSH); /* what was read is durable before anything goes */
	live_end_all();
	assert_false(is_running());
	assert_in_range(told("trim_free"), free * CLUSTER, (free + 80) * CLUSTER); /* and of the reserve that wasn't used */
	assert_int_equal(told("trim_discarded"), told("trim_free"));
	assert_int_equal(count_of('a'), WRITTEN / KEPT);
	live_stop();
	live_load(document(""));
	check_bytes();
	live_stop();
}

static void what_a_clean_stop_left_is_given_back(void **state)
{
	what_is_left_goes(true);
}

static void what_a_crash_left_is_given_back(void **state)
{
	what_is_left_goes(false);
}

static bool overlap(const struct sub_io *a, const struct sub_io *b)
{
	return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* Nothing is written where the child is taking something. */
static void check_pending(void)
{
	unsigned i, k;

	for (i = 0; i < live_pending_count; i++)
		for (k = 0; k < live_pending_count; k++)
			if (live_pending[i]->kind == IO_DISCARD && live_pending[k]->kind == IO_WRITE)
				assert_false(overlap(live_pending[i], live_pending[k]));
}

/* The last that is pending; DISCARDs only where there is nothing else. */
static void end_one(void)
{
	unsigned i = live_pending_count;

	check_pending();
	while (i && live_pending[i - 1]->kind == IO_DISCARD)
		i--;
	live_end_one(i ? i - 1 : 0, 0);
}

static void write_beside(unsigned tag, unsigned cluster)
{
	expected[cluster] = (char)('b' + tag);
	live_ask(tag, IO_WRITE, (uint64_t)cluster * CLUSTER, expected[cluster]);
}

/* First writes begin when so many sub-I/Os of the trim have ended, and others for each one more. False: it had ended. */
static bool is_safe_beside(unsigned steps, bool is_killed)
{
	unsigned tag, next = 0;
	bool is_beside;

	scene_copy("begun", "x");
	live_load(document(""));
	live_begin();
	ask("trim", "{}", NULL);
	for (; steps && live_pending_count; steps--)
		live_end_one(0, 0);
	is_beside = is_running();
	for (tag = 0; tag < LIVE_TAGS; tag++)
		write_beside(tag, 2 * tag + 1);
	while (live_pending_count) {
		end_one();
		for (tag = 0; tag < LIVE_TAGS && next < 16; tag++)
			if (live_results[tag] == 0)
				write_beside(tag, WRITTEN + next++);
	}
	for (tag = 0; tag < LIVE_TAGS; tag++)
		assert_int_equal(live_results[tag], 0);
	assert_false(is_running());
	if (is_killed)
		live_killed();
	else
		live_stop();
	live_load(document(""));
	check_bytes();
	live_stop();
	return is_beside;
}

static void first_writes_beside_each_step(bool is_clean)
{
	char begun[CLUSTERS];
	unsigned steps = 0;
	bool is_beside = true;

	leave(is_clean);
	scene_copy("x", "begun");
	memcpy(begun, expected, sizeof(begun));
	for (; is_beside; steps++) {
		memcpy(expected, begun, sizeof(begun));
		is_beside = is_safe_beside(steps, false);
		memcpy(expected, begun, sizeof(begun));
		(void)is_safe_beside(steps, true);
	}
	assert_true(steps > WRITTEN / KEPT); /* as many runs, and the flush */
}

static void first_writes_beside_each_step_keep_their_bytes(void **state)
{
	first_writes_beside_each_step(true);
}

static void those_from_the_reserve_too(void **state)
{
	first_writes_beside_each_step(false);
}

/* Their clusters are promised: the trim leaves as many. */
static void who_was_promised_room_has_it(void **state)
{
	unsigned tag, steps;

	leave(false);
	scene_copy("x", "begun");
	for (steps = 0; steps < 12; steps++) {
		scene_copy("begun", "x");
		live_load(document(""));
		live_begin();
		for (tag = 0; tag < LIVE_TAGS; tag++)
			write_beside(tag, WRITTEN + tag);
		while (live_pending_count > 1 && steps % 6 > 3)
			live_end_one(0, 0);
		ask("trim", "{}", NULL);
		while (live_pending_count)
			end_one();
		for (tag = 0; tag < LIVE_TAGS; tag++)
			assert_int_equal(live_results[tag], 0);
		live_stop();
		live_load(document(""));
		check_bytes();
		live_stop();
	}
}

static void discards_meanwhile_have_their_turn(void **state)
{
	leave(true);
	live_load(document(""));
	live_begin();
	ask("trim", "{}", NULL);
	live_end_one(0, 0);
	live_ask(0, IO_DISCARD, 0, 0);
	while (live_results[0] == LIVE_UNDER_WAY)
		end_one();
	live_ask(1, IO_FLUSH, 0, 0);
	live_end_all();
	expected[0] = 0;
	assert_false(is_running());
	assert_int_equal(told("punched"), CLUSTER);
	assert_int_equal(count_of('a'), WRITTEN / KEPT - 1);
	live_stop();
	live_load(document(""));
	check_bytes();
	live_stop();
}

static void it_is_refused_where_it_gives_nothing_back(void **state)
{
	leave(true);
	live_load(document("'discard':'ignore',"));
	live_begin();
	ask("trim", "{}", "thin t: its \"discard\" is \"ignore\": it gives nothing back to what it is on\n");
	live_stop();
	live_load(document(""));
	live_begin();
	ask("trim", "{}", NULL);
	live_end_one(0, 0);
	live_end_one(0, -EOPNOTSUPP); /* it had said that it could */
	live_end_all();
	ask("trimmed", "{}", "thin t: giving back to what it is on: error 95; 0 bytes had been given back by then\n");
	ask("trim", "{}", "thin t: file f, which its image is on, can't discard: nothing can be given back to it\n");
	live_stop();
	assert_int_equal(count_of('a'), WRITTEN);
}

static void a_snapshot_and_a_trim_refuse_each_other(void **state)
{
	leave(true);
	live_load(document(""));
	live_begin();
	ask("snapshot-create", "{\"name\":\"s\"}", NULL);
	ask("trim", "{}", "thin t: a snapshot is being made, deleted or gone back to; trim it afterwards\n");
	live_end_all();
	ask("trim", "{}", NULL);
	ask("snapshot-create", "{\"name\":\"z\"}",
		"thin t is being trimmed: rows of free clusters can't be looked for beside that; let it end\n");
	ask("trim", "{}", NULL); /* it is the same one */
	live_end_all();
	assert_false(is_running());
	ask("snapshot-delete", "{\"name\":\"s\"}", NULL);
	live_end_all();
	live_stop();
	live_load(document(""));
	check_bytes();
	live_stop();
}

static void a_flatten_and_a_trim_refuse_each_other(void **state)
{
	scene_file("b", 8 * CLUSTER);
	live_load(document("'backing':{'id':'b','type':'file','path':'b','direct':false},"));
	live_begin();
	ask("flatten", "{}", NULL);
	ask("trim", "{}", "thin t is being flattened; trim it afterwards, or stop that first (flatten --stop)\n");
	ask("stop-flatten", "{}", NULL);
	live_end_all();
	ask("trim", "{}", NULL);
	ask("flatten", "{}", "thin t is being trimmed; flatten it afterwards\n");
	live_end_all();
	assert_false(is_running());
	ask("flatten", "{}", NULL);
	live_end_all();
	live_stop();
}

static void what_failed_is_told_and_takes_nothing(void **state)
{
	leave(true);
	live_load(document(""));
	live_begin();
	ask("trim", "{}", NULL);
	live_end_one(0, 0);
	live_end_one(0, 0);
	live_end_one(0, -EIO);
	live_end_all();
	ask("trimmed", "{}", "thin t: giving back to what it is on: error 5; 12288 bytes had been given back by then\n");
	ask("trim", "{}", NULL);
	live_end_one(0, -EIO);
	live_end_all();
	ask("trimmed", "{}", "thin t: flushing what it is on: error 5; 0 bytes had been given back by then\n");
	ask("trim", "{}", "thin t: a flush has failed since the start: what is free here may not be so on disk; stop and "
		"create the device first\n");
	live_killed();
	live_load(document(""));
	check_bytes();
	live_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_a_clean_stop_left_is_given_back, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(what_a_crash_left_is_given_back, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(
			first_writes_beside_each_step_keep_their_bytes, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(those_from_the_reserve_too, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(who_was_promised_room_has_it, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(discards_meanwhile_have_their_turn, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(it_is_refused_where_it_gives_nothing_back, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_snapshot_and_a_trim_refuse_each_other, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_flatten_and_a_trim_refuse_each_other, scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(what_failed_is_told_and_takes_nothing, scene_setup, scene_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
