// SPDX-License-Identifier: MIT
/*
 * What a mirror does in the background: says regions clean that are quiet, takes legs in that are up
 * to date, records what nobody waits for. Copying is mirror_copy.c's.
 */
#include "mirror.h"

#include "notice.h"

#define MS UINT64_C(1000000)
#define CLEAN_DELAY_MS 5000u /* a region is dirty for so long after its last write */
#define CLEAR_INTERVAL (1000 * MS) /* between two looks for such regions, and their one flush */

static bool stands_alone(const struct node *node)
{
	for (; node; node = node->parent)
		if (node->failed || (node->spare && !node->rebuilding))
			return true;
	return false;
}

static void sooner(uint64_t *again, uint64_t when)
{
	if (when < *again)
		*again = when;
}

static bool has_joining(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_joins(mirror, i))
			return true;
	return false;
}

static bool next_clear(struct mirror *mirror, uint64_t now, uint64_t *again)
{
	struct work *work = &mirror->work;

	if (work->is_clearing || (mirror->dirty_count == 0 && mirror->copied_count == 0))
		return false;
	sooner(again, work->next_clear);
	if (now < work->next_clear)
		return false;
	work->next_clear = now + CLEAR_INTERVAL;
	sooner(again, work->next_clear);
	return work->is_clearing = true;
}

/*
 * Where it can't be written no leg is brought up to date: it is tried again, but not all the time. Labels come first: it says
 * what follows from them (mirror_replace.c).
 */
static bool next_super(struct mirror *mirror, uint64_t now, uint64_t *again)
{
	struct work *work = &mirror->work;

	if (work->is_joining || work->is_recording || work->wants_record || !work->wants_super)
		return false;
	if (now < work->super_after) {
		sooner(again, work->super_after);
		return false;
	}
	return work->is_joining = true;
}

/* Takes the flag; true if it was free and wanted. */
static bool begin(bool *is_running, bool wanted)
{
	if (*is_running || !wanted)
		return false;
	return *is_running = true;
}

bool mirror_work(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct mirror *mirror = node->state;
	struct work *work = &mirror->work;
	bool may_join;

	*request = (struct request){ .kind = IO_SELF };
	if (stands_alone(node))
		return false;
	mirror_stop_replacing(node);
	mirror_take_spares(node);
	mirror_end_replacing(node);
	mirror_behind_work(node, now, again);
	may_join = mirror->todo_count == 0 && !work->wants_super && !work->wants_record &&
		!work->is_recording && mirror_copy_is_idle(mirror) && has_joining(node);
	if (begin(&work->is_recording, work->wants_record)) {
		request->flags = WORD_RECORD;
		work->wants_record = false; /* what comes later wants it once more */
	} else if (next_super(mirror, now, again)) {
		request->flags = WORD_SUPER;
		request->offset = SELF_RANGES + PAGES_MAX * PAGE_BYTES;
		request->length = PAGE_BYTES;
	} else if (begin(&work->is_repairing, work->repair_count > 0)) {
		request->flags = WORD_REPAIR;
		request->offset = work->repairs[0].offset;
		request->length = work->repairs[0].length;
	} else if (mirror_slow_next(node, now, request, again)) {
		; /* it is all set */
	} else if (begin(&work->is_joining, may_join)) {
		request->flags = WORD_JOIN;
	} else if (next_clear(mirror, now, again)) {
		request->flags = WORD_CLEAR;
	} else {
		return mirror_copy_next(node, now, request, again) ||
			mirror_scrub_next(node, now, request, again);
	}
	return true;
}

static void plan_flushes(struct node *node, struct plan *plan, enum leg_state last)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_is_used(mirror, i) && mirror->legs[i].state >= last)
			plan_add(plan, i, (struct request){ .kind = IO_FLUSH });
	plan_ask(plan);
}

static void clear_map(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	uint32_t now = (uint32_t)(plan->now / MS);
	bool any = false;
	unsigned i;

	for (i = 0; i < mirror->region_count; i++) {
		struct region *region = &mirror->regions[i];

		if (region->is_recent)
			region->stamp = now;
		region->is_recent = false;
		if (region->writers || region->bits & REGION_TODO ||
			!(region->bits & (REGION_DIRTY | REGION_COPIED)))
			continue;
		if (region->bits & REGION_DIRTY && now - region->stamp < CLEAN_DELAY_MS)
			continue;
		region->bits |= REGION_IDLE;
		any = true;
	}
	if (any)
		plan_flushes(node, plan, LEG_IN_SYNC);
	else
		mirror->work.is_clearing = false;
}

