// SPDX-License-Identifier: MIT
/*
 * The bytes that a mirror keeps at the front of each leg: encoding and decoding. It knows no plan and
 * no child.
 *
 * A leg; integers are little-endian:
 *	0	superblock
 *	4096	bitmap: page p at 4096 + p * 4096, at most 8
 *	36864	zeroes, or what was there
 *	1 MiB	the mirror's data, the same on each leg
 *
 * The superblock; one sector, so that a power cut leaves the old one or the new one:
 *	offset	bytes
 *	0	8	magic "UBDMIRR1", the 1 being the version
 *	8	4	CRC32C of these 512 bytes, with zeroes here
 *	12	2	number of legs
 *	14	2	place of the primary
 *	16	8	birth of the tree: one of another is a past life's, and not ours
 *	24	8	sequence: the last start that this leg was part of
 *	32	8	size of the mirror's data
 *	40	8	region size, a power of two
 *	48	8	offset of the data in the leg, 1 MiB
 *	56	8	zeroes
 *	64	8 × 16	by place: the sequence of the leg from which on all that it misses is marked
 *	192	16	by place: 1 + the place of the leg in sync whose place this one is to take (`replace`);
 *			255: its own was taken so, and it doesn't stand by; 0: neither (mirror_replace.c)
 *	208	304	zeroes
 *	512	3584	zeroes
 *
 * A bitmap sector, of which a page has 8; each stands for itself:
 *	0	4	CRC32C of the other 508 bytes
 *	4	4	number of the sector in the bitmap
 *	8	8	birth of the tree
 *	16	496	992 regions, 4 bits each, the low half of a byte first:
 *			1 written · 2 dirty · 4 changed · 8 uneven (mirror.h)
 *
 * The crash story. Labels say who is stale, this says where.
 * - A page that says "dirty" is durable on every leg that is written before the first byte of data is
 *   sent to any: whatever was in flight at a crash lies in regions that the bitmap names. After it
 *   they are copied from the primary to the others, and until then only the primary is read.
 * - "Dirty" is taken back only in a page written after a flush of all legs that began when nothing was
 *   in flight in the region. While a leg is away it is replaced by "changed": the legs in sync agree,
 *   and that leg has it to do. So "changed" and "dirty" together are what it missed, all of it, since
 *   the start that `tracked` names; if its own superblock names another start, all is copied.
 * - Legs' bitmaps are ORed. A torn page is old or new by sectors, and the new part was not relied on
 *   yet. A sector that no leg in sync has whole counts as all ones: copied, never trusted.
 * - A resync interrupted goes on with what is still marked: marks are taken back like "dirty" is.
 */
#include "mirror_bitmap.h"

#include "crc32c.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define CRC_BYTES 4u

static const char super_magic[8] = { 'U', 'B', 'D', 'M', 'I', 'R', 'R', '1' };

struct disk_super {
	char magic[8];
	uint32_t crc;
	uint16_t leg_count, primary;
	uint64_t birth, sequence, size, region_size, data_offset;
	uint64_t reserved;
	uint64_t tracked[LEGS_MAX];
	uint8_t replaces[LEGS_MAX];
	unsigned char zeroes[304];
};

struct disk_sector {
	uint32_t crc, number;
	uint64_t birth;
	unsigned char nibbles[SECTOR_REGIONS / 2];
};

static_assert(sizeof(struct disk_super) == BITMAP_SECTOR, "the superblock is one sector");
static_assert(sizeof(struct disk_sector) == BITMAP_SECTOR, "a sector of the bitmap");
static_assert((1 + PAGES_MAX) * PAGE_BYTES <= MIRROR_FRONT, "all of it stands before the data");

uint64_t mirror_page_offset(unsigned number)
{
	return (uint64_t)(1 + number) * PAGE_BYTES;
}

uint64_t mirror_region_size(uint64_t size)
{
	uint64_t region = REGION_SIZE_DEFAULT_MIN;

	while ((size - 1) / region >= REGIONS_MAX)
		region *= 2;
	return region;
}

void mirror_super_encode(const struct superblock *super, void *block)
{
	struct disk_super disk = {
		.leg_count = htole16((uint16_t)super->leg_count),
		.birth = htole64(super->birth),
		.sequence = htole64(super->sequence),
		.size = htole64(super->size),
		.region_size = htole64(super->region_size),
		.data_offset = htole64(MIRROR_FRONT),
		.primary = htole16((uint16_t)super->primary),
	};
	unsigned i;

	memcpy(disk.magic, super_magic, sizeof(super_magic));
	for (i = 0; i < LEGS_MAX; i++)
		disk.tracked[i] = htole64(super->tracked[i]);
	memcpy(disk.replaces, super->replaces, sizeof(disk.replaces));
	disk.crc = htole32(crc32c(&disk, sizeof(disk)));
	memset(block, 0, PAGE_BYTES);
	memcpy(block, &disk, sizeof(disk));
}

