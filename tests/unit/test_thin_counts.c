// SPDX-License-Identifier: MIT
/* thin's counts in memory: cells of each width, the sets that they are, and what becomes of them on disk. */
#include "fixture.h"

#include "thin.h"

#include <stdlib.h>

#define CLUSTERS 1024u

static const unsigned widths[] = { 4, 8, 16, 32, 64 };
static const uint64_t largest[] = { 3, 15, 255, 65535, UINT32_MAX };

#define WIDTHS (sizeof(widths) / sizeof(*widths))

/* Neighbours stay as they are, whatever is put beside them. */
static void a_cell_keeps_both_halves(void **state)
{
	unsigned width;

	for (width = 0; width < WIDTHS; width++) {
		struct thin_counts counts;
		uint64_t count, low;

		assert_int_equal(thin_counts_make(&counts, CLUSTERS, widths[width]), 0);
		assert_int_equal(thin_counts_max(&counts), largest[width]);
		assert_int_equal(thin_counts_bits(largest[width]), widths[width]);
		thin_counts_put(&counts, 6, 1, STATION_PUNCHING);
		thin_counts_put(&counts, 8, largest[width], largest[width]);
		for (count = 0; count <= 3; count++)
			for (low = 0; low <= (count == 1 ? STATION_PUNCHING : count); low++) {
				thin_counts_put(&counts, 7, count, count ? low : 0);
				assert_int_equal(thin_counts_of(&counts, 7), count);
				assert_int_equal(thin_counts_low(&counts, 7), count ? low : 0);
				assert_int_equal(thin_counts_less(&counts, 7), count > 1 ? low : 0);
			}
		assert_int_equal(thin_counts_of(&counts, 6), 1);
		assert_int_equal(thin_counts_low(&counts, 6), STATION_PUNCHING);
		assert_int_equal(thin_counts_of(&counts, 8), largest[width]);
		assert_int_equal(thin_counts_less(&counts, 8), largest[width]);
		assert_int_equal(thin_counts_of(&counts, 5) + thin_counts_of(&counts, 9), 0);
		assert_int_equal(counts.largest, largest[width]);
		assert_int_equal(thin_counts_memory(&counts), CLUSTERS * widths[width] / 8);
		thin_counts_free(&counts);
	}
	assert_int_equal(thin_counts_bits(4), 8);
	assert_int_equal(thin_counts_bits(16), 16);
	assert_int_equal(thin_counts_bits(256), 32);
	assert_int_equal(thin_counts_bits(65536), 64);
}

static void wider_cells_say_the_same(void **state)
{
	struct thin_counts counts;
	unsigned width;

	assert_int_equal(thin_counts_make(&counts, CLUSTERS, 4), 0);
	thin_counts_put(&counts, 0, 1, STATION_FREED);
	thin_counts_put(&counts, 501, 3, 2);
	thin_counts_put(&counts, CLUSTERS - 1, 2, 0);
	for (width = 1; width < WIDTHS; width++) {
		assert_int_equal(thin_counts_widen(&counts, largest[width - 1] + 1), 0);
		assert_int_equal(counts.bits, widths[width]);
		assert_int_equal(counts.length, CLUSTERS);
		assert_int_equal(thin_counts_of(&counts, 0), 1);
		assert_int_equal(thin_counts_low(&counts, 0), STATION_FREED);
		assert_int_equal(thin_counts_of(&counts, 501), 3);
		assert_int_equal(thin_counts_less(&counts, 501), 2);
		assert_int_equal(thin_counts_of(&counts, CLUSTERS - 1), 2);
		assert_int_equal(thin_counts_of(&counts, 500) + thin_counts_of(&counts, 502), 0);
	}
	thin_counts_free(&counts);
}

static void names_are_lost_and_found(void **state)
{
	struct thin_counts counts;

	assert_int_equal(thin_counts_make(&counts, CLUSTERS, 4), 0);
	thin_counts_set(&counts, 1, 3);
	thin_counts_lose(&counts, 1, -1);
	assert_int_equal(thin_counts_less(&counts, 1), 0);
	thin_counts_lose(&counts, 1, 1);
	thin_counts_lose(&counts, 1, 1);
	thin_counts_lose(&counts, 1, -1);
	assert_int_equal(thin_counts_less(&counts, 1), 1);
	thin_counts_set(&counts, 1, 2);
	assert_int_equal(thin_counts_less(&counts, 1), 1); /* still */
	thin_counts_lose(&counts, 1, 1);
	thin_counts_lose(&counts, 1, 1); /* more than it has */
	assert_int_equal(thin_counts_less(&counts, 1), 2);
	thin_counts_set(&counts, 1, 1);
	assert_int_equal(thin_counts_low(&counts, 1), STATION_USED);
	thin_counts_lose(&counts, 1, 1);
	assert_int_equal(thin_counts_low(&counts, 1), STATION_USED);
	thin_counts_free(&counts);
}

