// SPDX-License-Identifier: MIT
/* Holds, in order of arrival. It knows no request and no target. */
#include "hold.h"

static bool overlaps(const struct range *a, const struct range *b)
{
	return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* Whether an entry that came earlier keeps this one back. */
static bool is_kept_back(const struct hold_list *list, const struct hold_entry *entry)
{
	const struct hold_entry *earlier;

	for (earlier = list->first; earlier != entry; earlier = earlier->next)
		if ((earlier->mode == HOLD_EXCLUSIVE || entry->mode == HOLD_EXCLUSIVE) &&
			overlaps(&earlier->range, &entry->range))
			return true;
	return false;
}

/* Where the entry is counted: by its place, or as a wide one (and an empty range may count as that). */
static bool is_wide(const struct range *range)
{
	return range->offset / HOLD_PLACE_BYTES != (range->offset + range->length - 1) / HOLD_PLACE_BYTES;
}

static uint16_t *place_of(struct hold_list *list, const struct range *range)
{
	return &list->at[range->offset / HOLD_PLACE_BYTES % HOLD_PLACES];
}

/* Counts a new entry. Whether those that came earlier have to be looked at for it. */
static bool count_in(struct hold_list *list, const struct hold_entry *entry)
{
	if (is_wide(&entry->range)) {
		list->wide++;
		return true;
	}
	return (*place_of(list, &entry->range))++ || list->wide;
}

static void count_out(struct hold_list *list, const struct hold_entry *entry)
{
	list->waiting -= entry->waiting;
	if (is_wide(&entry->range))
		list->wide--;
	else
		(*place_of(list, &entry->range))--;
}

bool hold_take(struct hold_list *list, struct hold_entry *entry)
{
	bool compare = count_in(list, entry);

	entry->next = NULL;
	entry->previous = list->last;
	if (list->last)
		list->last->next = entry;
	else
		list->first = entry;
	list->last = entry;
	entry->waiting = compare && is_kept_back(list, entry);
	list->waiting += entry->waiting;
	return !entry->waiting;
}

void hold_replace(struct hold_list *list, struct hold_entry *entry, struct hold_entry *by)
{
	*by = *entry;
	if (entry->previous)
		entry->previous->next = by;
	else
		list->first = by;
	if (entry->next)
		entry->next->previous = by;
	else
		list->last = by;
	entry->mode = HOLD_NONE;
}

void hold_release(struct hold_list *list, struct hold_entry *entry,
	void (*granted)(void *context, struct hold_entry *entry), void *context)
{
	struct hold_entry *later = entry->next;

	if (entry->previous)
		entry->previous->next = entry->next;
	else
		list->first = entry->next;
	if (entry->next)
		entry->next->previous = entry->previous;
	else
		list->last = entry->previous;
	entry->mode = HOLD_NONE;
	count_out(list, entry);
	if (list->waiting == 0)
		return;
	for (; later; later = later->next) {
		if (!later->waiting || is_kept_back(list, later))
			continue;
		later->waiting = false;
		list->waiting--;
		granted(context, later);
	}
}
