// SPDX-License-Identifier: MIT
/* Notices from many threads, events as JSON, and the program that is run for them. */
#include "events.h"
#include "fixture.h"
#include "hook.h"
#include "tree.h"

#include <json-c/json_object.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS 4
#define EACH 20000

static void *raise_many(void *context)
{
	uint64_t number;

	for (number = 0; number < EACH; number++)
		notice_raise(NULL, context, "number", number);
	return NULL;
}

static void what_is_raised_comes_once_and_in_order_or_is_counted(void **state)
{
	static char *const words[THREADS] = { "a", "b", "c", "d" };
	uint64_t next[THREADS] = { 0 }, taken = 0, lost;
	pthread_t threads[THREADS];
	struct notice notice;
	unsigned i, ended;
	int fd = notice_open();
	struct pollfd wake = { .fd = fd, .events = POLLIN };

	(void)state;
	assert_true(fd >= 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, raise_many, words[i]), 0);
	for (ended = 0; ended < 2;) { /* … until the wake-up stays away, once all have ended */
		if (poll(&wake, 1, 200) == 0) {
			ended++;
			for (i = 0; i < THREADS && ended == 1; i++)
				assert_int_equal(pthread_join(threads[i], NULL), 0);
		}
		while (notice_next(&notice)) {
			i = (unsigned)(notice.what[0] - 'a');
			assert_true(i < THREADS && notice.number >= next[i]);
			assert_string_equal(notice.key, "number");
			next[i] = notice.number + 1;
			taken++;
		}
	}
	lost = notice_lost();
	assert_int_equal(taken + lost, THREADS * EACH);
	assert_int_equal(notice_lost(), 0);
	notice_close();
}

static void without_a_reader_nothing_is_kept(void **state)
{
	struct notice notice;

	(void)state;
	notice_raise(NULL, "early", NULL, 0);
	assert_true(notice_open() >= 0);
	assert_false(notice_next(&notice));
	notice_close();
	notice_raise(NULL, "late", NULL, 0);
}

static struct tree *tree_make(void)
{
	struct err err = { 0 };
	char *text = fixture_document("", "{'id':'m0','type':'mirror','children':["
					  "{'id':'d0','type':'file','path':'/a','size':4096},"
					  "{'id':'d1','type':'file','path':'/b','size':4096}]}");
	struct tree *tree = tree_parse("tree.json", text, strlen(text), &err);

	free(text);
	assert_non_null(tree);
	return tree;
}

