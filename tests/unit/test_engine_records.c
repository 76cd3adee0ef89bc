// SPDX-License-Identifier: MIT
/* The engine over memory: labels that are written while the device is live. */
#include "memory.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <stdio.h>
#include <string.h>

#define PAIR "{'type':'mirror','read_policy':'first','children':[@+65536,@+65536]}"

static char data[4 << 20];

static struct request asks(enum io_kind kind, uint64_t offset, uint64_t length)
{
	return fixture_request(kind, 0, offset, length);
}

static enum label_found decode(
	const struct memory *memory, unsigned place, unsigned copy, struct label *label)
{
	/* Only head and peers are written while live; the texts are there from the format. */
	static char whole[LABEL_COPY_STRIDE];
	char why[200];
	struct label texts = memory->tree->leaves[place]->label;

	(void)label_encode_copy(&texts, whole);
	memcpy(whole, memory->leaves[place] + copy * LABEL_COPY_STRIDE, 8192);
	return label_decode(
		whole, sizeof(whole), copy * LABEL_COPY_STRIDE, label, why, sizeof(why));
}

static void a_record_says_which_leaves_are_stale(void **state)
{
	struct memory memory;
	struct label label;

	memory_open(&memory, "",
		"{'type':'mirror','children':["
		"{'type':'stripe','chunk_size':4096,'children':[@+65536,@+65536]},@+131072]}");
	memory_start(&memory, 0, asks(IO_WRITE, 4096, 512), data);
	memory_end(&memory, 0, -EIO); /* leg 0, by its second leaf */
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 0);
	assert_int_equal(memory.pending_count, 1);
	assert_int_equal(memory.pending[0].sub->leaf->place, 2);
	assert_int_equal(memory.pending[0].sub->flags, IO_FUA);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(decode(&memory, 2, 1, &label), LABEL_FOUND);
	assert_int_equal(label.generation, 3);
	assert_int_equal(label.peers[0].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[2].state, LABEL_PEER_IN_SYNC);
	assert_int_equal(label.peers[2].generation, 2); /* durable when it was written */
	label_finish(&label);
	memory_close(&memory);
}

static void a_record_names_no_generation_that_is_still_being_written(void **state)
{
	struct memory memory;
	struct label label;

	memory_open(&memory, "", "{'type':'mirror','children':[@+65536,@+65536,@+65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 2); /* leaf 1's record is on its way, and leaf 2's */
	assert_int_equal(memory.tree->leaves[1]->label.generation, 3);
	memory_end(&memory, 1, MEMORY_FULL);
	assert_int_equal(decode(&memory, 2, 1, &label), LABEL_FOUND);
	assert_int_equal(label.peers[1].generation, 2);
	label_finish(&label);
	memory_end_all(&memory);
	memory_close(&memory);
}

static void a_leg_that_is_added_while_its_failure_is_recorded_fails_no_write(void **state)
{
	struct memory memory;
	struct json_object *answer = json_object_new_object();
	struct node *root;
	struct err err = { 0 };
	struct json *arguments;
	char text[100];

	memory_open(&memory, "", PAIR);
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 0); /* the record is under way */
	root = memory.tree->root;
	(void)snprintf(text, sizeof(text), "{\"leg\":\"%s\"}", root->children[0]->id);
	arguments = json_parse("", text, strlen(text), &err);
	assert_non_null(arguments);
	assert_int_equal(root->type->command(root, "add", arguments, answer, &err), 0);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	json_destroy(arguments);
	json_object_put(answer);
	err_finish(&err);
	memory_close(&memory);
}

static void a_mirror_goes_on_without_a_leg_that_fails_everything(void **state)
{
	struct memory memory;

	memory_open(&memory, "",
		"{'type':'mirror','read_policy':'first','children':[{'type':'error','size':1114112},@+"
		"65536]}");
	memory_start(&memory, 0, asks(IO_READ, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 read 1048576 512\n");
	memory_start(&memory, 1, asks(IO_WRITE, 0, 512), data);
	assert_string_equal(memory_log(&memory), "submit 0 write 1048576 512\n");
	memory_end(&memory, 1, MEMORY_FULL);
	assert_int_equal(memory.commits[1], 0); /* the record */
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(memory.results[1], 512);
	(void)memory_log(&memory);
	memory_start(&memory, 1, asks(IO_FLUSH, 0, 0), NULL);
	memory_end_all(&memory);
	assert_string_equal(memory_log(&memory), "submit 0 flush\ncommit 1 0\n");
	memory_close(&memory);
}

static void records_of_one_leaf_are_shared(void **state)
{
	struct memory memory;
	unsigned tag;

	memory_open(&memory, "", "{'type':'mirror','children':[@+65536,@+65536]}");
	for (tag = 0; tag < 4; tag++)
		memory_start(&memory, tag, asks(IO_WRITE, tag * 512, 512), data);
	for (tag = 0; tag < 4; tag++) {
		memory_end(&memory, 0, MEMORY_FULL);
		memory_end(&memory, 0, -EIO);
	}
	/* The first writes both copies; the others came meanwhile and share what follows it. */
	assert_int_equal(memory.pending_count, 1);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 1);
	assert_int_equal(memory.commits[1] + memory.commits[2] + memory.commits[3], 0);
	assert_int_equal(memory.pending_count, 1);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 0);
	for (tag = 0; tag < 4; tag++)
		assert_int_equal(memory.results[tag], 512);
	assert_int_equal(memory.tree->leaves[0]->label.generation, 6);
	memory_close(&memory);
}

