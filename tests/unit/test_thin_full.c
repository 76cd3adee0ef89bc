// SPDX-License-Identifier: MIT
/* thin with "when_full": "queue": who needs room and finds none waits for it, and keeps nobody back. */
#include "live.h"

#include "child_io.h"
#include "notice.h"

#include <errno.h>
#include <json-c/json_object.h>

#define CLUSTER LIVE_BYTES
#define SECOND UINT64_C(1000000000)
#define EMPTY (3u << 20) /* never written */

static const char document[] =
	"{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,'when_full':'queue',"
	"'no_space_timeout':60,%s'data':{'id':'f','type':'file','path':'x','direct':false,"
	"'label':false,'size':'%s'}}";

static void load(const char *keys, const char *size)
{
	char text[512];

	snprintf(text, sizeof(text), document, keys, size);
	assert_true(notice_open() >= 0);
	live_load(text);
}

static void stop(void)
{
	live_stop();
	notice_close();
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
static void fill(void)
{
	uint64_t offset;

	for (offset = 0; told("available") >= CLUSTER; offset += CLUSTER)
		assert_int_equal(live_write(offset, 'a'), 0);
	assert_true(offset > 16 * CLUSTER && offset < EMPTY);
}

/* The notices since the last call, with blanks between them. */
static void noticed(const char *wanted)
{
	struct notice notice;
	char text[256] = "";

	while (notice_next(&notice))
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", *text ? " " : "",
			notice.what);
	assert_string_equal(text, wanted);
}

/* The device waits with one request on tag 0. */
static void load_full(const char *keys)
{
	load(keys, "256KiB");
	fill();
	live_begin();
	noticed("");
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	noticed("waiting_for_space");
	assert_int_equal(told("waiting"), 1);
}

static void what_is_discarded_is_told_on_its_way(void **state)
{
	load("'discard':'ignore',", "8MiB");
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(CLUSTER, 'b'), 0);
	live_begin();
	assert_int_equal(told("allocated"), 2 * CLUSTER);
	assert_int_equal(told("reclaimable"), 0);
	live_ask(0, IO_WRITE_ZEROES, 0, 0);
	live_end_all();
	assert_int_equal(live_results[0], 0);
	assert_int_equal(told("allocated"), CLUSTER);
	assert_int_equal(told("reclaimable"), CLUSTER);
	assert_int_equal(told("reclaimed"), 0);
	live_ask(0, IO_FLUSH, 0, 0);
	live_end_all();
	assert_int_equal(told("reclaimable"), 0);
	assert_int_equal(told("reclaimed"), CLUSTER);
	assert_int_equal(told("punched"), 0); /* it is kept below */
	stop();
}

static void who_waits_keeps_nobody_back(void **state)
{
	load_full("");
	live_ask(1, IO_READ, EMPTY, 'x'); /* the same cluster */
	live_end_all();
	assert_int_equal(live_results[1], 0);
	assert_int_equal(live_buffers[1][0], 0);
	live_ask(1, IO_WRITE, 0, 'c');
	live_end_all();
	assert_int_equal(live_results[1], 0);
	live_ask(1, IO_FLUSH, 0, 0);
	live_ask(2, IO_READ, CLUSTER, 'x');
	live_end_all();
	assert_int_equal(live_results[1], 0);
	assert_int_equal(live_results[2], 0);
	assert_int_equal(live_buffers[2][0], 'a');
	live_ask(1, IO_WRITE, EMPTY, 'd'); /* waits as well */
	live_end_all();
	assert_int_equal(live_results[1], LIVE_UNDER_WAY);
	assert_int_equal(told("waiting"), 2);
	noticed("");
	stop();
	assert_int_equal(live_results[0], -ENOSPC);
	assert_int_equal(live_results[1], -ENOSPC);
}

static void what_is_discarded_goes_to_who_waits(const char *keys)
{
	load_full(keys);
	live_ask(1, IO_WRITE_ZEROES, 0, 0);
	live_ask(2, IO_WRITE_ZEROES, CLUSTER, 0);
	live_end_all(); /* no time passes */
	assert_int_equal(live_results[1], 0);
	assert_int_equal(live_results[0], 0);
	noticed("space_again");
	assert_int_equal(told("waiting"), 0);
	live_ask(1, IO_READ, EMPTY, 'x');
	live_end_all();
	assert_int_equal(live_buffers[1][0], 'b');
	stop();
}

static void what_is_discarded_goes_to_who_waits_at_once(void **state)
{
	what_is_discarded_goes_to_who_waits("");
}

static void without_discards_below_too(void **state)
{
	what_is_discarded_goes_to_who_waits("'discard':'ignore',");
}

