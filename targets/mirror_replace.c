// SPDX-License-Identifier: MIT
/*
 * A leg is replaced: a spare is brought up to date while the leg whose place it is to take goes on serving and
 * being written, and only then that one is let go. It stands by no more until it is added again.
 *
 * All that time labels call the one a spare and the other in sync. What is to become of them is in the
 * superblock (mirror_bitmap.c), so that a replacement goes on at the next start. What is durable, in this order, and
 * what a crash or power cut before it leaves:
 * 1. the spare's own label, and all others, call it a spare. Before: nothing has happened, both are as they were;
 * 2. pages that say that all that was ever written has changed. The same;
 * 3. the superblock, which says who replaces whom, and that the spare is in step. Where one leg in sync
 *    has it, the newest one counts: it goes on, from nothing if the spare doesn't have it yet;
 * 4. bytes, flushed, and pages that they need not be copied again. It goes on with what is marked. A leg
 *    of several leaves begins again: all of them are a spare's by their labels, which don't tell whether
 *    one was put back, or failed in a mirror of its own;
 * 5. labels that call the spare in sync (mirror_work.c, join). As long as one doesn't, and is not known to be
 *    old, it goes on; else there is one leg more in sync than the document wants, and the
 *    superblock says which one is to go;
 * 6. labels that call the other leg a spare: those of all but itself, before any write that it misses is acknowledged.
 *    Where one does it is not in sync; the next start has seen that it was replaced;
 * 7. the superblock, which says that it was replaced, and that what it misses isn't marked.
 * So the old leg serves until the new one has everything, and from 5 on either could.
 *
 * Who fails meanwhile: the old leg, then the spare takes its place as any would (mirror_spare.c), and goes on from where
 * it is; the spare, then all is as before; a third leg, and no other spare stands by, then that one's place
 * is taken instead, since the old leg still serves.
 */
#include "mirror.h"

#include "notice.h"

#include <json-c/json_object.h>

/* The leg whose place that one is to take; NULL: it takes nobody's. */
static struct leg *replaced_by(struct mirror *mirror, unsigned spare)
{
	unsigned replaces = mirror->legs[spare].replaces;

	return replaces && replaces != LEG_REPLACED ? &mirror->legs[replaces - 1] : NULL;
}

static unsigned place_of(const struct mirror *mirror, const struct leg *leg)
{
	return (unsigned)(leg - mirror->legs);
}

/* What the superblock says of a leg, if that makes sense as things are. */
static uint8_t known_of(const struct node *node, unsigned place)
{
	const struct mirror *mirror = node->state;
	const struct node *child = node->children[place];
	unsigned replaces = mirror->super.replaces[place];

	if (!mirror->is_found || child->fresh)
		return 0; /* another disk stands there */
	if (!child->spare && mirror->legs[place].state != LEG_IN_SYNC)
		return 0;
	if (replaces != LEG_REPLACED && (replaces > node->child_count || replaces == place + 1))
		return 0;
	return (uint8_t)replaces;
}

/* How many legs more than the document wants are none's spare. */
static unsigned count_more(const struct node *node)
{
	unsigned i, spares = 0;

	for (i = 0; i < node->child_count; i++)
		spares += node->children[i]->spare;
	return spares < node->spare_count ? node->spare_count - spares : 0;
}

/* The spare is on its way into the other's place, and what it still misses is known if it is one leaf. */
static void go_on(struct node *node, unsigned spare)
{
	struct node *child = node->children[spare];

	((struct mirror *)node->state)->legs[spare].state = LEG_REBUILDING;
	child->rebuilding = true;
	child->rebuild_all |= !child->leaf;
}

/*
 * Roles are the labels' to tell: nobody is to be let go, whatever the superblock says, unless there is one leg more. It says it
 * a little longer than it is so, where the spare was needed elsewhere.
 */
