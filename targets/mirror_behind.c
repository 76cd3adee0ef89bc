// SPDX-License-Identifier: MIT
/*
 * Writes that a slow leg gets later ("write_behind"). Nothing is kept in memory and nothing new on the legs: a leg
 * that is behind is one that is being brought up to date, and the bitmap says what it misses.
 *
 * A leg in sync that is slow (mirror_slow.c) is put behind while the mirror is written. What is durable, in this
 * order, and what a crash before it leaves:
 * 1. all labels, its own too, call it stale (LEG_LEAVING while they are written). Until then it gets every write and every
 *    flush, so that nobody has to wait for that record, which is the background's. Before: it is
 *    in sync or not, as the labels that are found say, and has all that was acknowledged;
 * 2. for each write, before its first byte is sent: pages that say "dirty" on the other legs, as for any write. From
 *    then on the leg misses what is dirty or changed, and nothing else: it is in step by its superblock, which was the
 *    last one when it was put behind. It gets no page and no superblock meanwhile, as a leg that is away;
 * 3. the write, which goes to the other legs, and is acknowledged. Its regions are to be copied (TODO), and so not said
 *    clean. A crash: the leg is stale by all labels. It never serves alone or stands in for the primary; copying goes on with
 *    what is dirty or changed;
 * 4. bytes that were copied, flushed on all legs, and pages that say "clean". The same, with less to copy;
 * 5. when it is to catch up: it gets all writes again, and the newest superblock, if that isn't its own. The same;
 * 6. when nothing is left to copy: its join, as any leg's (mirror_work.c), with a flush, all pages, its own label and the others'.
 * So every crash leaves what one leaves of a leg that was added again. A clean stop doesn't wait: the next start goes on.
 *
 * What users get: while a leg is behind, it is no copy, nor from the moment on that its record is begun. Where the others
 * fail meanwhile, the last one in sync answers with its errors, as it does while any leg is rebuilt.
 *
 * Who fails while the record of 1 is under way:
 * - that leg: no label may say so yet. It is recorded as any that fails, before what it misses is acknowledged;
 * - another one, by the record or by anything else: the same, as long as one in sync is left;
 * - the last one in sync, by the record: its label may say so or not. The leg isn't behind, gets all writes and flushes,
 *   and the record is begun again a second later. Not before all legs in use have written it anything is missed.
 * A failure's record is waited for by all who are under way (`unrecorded`), and a plan has room for one of each leg. This
 * one is none of those, or a leg that is put behind and fails later would be two.
 *
 * A region that is copied is copied again if a write is put behind where that has been already; one that is written rests until
 * it has been quiet for a while, since a piece under way keeps writes and reads of its range waiting, for a slow leg. At most
 * two pieces are under way on it, each of which it has answered before the next one comes.
 *
 * The window: as long as regions behind are fewer bytes than that, new ones may come; else writes elsewhere go to the leg too, and
 * wait for it. Nobody is put behind who has mirrors of its own (a crash would have all of it copied), while any leg is
 * rebuilt or replaced or legs are compared, or where no quick leg is in sync. It catches up when it is quick again, when
 * one of those begins, or when the mirror isn't written and nothing is behind: that is no time to be without a copy.
 * After that it isn't put behind for a minute, so that labels are written twice a minute at most.
 */
#include "mirror.h"

#include "notice.h"

#include <json-c/json_object.h>

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define IDLE (10 * SECOND) /* without a write: then a leg that misses nothing joins, slow or not */
#define PAUSE (60 * SECOND) /* between the end of one time behind and the next */
#define QUIET_MS 2000u /* after its last write a region is copied */

int mirror_behind_parse(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	const struct json *place = json_get(node->json, "write_behind");

	mirror->behind.window = json_get_size(node->json, "write_behind", 0);
	if (mirror->behind.window && !mirror->slow.limit)
		return json_err(place, err,
			"mirror: \"write_behind\" needs \"slow_after_ms\", which says what leg is slow");
	return 0;
}

bool mirror_leg_is_behind(const struct mirror *mirror, unsigned place)
{
	return mirror->legs[place].is_behind;
}