static void who_waits_too_long_gets_enospc(void **state)
{
	uint64_t last = LIVE_BEGUN;

	load_full("");
	while (live_results[0] == LIVE_UNDER_WAY) {
		assert_true(live_now <= LIVE_BEGUN + 60 * SECOND);
		live_tick();
		live_end_all();
		assert_true(live_now > last && live_now <= last + SECOND);
		last = live_now;
	}
	assert_int_equal(live_results[0], -ENOSPC);
	assert_int_equal(live_now, LIVE_BEGUN + 60 * SECOND);
	noticed("no_space");
	live_ask(1, IO_WRITE, EMPTY, 'b'); /* at once, from now on */
	live_end_all();
	assert_int_equal(live_results[1], -ENOSPC);
	live_ask(1, IO_WRITE_ZEROES, 0, 0);
	live_ask(2, IO_WRITE_ZEROES, CLUSTER, 0);
	live_end_all();
	live_ask(1, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[1], 0);
	noticed("space_again");
	live_ask(0, IO_WRITE, 0, 'c'); /* what was discarded was all */
	live_ask(1, IO_WRITE, CLUSTER, 'c');
	live_ask(2, IO_WRITE, 2 * CLUSTER, 'c');
	live_end_all();
	live_ask(3, IO_WRITE, EMPTY + CLUSTER, 'd');
	live_end_all();
	assert_int_equal(live_results[3], LIVE_UNDER_WAY); /* they wait again */
	stop();
}

/* A file system that is full below: nobody tells when it has room again. */
static void the_store_below_is_asked_again(void **state)
{
	unsigned tries;

	load("", "2MiB");
	assert_int_equal(live_write(CLUSTER, 'a'), 0);
	live_begin();
	live_ask(0, IO_WRITE, 0, 'b');
	for (tries = 0; tries < 10; tries++) {
		assert_int_equal(live_pending[0]->kind, IO_WRITE);
		live_end_one(0, -ENOSPC);
		live_end_all();
		assert_int_equal(live_results[0], LIVE_UNDER_WAY);
		live_tick();
	}
	assert_int_equal(live_now, LIVE_BEGUN + 10 * SECOND);
	live_end_all();
	assert_int_equal(live_results[0], 0);
	noticed("waiting_for_space space_again");
	live_killed();
	notice_close();
	load("", "2MiB");
	assert_int_equal(live_byte_at(0), 'b');
	assert_int_equal(live_byte_at(CLUSTER), 'a');
	assert_int_equal(told("leaked"), 0);
	stop();
}

/* In place too: the file has a hole there. */
static void a_write_in_place_waits_for_the_store_below(void **state)
{
	load("", "2MiB");
	assert_int_equal(live_write(0, 'a'), 0);
	live_begin();
	live_ask(0, IO_WRITE, 0, 'b');
	live_end_one(0, -ENOSPC);
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	live_tick();
	live_end_all();
	assert_int_equal(live_results[0], 0);
	stop();
}

static void a_stop_ends_all_waiting(void **state)
{
	load_full("");
	engine_end_waiting(live_engine);
	live_end_all();
	assert_int_equal(live_results[0], -ENOSPC);
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[0], -ENOSPC);
	engine_let_wait(live_engine); /* it could not be stopped */
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_end_all();
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	stop();
}

/* A WRITE_ZEROES needs a table of its own to say them over backing; it is no unmapper while it waits. */
static void zeroing_waits_as_well(void **state)
{
	const struct request write = { .kind = IO_WRITE, .length = CLUSTER };
	const struct node *node;

	load("'backing':{'id':'z','type':'zero','size':'4MiB'},", "256KiB");
	fill();
	live_begin();
	node = scene_assembled()->root;
	live_ask(0, IO_WRITE_ZEROES, EMPTY, 0);
	live_end_all();
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	assert_true(node->type->is_plain(node, &write));
	live_ask(1, IO_WRITE_ZEROES, 0, 0);
	live_ask(2, IO_WRITE_ZEROES, CLUSTER, 0);
	live_end_all();
	assert_int_equal(live_results[0], 0);
	stop();
}

static struct node *store(void)
{
	return scene_assembled()->root->children[0];
}

/* As load(), on what may become larger while it is served, as disks do. */
static void load_extensible(const char *text)
{
	struct err err = { 0 };

	scene_document(text);
	assert_true(notice_open() >= 0 && scene_open(LEAF_SERVE));
	assert_int_equal(assemble(scene_assembled(), &scene_plain, &err, &err), 0);
	store()->limits.is_extensible = true;
	assert_int_equal(tree_open(scene_assembled(), &err), 0);
	assert_int_equal(assemble_start(scene_assembled(), &err, &err), 0);
	assert_int_equal(tree_load(scene_assembled(), &err), 0);
	scene_assembled()->child_io = CHILD_IO_FULL;
}

static void load_full_extensible(void)
{
	char text[512];

	snprintf(text, sizeof(text), document, "", "256KiB");
	load_extensible(text);
	fill();
	live_begin();
}

