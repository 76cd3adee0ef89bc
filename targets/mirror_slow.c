// SPDX-License-Identifier: MIT
/*
 * Which legs answer slowly. While the device is in use, and once more for each leg after that, one leg
 * after the other is asked for a block in the background: what that takes is the same whether the reads from above are seen here or handed
 * down. A leg is slow when two such probes in a row have taken longer than slow_after_ms, or one as long
 * as both, be it under way still; and no longer so after four in a row that were quicker. A slow leg
 * is read last. It is written as ever, as it has to have everything, unless its mirror may put it behind (mirror_behind.c).
 *
 * One probe is under way at a time, in a place of its own among the work: a leg that hangs keeps it
 * from the other legs, and nothing else.
 */
#include "mirror.h"

#include "notice.h"

#include <json-c/json_object.h>

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)
#define INTERVAL_MAX (1000 * MS) /* between two probes */
#define LIMITS_PER_INTERVAL 20u /* or so many times the limit, if that is shorter */
#define SLOW_PROBES 2u
#define QUICK_PROBES 4u
#define STRIDE UINT64_C(2654435761) /* blocks: probes go all over the leg */

bool mirror_leg_is_slow(const struct mirror *mirror, unsigned place)
{
	return mirror->legs[place].state == LEG_IN_SYNC && mirror->legs[place].is_slow;
}

static void leg_is_slow(struct node *node, unsigned place)
{
	struct leg *leg = &((struct mirror *)node->state)->legs[place];

	leg->probes = 0;
	if (leg->is_slow)
		return;
	leg->is_slow = true;
	notice_raise(node->children[place], "leg_slow", "latency_ms",
		__atomic_load_n(&leg->latency, __ATOMIC_RELAXED) / MS);
}

static void leg_is_quick(struct node *node, unsigned place)
{
	struct leg *leg = &((struct mirror *)node->state)->legs[place];

	leg->probes = 0;
	if (!leg->is_slow)
		return;
	leg->is_slow = false;
	notice_raise(node->children[place], "leg_quick", "latency_ms",
		__atomic_load_n(&leg->latency, __ATOMIC_RELAXED) / MS);
}

/* A probe has taken that long, or is under way for as long. */
static void judge(struct node *node, unsigned place, uint64_t latency)
{
	struct mirror *mirror = node->state;
	struct leg *leg = &mirror->legs[place];
	bool is_slow = latency > mirror->slow.limit;

	__atomic_store_n(&leg->latency, latency, __ATOMIC_RELAXED);
	if (latency >= SLOW_PROBES * mirror->slow.limit)
		leg_is_slow(node, place);
	else if (is_slow == leg->is_slow)
		leg->probes = 0; /* nothing new */
	else if (++leg->probes >= (is_slow ? SLOW_PROBES : QUICK_PROBES))
		(is_slow ? leg_is_slow : leg_is_quick)(node, place);
}

/* Who is behind is asked too: whether it still has to be. */
static bool is_asked(const struct mirror *mirror, unsigned place)
{
	const struct leg *leg = &mirror->legs[place];

	return leg->state == LEG_IN_SYNC || leg->state == LEG_LEAVING || leg->is_behind;
}

/* The next leg after the last one that was asked; there is one always. */
static unsigned next_leg(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned place = mirror->slow.place;

	do
		place = (place + 1) % node->child_count;
	while (!is_asked(mirror, place) && place != mirror->slow.place);
	return place;
}

/* The probe under way: it may have taken too long already. */
static void watch(struct node *node, uint64_t now, uint64_t *again)
{
	struct mirror *mirror = node->state;
	uint64_t late = mirror->slow.begun + SLOW_PROBES * mirror->slow.limit;

	if (mirror->legs[mirror->slow.place].is_slow)
		return; /* its end will tell more */
	if (now >= late)
		judge(node, mirror->slow.place, now - mirror->slow.begun);
	else if (late < *again)
		*again = late;
}

bool mirror_slow_next(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct mirror *mirror = node->state;
	struct slow *slow = &mirror->slow;
	uint64_t interval = LIMITS_PER_INTERVAL * slow->limit;

	if (!slow->limit)
		return false;
	if (slow->is_busy) {
		watch(node, now, again);
		return false;
	}
	if (slow->requests != mirror->work.requests)
		slow->idle = 0;
	slow->is_asleep = slow->idle == node->child_count; /* the next request wakes us */
	if (slow->is_asleep)
		return false;
	if (now < slow->next) {
		*again = slow->next < *again ? slow->next : *again;
		return false;
	}
	slow->requests = mirror->work.requests;
	slow->idle++;
	slow->next = now + (interval < INTERVAL_MAX ? interval : INTERVAL_MAX);
	slow->place = next_leg(node);
	slow->begun = now;
	slow->is_busy = true;
	request->flags = WORD_PROBE;
	return true;
}

void mirror_slow_map(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	uint32_t block = node->limits.logical_block_size;
	uint64_t turn = mirror->slow.turn++;

	plan_scratch(plan, IO_READ, 0, mirror->slow.place,
		MIRROR_FRONT + turn * STRIDE % (mirror->size / block) * block, 0, block);
	plan_ask(plan);
}

/* A block that can't be read is another's to mend, as any that is read: it says nothing of time. */
void mirror_slow_resume(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	const struct op *op = &plan->ops[0];
	struct slow *slow = &mirror->slow;

	slow->is_busy = false;
	if (op->result == 0)
		judge(node, slow->place, plan->now - slow->begun);
	else if (mirror->legs[op->child].state == LEG_IN_SYNC)
		mirror_note_repair(mirror, op->child, op->request.offset - MIRROR_FRONT,
			op->request.length);
	plan_end(plan, 0);
}

void mirror_slow_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	struct json_object *latencies;
	unsigned i;

	if (!mirror->slow.limit)
		return;
	latencies = json_object_new_array();
	for (i = 0; i < node->child_count; i++)
		json_object_array_add(latencies,
			json_object_new_uint64(
				__atomic_load_n(&mirror->legs[i].latency, __ATOMIC_RELAXED) /
				US));
	json_object_object_add(out, "latency_us", latencies);
}
