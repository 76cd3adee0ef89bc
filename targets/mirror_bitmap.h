/* SPDX-License-Identifier: MIT */
/*
 * What a mirror keeps at the front of each leg: which legs are in step, and what is known of each region.
 * mirror_bitmap.c has the bytes and the crash story. It knows no plan and no child.
 */
#ifndef TARGETS_MIRROR_BITMAP_H
#define TARGETS_MIRROR_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define LEGS_MAX 16
#define MIRROR_FRONT (UINT64_C(1) << 20) /* of each leg: ours, whatever its size */
#define PAGE_BYTES 4096u
#define BITMAP_SECTOR 512u
#define SECTOR_REGIONS 992u
#define PAGE_SECTORS (PAGE_BYTES / BITMAP_SECTOR)
#define PAGE_REGIONS (SECTOR_REGIONS * PAGE_SECTORS)
#define PAGES_MAX 8u
#define REGIONS_MAX (PAGE_REGIONS * PAGES_MAX)
#define REGION_SIZE_MIN UINT64_C(4096)
#define REGION_SIZE_DEFAULT_MIN (UINT64_C(1) << 20)
#define REGION_SIZE_MAX (UINT64_C(1) << 40)

/* What is known of a region, on the legs and in memory. OR of two states is right for both. */
#define REGION_WRITTEN 1u /* something was written there once */
#define REGION_DIRTY 2u /* writes may be in flight: legs in sync may differ */
#define REGION_CHANGED 4u /* a leg that is away, or being brought up to date, has missed writes */
#define REGION_UNEVEN 8u /* legs in sync may differ in bytes that were never written */
#define REGION_BITS 15u
/* In memory only. */
#define REGION_TODO 16u /* to be copied from the primary, which alone is read until then */
#define REGION_COPIED 32u /* copied in this life to all legs in use; perhaps not durable yet */
#define REGION_IDLE 64u /* nothing was written since the flush that is under way began … */
#define REGION_SETTLED 128u /* … since one that has succeeded: the next page says so */

struct region {
	uint8_t bits; /* what the next page says, and those of memory */
	bool is_durable : 1; /* the legs say DIRTY and WRITTEN */
	bool is_recent : 1; /* a write has begun since the last look for quiet regions */
	bool is_doubted : 1; /* an earlier life may have lost a flush of what the primary shows: the copy
				is written there too, so that a power cut can't bring back older bytes on
				it alone */
	bool is_behind : 1; /* TODO, as legs that are behind have missed a write (mirror_behind.c) */
	uint16_t writers; /* requests with a hold in it */
	uint32_t stamp; /* when a look for quiet regions found is_recent last, in ms */
};

/* The first block of each leg. */
struct superblock {
	uint64_t birth; /* node->birth: of another one, it is a past life's */
	uint64_t sequence; /* goes up with every start: the last one that this leg was part of */
	uint64_t size, region_size;
	unsigned leg_count, primary;
	uint64_t tracked[LEGS_MAX]; /* by place: the sequence since which all that the leg misses is
				       marked; it says the same if it is in step. 0: none */
	uint8_t replaces[LEGS_MAX]; /* by place: 1 + that of the leg in sync whose place it is to take; LEG_REPLACED: its
				       own was taken so, and it doesn't stand by; 0: neither */
};
#define LEG_REPLACED 255u

/* All pure, safe on any bytes. */
void mirror_super_encode(const struct superblock *super, void *block); /* PAGE_BYTES */
/* False: no whole superblock of ours that makes sense. */
bool mirror_super_decode(struct superblock *super, const void *block);
/* The bits of `count` regions, as far as they stand in the page. */
void mirror_page_encode(void *page, unsigned number, uint64_t birth, const struct region *regions,
	unsigned count);
/*
 * ORs the page's bits into the regions'. Sectors that are not whole, or another birth's, change
 * nothing; those that are whole are ORed into *whole, a bit for each.
 */
void mirror_page_merge(const void *page, unsigned number, uint64_t birth, struct region *regions,
	unsigned count, unsigned *whole);
/* The bits that the page says of the n'th region in it. */
uint8_t mirror_page_bits(const void *page, unsigned n);
uint64_t mirror_page_offset(unsigned number); /* in a leg */
/* The region size for a mirror of this size if none is given. */
uint64_t mirror_region_size(uint64_t size);

#endif