static bool is_power_of_two(uint64_t number)
{
	return number && !(number & (number - 1));
}

bool mirror_super_decode(struct superblock *super, const void *block)
{
	struct disk_super disk;
	uint32_t crc;
	unsigned i;

	memcpy(&disk, block, sizeof(disk));
	crc = le32toh(disk.crc);
	disk.crc = 0;
	if (memcmp(disk.magic, super_magic, sizeof(super_magic)) != 0 ||
		crc32c(&disk, sizeof(disk)) != crc)
		return false;
	*super = (struct superblock){
		.birth = le64toh(disk.birth),
		.sequence = le64toh(disk.sequence),
		.size = le64toh(disk.size),
		.region_size = le64toh(disk.region_size),
		.leg_count = le16toh(disk.leg_count),
		.primary = le16toh(disk.primary),
	};
	for (i = 0; i < LEGS_MAX; i++)
		super->tracked[i] = le64toh(disk.tracked[i]);
	memcpy(super->replaces, disk.replaces, sizeof(disk.replaces));
	return le64toh(disk.data_offset) == MIRROR_FRONT && super->leg_count >= 1 &&
		super->leg_count <= LEGS_MAX && super->primary < super->leg_count &&
		super->size > 0 &&
		is_power_of_two(super->region_size) && super->region_size >= REGION_SIZE_MIN &&
		(super->size - 1) / super->region_size < REGIONS_MAX;
}

static void sector_encode(struct disk_sector *sector, unsigned number, uint64_t birth,
	const struct region *regions, unsigned count)
{
	unsigned i;

	memset(sector, 0, sizeof(*sector));
	sector->number = htole32(number);
	sector->birth = htole64(birth);
	for (i = 0; i < count; i++)
		sector->nibbles[i / 2] |=
			(unsigned char)((regions[i].bits & REGION_BITS) << (i % 2 * 4));
	sector->crc = htole32(
		crc32c((const char *)sector + CRC_BYTES, sizeof(*sector) - CRC_BYTES));
}

static uint8_t sector_bits(const struct disk_sector *sector, unsigned i)
{
	return sector->nibbles[i / 2] >> (i % 2 * 4) & REGION_BITS;
}

static bool is_whole(const struct disk_sector *sector, unsigned number, uint64_t birth)
{
	return le32toh(sector->crc) ==
		crc32c((const char *)sector + CRC_BYTES, sizeof(*sector) - CRC_BYTES) &&
		le32toh(sector->number) == number && le64toh(sector->birth) == birth;
}

/* How many regions stand in the sector: none in those behind the last one. */
static unsigned sector_count(unsigned number, unsigned count)
{
	unsigned first = number * SECTOR_REGIONS;

	if (first >= count)
		return 0;
	return count - first < SECTOR_REGIONS ? count - first : SECTOR_REGIONS;
}

void mirror_page_encode(void *page, unsigned number, uint64_t birth, const struct region *regions,
	unsigned count)
{
	struct disk_sector *sectors = page;
	unsigned i, n = number * (PAGE_BYTES / BITMAP_SECTOR);

	for (i = 0; i < PAGE_BYTES / BITMAP_SECTOR; i++, n++)
		sector_encode(&sectors[i], n, birth, regions + n * SECTOR_REGIONS,
			sector_count(n, count));
}

void mirror_page_merge(const void *page, unsigned number, uint64_t birth, struct region *regions,
	unsigned count, unsigned *whole)
{
	const struct disk_sector *sectors = page;
	unsigned i, j, n = number * (PAGE_BYTES / BITMAP_SECTOR);

	for (i = 0; i < PAGE_BYTES / BITMAP_SECTOR; i++, n++) {
		if (!is_whole(&sectors[i], n, birth))
			continue;
		*whole |= 1u << i;
		for (j = 0; j < sector_count(n, count); j++)
			regions[n * SECTOR_REGIONS + j].bits |= sector_bits(&sectors[i], j);
	}
}

uint8_t mirror_page_bits(const void *page, unsigned region)
{
	const struct disk_sector *sectors = page;

	return sector_bits(&sectors[region / SECTOR_REGIONS], region % SECTOR_REGIONS);
}