void mirror_find_replaced(struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned i, more = count_more(node);

	for (i = 0; i < node->child_count; i++)
		mirror->legs[i].replaces = known_of(node, i);
	for (i = 0; i < node->child_count; i++) {
		struct leg *leg = &mirror->legs[i], *old = replaced_by(mirror, i);

		if (leg->replaces && leg->state == LEG_IN_SYNC && (!old || old->state == LEG_IN_SYNC)) {
			leg->replaces = more > 0 ? leg->replaces : 0;
			more -= more > 0;
		} else if (old && old->state == LEG_IN_SYNC) {
			if (leg->state == LEG_SPARE)
				go_on(node, i);
		} else if (old) {
			if (leg->state == LEG_IN_SYNC && node->children[place_of(mirror, old)]->spare)
				old->replaces = LEG_REPLACED;
			leg->replaces = 0;
		}
	}
}

void mirror_replace(struct node *node, unsigned place, unsigned spare)
{
	struct mirror *mirror = node->state;

	mirror->legs[spare].replaces = (uint8_t)(place + 1);
	mirror->super.tracked[spare] = 0; /* it is, by now; but that is for sure */
	notice_raise(node->children[place], "replace_started", NULL, 0);
	mirror_take_in(node, spare);
}

unsigned mirror_replacement(const struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (replaced_by(mirror, i))
			break;
	return i;
}

unsigned mirror_replacement_of(const struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (replaced_by(mirror, i) == &mirror->legs[place])
			break;
	return i;
}

void mirror_give_up_replacing(struct node *node, unsigned spare)
{
	struct mirror *mirror = node->state;
	unsigned place = place_of(mirror, replaced_by(mirror, spare));

	mirror->legs[spare].replaces = 0;
	notice_raise(node->children[place], "replace_stopped", NULL, 0);
}

void mirror_stop_replacing(struct node *node)
{
	struct mirror *mirror = node->state;
	struct work *work = &mirror->work;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		const struct leg *old = replaced_by(mirror, i);

		if (!old)
			continue;
		if (mirror->legs[i].state == LEG_FAILED) {
			mirror_give_up_replacing(node, i);
			__atomic_store_n(&node->children[i]->spare, true, __ATOMIC_RELAXED);
			__atomic_store_n(&node->children[i]->rebuilding, false, __ATOMIC_RELAXED);
			work->wants_record = work->wants_super = true;
		} else if (old->state != LEG_IN_SYNC) {
			mirror_give_up_replacing(node, i);
			mirror_exchange(node, i, place_of(mirror, old));
			notice_raise(node->children[i], "spare_taken", NULL, 0);
		}
	}
}

static void let_go(struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;

	(void)mirror_leave(node, place, LEG_SPARE);
	if (mirror->legs[place].state == LEG_IN_SYNC)
		return; /* nobody else is any more */
	mirror->legs[place].replaces = LEG_REPLACED;
	__atomic_store_n(&node->children[place]->spare, true, __ATOMIC_RELAXED);
	mirror->work.wants_record = mirror->work.wants_super = true;
	notice_raise(node->children[place], "replace_ended", NULL, 0);
}

void mirror_end_replacing(struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		struct leg *leg = &mirror->legs[i], *old = replaced_by(mirror, i);
		bool is_let_go = leg->replaces == LEG_REPLACED; /* by the superblock alone: labels couldn't be written */

		if (leg->state != LEG_IN_SYNC || (!old && !is_let_go))
			continue;
		leg->replaces = 0;
		let_go(node, is_let_go ? i : place_of(mirror, old));
	}
}

void mirror_replace_status(const struct node *node, struct json_object *out)
{
	struct json_object *list = json_object_new_array();
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		const struct leg *old = replaced_by(mirror, i);
		struct json_object *one;

		if (!old)
			continue;
		one = json_object_new_object();
		json_object_object_add(one, "leg",
			json_object_new_string(node->children[place_of(mirror, old)]->id));
		json_object_object_add(one, "by", json_object_new_string(node->children[i]->id));
		json_object_array_add(list, one);
	}
	if (json_object_array_length(list))
		json_object_object_add(out, "replacing", list);
	else
		json_object_put(list);
}
