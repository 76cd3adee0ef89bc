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

bool hold_take(struct hold_list *list, struct hold_entry *entry)
{
	entry->next = NULL;
	entry->previous = list->last;
	if (list->last)
		list->last->next = entry;
	else
		list->first = entry;
	list->last = entry;
	entry->waiting = is_kept_back(list, entry);
	return !entry->waiting;
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
	for (; later; later = later->next) {
		if (!later->waiting || is_kept_back(list, later))
			continue;
		later->waiting = false;
		granted(context, later);
	}
}
