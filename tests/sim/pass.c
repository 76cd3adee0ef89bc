// SPDX-License-Identifier: MIT
/* Requests that were handed down: the driver carries them out, judges them and answers, without the engine. */
#include "perform.h"

#include <errno.h>
#include <string.h>

static struct passed { /* by tag */
	unsigned left;
	bool is_under_way, has_failed, has_ended;
	bool has_lost[IMAGES_MAX]; /* a flush of that leaf, of which the engine doesn't know yet */
} passed[TAGS];
static bool lost[IMAGES_MAX]; /* the driver believes no flush of that leaf any more */

/* What the driver would refuse, or a bug. */
static bool can_pass(unsigned tag, const struct sub_io *subs)
{
	const struct sub_io *sub;

	if (passed[tag].is_under_way)
		sim_fail("tag %u is handed down twice", tag);
	if (subs && random_one_in(5))
		return false;
	for (sub = subs; sub; sub = sub->next) {
		if (sub->kind == IO_RECORD)
			return false; /* the driver knows no labels */
		if (sub->kind == IO_WRITE_ZEROES && sub->flags & IO_FUA)
			return false;
	}
	return true;
}

bool pass_begin(unsigned tag, const struct sub_io *subs)
{
	const struct sub_io *sub;

	if (!can_pass(tag, subs))
		return false;
	passed[tag] = (struct passed){ .is_under_way = true };
	for (sub = subs; sub; sub = sub->next)
		passed[tag].left++;
	return true;
}

bool pass_has_ended(unsigned tag)
{
	return passed[tag].has_ended;
}

void pass_reset(void)
{
	memset(passed, 0, sizeof(passed));
	memset(lost, 0, sizeof(lost));
}

static void restart(unsigned tag)
{
	queue_enter(queue_of_tag(tag));
	engine_restart(backend.engine, tag % queue_depth());
	queue_leave();
}

void pass_fetched(unsigned tag)
{
	passed[tag].is_under_way = false;
	backend.fetch(tag);
	restart(tag);
}

/* As the driver judges flushes: by the first one of the leaf that has failed. */
static int passed_flush_judge(struct passed *request, const struct sub_io *sub, int result)
{
	unsigned place = sub->leaf->place;

	if (sub->kind != IO_FLUSH || result == -EAGAIN || result == -EINTR)
		return result;
	lost[place] |= result < 0;
	request->has_lost[place] |= lost[place];
	return lost[place] ? -EIO : 0;
}

static void passed_back(unsigned tag)
{
	unsigned place;

	totals.restarted++;
	for (place = 0; place < backend.tree->leaf_count; place++)
		if (passed[tag].has_lost[place])
			engine_flush_failed(backend.tree->leaves[place]);
	backend.fetch(tag);
	restart(tag);
}

void pass_part_ended(const struct pending *each, int result)
{
	struct passed *request = &passed[each->tag];
	const struct request *whole = &backend.engine->ios[each->tag].request;
	int full = has_bytes(each->sub) ? (int)each->sub->length : 0;

	request->has_failed |= passed_flush_judge(request, each->sub, result) != full;
	if (--request->left)
		return;
	request->is_under_way = false;
	if (request->has_failed) {
		passed_back(each->tag);
		return;
	}
	request->has_ended = true;
	backend.passed(each->tag, whole->data.home == DATA_REQUEST ? (int)whole->length : 0);
}
