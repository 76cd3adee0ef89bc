// SPDX-License-Identifier: MIT
/*
 * Snapshots of a thin that is live, and the power: whatever write is the last that it lets through, and
 * although what was written before it and not flushed is lost, the image is whole, before or after what was
 * begun; and so it is where a write fails.
 */
#include "pasts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNFLUSHED_MAX 4096

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
static uint64_t cut_l1; /* the device's L1 table before */

static bool has_gone_back(void)
{
	return !strcmp(cut_verb, "snapshot-revert") && past_number(&pasts_image, 40, 8) != cut_l1;
}

/* True: it had ended before. */
static bool run_and_cut(unsigned steps, char *in_place)
{
	bool has_ended;
	unsigned step, tag;

	pasts_load();
	live_begin();
	for (tag = 0; tag < LIVE_TAGS; tag++)
		live_results[tag] = LIVE_UNDER_WAY;
	is_watched = true;
	assert_true(pasts_command(cut_verb, "one", NULL, NULL));
	for (step = 0; step < steps && live_pending_count; step++) {
		ask_some(step);
		if (pasts_thin()->next && pasts_thin()->next->step == NEXT_FLUSH && live_pending_count == 1 &&
			live_pending[0]->kind == IO_FLUSH && live_results[LIVE_TAGS - 1] == LIVE_UNDER_WAY)
			end_late_write();
		else
			end_first();
	}
	has_ended = !pasts_thin()->next && !live_pending_count;
	*in_place = live_results[0] == LIVE_UNDER_WAY ? 0 : '1';
	is_watched = false;
	cut();
	live_killed();
	return has_ended;
}

/* What the device has, and what the snapshot; true: it was made, is still there, or the device has gone back to it. */
static bool check_after_cut(void)
{
	bool makes = !strcmp(cut_verb, "snapshot-create"), reverts = !strcmp(cut_verb, "snapshot-revert");
	bool is_back = has_gone_back(), is_late = reverts && !is_back;
	bool is_there = past_count(&pasts_image) > 0;

	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	assert_true(is_there || !reverts);
	pasts_load(); /* nothing is counted less than it is named */
	assert_true(live_byte_at(0) == (is_late ? 'd' : 'a') || live_byte_at(0) == '1');
	assert_int_equal(live_byte_at(2 * CLUSTER), is_late ? 'e' : 'c');
	assert_int_equal(live_byte_at(3 * CLUSTER), is_late ? 'f' : 0);
	if (is_there) {
		assert_int_equal(pasts_at(0, 2 * CLUSTER), 'c');
		assert_int_equal(pasts_at(0, 9 * CLUSTER), makes ? 'n' : 0);
		assert_true(pasts_at(0, 0) == 'a' || (pasts_at(0, 0) == '1' && makes));
	}
	assert_int_equal(live_write(7 * CLUSTER, 'z'), 0);
	assert_int_equal(live_write(2 * CLUSTER, 'y'), 0);
	live_stop();
	assert_int_equal(past_wrong_flags(&pasts_image), 0);
	if (is_there)
		assert_int_equal(pasts_at(0, 2 * CLUSTER), 'c');
	pasts_load();
	/* A name that a shared cluster lost, and a crash took from memory, only `check --repair` finds. */
	assert_true(pasts_thin()->leaked <= (makes ? 0 : 2));
	live_stop();
	return reverts ? is_back : is_there;
}

/* With "one" of it, unless that is to be made; and where the device is to go back to it, with other bytes since. */
static void prepare_to_cut(const char *verb)
{
	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	assert_int_equal(live_write(CLUSTER, 'b'), 0);
	assert_int_equal(live_write(2 * CLUSTER, 'c'), 0);
	cut_verb = verb;
	if (strcmp(verb, "snapshot-create") != 0) {
		live_begin();
		pasts_do("snapshot-create", "one");
	}
	live_stop();
	if (!strcmp(verb, "snapshot-revert")) {
		pasts_load();
		assert_int_equal(live_write(0, 'd'), 0);
		assert_int_equal(live_write(2 * CLUSTER, 'e'), 0);
		assert_int_equal(live_write(3 * CLUSTER, 'f'), 0);
		live_stop();
	}
	cut_l1 = past_number(&pasts_image, 40, 8);
	scene_copy("x", "before");
}

static void cut_at_any_write(const char *verb)
{
	unsigned steps, made = 0;
	bool has_ended = false;
	char in_place;

	prepare_to_cut(verb);
	for (steps = 1; !has_ended; steps++) {
		assert_true(steps < 1000);
		scene_copy("before", "x");
		has_ended = run_and_cut(steps, &in_place);
		made += check_after_cut();
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

static void so_can_going_back_to_it(void **state)
{
	cut_at_any_write("snapshot-revert");
}

static void fail_everywhere(const char *verb)
{
	bool makes = !strcmp(verb, "snapshot-create"), reverts = !strcmp(verb, "snapshot-revert");
	char now = reverts ? 'd' : 'a';
	unsigned fails;
	char said[512];

	pasts_load();
	assert_int_equal(live_write(0, 'a'), 0);
	if (!makes) {
		live_begin();
		pasts_do("snapshot-create", "one");
	}
	live_stop();
	pasts_load();
	assert_int_equal(live_write(0, now), 0);
	live_stop();
	scene_copy("x", "before");
	for (fails = 0;; fails++) {
		bool is_header, is_flush, is_unknown;
		unsigned i;

		scene_copy("before", "x");
		pasts_load();
		live_begin();
		assert_true(pasts_command(verb, "one", NULL, NULL));
		for (i = 0; i < fails && live_pending_count; i++)
			live_end_one(0, 0);
		if (!live_pending_count) {
			assert_int_equal(pasts_thin()->header.snapshot_count, makes || reverts);
			live_stop();
			break;
		}
		is_header = live_pending[0]->kind == IO_WRITE && live_pending[0]->offset == 0;
		is_flush = live_pending[0]->kind == IO_FLUSH;
		live_end_one(0, -EIO);
		end_all();
		assert_false(pasts_command("snapshot-made", "", NULL, said));
		assert_non_null(strstr(said, "writing its tables: error 5"));
		assert_int_equal(pasts_thin()->failed, strstr(said, "next start") != NULL);
		assert_true(!is_header || pasts_thin()->failed);
		live_ask(0, IO_READ, 0, 0);
		end_all();
		assert_int_equal(live_results[0], pasts_thin()->failed ? -EIO : 0);
		assert_int_equal(pasts_command("snapshot-create", "two", NULL, NULL), !is_flush && !pasts_thin()->failed);
		end_all();
		is_unknown = pasts_thin()->failed;
		if (is_flush) /* the leaf takes no more of them */
			live_killed();
		else
			live_stop();
		pasts_load();
		assert_true(live_byte_at(0) == now || (is_unknown && live_byte_at(0) == 'a'));
		assert_int_equal(pasts_thin()->leaked, 0);
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

static void nor_does_it_while_the_device_goes_back(void **state)
{
	fail_everywhere("snapshot-revert");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_snapshot_can_stop_at_any_write),
		TEST(so_can_its_end),
		TEST(so_can_going_back_to_it),
		TEST(what_fails_on_the_way_changes_nothing),
		TEST(nor_does_it_while_one_is_deleted),
		TEST(nor_does_it_while_the_device_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
