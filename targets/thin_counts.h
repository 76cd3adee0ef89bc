/* SPDX-License-Identifier: MIT */
/*
 * What each host cluster of an image is counted, and whose it is, in memory: a cell for each, of as few bits as
 * the largest count allows. Two halves: the count, and
 *
 *   of a count of 1   the cluster's station (thin_space.c tells of them)
 *   of more           "less": how many of the names that are counted it has lost since
 *
 *   bits   counts up to
 *   4      3            one code for both: 0; 1 with each station; 2 with less 0 to 2; 3 with less 0 to 3
 *   8      15           from here on the upper half of the bits, and the lower one
 *   16     255
 *   32     65535
 *   64     4294967295
 *
 * 1 TiB in clusters of 64 KiB takes 8 MiB so: a refcount block's pages are made out of cells when they are
 * written (thin_counts_bytes()), and the sets of clusters at one station are their cells.
 */
#ifndef TARGETS_THIN_COUNTS_H
#define TARGETS_THIN_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct thin;

enum thin_station {
	STATION_USED, /* or nobody knows better: none of the sets has it */
	STATION_PICKED,
	STATION_RESERVE,
	STATION_TAKEN,
	STATION_DROPPED,
	STATION_FLUSHING,
	STATION_FREED,
	STATION_PUNCHING,
};

struct thin_counts {
	void *cells;
	uint64_t length; /* clusters */
	unsigned bits; /* of a cell */
	uint64_t largest; /* no count is larger; one may have been */
	/* Those of the next generation, which has counts of its own: stations, and "less", it has from here. NULL: none. */
	struct thin_counts *next;
	bool is_folded; /* a next one: names that are lost are not counted in it, so that its "less" is 0 */
};

/* All clusters at one station; they have a count of 1. */
struct thin_set {
	struct thin_counts *counts;
	enum thin_station station;
	uint64_t *chunks; /* by bit: there may be some in this part */
	uint64_t count;
	uint64_t low, high; /* they lie within [low, high) */
};

static inline uint64_t thin_cell(const struct thin_counts *counts, uint64_t cluster)
{
	if (counts->bits == 4) /* nearly always, and each request asks */
		return ((const uint8_t *)counts->cells)[cluster / 2] >> (cluster % 2 * 4) & 15;
	switch (counts->bits) {
	case 8:
		return ((const uint8_t *)counts->cells)[cluster];
	case 16:
		return ((const uint16_t *)counts->cells)[cluster];
	case 32:
		return ((const uint32_t *)counts->cells)[cluster];
	default:
		return ((const uint64_t *)counts->cells)[cluster];
	}
}

static inline uint64_t thin_cell_count(unsigned bits, uint64_t cell)
{
	return bits == 4 ? (uint64_t)(cell > 0) + (cell > 8) + (cell > 11) : cell >> bits / 2;
}

static inline uint64_t thin_counts_of(const struct thin_counts *counts, uint64_t cluster)
{
	return thin_cell_count(counts->bits, thin_cell(counts, cluster));
}

uint64_t thin_counts_low(const struct thin_counts *counts, uint64_t cluster); /* its other half */
uint64_t thin_counts_less(const struct thin_counts *counts, uint64_t cluster); /* 0 where one name is counted, or none */
unsigned thin_counts_bits(uint64_t largest); /* of cells for counts up to that */
uint64_t thin_counts_max(const struct thin_counts *counts); /* that its cells can say */
uint64_t thin_counts_memory(const struct thin_counts *counts); /* bytes */
int thin_counts_make(struct thin_counts *counts, uint64_t length, unsigned bits); /* all 0. -1: out of memory */
void thin_counts_free(struct thin_counts *counts);
int thin_counts_widen(struct thin_counts *counts, uint64_t largest); /* not live. -1: out of memory */
void thin_counts_put(struct thin_counts *counts, uint64_t cluster, uint64_t count, uint64_t low); /* both halves */
/* Its station, or what it has lost, stays where that can be: from 1 to 1, and from more to more. */
void thin_counts_set(struct thin_counts *counts, uint64_t cluster, uint64_t count);
void thin_counts_lose(struct thin_counts *counts, uint64_t cluster, int names); /* of a shared one: more "less", or not */
void thin_counts_set_next(const struct thin_counts *counts, uint64_t cluster, uint64_t count); /* in counts->next */
/* All of these, from an even one on; what they have lost is to be taken from a folded one's counts then. */
void thin_counts_copy_next(const struct thin_counts *counts, uint64_t first, uint64_t end);
/* [at, at + length) of all refcount blocks one after the other, as on disk; both divide by 32. */
void thin_counts_bytes(const struct thin *thin, const struct thin_counts *counts, uint64_t at, uint32_t length,
	uint8_t *bytes);

/* The counts are there. -1: out of memory. */
int thin_set_make(struct thin_set *set, struct thin_counts *counts, enum thin_station station);
bool thin_set_has(const struct thin_set *set, uint64_t cluster);
void thin_set_put(struct thin_set *set, uint64_t cluster); /* its count is 1, and no set has it */
bool thin_set_take(struct thin_set *set, uint64_t cluster); /* false: it wasn't there */
uint64_t thin_set_first(struct thin_set *set); /* the lowest, taken out; there is one */
void thin_set_move(struct thin_set *to, struct thin_set *from); /* all */

#endif
