// SPDX-License-Identifier: MIT
/* The engine over memory: leaves that are waited for only so long. */
#include "memory.h"

#include "engine_internal.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json_object.h>

#define MS UINT64_C(1000000)
#define TIMEOUT (1000 * MS)
#define PAIR                                                                                       \
	"{'id':'m','type':'mirror','read_policy':'first','timeout_ms':1000,'children':["           \
	"@+262144,@+262144]}"

static char data[MEMORY_TAGS][256 << 10];
static struct memory memory;

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

static void start(unsigned tag, enum io_kind kind, uint64_t offset, uint64_t length)
{
	memory_start(&memory, tag, asks(kind, offset, length), data[tag]);
}

/* The nth sub-I/O under way on that leaf; fails the test where there is none. */
static unsigned pending_on(unsigned place, unsigned n)
{
	unsigned i;

	for (i = 0; i < memory.pending_count; i++)
		if (memory.pending[i].sub->leaf->place == place && n-- == 0)
			return i;
	fail_msg("leaf %u has nothing under way", place);
	return 0;
}

static unsigned count_on(unsigned place)
{
	unsigned i, count = 0;

	for (i = 0; i < memory.pending_count; i++)
		count += memory.pending[i].sub->leaf->place == place;
	return count;
}

static void end_all_on(unsigned place)
{
	while (count_on(place))
		memory_end(&memory, pending_on(place, 0), MEMORY_FULL);
}

static void pass(uint64_t time)
{
	memory.now += time;
	engine_tick(memory.engine);
}

static struct leaf *leaf(unsigned place)
{
	return memory.tree->leaves[place];
}

/* "add" of that leg, and whether the mirror agrees. */
static bool add_leg(const char *id)
{
	struct json_object *answer = json_object_new_object();
	struct node *root = memory.tree->root;
	struct err err = { 0 };
	char text[100];
	struct json *arguments;
	int result;

	(void)snprintf(text, sizeof(text), "{\"leg\":\"%s\"}", id);
	arguments = json_parse("", text, strlen(text), &err);
	assert_non_null(arguments);
	result = root->type->command(root, "add", arguments, answer, &err);
	if (result < 0)
		assert_non_null(strstr(err.text, "hangs"));
	err_finish(&err);
	json_destroy(arguments);
	json_object_put(answer);
	return result == 0;
}

static void a_leg_that_hangs_is_recorded_before_the_write_that_it_missed_is_acknowledged(
	void **state)
{
	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
	pass(TIMEOUT - 1);
	assert_false(leaf_is_hung(leaf(0)));
	assert_int_equal(count_on(1), 0);
	pass(1);
	assert_true(leaf_is_hung(leaf(0)));
	assert_int_equal(leaf_late(leaf(0)), 1);
	assert_int_equal(memory.commits[0], 0);
	assert_int_equal(count_on(1), 1); /* the record */
	assert_int_equal(memory.pending[pending_on(1, 0)].sub->flags, IO_FUA);
	end_all_on(1);
	assert_int_equal(memory.results[0], 512);
	assert_true(leaf(0)->node->failed);
	memory_end_all(&memory);
	assert_int_equal(leaf_late(leaf(0)), 0);
	memory_close(&memory);
}

