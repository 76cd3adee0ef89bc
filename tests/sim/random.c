// SPDX-License-Identifier: MIT
/* The one source of chance: xorshift64*. */
#include "sim.h"

static uint64_t state;

void random_start(uint64_t seed)
{
	unsigned i;

	state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (i = 0; i < 8; i++)
		(void)random_below(2);
}

uint32_t random_below(uint32_t limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)(((state * UINT64_C(0x2545f4914f6cdd1d)) >> 32) * limit >> 32);
}

bool random_one_in(uint32_t n)
{
	return n != 0 && random_below(n) == 0;
}