bool mirror_leg_joins(const struct mirror *mirror, unsigned place)
{
	const struct leg *leg = &mirror->legs[place];

	return leg->state == LEG_JOINING || (leg->state == LEG_REBUILDING && !leg->is_behind);
}

/* Whether anybody may miss writes, as things are. */
static bool may_lag(const struct node *node)
{
	const struct mirror *mirror = node->state;
	bool has_quick = false;
	unsigned i;

	if (mirror->scrub.state == SCRUB_RUNNING || mirror_replacement(node) < node->child_count)
		return false;
	for (i = 0; i < node->child_count; i++) {
		if (mirror_leg_joins(mirror, i))
			return false;
		has_quick |= mirror->legs[i].state == LEG_IN_SYNC && !mirror->legs[i].is_slow;
	}
	return has_quick;
}

static bool has_leg_behind(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_is_behind(mirror, i))
			return true;
	return false;
}

/* Whether the window has room for those regions. What the legs don't call dirty is not put behind: a discard of nothing. */
static bool has_room(const struct mirror *mirror, unsigned first, unsigned last)
{
	unsigned i, regions = mirror->behind.count;
	uint64_t most = mirror->behind.window >> mirror->region_shift;

	for (i = first; i <= last; i++) {
		if (!(mirror->regions[i].bits & REGION_DIRTY))
			return false;
		regions += !mirror->regions[i].is_behind;
	}
	return regions <= (most ? most : 1);
}

/* What is copied of a region so far doesn't count any more, if the write begins before it ends. */
static void copy_again(struct mirror *mirror, unsigned region, uint64_t offset)
{
	struct work *work = &mirror->work;
	unsigned i;

	for (i = 0; i < COPY_SLOTS; i++) {
		struct copy_slot *slot = &work->slots[i];

		if (slot->is_begun && slot->region == region &&
			offset < ((uint64_t)region << mirror->region_shift) + slot->done)
			slot->pass = work->pass - 1;
	}
}

bool mirror_put_behind(struct node *node, const struct request *request)
{
	struct mirror *mirror = node->state;
	unsigned first = (unsigned)(request->offset >> mirror->region_shift), i;
	unsigned last = (unsigned)((request->offset + request->length - 1) >> mirror->region_shift);

	mirror->behind.writing++;
	mirror->behind.writes++;
	if (!mirror->behind.window)
		return false;
	if (!has_leg_behind(node) || !may_lag(node) || !has_room(mirror, first, last))
		return false;
	for (i = first; i <= last; i++) {
		struct region *region = &mirror->regions[i];

		mirror_set_bits(mirror, i, REGION_TODO, REGION_COPIED);
		if (!region->is_behind)
			__atomic_store_n(&mirror->behind.count, mirror->behind.count + 1, __ATOMIC_RELAXED);
		region->is_behind = true;
		copy_again(mirror, i, request->offset);
	}
	__atomic_store_n(&mirror->behind.missed, mirror->behind.missed + 1, __ATOMIC_RELAXED);
	mirror->work.is_urgent = true;
	return true;
}

bool mirror_rests(const struct mirror *mirror, unsigned region, uint64_t now)
{
	const struct region *state = &mirror->regions[region];
	bool is_quiet = !state->writers && !state->is_recent && (uint32_t)(now / MS) - state->stamp >= QUIET_MS;
	unsigned i;

	if (!state->is_behind || is_quiet)
		return false;
	for (i = 0; i < LEGS_MAX; i++)
		if (mirror->legs[i].is_behind)
			return true;
	return false;
}

/* Who is read where legs may differ goes on being that, until they don't. */
static bool may_begin(const struct node *node, unsigned place, uint64_t now)
{
	const struct mirror *mirror = node->state;
	const struct leg *leg = &mirror->legs[place];
	const struct work *work = &mirror->work;
	bool has_news = work->is_joining || work->is_recording || work->wants_super || work->wants_record ||
		mirror->unrecorded;

	return leg->state == LEG_IN_SYNC && leg->is_slow && !leg->has_mirror && !has_news && now >= leg->behind_after &&
		mirror->behind.active && now - mirror->behind.active < SECOND &&
		(mirror->primary != place || mirror->todo_count == 0);
}

