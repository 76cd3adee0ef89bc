// SPDX-License-Identifier: MIT
/* An engine that is left with requests unanswered: what had been begun ends, and nothing else is begun. */
#include "live.h"
#include "memory.h"

#include "child_io.h"
#include "notice.h"

#include <errno.h>
#include <json-c/json_object.h>

#define CLUSTER LIVE_BYTES
#define SECOND UINT64_C(1000000000)
#define EMPTY (3u << 20) /* never written */
#define PAIR "{'type':'mirror','read_policy':'first','children':[@+65536,@+65536]}"

static char data[4096];

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

static void load(const char *size)
{
	char text[512];

	snprintf(text, sizeof(text),
		"{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,'when_full':'queue','no_space_timeout':60,"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'label':false,'size':'%s'}}", size);
	assert_true(notice_open() >= 0);
	live_load(text);
}

static uint64_t told(const char *key)
{
	struct json_object *out = json_object_new_object();
	const struct node *node = scene_assembled()->root;
	uint64_t number;

	node->type->status(node, out);
	number = json_object_get_uint64(json_object_object_get(out, key));
	json_object_put(out);
	return number;
}

/* All the room that there is goes to the first clusters. */
static void load_full(void)
{
	uint64_t offset;

	load("256KiB");
	for (offset = 0; told("available") >= CLUSTER; offset += CLUSTER)
		assert_int_equal(live_write(offset, 'a'), 0);
	live_begin();
}

static void load_waiting(void)
{
	load_full();
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	assert_int_equal(engine_waiting(live_engine), 1);
}

static void stop(void)
{
	live_stop();
	notice_close();
}

static void leave(void)
{
	live_leave();
	notice_close();
}

static void what_comes_and_what_waits_is_kept(void **state)
{
	unsigned i;

	load_waiting();
	assert_false(engine_rests(live_engine)); /* nobody has said that it is to */
	engine_suspend(live_engine);
	live_ask(1, IO_WRITE, 0, 'c');
	live_ask(2, IO_READ, 0, 'x');
	live_ask(3, IO_FLUSH, 0, 0);
	assert_int_equal(live_pending_count, 0);
	assert_int_equal(engine_waiting(live_engine), 4);
	live_now += 100 * SECOND; /* no_space_timeout ends nobody's wait */
	for (i = 0; i < 3; i++) {
		engine_wake(live_engine, scene_assembled()->root);
		live_end_all();
	}
	for (i = 0; i < 4; i++)
		assert_int_equal(live_results[i], LIVE_UNDER_WAY);
	assert_true(engine_rests(live_engine));
	assert_int_equal(engine_waiting(live_engine), 4);
	leave();
}

static void what_had_been_begun_is_answered(void **state)
{
	load_waiting();
	live_ask(1, IO_WRITE, 0, 'c');
	live_ask(2, IO_WRITE, 0, 'd'); /* behind it, if it holds something */
	engine_suspend(live_engine);
	assert_false(engine_rests(live_engine));
	live_end_all();
	assert_int_equal(live_results[1], 0);
	assert_int_equal(live_results[2], 0);
	assert_true(engine_rests(live_engine));
	leave();
}

/* What is under way of it ends: giving back what was discarded, here. */
static void the_background_comes_to_rest(void **state)
{
	unsigned steps;

	load_full();
	live_ask(0, IO_WRITE_ZEROES, 0, 0);
	live_end_all();
	live_ask(0, IO_FLUSH, 0, 0);
	for (steps = 0; !engine_is_working(live_engine) || live_pending_count == 0; steps++) {
		assert_true(steps < 100);
		live_step();
	}
	assert_int_equal(live_results[0], 0);
	engine_suspend(live_engine);
	while (live_pending_count) {
		assert_false(engine_rests(live_engine));
		live_end_one(0, 0);
	}
	assert_true(engine_rests(live_engine));
	assert_false(engine_is_working(live_engine));
	leave();
}

static void no_work_is_begun_in_rest(void **state)
{
	uint64_t works;

	load_waiting();
	engine_suspend(live_engine);
	assert_true(engine_rests(live_engine));
	works = engine_stats(live_engine)->works;
	live_now += 100 * SECOND; /* those that wait would be let try */
	engine_wake(live_engine, scene_assembled()->root);
	assert_int_equal(engine_stats(live_engine)->works, works);
	assert_true(engine_rests(live_engine));
	leave();
}

static void who_finds_no_room_by_then_waits_too(void **state)
{
	load("2MiB");
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	live_ask(0, IO_WRITE, 0, 'b');
	engine_suspend(live_engine);
	live_end_one(0, -ENOSPC);
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	assert_true(engine_rests(live_engine));
	leave();
}

static void all_goes_on_if_it_is_not_left(void **state)
{
	load_waiting();
	engine_suspend(live_engine);
	live_ask(1, IO_WRITE, 0, 'c');
	live_ask(2, IO_WRITE, EMPTY + CLUSTER, 'd');
	assert_true(engine_rests(live_engine));
	engine_let_wait(live_engine);
	live_end_all();
	assert_int_equal(live_results[1], 0);
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	assert_int_equal(live_results[2], LIVE_UNDER_WAY);
	live_ask(1, IO_WRITE_ZEROES, 0, 0); /* the background works on */
	live_ask(3, IO_WRITE_ZEROES, CLUSTER, 0);
	live_end_all();
	assert_int_equal(live_results[0], 0);
	stop();
}

