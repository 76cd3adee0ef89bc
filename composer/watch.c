// SPDX-License-Identifier: MIT
/*
 * Watches: leaves that are waited for only so long ("timeout_ms" of a mirror above). It knows no driver,
 * and of targets no more than which children they can do without.
 *
 * A watched leaf's sub-I/Os go to the backend as copies, from slots with memory of their own: a WRITE's
 * bytes are copied there before it begins, a READ's from there once it has ended in time. So nothing
 * that ends late can touch a request's bytes, scratch or arena: all of that is free as soon as the op
 * has got its -ETIMEDOUT, and only the slot is the backend's until then.
 *
 * When the oldest sub-I/O has taken longer than the timeout, the leaf is hung: whatever is under way
 * there or waits for a slot ends with -ETIMEDOUT, and whatever comes later at once. For the nodes above
 * that is a leaf that fails. What its late WRITEs leave there is seen by nobody: a redundant node has
 * recorded it as stale before it acknowledges the first one that it missed, and it isn't written to
 * again, so that no order among writes is lost, until child_rejoins() finds nothing late any more.
 *
 * Only a leaf that a redundant node above can do without is called hung. The last one is waited for,
 * as dm and md do: its user would be told that a WRITE has failed that lands when he has written the
 * same place again.
 */
#include "engine_internal.h"

#include "leaf.h"
#include "notice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define SLOTS_MAX 64u
#define SLOT_BYTES_MIN (32u << 10) /* a label's update is one piece */
#define SLOT_BYTES_MAX (128u << 10) /* what is longer goes in pieces, as short transfers */

_Static_assert(SLOT_BYTES_MIN >= LABEL_UPDATE_MAX, "one piece");

struct slot {
	struct sub_io copy; /* what the backend has */
	struct iovec vector;
	struct sub_io *sub; /* whose copy it is; NULL: it was given up, or the slot is free */
	struct watch *watch;
	struct slot *before, *next; /* under way, oldest first; `next` also among the free ones */
	uint64_t begun;
	char *memory;
};

/* One leaf's. */
struct watch {
	struct engine *engine;
	struct leaf *leaf;
	uint64_t timeout; /* ns */
	uint32_t slot_bytes;
	struct slot *slots, *free, *first, *last;
	struct sub_io *waiting, **waiting_end; /* for a slot, by next_watched */
	size_t length; /* of the mapping that `slots` begins and their memory ends */
};

static bool has_bytes(const struct sub_io *sub)
{
	return sub->kind == IO_READ || sub->kind == IO_WRITE;
}

/* Whether it can answer for what is missing elsewhere. */
static bool is_sound(const struct node *node)
{
	unsigned sound = 0, i;

	if (node->leaf)
		return !leaf_is_hung(node->leaf);
	for (i = 0; i < node->child_count; i++)
		sound += is_sound(node->children[i]) &&
			(!node->type->suffices || node->type->suffices(node, i));
	return node->type->suffices ? sound > 0 : sound == node->child_count;
}

static bool can_do_without(const struct leaf *leaf)
{
	const struct node *node, *above;
	unsigned i;

	for (node = leaf->node; (above = node->parent); node = above)
		for (i = 0; above->type->suffices && i < above->child_count; i++)
			if (above->children[i] != node && above->type->suffices(above, i) &&
				is_sound(above->children[i]))
				return true;
	return false;
}

/* Between a sub-I/O's own bytes and the slot's, as many as there are in both. */
static void copy_bytes(const struct sub_io *sub, char *memory, uint64_t length)
{
	unsigned i;

	for (i = 0; i < sub->vector_count && length > 0; i++) {
		const struct iovec *piece = &sub->vectors[i];
		size_t count = piece->iov_len < length ? piece->iov_len : length;

		if (sub->kind == IO_READ)
			memcpy(piece->iov_base, memory, count);
		else
			memcpy(memory, piece->iov_base, count);
		memory += count;
		length -= count;
	}
}

/* Ends before the engine is left, and not at once: who sent it is still about it. */
static void give_up(struct engine *engine, struct sub_io *sub)
{
	sub->next_watched = NULL;
	*engine->given_up_end = sub;
	engine->given_up_end = &sub->next_watched;
}