static void begin(struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;
	struct leg *leg = &mirror->legs[place];
	unsigned i = 0;

	while (i == place || mirror->legs[i].state != LEG_IN_SYNC)
		i++; /* may_lag(): there is one */
	leg->state = LEG_LEAVING;
	__atomic_store_n(&node->children[place]->rebuilding, true, __ATOMIC_RELAXED);
	mirror->work.wants_record = true;
	if (mirror->primary != place)
		return;
	mirror->primary = i;
	mirror->work.wants_super = true; /* which says who is that now */
}

uint32_t mirror_leaving(const struct node *node)
{
	const struct mirror *mirror = node->state;
	uint32_t leaving = 0;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		leaving |= (uint32_t)(mirror->legs[i].state == LEG_LEAVING) << i;
	return leaving;
}

/* Who has failed meanwhile is not leaving any more. */
void mirror_left(struct node *node, uint32_t leaving, int result, uint64_t now)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		struct leg *leg = &mirror->legs[i];

		if (!(leaving & 1u << i) || leg->state != LEG_LEAVING)
			continue;
		if (result < 0) {
			leg->behind_after = now + SECOND; /* then it is tried again */
			continue;
		}
		leg->state = LEG_REBUILDING;
		__atomic_store_n(&leg->is_behind, true, __ATOMIC_RELAXED);
		mirror->behind.active = now; /* its own label was on its way to it, and who writes waited for the leg */
		notice_raise(node->children[i], "leg_behind", NULL, 0);
	}
}

/* The record has failed before, or is to be begun yet. */
static void tell_again(struct mirror *mirror, const struct leg *leg, uint64_t now, uint64_t *again)
{
	if (mirror->work.is_recording)
		return;
	mirror->work.wants_record |= now >= leg->behind_after;
	if (now < leg->behind_after && leg->behind_after < *again)
		*again = leg->behind_after;
}

static void catch_up(struct node *node, unsigned place, uint64_t now)
{
	struct mirror *mirror = node->state;
	struct leg *leg = &mirror->legs[place];

	__atomic_store_n(&leg->is_behind, false, __ATOMIC_RELAXED);
	leg->catches_up = true;
	leg->behind_after = now + PAUSE;
	mirror->work.wants_super |= mirror->super.tracked[place] != mirror->super.sequence;
	__atomic_store_n(&mirror->work.total, mirror->todo_count, __ATOMIC_RELAXED);
}

void mirror_behind_work(struct node *node, uint64_t now, uint64_t *again)
{
	struct mirror *mirror = node->state;
	struct behind *behind = &mirror->behind;
	bool is_idle;
	unsigned i;

	if (!behind->window)
		return;
	if (behind->writes != behind->seen || behind->writing)
		behind->active = now;
	behind->seen = behind->writes;
	is_idle = mirror->todo_count == 0 && now >= behind->active + IDLE;
	for (i = 0; i < node->child_count; i++) {
		struct leg *leg = &mirror->legs[i];

		if (leg->state == LEG_LEAVING) {
			tell_again(mirror, leg, now, again);
		} else if (!leg->is_behind) {
			if (may_begin(node, i, now) && may_lag(node))
				begin(node, i);
		} else if (!leg->is_slow || is_idle || !may_lag(node)) {
			catch_up(node, i, now);
		} else if (now < behind->active + IDLE && behind->active + IDLE < *again) {
			*again = behind->active + IDLE;
		}
	}
}

void mirror_behind_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	uint64_t count = __atomic_load_n(&mirror->behind.count, __ATOMIC_RELAXED), least = mirror->region_size;
	struct json_object *behind;

	if (!mirror->behind.window)
		return;
	behind = json_object_new_object();
	json_object_object_add(behind, "bytes", json_object_new_uint64(count << mirror->region_shift));
	json_object_object_add(behind, "window",
		json_object_new_uint64(mirror->behind.window < least ? least : mirror->behind.window));
	json_object_object_add(behind, "writes",
		json_object_new_uint64(__atomic_load_n(&mirror->behind.missed, __ATOMIC_RELAXED)));
	json_object_object_add(out, "behind", behind);
}
