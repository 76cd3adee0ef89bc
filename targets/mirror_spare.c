// SPDX-License-Identifier: MIT
/*
 * Legs that stand by. When a leg fails, a spare is taken in for it: it is brought up to date as any stale leg
 * is, from nothing, and the leg that failed is the spare from then on, though one that can't be used
 * before it is added again. Who stands by is on the labels (composer/assemble_spares.c).
 *
 * The order is that of any leg that is taken in, with two steps more. Before the first byte is copied
 * - pages say, durably, that all that was ever written has changed: that is what it misses;
 * - the superblock says that the leg's misses are marked from now on, and those of the leg whose place it
 *   takes no longer are. Until that is durable no mark of that leg's is dropped.
 * A crash before that leaves a leg that isn't in step, of which everything is copied; after it, one that
 * goes on with what is still marked. Where the labels stop half-way, one of the two legs is used, and what
 * the superblock says of it is so.
 */
#include "mirror.h"

#include "notice.h"

#include <json-c/json_object.h>

#define SUPER_PAUSE UINT64_C(1000000000) /* ns */

void mirror_take_in(struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;
	struct node *child = node->children[place];
	struct leg *leg = &mirror->legs[place];
	struct work *work = &mirror->work;

	leg->state = LEG_REBUILDING;
	leg->was_used = true;
	leg->read_errors = leg->repaired = 0;
	leg->is_slow = false;
	__atomic_store_n(&child->rebuilding, true, __ATOMIC_RELAXED);
	__atomic_store_n(&child->failed, false, __ATOMIC_RELAXED);
	if (!mirror->super.tracked[place]) {
		mirror_mark_all_changed(mirror, NULL);
		work->wants_pages = true;
	}
	work->wants_super = true;
	work->wants_record = true; /* its own label too calls it stale before others say that it no longer is */
	work->pass++;
	mirror_find_todo(node);
	mirror_tell_resync(node, place);
}

unsigned mirror_standing_by(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_SPARE && !mirror->legs[i].replaces)
			break;
	return i;
}

static unsigned find_failed(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_FAILED && !node->children[i]->spare)
			break;
	return i;
}

void mirror_exchange(struct node *node, unsigned spare, unsigned other)
{
	struct work *work = &((struct mirror *)node->state)->work;

	__atomic_store_n(&node->children[other]->spare, true, __ATOMIC_RELAXED);
	__atomic_store_n(&node->children[other]->rebuilding, false, __ATOMIC_RELAXED);
	__atomic_store_n(&node->children[spare]->spare, false, __ATOMIC_RELAXED);
	work->wants_record = work->wants_super = true;
}

/* One that is on its way into another's place goes into that of a leg that has failed, where there is no other. */
void mirror_take_spares(struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned failed, spare;

	while (node->spare_count) {
		failed = find_failed(node);
		spare = mirror_standing_by(node);
		if (failed < node->child_count && spare == node->child_count) {
			spare = mirror_replacement(node);
			if (spare < node->child_count)
				mirror_give_up_replacing(node, spare);
		}
		if (failed == node->child_count || spare == node->child_count)
			return;
		mirror_exchange(node, spare, failed);
		notice_raise(node->children[spare], "spare_taken", NULL, 0);
		if (mirror->legs[spare].state != LEG_SPARE)
			continue; /* it is used already */
		mirror->super.tracked[spare] = 0; /* it is, by now; but that is for sure */
		mirror_take_in(node, spare);
	}
}

void mirror_super_fill(struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned i;

	mirror->super.primary = mirror->primary;
	for (i = 0; i < node->child_count; i++)
		mirror->super.replaces[i] = mirror->legs[i].replaces;
}

static void super_write(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	unsigned i;

	((struct mirror_io *)plan->io_state)->phase = 1;
	mirror->super.sequence++;
	mirror_super_fill(node);
	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_is_behind(mirror, i))
			; /* as a leg that is away: it doesn't get this one */
		else if (mirror_leg_is_used(mirror, i))
			mirror->super.tracked[i] = mirror->super.sequence;
		else if (node->children[i]->spare)
			mirror->super.tracked[i] = 0;
	mirror_super_encode(&mirror->super, plan->scratch);
	mirror_write_everywhere(node, plan, 0, PAGE_BYTES);
}

/* Marks first: with the superblock a leg is in step, and they are what it misses. */
void mirror_super_map(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;

	mirror->work.super_pass = mirror->work.pass;
	plan_wake(plan); /* what stands below a spare has waited */
	if (!mirror->work.wants_pages) {
		super_write(node, plan);
		return;
	}
	mirror_plan_pages(plan, 0, mirror->page_count - 1);
	plan_ask(plan);
}

void mirror_super_resume(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	bool is_news = mirror->work.super_pass != mirror->work.pass;
	int result;

	if (mirror_judge(node, plan, &result))
		return;
	if (io->phase == 0 && result == 0 && !is_news) {
		mirror->work.wants_pages = false;
		super_write(node, plan);
		return;
	}
	mirror->work.is_joining = false;
	mirror->work.wants_super = result < 0 || is_news;
	if (result < 0)
		mirror->work.super_after = plan->now + SUPER_PAUSE;
	plan_end(plan, result);
}

void mirror_spare_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	unsigned i, spares = 0;

	for (i = 0; i < node->child_count; i++)
		spares += mirror->legs[i].state == LEG_SPARE && !mirror->legs[i].replaces;
	if (node->spare_count)
		json_object_object_add(out, "spares", json_object_new_uint64(spares));
}