/* At once: no time passes. As much as it is larger can be allocated, and no more. */
static void a_store_that_grows_resumes_who_waits(void **state)
{
	uint64_t size = 256 << 10, taken;

	load_full_extensible();
	live_ask(0, IO_WRITE, EMPTY, 'b');
	live_ask(1, IO_WRITE, EMPTY + CLUSTER, 'c');
	live_end_all();
	assert_int_equal(told("waiting"), 2);
	noticed("waiting_for_space");
	assert_true(engine_grow(live_engine, store(), size + 2 * CLUSTER)); /* one is its table's */
	live_end_all();
	assert_int_equal(live_results[0], 0);
	assert_int_equal(live_results[1], LIVE_UNDER_WAY);
	noticed("store_grew space_again");
	assert_true(engine_grow(live_engine, store(), size + 10 * CLUSTER));
	assert_true(engine_grow(live_engine, store(), size + 10 * CLUSTER)); /* told once more, it is no larger */
	live_end_all();
	assert_int_equal(live_results[1], 0);
	assert_int_equal(told("available"), 7 * CLUSTER);
	for (taken = 2; taken < 9; taken++) {
		live_ask(0, IO_WRITE, EMPTY + taken * CLUSTER, 'd');
		live_end_all();
		assert_int_equal(live_results[0], 0);
	}
	live_ask(0, IO_WRITE, EMPTY + 9 * CLUSTER, 'e');
	live_end_all();
	assert_int_equal(live_results[0], LIVE_UNDER_WAY);
	live_stop();
	load("", "296KiB"); /* believed by who counts it: nothing lies behind what there was */
	assert_int_equal(told("available"), 0);
	assert_int_equal(live_byte_at(EMPTY), 'b');
	assert_int_equal(live_byte_at(EMPTY + CLUSTER), 'c');
	assert_int_equal(live_byte_at(EMPTY + 8 * CLUSTER), 'd');
	stop();
}

/* A device that can be mapped whole takes no more, however large what is below becomes. */
static void a_store_is_used_as_far_as_the_device_needs_it(void **state)
{
	load_full_extensible();
	assert_true(engine_grow(live_engine, store(), UINT64_C(1) << 40));
	assert_in_range(told("available"), 4 << 20, 5 << 20);
	live_stop();
	notice_close();
}

static void snapshot(const char *text)
{
	struct node *thin = scene_assembled()->root;
	struct err err = { 0 };
	struct json *arguments = json_parse("arguments", text, strlen(text), &err);

	assert_int_equal(thin->type->command(thin, "snapshot-create", arguments, NULL, &err), 0);
	json_destroy(arguments);
	err_finish(&err);
}

static void snapshot_ends(void)
{
	engine_wake(live_engine, scene_assembled()->root);
	live_end_all();
}

/* Its tables are being made for the size that there was. Once they are there they have room for more. */
static void a_store_does_not_grow_under_a_snapshot_that_is_made(void **state)
{
	uint64_t offset;

	load_extensible("{'id':'t','type':'thin','size':'4MiB','cluster_size':512,'data':{'id':'f','type':'file',"
			"'path':'x','direct':false,'label':false,'size':'512KiB'}}"); /* four refcount blocks */
	live_begin();
	snapshot("{\"name\":\"one\"}");
	assert_false(engine_grow(live_engine, store(), 1 << 20));
	assert_int_equal(store()->limits.size, 512 << 10);
	snapshot_ends();
	assert_int_equal(told("snapshots"), 1);
	assert_true(engine_grow(live_engine, store(), 1 << 20));
	for (offset = 0; offset < 600 << 10; offset += CLUSTER) {
		live_ask(0, IO_WRITE, offset, 'a');
		live_end_all();
		assert_int_equal(live_results[0], 0);
	}
	snapshot("{\"name\":\"two\"}");
	snapshot_ends();
	assert_int_equal(told("snapshots"), 2);
	stop();
}

static void a_leg_does_not_wait(void **state)
{
	scene_document("{'id':'m','type':'mirror','children':[{'id':'t','type':'thin','size':'4MiB',"
		       "'when_full':'queue','data':{'id':'f','type':'file','path':'x','direct':false,"
		       "'label':true,'size':'8MiB'}}]}");
	assert_false(scene_start(scene_plain));
	scene_said("thin t: it can't be \"queue\" below mirror m, to which a request that waits is one that "
		   "has failed (tree.json:1, /root/children/0/when_full)\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_discarded_is_told_on_its_way),
		TEST(who_waits_keeps_nobody_back),
		TEST(what_is_discarded_goes_to_who_waits_at_once),
		TEST(without_discards_below_too),
		TEST(who_waits_too_long_gets_enospc),
		TEST(the_store_below_is_asked_again),
		TEST(a_write_in_place_waits_for_the_store_below),
		TEST(a_stop_ends_all_waiting),
		TEST(zeroing_waits_as_well),
		TEST(a_store_that_grows_resumes_who_waits),
		TEST(a_store_is_used_as_far_as_the_device_needs_it),
		TEST(a_store_does_not_grow_under_a_snapshot_that_is_made),
		TEST(a_leg_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