static void a_late_read_touches_no_request_s_bytes(void **state)
{
	unsigned i;

	memory_open(&memory, "", PAIR);
	for (i = 0; i < 2; i++)
		memset(memory.leaves[i] + LABEL_FRONT + MIRROR_FRONT, 'a' + (int)i, 1024);
	start(0, IO_READ, 0, 512);
	assert_int_equal(count_on(0), 1);
	pass(TIMEOUT);
	memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(data[0][0], 'b');
	memset(data, 'c', sizeof(data));
	memory_end(&memory, pending_on(0, 0), MEMORY_FULL); /* late */
	for (i = 0; i < sizeof(data); i++)
		assert_int_equal(((char *)data)[i], 'c');
	assert_int_equal(memory.commits[0], 1);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void a_late_write_has_the_bytes_that_it_had(void **state)
{
	const char *at;

	memory_open(&memory, "", PAIR);
	at = memory.leaves[0] + LABEL_FRONT + MIRROR_FRONT;
	memset(data[0], 'a', 512);
	start(0, IO_WRITE, 0, 512);
	memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
	pass(TIMEOUT);
	end_all_on(1);
	assert_int_equal(memory.commits[0], 1);
	memset(data[0], 'b', 512); /* the tag's next request has come */
	memory_end(&memory, pending_on(0, 0), MEMORY_FULL);
	assert_int_equal(*at, 'a');
	memory_close(&memory);
}

static void no_more_reaches_a_leaf_that_hangs(void **state)
{
	unsigned tag;

	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	start(1, IO_READ, 4096, 512);
	memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
	assert_int_equal(count_on(0), 2);
	pass(TIMEOUT);
	assert_int_equal(leaf_late(leaf(0)), 2); /* what came later too */
	for (tag = 2; tag < 6; tag++)
		start(tag, tag % 2 ? IO_READ : IO_WRITE, 8192 * tag, 512);
	start(6, IO_FLUSH, 0, 0);
	end_all_on(1);
	assert_int_equal(count_on(0), 2);
	for (tag = 0; tag < 7; tag++)
		assert_int_equal(memory.results[tag], tag == 6 ? 0 : 512);
	memory_end_all(&memory);
	memory_close(&memory);
	memory_open(&memory, "", PAIR);
	start(0, IO_READ, 0, 512);
	pass(TIMEOUT);
	start(1, IO_FLUSH, 0, 0); /* the mirror has not failed it: it was only read */
	assert_int_equal(count_on(0), 1);
	assert_int_equal(count_on(1), 2);
	memory_end_all(&memory);
	assert_int_equal(memory.results[1], 0);
	memory_close(&memory);
}

static void the_last_leg_is_waited_for(void **state)
{
	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	pass(TIMEOUT); /* both are too late: the first one is given up */
	assert_true(leaf_is_hung(leaf(0)));
	assert_false(leaf_is_hung(leaf(1)));
	pass(10 * TIMEOUT);
	assert_false(leaf_is_hung(leaf(1)));
	assert_int_equal(memory.commits[0], 0);
	end_all_on(1);
	assert_int_equal(memory.results[0], 512);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void a_leg_that_is_not_in_sync_can_t_stand_in(void **state)
{
	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	memory_end(&memory, pending_on(0, 0), MEMORY_FULL);
	memory_end(&memory, pending_on(1, 0), -EIO);
	end_all_on(0);
	assert_int_equal(memory.results[0], 512);
	start(0, IO_WRITE, 0, 512);
	pass(10 * TIMEOUT);
	assert_false(leaf_is_hung(leaf(0)));
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	memory_close(&memory);
}

static void a_leg_is_taken_back_when_nothing_late_is_under_way(void **state)
{
	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
	pass(TIMEOUT);
	end_all_on(1);
	assert_false(add_leg(leaf(0)->node->id));
	assert_true(leaf_is_hung(leaf(0)));
	memory_end_all(&memory);
	assert_true(leaf_is_hung(leaf(0)));
	assert_true(add_leg(leaf(0)->node->id));
	assert_false(leaf_is_hung(leaf(0)));
	start(1, IO_WRITE, 0, 512);
	assert_int_equal(count_on(0), 1);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void a_slot_is_not_used_again_before_its_late_end(void **state)
{
	unsigned tag;

	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	start(1, IO_WRITE, 512, 512);
	end_all_on(1);
	pass(TIMEOUT);
	memory_end_all(&memory);
	assert_true(add_leg(leaf(0)->node->id));
	for (tag = 0; tag < MEMORY_SLOTS; tag++) {
		memset(data[tag], 'a' + (int)tag, 512);
		start(tag, IO_WRITE, tag * 512, 512);
	}
	memory_end_all(&memory);
	for (tag = 0; tag < MEMORY_SLOTS; tag++)
		assert_int_equal(memory.leaves[0][LABEL_FRONT + MIRROR_FRONT + tag * 512],
			'a' + (int)tag);
	memory_close(&memory);
}

static void a_leg_that_is_added_while_its_failure_is_recorded_fails_no_write(void **state)
{
	memory_open(&memory, "", PAIR);
	start(0, IO_WRITE, 0, 512);
	memory_end(&memory, pending_on(0, 0), -EIO);
	memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
	assert_int_equal(memory.commits[0], 0); /* the record is under way */
	assert_true(add_leg(leaf(0)->node->id));
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	memory_close(&memory);
}

static void a_flush_is_judged_when_it_ends_be_it_late(void **state)
{
	int results[] = { 0, -EIO };
	unsigned i;

	for (i = 0; i < 2; i++) {
		memory_open(&memory, "", PAIR);
		start(0, IO_FLUSH, 0, 0);
		memory_end(&memory, pending_on(1, 0), MEMORY_FULL);
		pass(TIMEOUT);
		end_all_on(1);
		assert_int_equal(memory.results[0], 0);
		assert_false(leaf(0)->flush_failed);
		memory_end(&memory, pending_on(0, 0), results[i]);
		assert_int_equal(leaf(0)->flush_failed, results[i] < 0);
		memory_close(&memory);
	}
}

/* In pieces, and more of them than there are slots: none takes the place of one under way. */
static void all_bytes_arrive_however_many_there_are(void **state)
{
	unsigned tag, i;

	memory_open(&memory, "'max_io_size':262144", PAIR);
	for (tag = 0; tag < MEMORY_TAGS; tag++) {
		for (i = 0; i < 16384; i++)
			data[tag][i] = (char)(tag + i * 7);
		start(tag, IO_WRITE, tag * 16384, 16384);
	}
	assert_int_equal(count_on(0), MEMORY_SLOTS);
	memory_end(&memory, pending_on(0, 0), 4096); /* short */
	memory_end_all(&memory);
	start(0, IO_READ, 0, 256 << 10);
	assert_int_equal(memory.pending_count, 1);
	assert_true(memory.pending[0].sub->length < 256 << 10);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 256 << 10);
	for (i = 0; i < 256 << 10; i++)
		assert_int_equal(data[0][i], (char)(i / 16384 + i % 16384 * 7));
	memory_close(&memory);
}

static void who_waits_for_a_slot_is_given_up_with_the_others(void **state)
{
	unsigned tag;

	memory_open(&memory, "",
		"{'type':'mirror','read_policy':'first','timeout_ms':1000,'children':["
		"{'type':'stripe','chunk_size':4096,'children':[@+262144,@+262144]},@+524288]}");
	for (tag = 0; tag < MEMORY_TAGS; tag++)
		start(tag, IO_WRITE, tag * 24576, 24576); /* three chunks of each leaf below, merged */
	assert_int_equal(count_on(0), MEMORY_SLOTS);
	pass(TIMEOUT);
	assert_true(leaf_is_hung(leaf(0)));
	end_all_on(1);
	end_all_on(2);
	for (tag = 0; tag < MEMORY_TAGS; tag++)
		assert_int_equal(memory.results[tag], 24576);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void the_nearest_mirror_s_time_counts(void **state)
{
	struct tree *tree = fixture_tree(
		"{'type':'mirror','timeout_ms':5000,'children':["
		"{'type':'mirror','timeout_ms':2000,'children':[@+2097152]},"
		"{'type':'mirror','children':[@+2097152]},@+1048576]}");

	assert_int_equal(tree->leaves[0]->timeout_ms, 2000);
	assert_int_equal(tree->leaves[1]->timeout_ms, 5000);
	assert_int_equal(tree->leaves[2]->timeout_ms, 5000);
	assert_int_equal(tree->device.fan_out, FAN_OUT_GATHERED);
	tree_destroy(tree);
}

static void what_nobody_could_time_is_refused(void **state)
{
	char *text = fixture_messages("'fan_out':'passthrough'", PAIR);

	assert_non_null(strstr(text, "can only be \"gathered\""));
	free(text);
	text = fixture_messages("'fan_out':'linked'", PAIR);
	assert_non_null(strstr(text, "can only be \"gathered\""));
	free(text);
	text = fixture_messages("'fan_out':'gathered'", PAIR);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_leg_that_hangs_is_recorded_before_the_write_that_it_missed_is_acknowledged),
		cmocka_unit_test(a_late_read_touches_no_request_s_bytes),
		cmocka_unit_test(a_late_write_has_the_bytes_that_it_had),
		cmocka_unit_test(no_more_reaches_a_leaf_that_hangs),
		cmocka_unit_test(the_last_leg_is_waited_for),
		cmocka_unit_test(a_leg_that_is_not_in_sync_can_t_stand_in),
		cmocka_unit_test(a_leg_is_taken_back_when_nothing_late_is_under_way),
		cmocka_unit_test(a_slot_is_not_used_again_before_its_late_end),
		cmocka_unit_test(a_leg_that_is_added_while_its_failure_is_recorded_fails_no_write),
		cmocka_unit_test(a_flush_is_judged_when_it_ends_be_it_late),
		cmocka_unit_test(all_bytes_arrive_however_many_there_are),
		cmocka_unit_test(who_waits_for_a_slot_is_given_up_with_the_others),
		cmocka_unit_test(the_nearest_mirror_s_time_counts),
		cmocka_unit_test(what_nobody_could_time_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