/* The driver has taken the disk away meanwhile, say. */
static void a_stop_answers_what_is_kept(void **state)
{
	load_waiting();
	engine_suspend(live_engine);
	live_ask(1, IO_WRITE, 0, 'c');
	assert_true(engine_rests(live_engine));
	engine_quiesce(live_engine);
	live_end_all();
	assert_int_equal(live_results[0], -ENOSPC);
	assert_int_equal(live_results[1], 0);
	assert_false(engine_rests(live_engine));
	engine_let_wait(live_engine); /* too late: nothing is put off any more, and no work begun */
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[0], -ENOSPC);
	assert_false(engine_is_working(live_engine));
	stop();
}

/* As often as it may be: no cluster is lost by it, and none of its bytes is anywhere. */
static void who_is_left_finds_room_in_a_larger_store(void **state)
{
	unsigned i;

	load_waiting();
	leave();
	for (i = 0; i < 3; i++) {
		load("256KiB");
		live_begin();
		live_ask(0, IO_WRITE, EMPTY, 'b');
		live_ask(1, IO_READ, EMPTY, 'x');
		live_end_all();
		assert_int_equal(live_results[0], LIVE_UNDER_WAY);
		assert_int_equal(live_results[1], 0);
		assert_int_equal(live_buffers[1][0], 0);
		assert_int_equal(told("leaked"), 0);
		leave();
	}
	load("296KiB");
	live_begin();
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[0], 0);
	live_stop();
	load("296KiB");
	assert_int_equal(live_byte_at(EMPTY), 'b');
	assert_int_equal(live_byte_at(0), 'a');
	stop();
}

/* Of what the driver has nobody tells when it ends; what holds a range, or is to be told of, is looked for. */
static void what_was_handed_down_is_waited_for(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, PAIR);
	engine_begin(memory.engine);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	engine_suspend(memory.engine);
	assert_false(engine_rests(memory.engine));
	memory.ended[0] = true;
	assert_true(engine_rests(memory.engine));
	memory_close(&memory);
}

static void a_flush_that_was_handed_down_is_waited_for(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, "{'type':'linear','children':[@65536]}");
	memory_start(&memory, 0, asks(IO_FLUSH, 0, 0), data);
	engine_suspend(memory.engine);
	assert_false(engine_rests(memory.engine));
	memory.ended[0] = true;
	assert_true(engine_rests(memory.engine));
	memory_close(&memory);
}

/* It is nobody's concern here, and the next session doesn't begin before it has landed. */
static void what_nobody_needs_to_know_is_not_waited_for(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, "{'type':'linear','children':[@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	assert_non_null(strstr(memory_log(&memory), "pass 0 in 1\n"));
	engine_suspend(memory.engine);
	assert_true(engine_rests(memory.engine));
	engine_restart(memory.engine, 0); /* it has failed: somebody else does it again */
	assert_string_equal(memory_log(&memory), "");
	assert_true(engine_rests(memory.engine));
	engine_let_wait(memory.engine); /* or we */
	assert_string_equal(memory_log(&memory), "submit 0 write 0 1024\n");
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 1024);
	memory_close(&memory);
}

/* Who waits for its range would wait for ever. */
static void what_is_given_back_with_a_hold_goes_on(void **state)
{
	struct memory memory;

	memory_open_passing(&memory, PAIR);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	memory_start(&memory, 1, asks(IO_WRITE, 512, 1024), data);
	engine_suspend(memory.engine);
	engine_restart(memory.engine, 0);
	assert_false(engine_rests(memory.engine));
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 1024);
	assert_false(engine_rests(memory.engine)); /* the second one has been handed down */
	memory.ended[1] = true;
	assert_true(engine_rests(memory.engine));
	memory_close(&memory);
}

/* Its tag comes again much later, or never. */
static void what_has_ended_unseen_is_no_more(void **state)
{
	struct memory memory;

	memory_open(&memory, "", "{'type':'linear','children':[@65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 1024), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 0 1024 linked\n");
	memory_end_all(&memory); /* its commit is the driver's affair */
	assert_int_equal(memory.results[0], 1024);
	engine_suspend(memory.engine);
	assert_true(engine_rests(memory.engine));
	memory_close(&memory);
}

int main(void)
{
#define LIVE(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(what_comes_and_what_waits_is_kept),
		LIVE(what_had_been_begun_is_answered),
		LIVE(the_background_comes_to_rest),
		LIVE(no_work_is_begun_in_rest),
		LIVE(who_finds_no_room_by_then_waits_too),
		LIVE(all_goes_on_if_it_is_not_left),
		LIVE(a_stop_answers_what_is_kept),
		LIVE(who_is_left_finds_room_in_a_larger_store),
		cmocka_unit_test(what_was_handed_down_is_waited_for),
		cmocka_unit_test(a_flush_that_was_handed_down_is_waited_for),
		cmocka_unit_test(what_nobody_needs_to_know_is_not_waited_for),
		cmocka_unit_test(what_is_given_back_with_a_hold_goes_on),
		cmocka_unit_test(what_has_ended_unseen_is_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