/* The text of the event at an index, without its time. */
static const char *event_text(struct json_object *list, size_t index)
{
	struct json_object *event = json_object_array_get_idx(list, index);

	assert_non_null(event);
	json_object_object_del(event, "time");
	return json_object_to_json_string_ext(
		event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void events_say_which_node_and_where(void **state)
{
	struct tree *tree = tree_make();
	struct json_object *list;
	struct events *events;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(events_open(&events, tree, -1, &err), 0);
	notice_raise(NULL, "created", "id", 7);
	notice_raise(tree->leaves[1]->node, "leg_failed", NULL, 0);
	notice_raise(tree->root, "resync_started", "bytes", 4096);
	events_tell(events, "/dev/ubdb7", NULL);
	list = events_json(events);
	assert_int_equal(json_object_array_length(list), 3);
	assert_string_equal(event_text(list, 0),
		"{\"serial\":0,\"device\":\"t\",\"event\":\"created\",\"path\":\"/dev/ubdb7\",\"id\":7}");
	assert_string_equal(event_text(list, 1),
		"{\"serial\":1,\"device\":\"t\",\"event\":\"leg_failed\",\"node\":\"d1\",\"type\":\"file\","
		"\"path\":\"/b\",\"parent\":\"m0\"}");
	assert_string_equal(event_text(list, 2),
		"{\"serial\":2,\"device\":\"t\",\"event\":\"resync_started\",\"node\":\"m0\",\"type\":"
		"\"mirror\",\"bytes\":4096}");
	json_object_put(list);
	events_close(events);
	tree_destroy(tree);
}

static void only_the_last_ones_are_kept(void **state)
{
	struct tree *tree = tree_make();
	struct json_object *list;
	struct events *events;
	struct err err = { 0 };
	unsigned i;

	(void)state;
	assert_int_equal(events_open(&events, tree, -1, &err), 0);
	for (i = 0; i < EVENTS_KEPT + 100; i++) {
		notice_raise(NULL, "thing", "number", i);
		if (i % 100 == 0)
			events_tell(events, NULL, NULL);
	}
	events_tell(events, NULL, NULL);
	list = events_json(events);
	assert_int_equal(json_object_array_length(list), EVENTS_KEPT);
	assert_string_equal(event_text(list, 0),
		"{\"serial\":100,\"device\":\"t\",\"event\":\"thing\",\"number\":100}");
	json_object_put(list);
	for (i = 0; i < NOTICES_MAX + 5; i++)
		notice_raise(NULL, "flood", NULL, 0);
	events_tell(events, NULL, NULL);
	list = events_json(events);
	assert_non_null(
		strstr(event_text(list, EVENTS_KEPT - 1), "\"event\":\"events_lost\",\"count\":5"));
	json_object_put(list);
	events_close(events);
	tree_destroy(tree);
}

static char directory[64], script[100], output[100];

static void script_make(const char *body)
{
	FILE *file;

	strcpy(directory, "/tmp/ubd-test-hook.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(script, sizeof(script), "%s/hook", directory);
	snprintf(output, sizeof(output), "%s/out", directory);
	file = fopen(script, "we");
	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", body);
	fclose(file);
	assert_int_equal(chmod(script, 0700), 0);
}

/* Waits until the output is that; the program runs when it likes. */
static void script_wrote(const char *expected)
{
	char text[4096] = "";
	unsigned tries;

	for (tries = 0; tries < 600; tries++) {
		FILE *file = fopen(output, "re");

		if (file) {
			text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
			fclose(file);
		}
		if (!strcmp(text, expected))
			break;
		(void)poll(NULL, 0, 50);
	}
	assert_string_equal(text, expected);
}

static void script_remove(void)
{
	(void)unlink(output);
	(void)unlink(script);
	assert_int_equal(rmdir(directory), 0);
}

static void the_hook_gets_each_event(void **state)
{
	struct err err = { 0 };
	int fd;

	(void)state;
	script_make("cat >>$(dirname $0)/out; echo >>$(dirname $0)/out");
	fd = hook_start(script, &err);
	assert_true(fd >= 0);
	hook_send(fd, "{\"one\":1}");
	hook_send(fd, "{\"two\":2}");
	close(fd); /* what waits is still run */
	script_wrote("{\"one\":1}\n{\"two\":2}\n");
	script_remove();
}

static void a_hook_that_hangs_or_fails_blocks_nobody(void **state)
{
	struct err err = { 0 };
	unsigned i;
	int fd;

	(void)state;
	script_make("echo started >$(dirname $0)/out; exec sleep 3");
	fd = hook_start(script, &err);
	assert_true(fd >= 0);
	for (i = 0; i < 20000; i++) /* far more than there is room for */
		hook_send(fd, "{\"many\":true}");
	script_wrote("started\n");
	script_remove(); /* those that wait can't be run any more */
	close(fd);
}

static void a_hook_that_cannot_be_run_is_told(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(hook_start(NULL, &err), -1);
	assert_int_equal(hook_start("/nowhere/hook", &err), -2);
	assert_int_equal(hook_start("/tmp", &err), -2);
	assert_string_equal(err.text,
		"hook /nowhere/hook can't be run: No such file or directory\n"
		"hook /tmp can't be run: it is not a regular file\n");
	err_finish(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_raised_comes_once_and_in_order_or_is_counted),
		cmocka_unit_test(without_a_reader_nothing_is_kept),
		cmocka_unit_test(events_say_which_node_and_where),
		cmocka_unit_test(only_the_last_ones_are_kept),
		cmocka_unit_test(the_hook_gets_each_event),
		cmocka_unit_test(a_hook_that_hangs_or_fails_blocks_nobody),
		cmocka_unit_test(a_hook_that_cannot_be_run_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
