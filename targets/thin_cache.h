/* SPDX-License-Identifier: MIT */
/*
 * thin's map in memory: which of its L2 pages are there, and what the others must read as.
 */
#ifndef TARGETS_THIN_CACHE_H
#define TARGETS_THIN_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct node;
struct thin;

#define THIN_CACHE_DEFAULT (UINT64_C(32) << 20)
#define THIN_LANES 64u /* SELF_BRINGs at once, at most */

struct thin_slot {
	uint64_t page; /* that has it */
	uint64_t written; /* the commit that has written the page last: it stays until that is durable */
};

struct thin_cache {
	uint8_t *memory; /* a page of zeroes for all, and then the slots */
	struct thin_slot *slots;
	uint32_t count, used, hand; /* slots; those that were ever taken; whose turn it is to go */
	uint32_t lanes; /* SELF_BRINGs at once */
	bool evicts; /* there are more pages than slots */
	uint8_t *pins, *recent; /* by page: who needs it to stay; it was looked at of late */
	uint64_t *sums; /* by page that is not in memory: of what it must read as */
	uint8_t *is_outdated; /* by page: its entries' flags are of the generation before */
	uint64_t wanted, unread; /* page + 1: for who tells the map; and what could not be had for that */
	uint64_t hits, misses, evicted; /* requests; pages */
	unsigned generation; /* of the map: how often another one has taken its place */
};

/* Another map of the device, beside the one that is in use: as much of it as that has memory for. */
struct thin_cache_next {
	uint8_t **pages, *memory; /* as the thin's */
	struct thin_slot *slots;
	uint32_t used;
};

int thin_cache_make(struct node *node, uint64_t bytes); /* -1: out of memory */
void thin_cache_free(struct thin *thin);
bool thin_cache_is_pressed(const struct thin *thin); /* a flush is due before more pages are written */
void thin_cache_seen(struct thin *thin, uint64_t page, const uint8_t *bytes); /* at the start: what is there */
void thin_cache_mended(struct thin *thin, uint64_t page, const uint8_t *bytes); /* not live: it is so now */
int thin_cache_put(struct thin *thin, uint64_t page, const uint8_t *bytes); /* read again. 0 or -EIO */
void thin_cache_own(struct thin *thin, uint64_t page); /* it may be written to: not the one of zeroes */
void thin_cache_written(struct thin *thin, uint64_t page); /* by this commit, which is thin->committed */
void thin_cache_pin(struct thin *thin, uint64_t page, int more);
/* Part of a table, from memory; what is not there must be in `bytes`, read again. 0 or -EIO. */
int thin_cache_copy(const struct thin *thin, uint64_t first, uint8_t *bytes, uint32_t length);
int thin_cache_table(const struct node *node, uint64_t index, uint8_t *bytes); /* not live. 0 or -errno */

/* Without a page that was put it says nothing anywhere. -1: out of memory; to be freed in any case. */
int thin_cache_next_make(const struct thin *thin, struct thin_cache_next *next);
void thin_cache_next_put(const struct thin *thin, struct thin_cache_next *next, uint64_t page, const uint8_t *bytes);
/* It is the one in use from here on, all of it durable; the caller has put the pages' sums in place. */
void thin_cache_next_swap(struct thin *thin, struct thin_cache_next *next);
void thin_cache_next_free(struct thin_cache_next *next);

#endif