void given_up_end(struct engine *engine)
{
	struct sub_io *sub = engine->given_up;

	engine->given_up = sub->next_watched;
	if (!engine->given_up)
		engine->given_up_end = &engine->given_up;
	sub->event.end(&sub->event, -ETIMEDOUT);
}

static void slot_unlink(struct slot *slot)
{
	struct watch *watch = slot->watch;

	if (slot->before)
		slot->before->next = slot->next;
	else
		watch->first = slot->next;
	if (slot->next)
		slot->next->before = slot->before;
	else
		watch->last = slot->before;
}

static void slot_free(struct slot *slot)
{
	slot->sub = NULL;
	slot->next = slot->watch->free;
	slot->watch->free = slot;
}

static void slot_ended(struct event *event, int result);

static void slot_begin(struct watch *watch, struct sub_io *sub)
{
	struct engine *engine = watch->engine;
	struct slot *slot = watch->free;

	assert(!sub->linked);
	watch->free = slot->next;
	slot->sub = sub;
	slot->copy = *sub;
	slot->copy.event.end = slot_ended;
	slot->copy.merged = slot->copy.next = NULL;
	if (has_bytes(sub)) {
		if (slot->copy.length > watch->slot_bytes)
			slot->copy.length = watch->slot_bytes;
		slot->vector = (struct iovec){ slot->memory, slot->copy.length };
		slot->copy.vectors = &slot->vector;
		slot->copy.vector_count = 1;
		if (sub->kind == IO_WRITE)
			copy_bytes(sub, slot->memory, slot->copy.length);
	}
	slot->begun = engine_now(engine);
	slot->next = NULL;
	slot->before = watch->last;
	if (watch->last)
		watch->last->next = slot;
	else
		watch->first = slot;
	watch->last = slot;
	if (watch->first == slot)
		engine_timer(engine, slot->begun + watch->timeout);
	engine->config.backend->submit(engine->port->context, &slot->copy);
}

void watch_submit(struct engine *engine, struct sub_io *sub)
{
	struct watch *watch = engine->watches[sub->leaf->place];

	if (!watch) {
		engine->config.backend->submit(engine->port->context, sub);
	} else if (leaf_is_hung(sub->leaf)) {
		give_up(engine, sub);
	} else if (watch->free) {
		slot_begin(watch, sub);
	} else {
		sub->next_watched = NULL;
		*watch->waiting_end = sub;
		watch->waiting_end = &sub->next_watched;
	}
}

/* What it would have told its op is nobody's concern; but a flush that fails is believed no more. */
static void late_ended(struct slot *slot, int result)
{
	struct leaf *leaf = slot->watch->leaf;

	if (slot->copy.kind == IO_FLUSH && result < 0)
		engine_flush_failed(leaf);
	__atomic_store_n(&leaf->late, leaf->late - 1, __ATOMIC_RELAXED);
	slot_free(slot);
}

static void slot_ended(struct event *event, int result)
{
	struct slot *slot = container_of(event, struct slot, copy.event);
	struct watch *watch = slot->watch;
	struct engine *engine = watch->engine;
	struct sub_io *sub = slot->sub, *next;

	engine_enter(engine);
	if (!sub) {
		late_ended(slot, result);
	} else {
		if (has_bytes(sub) && result > 0 && (uint64_t)result > slot->copy.length)
			result = -EIO;
		if (sub->kind == IO_READ && result > 0)
			copy_bytes(sub, slot->memory, (uint64_t)result);
		slot_unlink(slot);
		slot_free(slot);
		next = watch->waiting;
		if (next) {
			watch->waiting = next->next_watched;
			if (!watch->waiting)
				watch->waiting_end = &watch->waiting;
			slot_begin(watch, next);
		}
		sub->event.end(&sub->event, result);
	}
	engine_leave(engine);
}

static void hang(struct watch *watch)
{
	struct leaf *leaf = watch->leaf;
	struct sub_io *sub, *next;
	struct slot *slot;
	unsigned late = 0;

	for (slot = watch->first; slot; slot = slot->next) {
		give_up(watch->engine, slot->sub);
		slot->sub = NULL;
		slot->copy.frame = NULL; /* it may be another request's soon */
		slot->copy.op = NULL;
		late++;
	}
	for (sub = watch->waiting; sub; sub = next) {
		next = sub->next_watched;
		give_up(watch->engine, sub);
	}
	watch->first = watch->last = NULL;
	watch->waiting = NULL;
	watch->waiting_end = &watch->waiting;
	__atomic_store_n(&leaf->late, late, __ATOMIC_RELAXED);
	__atomic_store_n(&leaf->is_hung, true, __ATOMIC_RELAXED);
	notice_raise(leaf->node, "leaf_hung", "timeout_ms", leaf->timeout_ms);
}

