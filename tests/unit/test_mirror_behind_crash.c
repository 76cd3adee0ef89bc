// SPDX-License-Identifier: MIT
/* mirror: what any crash leaves while a leg is put behind, is behind, and catches up. */
#include "behind.h"
#include "child_io.h"

#define WRITES 7u /* while a crash comes */

/* What is acknowledged, and what is under way; by region. */
static char acknowledged[LIVE_REGIONS], under_way[LIVE_REGIONS];

static void is_held(unsigned region, char byte)
{
	if (byte != acknowledged[region] && (!under_way[region] || byte != under_way[region]))
		fail_msg("region %u holds '%c', '%c' was acknowledged", region, byte, acknowledged[region]);
}

/* Writes come one after the other, most of them while leg 1 is slow. True: all is over. */
static bool course_step(unsigned *asked)
{
	unsigned region = *asked * 5 % LIVE_REGIONS, steps;

	if (*asked < WRITES && (*asked == 0 || live_results[1] != LIVE_UNDER_WAY)) {
		under_way[region] = (char)('a' + *asked);
		live_ask(1, IO_WRITE, region * LIVE_BYTES, under_way[region]);
		++*asked;
	}
	for (steps = 0; steps < 40 && (live_pending_count == 0 || live_pending[0]->kind == IO_READ); steps++) {
		behind_mirror()->legs[1].is_slow = *asked < WRITES - 1;
		live_step(); /* nothing of that is on any leg */
	}
	live_step();
	region = (*asked - 1) * 5 % LIVE_REGIONS;
	if (live_results[1] != LIVE_UNDER_WAY && under_way[region]) {
		assert_int_equal(live_results[1], 0);
		acknowledged[region] = under_way[region];
		under_way[region] = 0;
	}
	return *asked == WRITES && !under_way[region] && live_pending_count == 0 && !strcmp(live_states(), "ii");
}

/* The slow leg alone, after that crash: it serves only if it has what was acknowledged. */
static bool is_served_alone(void)
{
	bool is_served;
	unsigned i;

	scene_copy("b", "kept");
	scene_rename("a", "away");
	scene_document(ROOT);
	is_served = scene_start(scene_degraded);
	if (!is_served && scene_says("b", 1) == LABEL_PEER_IN_SYNC)
		is_served = scene_start(scene_prefer("d1")); /* nobody can vouch for it: the user does */
	if (is_served) {
		assert_int_equal(tree_load(scene_assembled(), &(struct err){ 0 }), 0);
		scene_assembled()->child_io = CHILD_IO_FULL;
		for (i = 0; i < LIVE_REGIONS; i++)
			is_held(i, live_byte_at(i * LIVE_BYTES));
		scene_close();
	}
	scene_rename("away", "a");
	scene_rename("kept", "b");
	return is_served;
}

static void a_crash_at_any_moment_loses_nothing(void **state)
{
	unsigned moment, i, steps, asked, alone = 0, refused = 0, resumed = 0;
	bool has_ended = false;

	behind_begun(ROOT, 1);
	behind_mirror()->legs[1].is_slow = false;
	live_until("ii", -1);
	live_stop();
	scene_copy("a", "a0");
	scene_copy("b", "b0");
	for (moment = 0; !has_ended; moment++) {
		scene_copy("a0", "a");
		scene_copy("b0", "b");
		memset(acknowledged, 'x', sizeof(acknowledged));
		memset(under_way, 0, sizeof(under_way));
		live_load(ROOT);
		live_begin();
		for (asked = steps = 0; steps < moment && !has_ended; steps++)
			has_ended = course_step(&asked);
		live_killed();
		is_served_alone() ? alone++ : refused++;
		live_load(ROOT);
		resumed += !strcmp(live_states(), "ir");
		for (i = 0; i < LIVE_REGIONS; i++)
			is_held(i, live_byte_at(i * LIVE_BYTES));
		live_begin();
		live_until("ii", -1);
		while (behind_mirror()->todo_count)
			live_step();
		live_stop();
		behind_assert_same("a", "b");
		for (i = 0; i < LIVE_REGIONS; i++)
			is_held(i, live_byte_of("b", i * LIVE_BYTES));
	}
	assert_true(moment > 30 && resumed > 20 && alone > 4 && refused > 20);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_crash_at_any_moment_loses_nothing),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
