// SPDX-License-Identifier: MIT
/*
 * mirror: what was promised in figures, counted where nothing but the program decides it: bytes, sub-I/Os that wait
 * for each other, its own clock and processor time. Each test prints its figure.
 */
#include "live.h"
#include "mirror.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#define REGION 4096u
#define REGIONS 2048u /* of a leaf of 9 MiB, whose first is the mirror's own */
#define CHANGED (REGIONS / 100)
#define RATE_TEXT "1048576" /* bytes in a second: more than a processor is needed for */
#define FILE_OF(id, path) "{'id':'" id "','type':'file','path':'" path "','size':'9MiB','direct':false}"
#define ROOT                                                                                       \
	"{'id':'r','type':'mirror','region_size':4096,'recovery_rate':{'min':" RATE_TEXT                \
	",'max':" RATE_TEXT "},'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "]}"

struct effort {
	uint64_t bytes, ms; /* copied to the leg, and how long that took by the device's clock */
};

static void write_regions(unsigned count, char byte)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		live_ask(0, IO_WRITE, (uint64_t)i * (REGIONS / count) * REGION, byte);
		live_end_all();
		assert_int_equal(live_results[0], 0);
	}
}

/* Until what was written is said clean. */
static void settle(void)
{
	const struct mirror *mirror = scene_assembled()->root->state;

	while (mirror->dirty_count || mirror->copied_count || live_pending_count)
		if (live_pending_count)
			live_end_one(0, 0);
		else
			live_tick();
}

/* d1 is away while so many regions are written, all over the device, and comes back. */
static struct effort resync_after(unsigned regions, char byte)
{
	struct effort effort = { 0, 0 };
	uint64_t begun;

	live_command("fail", "d1");
	live_until("if", -1);
	write_regions(regions, byte);
	begun = live_now;
	live_command("add", "d1");
	do {
		const struct sub_io *sub = live_pending_count ? live_pending[0] : NULL;

		if (sub && sub->kind == IO_WRITE && sub->leaf->place == 1 &&
			sub->offset >= LABEL_FRONT + MIRROR_FRONT)
			effort.bytes += sub->length;
		if (sub)
			live_end_one(0, 0);
		else
			live_tick();
	} while (strcmp(live_states(), "ii") != 0);
	effort.ms = (live_now - begun) / 1000000;
	return effort;
}

static void a_leg_that_missed_a_hundredth_costs_a_hundredth(void **state)
{
	struct effort all, some;

	live_load(ROOT);
	live_begin();
	all = resync_after(REGIONS, 'x');
	settle();
	some = resync_after(CHANGED, 'y');
	print_message("a re-added leg: all of %u regions, %" PRIu64 " bytes in %" PRIu64
		      " ms; %u of them, %" PRIu64 " bytes in %" PRIu64 " ms\n",
		REGIONS, all.bytes, all.ms, CHANGED, some.bytes, some.ms);
	assert_int_equal(all.bytes, (uint64_t)REGIONS * REGION);
	assert_int_equal(some.bytes, (uint64_t)CHANGED * REGION);
	assert_true(some.ms * 100 <= all.ms * 2);
	live_stop();
}

/* A leg's failure is known when the other one has it in both copies of its label: no more stands between. */
static void a_failure_is_recorded_in_two_writes(void **state)
{
	unsigned depth = 0;

	live_load(ROOT);
	live_begin();
	write_regions(1, 'x'); /* its region is dirty, durably */
	live_ask(1, IO_WRITE, 0, 'y');
	assert_int_equal(live_pending_count, 2);
	live_end_one(1, live_pending[1]->leaf->place == 1 ? -EIO : 0);
	live_end_one(0, live_pending[0]->leaf->place == 1 ? -EIO : 0);
	for (; live_results[1] == LIVE_UNDER_WAY; depth++) {
		assert_int_equal(live_pending_count, 1);
		assert_int_equal(live_pending[0]->kind, IO_WRITE);
		assert_true(live_pending[0]->flags & IO_FUA);
		assert_true(live_pending[0]->length <= 8192);
		live_end_one(0, 0);
	}
	print_message("a leg's failure: %u durable writes until its write is acknowledged\n", depth);
	assert_int_equal(live_results[1], 0);
	assert_int_equal(depth, 2);
	live_stop();
}

/* The processor's time, as a loaded host's clock says nothing. */
static void sixteen_leaves_are_assembled_in_a_second(void **state)
{
	char root[2048] = "{'id':'r','type':'mirror','children':[";
	clock_t begun;
	double seconds;
	unsigned i;

	for (i = 0; i < 16; i++)
		snprintf(root + strlen(root), sizeof(root) - strlen(root),
			"%s{'type':'file','path':'f%u','size':'2MiB','direct':false}", i ? "," : "", i);
	strcat(root, "]}");
	live_load(root);
	live_stop();
	begun = clock();
	live_load(root);
	seconds = (double)(clock() - begun) / CLOCKS_PER_SEC;
	print_message("16 leaves: assembled and loaded in %.0f ms of a processor, under ASan\n", seconds * 1000);
	assert_true(seconds < 1);
	live_stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_leg_that_missed_a_hundredth_costs_a_hundredth),
		TEST(a_failure_is_recorded_in_two_writes),
		TEST(sixteen_leaves_are_assembled_in_a_second),
	};

	return cmocka_run_group_tests_name("mirror: marks", tests, NULL, NULL);
}
