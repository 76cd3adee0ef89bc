// SPDX-License-Identifier: MIT
/* Holds: who waits for whom, and in which order they go on. */
#include "hold.h"

#include "fixture.h"

#define ENTRIES 64

struct crowd {
	struct hold_list list;
	struct hold_entry entries[ENTRIES];
	char granted[ENTRIES + 1]; /* letters of those that hold_release() has let go on */
	unsigned granted_count;
};

static void note_granted(void *context, struct hold_entry *entry)
{
	struct crowd *crowd = context;

	crowd->granted[crowd->granted_count++] = (char)('a' + (entry - crowd->entries));
}

static bool take(struct crowd *crowd, char name, enum hold mode, uint64_t offset, uint64_t length)
{
	struct hold_entry *entry = &crowd->entries[name - 'a'];

	*entry = (struct hold_entry){ .range = { offset, length }, .mode = mode };
	return hold_take(&crowd->list, entry);
}

static const char *release(struct crowd *crowd, char name)
{
	memset(crowd->granted, 0, sizeof(crowd->granted));
	crowd->granted_count = 0;
	hold_release(&crowd->list, &crowd->entries[name - 'a'], note_granted, crowd);
	return crowd->granted;
}

static void exclusive_ranges_that_overlap_wait_in_order(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_EXCLUSIVE, 0, 10));
	assert_false(take(&crowd, 'b', HOLD_EXCLUSIVE, 9, 1));
	assert_false(take(&crowd, 'c', HOLD_EXCLUSIVE, 0, 10));
	assert_true(take(&crowd, 'd', HOLD_EXCLUSIVE, 10, 10));
	assert_string_equal(release(&crowd, 'd'), "");
	assert_string_equal(release(&crowd, 'a'), "b");
	assert_string_equal(release(&crowd, 'b'), "c");
	assert_string_equal(release(&crowd, 'c'), "");
	assert_null(crowd.list.first);
	assert_null(crowd.list.last);
}

static void touching_ranges_do_not_overlap(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_EXCLUSIVE, 512, 512));
	assert_true(take(&crowd, 'b', HOLD_EXCLUSIVE, 0, 512));
	assert_true(take(&crowd, 'c', HOLD_EXCLUSIVE, 1024, 512));
	assert_false(take(&crowd, 'd', HOLD_EXCLUSIVE, 1023, 1));
	assert_false(take(&crowd, 'e', HOLD_EXCLUSIVE, 512, 1));
	assert_false(take(&crowd, 'f', HOLD_EXCLUSIVE, 511, 1));
}

static void shared_ones_keep_only_exclusive_ones_back(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_SHARED, 0, 10));
	assert_true(take(&crowd, 'b', HOLD_SHARED, 0, 10));
	assert_false(take(&crowd, 'c', HOLD_EXCLUSIVE, 5, 1));
	assert_string_equal(release(&crowd, 'a'), "");
	assert_string_equal(release(&crowd, 'b'), "c");
}

static void who_waits_keeps_later_ones_waiting(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_SHARED, 0, 10));
	assert_false(take(&crowd, 'b', HOLD_EXCLUSIVE, 0, 10));
	assert_false(take(&crowd, 'c', HOLD_SHARED, 0, 10));
	assert_false(take(&crowd, 'd', HOLD_SHARED, 0, 10));
	assert_string_equal(release(&crowd, 'a'), "b");
	assert_string_equal(release(&crowd, 'b'), "cd");
}

static void one_release_lets_several_go_on(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_EXCLUSIVE, 0, 100));
	assert_false(take(&crowd, 'b', HOLD_EXCLUSIVE, 0, 10));
	assert_false(take(&crowd, 'c', HOLD_EXCLUSIVE, 5, 10));
	assert_false(take(&crowd, 'd', HOLD_EXCLUSIVE, 50, 10));
	assert_string_equal(release(&crowd, 'a'), "bd");
	assert_string_equal(release(&crowd, 'b'), "c");
}

