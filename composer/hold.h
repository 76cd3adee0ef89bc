/* SPDX-License-Identifier: MIT */
/*
 * Holds: which requests on one node must keep apart, in order of arrival.
 *
 * An entry conflicts with every earlier one that overlaps it, unless both are shared. One that
 * conflicts waits, and keeps later ones that overlap it waiting too, so nobody starves. The engine
 * has one list for each node with a hold(); no allocation, no locks, one thread.
 *
 * A list counts its entries by where they are, so that one which has its place to itself, as nearly
 * all have, is compared with nobody.
 */
#ifndef COMPOSER_HOLD_H
#define COMPOSER_HOLD_H

#include "target.h"

struct hold_entry {
	struct hold_entry *next, *previous;
	struct range range;
	enum hold mode; /* HOLD_NONE: not in any list */
	bool waiting;
};

/* Places of a list: places lie side by side, and every HOLD_PLACES-th counts as the same. */
#define HOLD_PLACE_BYTES 65536
#define HOLD_PLACES 256

struct hold_list { /* all zeroes is an empty one */
	struct hold_entry *first, *last;
	unsigned waiting; /* entries that wait */
	unsigned wide;    /* entries that don't lie in one place */
	uint16_t at[HOLD_PLACES];
};

/* Adds the entry, whose mode and range are set. True: granted. False: it waits. */
bool hold_take(struct hold_list *list, struct hold_entry *entry);

/* Puts the other one in its place, with what it holds or waits for. */
void hold_replace(struct hold_list *list, struct hold_entry *entry, struct hold_entry *by);

/* Removes the entry; calls granted() for each waiting one that may go on now. */
void hold_release(struct hold_list *list, struct hold_entry *entry,
	void (*granted)(void *context, struct hold_entry *entry), void *context);

#endif
