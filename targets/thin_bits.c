// SPDX-License-Identifier: MIT
/* Sets of clusters, by bit: how many, and within what bounds the lowest is looked for. */
#include "thin.h"

#include <assert.h>
#include <stdlib.h>

int thin_bits_make(struct thin_bits *bits, uint64_t count)
{
	*bits = (struct thin_bits){ .words = calloc(count / 64 + 1, sizeof(uint64_t)) };
	return bits->words ? 0 : -1;
}

void thin_bits_put(struct thin_bits *bits, uint64_t bit)
{
	assert(!thin_bit(bits->words, bit));
	thin_bit_set(bits->words, bit, true);
	if (bits->count++ == 0) {
		bits->low = bit;
		bits->high = bit + 1;
	}
	if (bit < bits->low)
		bits->low = bit;
	if (bit >= bits->high)
		bits->high = bit + 1;
}

bool thin_bits_take(struct thin_bits *bits, uint64_t bit)
{
	if (!thin_bit(bits->words, bit))
		return false;
	thin_bit_set(bits->words, bit, false);
	bits->count--;
	return true;
}

/* The lowest one is taken out; there is one. */
uint64_t thin_bits_first(struct thin_bits *bits)
{
	assert(bits->count);
	while (!thin_bit(bits->words, bits->low))
		bits->low = bits->words[bits->low / 64] >> (bits->low % 64) ? bits->low + 1
									     : (bits->low | 63) + 1;
	thin_bits_take(bits, bits->low);
	return bits->low++;
}

void thin_bits_move(struct thin_bits *to, struct thin_bits *from)
{
	while (from->count)
		thin_bits_put(to, thin_bits_first(from));
}