/* The flush has ended: what has been quiet since is said clean. */
static void clear_flushed(struct node *node, struct plan *plan, bool is_fine)
{
	struct mirror *mirror = node->state;
	unsigned i, first = PAGES_MAX, last = 0;

	plan_then(plan);
	for (i = 0; i < mirror->region_count; i++) {
		struct region *region = &mirror->regions[i];

		if (!(region->bits & REGION_IDLE))
			continue;
		region->bits &= (uint8_t)~REGION_IDLE;
		if (!is_fine)
			continue;
		region->bits |= REGION_SETTLED;
		if (first == PAGES_MAX)
			first = i / PAGE_REGIONS;
		last = i / PAGE_REGIONS;
	}
	if (first == PAGES_MAX)
		return;
	mirror_plan_pages(plan, first, last);
	plan_ask(plan);
}

static void clear_resume(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	int result = 0;

	if (io->phase == 0) {
		if (mirror_judge(node, plan, &result))
			return;
		io->phase = 1;
		clear_flushed(node, plan, result == 0);
		if (plan->ask)
			return;
	} else if (mirror_judge(node, plan, &result)) {
		return;
	}
	mirror->work.is_clearing = false;
	plan_end(plan, result);
}

static void join_map(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_joins(mirror, i)) {
			mirror->legs[i].state = LEG_JOINING; /* from here on flushes ask it too */
			plan_add(plan, i, (struct request){ .kind = IO_FLUSH });
		}
	mirror_plan_pages(plan, 0, mirror->page_count - 1);
	plan_ask(plan);
}

/*
 * All that was ever flushed is durable on them: the labels may say that they are in sync. Their own ones first: where others
 * know of a join that the leg itself doesn't, it looks like an older copy of itself, and nobody would vouch for the others.
 */
static void join_record(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		if (mirror->legs[i].state != LEG_JOINING)
			continue;
		__atomic_store_n(&node->children[i]->rebuilding, false, __ATOMIC_RELAXED);
		__atomic_store_n(&node->children[i]->spare, false, __ATOMIC_RELAXED);
		plan_add(plan, i, (struct request){ .kind = IO_RECORD });
	}
	plan_ask(plan);
}

static void join_resume(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	unsigned i, joining = 0;
	int result;

	if (mirror_judge(node, plan, &result))
		return;
	for (i = 0; i < node->child_count; i++)
		joining += mirror->legs[i].state == LEG_JOINING;
	if (io->phase < 2 && joining && result == 0) {
		if (io->phase++ == 0)
			join_record(node, plan);
		else
			mirror_record(node, plan);
		return;
	}
	for (i = 0; i < node->child_count; i++) {
		if (mirror->legs[i].state != LEG_JOINING)
			continue;
		if (result == 0 && mirror->todo_count == 0) {
			mirror->legs[i].state = LEG_IN_SYNC;
			notice_raise(node->children[i],
				mirror->legs[i].catches_up ? "leg_caught_up" : "resync_ended", NULL, 0);
			mirror->legs[i].catches_up = false;
		} else if (result < 0) /* the labels may say so or not: it takes a record to be sure */
			mirror->work.wants_record |= mirror_fail(node, i);
	}
	mirror->work.is_joining = false;
	plan_end(plan, result);
}

static void record_map(struct node *node, struct plan *plan)
{
	((struct mirror_io *)plan->io_state)->leaving = mirror_leaving(node);
	mirror_record(node, plan);
}

static void record_resume(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	int result;

	if (mirror_judge(node, plan, &result))
		return;
	mirror->work.is_recording = false;
	mirror_left(node, io->leaving, result, plan->now);
	plan_end(plan, result);
}

void mirror_work_map(struct node *node, const struct request *request, struct plan *plan)
{
	switch (request->flags & WORD_MASK) {
	case WORD_PAGE:
		mirror_page_map(node, request, plan);
		break;
	case WORD_SUPER:
		mirror_super_map(node, plan);
		break;
	case WORD_CLEAR:
		clear_map(node, plan);
		break;
	case WORD_COPY:
		mirror_copy_map(node, request, plan);
		break;
	case WORD_JOIN:
		join_map(node, plan);
		break;
	case WORD_RECORD:
		record_map(node, plan);
		break;
	case WORD_REPAIR:
		mirror_repair_map(node, plan);
		break;
	case WORD_PROBE:
		mirror_slow_map(node, plan);
		break;
	case WORD_SCRUB:
		mirror_scrub_map(node, request, plan);
		break;
	}
}

void mirror_work_resume(struct node *node, const struct request *request, struct plan *plan)
{
	switch (request->flags & WORD_MASK) {
	case WORD_PAGE:
		mirror_page_resume(node, request, plan);
		break;
	case WORD_SUPER:
		mirror_super_resume(node, plan);
		break;
	case WORD_CLEAR:
		clear_resume(node, plan);
		break;
	case WORD_COPY:
		mirror_copy_resume(node, request, plan);
		break;
	case WORD_JOIN:
		join_resume(node, plan);
		break;
	case WORD_RECORD:
		record_resume(node, plan);
		break;
	case WORD_REPAIR:
		mirror_repair_resume(node, request, plan);
		break;
	case WORD_PROBE:
		mirror_slow_resume(node, plan);
		break;
	case WORD_SCRUB:
		mirror_scrub_resume(node, request, plan);
		break;
	}
}
