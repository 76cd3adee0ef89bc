/* SPDX-License-Identifier: MIT */
/*
 * A second opinion on an image's snapshots, for tests: what one of them holds, by a walk of its own
 * through the bytes; and whether "its refcount is one" is said where it is so, which qemu-img check
 * wants and nothing else here would notice. It knows images as thin makes them: 16 bit refcounts,
 * plain entries of 8 bytes.
 */
#ifndef TESTS_PAST_H
#define TESTS_PAST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PAST_COPIED (UINT64_C(1) << 63)
#define PAST_HOST UINT64_C(0x00fffffffffffe00)

/* Bytes of the image; lengths are 8 at most, or whole sectors. */
typedef void past_reader(void *context, uint64_t offset, void *bytes, uint64_t length);

struct past {
	past_reader *read;
	void *context;
};

static inline uint64_t past_number(const struct past *past, uint64_t offset, unsigned width)
{
	unsigned char bytes[8];
	uint64_t number = 0;
	unsigned i;

	past->read(past->context, offset, bytes, width);
	for (i = 0; i < width; i++)
		number = number << 8 | bytes[i];
	return number;
}

static inline uint32_t past_count(const struct past *past)
{
	return (uint32_t)past_number(past, 60, 4);
}

/* Where the nth entry of the snapshot table is. */
static inline uint64_t past_entry(const struct past *past, uint32_t index)
{
	uint64_t at = past_number(past, 64, 8);
	uint32_t i;

	for (i = 0; i < index; i++)
		at += (40 + past_number(past, at + 36, 4) + past_number(past, at + 12, 2) +
			      past_number(past, at + 14, 2) + 7) & ~UINT64_C(7);
	return at;
}

/* The nth snapshot's id, which is a number. */
static inline unsigned past_id(const struct past *past, uint32_t index)
{
	uint64_t at = past_entry(past, index), text = at + 40 + past_number(past, at + 36, 4);
	unsigned length = (unsigned)past_number(past, at + 12, 2), id = 0, i;

	for (i = 0; i < length; i++)
		id = id * 10 + (unsigned)past_number(past, text + i, 1) - '0';
	return id;
}

/* The nth snapshot's L1 table, and how long its device is. */
static inline uint64_t past_table(const struct past *past, uint32_t index, uint64_t *size)
{
	uint64_t at = past_entry(past, index);

	*size = past_number(past, at + 48, 8);
	return past_number(past, at, 8);
}

/* A sector of the snapshot, zeroes where it has none. False: a hole, which is backing's if there is one. */
static inline bool past_sector(const struct past *past, uint64_t l1, uint64_t offset, char sector[512])
{
	unsigned bits = (unsigned)past_number(past, 20, 4);
	uint64_t per_table = UINT64_C(1) << (bits - 3), cluster = offset >> bits;
	uint64_t table = past_number(past, l1 + cluster / per_table * 8, 8) & PAST_HOST;
	uint64_t entry = table ? past_number(past, table + cluster % per_table * 8, 8) : 0;

	memset(sector, 0, 512);
	if (entry & PAST_HOST && !(entry & 1))
		past->read(past->context, (entry & PAST_HOST) + (offset & ((UINT64_C(1) << bits) - 1)), sector, 512);
	return entry & (PAST_HOST | 1);
}

static inline uint64_t past_refcount(const struct past *past, uint64_t host)
{
	unsigned bits = (unsigned)past_number(past, 20, 4);
	uint64_t cluster = host >> bits, entries = UINT64_C(1) << (bits - 1);
	uint64_t block = past_number(past, past_number(past, 48, 8) + cluster / entries * 8, 8);

	return block ? past_number(past, block + cluster % entries * 2, 2) : 0;
}

static inline bool past_is_wrong(const struct past *past, uint64_t entry)
{
	return entry & PAST_HOST &&
		(past_refcount(past, entry & PAST_HOST) == 1) != ((entry & PAST_COPIED) != 0);
}

/* Entries of the device's tables whose flag is wrong. */
static inline unsigned past_wrong_flags(const struct past *past)
{
	unsigned bits = (unsigned)past_number(past, 20, 4), wrong = 0;
	uint64_t l1 = past_number(past, 40, 8), count = past_number(past, 36, 4), i, j;

	for (i = 0; i < count; i++) {
		uint64_t table = past_number(past, l1 + i * 8, 8);

		wrong += past_is_wrong(past, table);
		for (j = 0; table & PAST_HOST && j < UINT64_C(1) << (bits - 3); j++)
			wrong += past_is_wrong(past, past_number(past, (table & PAST_HOST) + j * 8, 8));
	}
	return wrong;
}

#endif
