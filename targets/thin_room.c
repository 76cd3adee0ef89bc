// SPDX-License-Identifier: MIT
/*
 * thin's room: what may still be allocated in what is below, and how fast that shrinks. Two notices,
 * each once until there is room again:
 *
 *   low_water_mark   less is left than the document's "low_water_mark"
 *   no_space         a write has failed with ENOSPC
 */
#include "thin.h"

#include "notice.h"

#define WINDOW_NS UINT64_C(10000000000)

/* Counts are read by any thread, for status: they need not fit together to the last cluster. */
static uint64_t count_of(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_RELAXED);
}

uint64_t thin_room(const struct thin *thin)
{
	uint64_t kept = count_of(&thin->reserve.count) + count_of(&thin->freed.count) +
		count_of(&thin->punching.count) + count_of(&thin->flushing.count) +
		count_of(&thin->dropped.count);

	return (thin->clusters - count_of(&thin->used) + kept) << thin->cluster_bits;
}

/* The rate of one window stands until the next has ended. */
static void measure(struct thin *thin, uint64_t room, uint64_t now)
{
	uint64_t passed = now - thin->window_at, rate = 0;

	if (thin->window_at && passed < WINDOW_NS)
		return;
	if (thin->window_at && room < thin->window_room)
		rate = (thin->window_room - room) / (passed / 1000000) * 1000;
	__atomic_store_n(&thin->rate, rate, __ATOMIC_RELAXED);
	thin->window_at = now;
	thin->window_room = room;
}

void thin_room_forget(struct thin *thin, uint64_t now, uint64_t *again)
{
	if (!thin->rate)
		return;
	*again = thin->window_at + 2 * WINDOW_NS;
	if (now < *again)
		return;
	__atomic_store_n(&thin->rate, 0, __ATOMIC_RELAXED);
	thin->window_at = 0;
	*again = UINT64_MAX;
}

void thin_room_watch(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	uint64_t room = thin_room(thin), mark = thin->low_water_mark;

	if (plan->now)
		measure(thin, room, plan->now);
	if (thin->rate)
		plan_wake(plan); /* to forget it in time */
	if (room < mark && !thin->is_low)
		notice_raise(node, "low_water_mark", "available", room);
	/* It comes and goes a little with each flush: that is no news. */
	thin->is_low = room < mark || (thin->is_low && room < mark + mark / 8);
	thin->is_full &= room < THIN_RESERVE_EXTRA * thin_cluster(thin);
}

void thin_room_none(struct node *node)
{
	struct thin *thin = thin_of(node);

	thin->no_space++;
	if (!thin->is_full)
		notice_raise(node, "no_space", "available", thin_room(thin));
	thin->is_full = true;
}
