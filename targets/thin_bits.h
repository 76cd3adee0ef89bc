/* SPDX-License-Identifier: MIT */
/*
 * Sets of clusters, by their numbers, and the plain words that such a set is kept in.
 */
#ifndef TARGETS_THIN_BITS_H
#define TARGETS_THIN_BITS_H

#include <stdbool.h>
#include <stdint.h>

struct thin_bits {
	uint64_t *words;
	uint64_t count; /* bits that are set */
	uint64_t low, high; /* they lie within [low, high) */
};

static inline bool thin_bit(const uint64_t *words, uint64_t bit)
{
	return words[bit / 64] >> (bit % 64) & 1;
}

static inline void thin_bit_set(uint64_t *words, uint64_t bit, bool value)
{
	if (value)
		words[bit / 64] |= UINT64_C(1) << (bit % 64);
	else
		words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

int thin_bits_make(struct thin_bits *bits, uint64_t count);
void thin_bits_put(struct thin_bits *bits, uint64_t bit);
bool thin_bits_take(struct thin_bits *bits, uint64_t bit);
uint64_t thin_bits_first(struct thin_bits *bits); /* the lowest, taken out; there is one */
void thin_bits_move(struct thin_bits *to, struct thin_bits *from); /* all */

#endif