static void who_waits_may_leave(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_SHARED, 0, 10));
	assert_false(take(&crowd, 'b', HOLD_EXCLUSIVE, 0, 10));
	assert_false(take(&crowd, 'c', HOLD_SHARED, 0, 10));
	assert_string_equal(release(&crowd, 'b'), "c");
}

static bool conflict(const struct hold_entry *a, const struct hold_entry *b)
{
	return (a->mode == HOLD_EXCLUSIVE || b->mode == HOLD_EXCLUSIVE) &&
	       a->range.offset < b->range.offset + b->range.length &&
	       b->range.offset < a->range.offset + a->range.length;
}

/* Among those that hold, none conflict; among those that wait, each has a reason that came earlier.
 */
static void assert_consistent(const struct crowd *crowd)
{
	const struct hold_entry *entry, *earlier;

	for (entry = crowd->list.first; entry; entry = entry->next) {
		bool reason = false;

		for (earlier = crowd->list.first; earlier != entry; earlier = earlier->next)
			reason |= conflict(earlier, entry);
		assert_int_equal(entry->waiting, reason);
	}
}

/* Ranges of up to 12 units among 40, each so long. */
static void random_crowd(uint64_t unit)
{
	struct crowd crowd = { 0 };
	bool present[ENTRIES] = { false };
	unsigned step, i, seed = 20111;

	for (step = 0; step < 20000; step++) {
		i = (unsigned)rand_r(&seed) % 24;
		if (present[i] && !crowd.entries[i].waiting) {
			release(&crowd, (char)('a' + i));
			present[i] = false;
		} else if (!present[i]) {
			enum hold mode = rand_r(&seed) % 3 ? HOLD_EXCLUSIVE : HOLD_SHARED;
			uint64_t offset = (unsigned)rand_r(&seed) % 40;

			take(&crowd, (char)('a' + i), mode, offset * unit,
				(1 + (unsigned)rand_r(&seed) % 12) * unit);
			present[i] = true;
		}
		assert_consistent(&crowd);
	}
}

static void random_crowds_are_consistent(void **state)
{
	random_crowd(1);
	random_crowd(HOLD_PLACE_BYTES / 16);
	random_crowd(HOLD_PLACE_BYTES / 3 - 1);
	random_crowd(HOLD_PLACE_BYTES);
	random_crowd(HOLD_PLACE_BYTES * (uint64_t)HOLD_PLACES);
}

static void what_crosses_into_another_place_is_seen_there(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_EXCLUSIVE, HOLD_PLACE_BYTES - 512, 1024));
	assert_false(take(&crowd, 'b', HOLD_EXCLUSIVE, HOLD_PLACE_BYTES, 512));
	assert_string_equal(release(&crowd, 'a'), "b");
	assert_false(take(&crowd, 'c', HOLD_EXCLUSIVE, HOLD_PLACE_BYTES - 512, 1024));
	assert_string_equal(release(&crowd, 'b'), "c");
}

static void places_that_count_as_the_same_keep_nobody_back(void **state)
{
	struct crowd crowd = { 0 };

	assert_true(take(&crowd, 'a', HOLD_EXCLUSIVE, 0, 512));
	assert_true(take(&crowd, 'b', HOLD_EXCLUSIVE, (uint64_t)HOLD_PLACE_BYTES * HOLD_PLACES, 512));
	assert_string_equal(release(&crowd, 'a'), "");
	assert_string_equal(release(&crowd, 'b'), "");
	assert_int_equal(crowd.list.at[0] + crowd.list.wide + crowd.list.waiting, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exclusive_ranges_that_overlap_wait_in_order),
		cmocka_unit_test(touching_ranges_do_not_overlap),
		cmocka_unit_test(shared_ones_keep_only_exclusive_ones_back),
		cmocka_unit_test(who_waits_keeps_later_ones_waiting),
		cmocka_unit_test(one_release_lets_several_go_on),
		cmocka_unit_test(who_waits_may_leave),
		cmocka_unit_test(random_crowds_are_consistent),
		cmocka_unit_test(what_crosses_into_another_place_is_seen_there),
		cmocka_unit_test(places_that_count_as_the_same_keep_nobody_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
