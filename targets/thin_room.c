// SPDX-License-Identifier: MIT
/*
 * thin's room: what may still be allocated in what is below, and how fast that shrinks. Notices, each
 * once until there is room again:
 *
 *   low_water_mark      less is left than the document's "low_water_mark"
 *   waiting_for_space   with "when_full": "queue", a request waits for room
 *   space_again         and one has found it
 *   no_space            a request has failed with ENOSPC
 *   store_grew          the child is larger than it was, and what is new is used
 *
 * Who waits holds nothing (plan_wait()), so that reads and writes of what is allocated go on. It is
 * begun again as soon as something has been freed here, and every second, since what is below may have
 * been given room (a file system that was full): no one tells us. When nobody has found room for
 * no_space_timeout, all who wait get ENOSPC, and whoever comes then, at once, until one has found some.
 */
#include "thin.h"

#include "notice.h"

#include <errno.h>

#define WINDOW_NS UINT64_C(10000000000)
#define RETRY_NS UINT64_C(1000000000)

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

	return (count_of(&thin->clusters) - count_of(&thin->used) + kept) << thin->cluster_bits;
}

/* The next generation's counts are as long as those of now were when it was begun: until it is there, no more. */
bool thin_grew(struct node *node, unsigned place)
{
	struct thin *thin = thin_of(node);
	uint64_t clusters = node->children[THIN_DATA]->limits.size >> thin->cluster_bits;
	uint64_t entries = qcow2_block_entries(&thin->header);

	if (place != THIN_DATA)
		return true; /* a data file has all of the device already */
	if (thin->next)
		return false;
	if (clusters > thin->clusters_max)
		clusters = thin->clusters_max;
	if (clusters > thin->clusters) {
		__atomic_store_n(&thin->clusters, clusters, __ATOMIC_RELAXED);
		thin->block_count = (clusters + entries - 1) / entries;
		thin->is_exhausted = false;
	}
	notice_raise(node, "store_grew", "available", thin_room(thin));
	return true;
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
	if (thin->rate || thin->waiting_count)
		plan_wake(plan); /* to forget it in time; who waits may try */
	if (room < mark && !thin->is_low)
		notice_raise(node, "low_water_mark", "available", room);
	/* It comes and goes a little with each flush: that is no news. */
	thin->is_low = room < mark || (thin->is_low && room < mark + mark / 8);
	thin->is_full &= room < THIN_RESERVE_EXTRA * thin_cluster(thin);
}

/* A request has failed for want of it. */
static void room_none(struct node *node)
{
	struct thin *thin = thin_of(node);

	thin->no_space++;
	if (!thin->is_full)
		notice_raise(node, "no_space", "available", thin_room(thin));
	thin->is_full = true;
}

/* What a request could have now, or once it has flushed: not what somebody's flush or the child still has. */
static uint64_t room_at_hand(const struct thin *thin)
{
	return thin_room(thin) - ((thin->flushing.count + thin->punching.count) << thin->cluster_bits);
}

static void wait_for_room(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);

	if (thin->waiting_count == 0 && !thin->full_at)
		notice_raise(node, "waiting_for_space", "available", thin_room(thin));
	__atomic_store_n(&thin->waiting_count, thin->waiting_count + 1, __ATOMIC_RELAXED);
	thin->room_missed = room_at_hand(thin);
	plan_wake(plan);
	plan_wait(plan, -ENOSPC);
}

void thin_room_end(struct node *node, struct plan *plan, int result)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	if (result == -ENOSPC && thin->queues && !thin->has_given_up && !io->flatten && !io->merge) {
		wait_for_room(node, plan);
		return;
	}
	if (result == -ENOSPC)
		room_none(node);
	plan_end(plan, result);
}

void thin_room_found(struct node *node)
{
	struct thin *thin = thin_of(node);

	if (!thin->full_at)
		return;
	notice_raise(node, "space_again", "available", thin_room(thin));
	thin->full_at = 0;
	thin->has_given_up = false;
}

bool thin_room_tries(struct thin *thin, uint64_t now, uint64_t *again)
{
	uint64_t end;

	if (!thin->waiting_count)
		return false;
	now += now == 0; /* 0 is no time */
	if (!thin->full_at)
		thin->full_at = thin->tried_at = now;
	end = thin->timeout < UINT64_MAX - thin->full_at ? thin->full_at + thin->timeout : UINT64_MAX;
	thin->has_given_up |= now >= end;
	if (thin->has_given_up || room_at_hand(thin) > thin->room_missed ||
		now - thin->tried_at >= RETRY_NS) {
		thin->tried_at = now;
		return true;
	}
	if (*again > thin->tried_at + RETRY_NS)
		*again = thin->tried_at + RETRY_NS;
	if (*again > end)
		*again = end;
	return false;
}

void thin_room_go_on(struct thin *thin, struct plan *plan)
{
	__atomic_store_n(&thin->waiting_count, 0, __ATOMIC_RELAXED);
	plan_go_on(plan);
	plan_end(plan, 0);
}