/* Else the rot of one copy would make a stale leg a good one. */
static void a_record_is_in_both_copies_before_it_counts(void **state)
{
	struct memory memory;
	struct label label;
	unsigned copy;

	memory_open(&memory, "", "{'type':'mirror','children':[@+65536,@+65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 0);
	assert_int_equal(memory.pending_count, 1);
	assert_int_equal(memory.pending[0].sub->flags, IO_FUA);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.commits[0], 1);
	for (copy = 0; copy < LABEL_COPIES; copy++) {
		assert_int_equal(decode(&memory, 1, copy, &label), LABEL_FOUND);
		assert_int_equal(label.peers[0].state, LABEL_PEER_STALE);
		assert_int_equal(label.generation, copy ? 3 : 4);
		label_finish(&label);
	}
	memory_close(&memory);
}

/* The first copy stays, with what it says; the leaf has failed. */
static void a_second_copy_that_fails_is_a_failed_record(void **state)
{
	struct memory memory;

	memory_open(&memory, "", "{'type':'mirror','children':[@+65536,@+65536,@+65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL); /* leaf 1's first copy; leaf 2's record is next */
	memory_end(&memory, 1, -EIO);
	assert_int_equal(memory.tree->leaves[1]->label.generation, 3);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	assert_true(memory.tree->leaves[1]->node->failed);
	assert_false(memory.tree->leaves[2]->node->failed);
	memory_close(&memory);
}

static void a_record_that_failed_leaves_the_whole_copy_alone(void **state)
{
	struct memory memory;

	memory_open(&memory, "", "{'type':'mirror','children':[@+65536,@+65536,@+65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 2); /* records on leaves 1 and 2 */
	assert_int_equal(memory.pending[0].sub->offset, LABEL_COPY_STRIDE);
	memory_end(&memory, 0, -EIO);
	assert_int_equal(memory.tree->leaves[1]->label.generation, 2);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.pending_count, 1); /* leaf 1 is stale by now, leaf 2 says so */
	assert_int_equal(memory.pending[0].sub->leaf->place, 2);
	assert_int_equal(memory.commits[0], 0);
	memory_end_all(&memory);
	assert_int_equal(memory.results[0], 512);
	memory_close(&memory);
}

static void a_short_record_is_finished(void **state)
{
	struct memory memory;
	struct label label;

	memory_open(&memory, "", "{'type':'mirror','children':[@+65536,@+65536]}");
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, 512);
	assert_int_equal(memory.commits[0], 0);
	memory_end(&memory, 0, MEMORY_FULL);
	memory_end(&memory, 0, 4096);
	assert_int_equal(memory.commits[0], 0);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.results[0], 512);
	assert_int_equal(decode(&memory, 1, 1, &label), LABEL_FOUND);
	label_finish(&label);
	memory_close(&memory);
}

static void a_leaf_without_a_label_cannot_record(void **state)
{
	struct memory memory;

	memory_open(&memory, "", PAIR);
	memory.tree->leaves[1]->labelled = false;
	memory_start(&memory, 0, asks(IO_WRITE, 0, 512), data);
	memory_end(&memory, 0, -EIO);
	memory_end(&memory, 0, MEMORY_FULL);
	assert_int_equal(memory.results[0], -EOPNOTSUPP);
	memory_close(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_says_which_leaves_are_stale),
		cmocka_unit_test(a_record_names_no_generation_that_is_still_being_written),
		cmocka_unit_test(a_leg_that_is_added_while_its_failure_is_recorded_fails_no_write),
		cmocka_unit_test(a_mirror_goes_on_without_a_leg_that_fails_everything),
		cmocka_unit_test(records_of_one_leaf_are_shared),
		cmocka_unit_test(a_record_is_in_both_copies_before_it_counts),
		cmocka_unit_test(a_second_copy_that_fails_is_a_failed_record),
		cmocka_unit_test(a_record_that_failed_leaves_the_whole_copy_alone),
		cmocka_unit_test(a_short_record_is_finished),
		cmocka_unit_test(a_leaf_without_a_label_cannot_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
