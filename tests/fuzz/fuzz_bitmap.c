// SPDX-License-Identifier: MIT
/*
 * Fuzzes the decoders of what a mirror keeps at the front of its legs (libFuzzer): make fuzz T=bitmap
 * MINUTES=10.
 *
 * An input is a byte of choices, a superblock of 512 bytes and up to 8 sectors of a page; what is
 * missing is zeroes. By choice the checksums are made to fit, else the fuzzer would never come past
 * them. What must hold: nothing is touched outside, what is taken for a superblock is within its
 * bounds and encoded again it is the same, a sector that is not whole says nothing, and a page that is
 * written from what was read says that again.
 */
#include "crc32c.h"
#include "mirror.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define MEND_SUPER 1u
#define MEND_SECTORS 2u
#define PAGE_SHIFT 2 /* three bits: the page's number */
#define COUNT_SHIFT 5 /* three bits: how much of the page is in use */
#define SUPER_CRC 8
#define SUPER_BIRTH 16
#define SECTOR_BIRTH 8

static void must(bool what)
{
	if (!what)
		abort();
}

static void mend_super(char *block)
{
	uint32_t crc;

	memcpy(block, "UBDMIRR1", 8);
	memset(block + SUPER_CRC, 0, sizeof(crc));
	crc = htole32(crc32c(block, BITMAP_SECTOR));
	memcpy(block + SUPER_CRC, &crc, sizeof(crc));
}

static void mend_sectors(char *page, unsigned number, uint64_t birth)
{
	unsigned i;

	for (i = 0; i < PAGE_SECTORS; i++) {
		char *sector = page + i * BITMAP_SECTOR;
		uint32_t which = htole32(number * PAGE_SECTORS + i), crc;
		uint64_t whose = htole64(birth);

		memcpy(sector + sizeof(crc), &which, sizeof(which));
		memcpy(sector + SECTOR_BIRTH, &whose, sizeof(whose));
		crc = htole32(crc32c(sector + sizeof(crc), BITMAP_SECTOR - sizeof(crc)));
		memcpy(sector, &crc, sizeof(crc));
	}
}

static void look_at_super(const char *block)
{
	struct superblock super, again;
	char copy[PAGE_BYTES];

	memset(&super, 0, sizeof(super));
	if (!mirror_super_decode(&super, block))
		return;
	must(super.leg_count >= 1 && super.leg_count <= LEGS_MAX);
	must(super.primary < super.leg_count && super.size > 0);
	must(super.region_size >= REGION_SIZE_MIN);
	must((super.size - 1) / super.region_size < REGIONS_MAX);
	mirror_super_encode(&super, copy);
	memset(&again, 0, sizeof(again));
	must(mirror_super_decode(&again, copy));
	must(memcmp(&super, &again, sizeof(super)) == 0);
}

/* The page is the number-th of a bitmap of `count` regions. */
static void look_at_page(const char *page, unsigned number, uint64_t birth, unsigned count)
{
	struct region *regions = calloc(count, sizeof(*regions)); /* ASan sees one too many */
	struct region *again = calloc(count, sizeof(*again));
	unsigned first = number * PAGE_REGIONS, whole = 0, all = 0, i;
	char copy[PAGE_BYTES];

	must(regions && again);
	mirror_page_merge(page, number, birth, regions, count, &whole);
	must(whole < 1u << PAGE_SECTORS);
	for (i = 0; i < count; i++) {
		bool is_here = i >= first && i - first < PAGE_REGIONS;
		bool is_whole = is_here && whole & 1u << (i - first) / SECTOR_REGIONS;

		must(regions[i].bits == (is_whole ? mirror_page_bits(page, i - first) : 0));
		must((regions[i].bits & ~REGION_BITS) == 0);
	}
	mirror_page_encode(copy, number, birth, regions, count);
	mirror_page_merge(copy, number, birth, again, count, &all);
	must(all == (1u << PAGE_SECTORS) - 1);
	for (i = 0; i < count; i++)
		must(regions[i].bits == again[i].bits);
	all = 0;
	mirror_page_merge(copy, number, birth + 1, again, count, &all); /* a past life's */
	must(all == 0);
	free(regions);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned counts[] = { 1, SECTOR_REGIONS - 1, SECTOR_REGIONS, SECTOR_REGIONS + 1,
		PAGE_REGIONS, PAGE_REGIONS + 1, 3 * PAGE_REGIONS - 1, REGIONS_MAX };
	char *block = calloc(1, PAGE_BYTES), *page = calloc(1, PAGE_BYTES);
	size_t left = size > 1 ? size - 1 : 0, head = left < BITMAP_SECTOR ? left : BITMAP_SECTOR;
	unsigned choice = size ? data[0] : 0, number = choice >> PAGE_SHIFT & 7;
	uint64_t birth;

	must(block && page);
	if (left) {
		memcpy(block, data + 1, head);
		memcpy(page, data + 1 + head, left - head < PAGE_BYTES ? left - head : PAGE_BYTES);
	}
	memcpy(&birth, block + SUPER_BIRTH, sizeof(birth));
	birth = le64toh(birth);
	if (choice & MEND_SUPER)
		mend_super(block);
	if (choice & MEND_SECTORS)
		mend_sectors(page, number, birth);
	look_at_super(block);
	look_at_page(page, number, birth, counts[choice >> COUNT_SHIFT]);
	free(block);
	free(page);
	return 0;
}
