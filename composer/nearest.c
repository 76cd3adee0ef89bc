// SPDX-License-Identifier: MIT
/* Distances between words, counted in letters added, dropped, changed or swapped. */
#include "nearest.h"

#include <stddef.h>
#include <string.h>

#define WORD_MAX 32

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment; both words are at most WORD_MAX long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	unsigned a_length = (unsigned)strlen(a), b_length = (unsigned)strlen(b);
	unsigned i, j;

	for (j = 0; j <= b_length; j++)
		last[j] = j;
	memcpy(before, last, sizeof(rows[0]));
	for (i = 1; i <= a_length; i++) {
		unsigned *free_row = before;

		row[0] = i;
		for (j = 1; j <= b_length; j++) {
			row[j] = least(least(last[j] + 1, row[j - 1] + 1),
				last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = free_row;
	}
	return last[b_length];
}

const char *nearest_word(const char *word, const char *const *candidates)
{
	const char *nearest = NULL;
	unsigned nearest_distance = 3;

	if (strlen(word) > WORD_MAX)
		return NULL;
	for (; *candidates; candidates++) {
		unsigned now;

		if (strlen(*candidates) > WORD_MAX)
			continue;
		now = distance(word, *candidates);
		if (now < nearest_distance && now < strlen(*candidates)) {
			nearest = *candidates;
			nearest_distance = now;
		}
	}
	return nearest;
}