/* Who can't be done without now may be later: it is looked at again after as long. */
static void watch_look(struct watch *watch)
{
	uint64_t now = engine_now(watch->engine), due;

	if (!watch->first)
		return;
	due = watch->first->begun + watch->timeout;
	if (now >= due && can_do_without(watch->leaf)) {
		hang(watch);
		return;
	}
	engine_timer(watch->engine, now >= due ? now + watch->timeout : due);
}

void watches_look(struct engine *engine)
{
	unsigned i;

	for (i = 0; i < engine->config.tree->leaf_count; i++)
		if (engine->watches[i])
			watch_look(engine->watches[i]);
}

static unsigned late_below(const struct node *node)
{
	unsigned late = 0, i;

	if (node->leaf)
		return leaf_late(node->leaf);
	for (i = 0; i < node->child_count; i++)
		late += late_below(node->children[i]);
	return late;
}

static void trust_below(struct node *node)
{
	unsigned i;

	if (node->leaf)
		__atomic_store_n(&node->leaf->is_hung, false, __ATOMIC_RELAXED);
	for (i = 0; i < node->child_count; i++)
		trust_below(node->children[i]);
}

bool child_rejoins(struct node *child)
{
	if (late_below(child) > 0)
		return false;
	trust_below(child);
	return true;
}

/* NULL: out of memory. */
static struct watch *watch_open(struct engine *engine, struct leaf *leaf)
{
	unsigned depth = engine->tag_count, i;
	unsigned count = engine->config.slots ? engine->config.slots
				: depth < SLOTS_MAX ? depth : SLOTS_MAX;
	uint32_t most = engine->config.max_io;
	uint32_t bytes = most < SLOT_BYTES_MIN ? SLOT_BYTES_MIN
					       : most > SLOT_BYTES_MAX ? SLOT_BYTES_MAX : most;
	size_t front = (count * sizeof(struct slot) + PAGE - 1) / PAGE * PAGE;
	size_t length = front + (size_t)count * bytes;
	struct watch *watch = calloc(1, sizeof(*watch));
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!watch || memory == MAP_FAILED) {
		if (memory != MAP_FAILED)
			(void)munmap(memory, length);
		free(watch);
		return NULL;
	}
	*watch = (struct watch){
		.engine = engine,
		.leaf = leaf,
		.timeout = leaf->timeout_ms * MS,
		.slot_bytes = bytes,
		.slots = (struct slot *)memory,
		.waiting_end = &watch->waiting,
		.length = length,
	};
	for (i = 0; i < count; i++) {
		watch->slots[i].watch = watch;
		watch->slots[i].memory = memory + front + (size_t)i * bytes;
		slot_free(&watch->slots[i]);
	}
	engine->memory += length;
	return watch;
}

int watches_open(struct engine *engine)
{
	const struct tree *tree = engine->config.tree;
	unsigned i;

	engine->given_up_end = &engine->given_up;
	for (i = 0; i < tree->leaf_count && engine->worker_count; i++) {
		struct leaf *leaf = tree->leaves[i];

		if (!leaf->timeout_ms)
			continue;
		if (!engine->watches)
			engine->watches = calloc(tree->leaf_count, sizeof(struct watch *));
		if (!engine->watches)
			return -1;
		engine->watches[i] = watch_open(engine, leaf);
		if (!engine->watches[i])
			return -1;
	}
	return 0;
}

/* Slots that are the backend's still are left to it, mapped, with the others of the leaf. */
void watches_close(struct engine *engine)
{
	unsigned i;

	for (i = 0; engine->watches && i < engine->config.tree->leaf_count; i++) {
		struct watch *watch = engine->watches[i];

		if (!watch)
			continue;
		if (leaf_late(watch->leaf) == 0)
			(void)munmap(watch->slots, watch->length);
		free(watch);
	}
	free(engine->watches);
}