static void sets_are_found_by_their_lowest(void **state)
{
	static const uint64_t members[] = { 900, 3, 255, 256, 4, 1023, 511 };
	static const uint64_t sorted[] = { 3, 4, 255, 256, 511, 900, 1023 };
	struct thin_set reserve, freed;
	struct thin_counts counts;
	unsigned i, width;

	for (width = 0; width < WIDTHS; width++) {
		assert_int_equal(thin_counts_make(&counts, CLUSTERS, widths[width]), 0);
		assert_int_equal(thin_set_make(&reserve, &counts, STATION_RESERVE), 0);
		assert_int_equal(thin_set_make(&freed, &counts, STATION_FREED), 0);
		for (i = 0; i < CLUSTERS; i++)
			thin_counts_set(&counts, i, 1);
		for (i = 0; i < 7; i++)
			thin_set_put(&freed, members[i]);
		thin_set_put(&reserve, 5);
		assert_false(thin_set_take(&freed, 5));
		assert_true(thin_set_take(&freed, 256));
		assert_false(thin_set_take(&freed, 256));
		thin_set_put(&freed, 256);
		thin_set_move(&reserve, &freed);
		assert_int_equal(freed.count, 0);
		assert_int_equal(reserve.count, 8);
		assert_true(thin_set_take(&reserve, 5));
		for (i = 0; i < 7; i++)
			assert_int_equal(thin_set_first(&reserve), sorted[i]);
		assert_int_equal(reserve.count, 0);
		thin_set_put(&reserve, 700); /* lower than the last one */
		assert_int_equal(thin_set_first(&reserve), 700);
		for (i = 0; i < CLUSTERS; i++)
			assert_int_equal(thin_counts_low(&counts, i), STATION_USED);
		free(reserve.chunks);
		free(freed.chunks);
		thin_counts_free(&counts);
	}
}

/* Stations, and what was lost, are the next counts' too, as far as those leave room for them. */
static void the_next_counts_follow(void **state)
{
	unsigned width, folded;

	for (width = 0; width < 2 * WIDTHS; width++) {
		struct thin_counts counts, next;
		struct thin_set taken;

		folded = width >= WIDTHS;
		assert_int_equal(thin_counts_make(&counts, CLUSTERS, 4), 0);
		assert_int_equal(thin_counts_make(&next, CLUSTERS, widths[width % WIDTHS]), 0);
		assert_int_equal(thin_set_make(&taken, &counts, STATION_TAKEN), 0);
		thin_counts_set(&counts, 10, 1);
		thin_counts_set(&counts, 11, 1);
		thin_counts_set(&counts, 12, 3);
		thin_set_put(&taken, 11);
		thin_counts_lose(&counts, 12, folded ? 0 : 1);
		counts.next = &next;
		next.is_folded = folded;
		thin_counts_copy_next(&counts, 0, CLUSTERS);
		assert_int_equal(thin_counts_of(&next, 12), 3);
		assert_int_equal(thin_counts_less(&next, 12), folded ? 0 : 1);
		assert_int_equal(thin_counts_low(&next, 11), STATION_TAKEN);
		thin_set_put(&taken, 10);
		assert_int_equal(thin_counts_low(&next, 10), STATION_TAKEN);
		thin_counts_set_next(&counts, 10, 2); /* a name more: no station */
		assert_int_equal(thin_counts_low(&next, 10), 0);
		thin_counts_set_next(&counts, 10, 1); /* it has gone again */
		assert_int_equal(thin_counts_low(&next, 10), STATION_TAKEN);
		assert_true(thin_set_take(&taken, 10));
		assert_int_equal(thin_counts_low(&next, 10), STATION_USED);
		thin_counts_lose(&counts, 12, 1);
		assert_int_equal(thin_counts_less(&next, 12), folded ? 0 : 2);
		thin_counts_set_next(&counts, 12, 1);
		assert_int_equal(thin_counts_low(&next, 12), STATION_USED);
		thin_counts_set_next(&counts, 12, 0);
		assert_int_equal(thin_counts_of(&next, 12), 0);
		free(taken.chunks);
		thin_counts_free(&counts);
		thin_counts_free(&next);
	}
}

/* On disk, of each width there and here, at any place. */
static void counts_are_written_as_the_format_has_them(void **state)
{
	struct thin *thin = calloc(1, sizeof(*thin));
	unsigned width, order, i;
	uint8_t bytes[64];

	assert_non_null(thin);
	for (width = 0; width < WIDTHS; width++)
		for (order = 0; order <= 6; order++) {
			uint64_t first = UINT64_C(128) * 8 >> order, number = sizeof(bytes) * 8 >> order, most;
			struct thin_counts counts;

			thin->header.refcount_order = order;
			assert_int_equal(thin_counts_make(&counts, 2048, widths[width]), 0);
			most = qcow2_refcount_max(&thin->header) < largest[width] ? qcow2_refcount_max(&thin->header) :
										    largest[width];
			for (i = 0; i < number; i++)
				thin_counts_put(&counts, first + i, i * i % (most + 1), 0);
			memset(bytes, 0xa5, sizeof(bytes));
			thin_counts_bytes(thin, &counts, 128, sizeof(bytes), bytes);
			for (i = 0; i < number; i++)
				assert_int_equal(qcow2_refcount_read(&thin->header, bytes, i), i * i % (most + 1));
			thin_counts_free(&counts);
		}
	free(thin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cell_keeps_both_halves),
		cmocka_unit_test(wider_cells_say_the_same),
		cmocka_unit_test(names_are_lost_and_found),
		cmocka_unit_test(sets_are_found_by_their_lowest),
		cmocka_unit_test(the_next_counts_follow),
		cmocka_unit_test(counts_are_written_as_the_format_has_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
