// SPDX-License-Identifier: MIT
/* The bytes that a mirror keeps on its legs: every wrong bit is found. */
#include "fixture.h"
#include "mirror.h"

#define BIRTH UINT64_C(0x0123456789abcdef)

static struct superblock example(void)
{
	struct superblock super = {
		.birth = BIRTH,
		.sequence = 7,
		.size = 123 << 20,
		.region_size = 1 << 20,
		.leg_count = 3,
		.primary = 2,
	};

	super.tracked[0] = 7;
	super.tracked[1] = 5;
	super.tracked[2] = 7;
	return super;
}

static void a_superblock_comes_back_as_it_was(void **state)
{
	struct superblock super = example(), back;
	char block[PAGE_BYTES];

	mirror_super_encode(&super, block);
	assert_memory_equal(block, "UBDMIRR1", 8);
	assert_true(mirror_super_decode(&back, block));
	assert_memory_equal(&back, &super, sizeof(super));
}

static void every_wrong_bit_of_a_superblock_is_found(void **state)
{
	struct superblock super = example(), back;
	char block[PAGE_BYTES];
	unsigned bit;

	mirror_super_encode(&super, block);
	for (bit = 0; bit < BITMAP_SECTOR * 8; bit++) {
		block[bit / 8] ^= (char)(1 << bit % 8);
		assert_false(mirror_super_decode(&back, block));
		block[bit / 8] ^= (char)(1 << bit % 8);
	}
}

static void a_superblock_that_makes_no_sense_is_none(void **state)
{
	struct superblock back, wrong[7];
	char block[PAGE_BYTES];
	unsigned i;

	for (i = 0; i < LENGTH_OF(wrong); i++)
		wrong[i] = example();
	wrong[0].size = 0;
	wrong[1].region_size = 3 << 20;
	wrong[2].region_size = 512;
	wrong[3].leg_count = LEGS_MAX + 1;
	wrong[4].leg_count = 0;
	wrong[5].primary = 3;
	wrong[6].size = (REGIONS_MAX + UINT64_C(1)) << 20;
	for (i = 0; i < LENGTH_OF(wrong); i++) {
		mirror_super_encode(&wrong[i], block);
		assert_false(mirror_super_decode(&back, block));
	}
}

/* Regions whose bits are all different from their neighbours'. */
static struct region *regions_make(unsigned count)
{
	struct region *regions = calloc(count, sizeof(*regions));
	unsigned i;

	for (i = 0; i < count; i++)
		regions[i].bits = (uint8_t)(REGION_TODO | ((i * 7 + i / 16) & REGION_BITS));
	return regions;
}

static void pages_come_back_as_they_were(void **state)
{
	static const unsigned counts[] = { 1, 2, SECTOR_REGIONS - 1, SECTOR_REGIONS,
		SECTOR_REGIONS + 1, PAGE_REGIONS - 1, PAGE_REGIONS, PAGE_REGIONS + 1, REGIONS_MAX };
	unsigned i, j, page;

	for (i = 0; i < LENGTH_OF(counts); i++) {
		struct region *regions = regions_make(counts[i]);
		struct region *back = calloc(counts[i], sizeof(*back));

		for (page = 0; page * PAGE_REGIONS < counts[i]; page++) {
			char memory[PAGE_BYTES];
			unsigned whole = 0;

			mirror_page_encode(memory, page, BIRTH, regions, counts[i]);
			mirror_page_merge(memory, page, BIRTH, back, counts[i], &whole);
			assert_int_equal(whole, 0xff);
			for (j = 0; j < PAGE_REGIONS && page * PAGE_REGIONS + j < counts[i]; j++)
				assert_int_equal(mirror_page_bits(memory, j),
					regions[page * PAGE_REGIONS + j].bits & REGION_BITS);
		}
		for (j = 0; j < counts[i]; j++)
			assert_int_equal(back[j].bits, regions[j].bits & REGION_BITS);
		free(regions);
		free(back);
	}
}

static void every_wrong_bit_of_a_page_is_found_in_its_sector_alone(void **state)
{
	struct region *regions = regions_make(PAGE_REGIONS);
	struct region *back = calloc(PAGE_REGIONS, sizeof(*back));
	char memory[PAGE_BYTES];
	unsigned bit, whole;

	mirror_page_encode(memory, 0, BIRTH, regions, PAGE_REGIONS);
	for (bit = 0; bit < PAGE_BYTES * 8; bit++) {
		memory[bit / 8] ^= (char)(1 << bit % 8);
		whole = 0;
		mirror_page_merge(memory, 0, BIRTH, back, PAGE_REGIONS, &whole);
		assert_int_equal(whole, 0xff & ~(1u << bit / 8 / BITMAP_SECTOR));
		memory[bit / 8] ^= (char)(1 << bit % 8);
	}
	free(regions);
	free(back);
}

static void legs_pages_are_ored(void **state)
{
	struct region one = { .bits = REGION_WRITTEN | REGION_CHANGED };
	struct region other = { .bits = REGION_DIRTY }, back = { .bits = 0 };
	char memory[PAGE_BYTES];
	unsigned whole = 0;

	mirror_page_encode(memory, 0, BIRTH, &one, 1);
	mirror_page_merge(memory, 0, BIRTH, &back, 1, &whole);
	mirror_page_encode(memory, 0, BIRTH, &other, 1);
	mirror_page_merge(memory, 0, BIRTH, &back, 1, &whole);
	assert_int_equal(back.bits, REGION_WRITTEN | REGION_CHANGED | REGION_DIRTY);
}

static void a_page_of_a_past_life_or_another_place_says_nothing(void **state)
{
	struct region region = { .bits = REGION_BITS }, back = { .bits = 0 };
	char memory[PAGE_BYTES];
	unsigned whole = 0;

	mirror_page_encode(memory, 0, BIRTH, &region, 1);
	mirror_page_merge(memory, 0, BIRTH + 1, &back, 1, &whole);
	mirror_page_merge(memory, 1, BIRTH, &back, 1, &whole);
	assert_int_equal(whole, 0);
	assert_int_equal(back.bits, 0);
}

static void regions_are_as_small_as_the_bitmap_allows(void **state)
{
	const uint64_t mib = 1 << 20, most = REGIONS_MAX * mib;

	assert_int_equal(mirror_region_size(512), mib);
	assert_int_equal(mirror_region_size(most), mib);
	assert_int_equal(mirror_region_size(most + 512), 2 * mib);
	assert_int_equal(mirror_region_size(UINT64_C(1) << 40), 32 * mib);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_superblock_comes_back_as_it_was),
		cmocka_unit_test(every_wrong_bit_of_a_superblock_is_found),
		cmocka_unit_test(a_superblock_that_makes_no_sense_is_none),
		cmocka_unit_test(pages_come_back_as_they_were),
		cmocka_unit_test(every_wrong_bit_of_a_page_is_found_in_its_sector_alone),
		cmocka_unit_test(legs_pages_are_ored),
		cmocka_unit_test(a_page_of_a_past_life_or_another_place_says_nothing),
		cmocka_unit_test(regions_are_as_small_as_the_bitmap_allows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
