// SPDX-License-Identifier: MIT
/*
 * Plans for the ubd driver: a request's sub-I/Os written into its tag's slot, which the driver runs
 * on the request's own pages (kmod/ubd_cmd.h, PLANS). It knows no target.
 */
#include "leaf.h"
#include "ubd_queue.h"

#include <errno.h>
#include <string.h>

/*
 * An op that moves no bytes. A disk's discard is its zeroing, as with fallocate() (backing_file.c):
 * what reads back as anything would differ from leg to leg.
 */
static __attribute__((noinline)) bool bare_entry_add(struct ubd_plan_slot *slot,
	const struct sub_io *sub)
{
	bool is_zeroes = sub->kind == IO_WRITE_ZEROES || sub->leaf->is_block;
	struct ubd_plan_entry entry = { .leg = (uint16_t)sub->leaf->place, .kind = UBD_OP_FLUSH };

	if (slot->count == UBD_PLAN_ENTRIES_MAX || sub->kind == IO_RECORD)
		return false;
	if (sub->kind != IO_FLUSH) {
		if (sub->length > UINT32_MAX)
			return false;
		entry.kind = is_zeroes ? UBD_OP_WRITE_ZEROES : UBD_OP_DISCARD;
		if (sub->kind == IO_WRITE_ZEROES && sub->flags & IO_NOUNMAP)
			entry.flags = UBD_PLAN_NOUNMAP;
		entry.length = (uint32_t)sub->length;
		entry.leg_offset = sub->offset;
	}
	slot->entries[slot->count++] = entry;
	return true;
}

/* Leaves know no durable zeroing: a second wave flushes what was zeroed. */
static __attribute__((noinline)) bool flushes_add(struct ubd_plan_slot *slot,
	const struct sub_io *subs)
{
	const struct sub_io *sub;

	for (sub = subs; sub; sub = sub->next) {
		if (sub->kind != IO_WRITE_ZEROES || !(sub->flags & IO_FUA))
			continue;
		if (slot->count == UBD_PLAN_ENTRIES_MAX)
			return false;
		slot->entries[slot->count++] = (struct ubd_plan_entry){
			.leg = (uint16_t)sub->leaf->place,
			.kind = UBD_OP_FLUSH,
			.wave = 1,
		};
	}
	return true;
}

/* One op as an entry, kept in order of the request's bytes, as the driver wants a READ's. */
static bool entry_add(struct ubd_plan_slot *slot, const struct sub_io *part)
{
	unsigned i = slot->count;

	if (part->kind != IO_READ && part->kind != IO_WRITE)
		return bare_entry_add(slot, part);
	if (slot->count == UBD_PLAN_ENTRIES_MAX)
		return false;
	for (; i > 0 && slot->entries[i - 1].offset > part->data_offset; i--)
		slot->entries[i] = slot->entries[i - 1];
	slot->entries[i] = (struct ubd_plan_entry){
		.leg = (uint16_t)part->leaf->place,
		.kind = part->kind == IO_WRITE ? UBD_OP_WRITE : UBD_OP_READ,
		.flags = part->flags & IO_FUA ? UBD_PLAN_FUA : 0,
		.offset = part->data_offset,
		.length = (uint32_t)part->vector.iov_len,
		.leg_offset = part->offset,
	};
	slot->count++;
	return true;
}

bool ubd_plan_pass(void *context, unsigned tag, const struct sub_io *subs)
{
	struct ubd_queue *queue = context;
	struct ubd_plan_slot *slot = &queue->slots[tag];
	const struct sub_io *sub, *part;

	slot->count = 0;
	for (sub = subs; sub; sub = sub->next)
		for (part = sub; part; part = part->merged)
			if (!entry_add(slot, part))
				return false;
	if (subs && subs->kind == IO_WRITE_ZEROES && !flushes_add(slot, subs))
		return false;
	slot->life = ++queue->lives[tag];
	ubd_queue_answer(queue, tag, UBD_ANSWER_PLAN, 0);
	return true;
}

void ubd_plan_failed(struct ubd_queue *queue, unsigned tag)
{
	const struct ubd_plan_slot *slot = &queue->slots[tag];
	unsigned i;

	/* What names the leg is our own writing; the driver has only added the result. */
	for (i = 0; i < slot->count; i++)
		if (slot->entries[i].kind == UBD_OP_FLUSH && slot->entries[i].result < 0 &&
			slot->entries[i].result != -ECANCELED)
			engine_flush_failed(queue->queue.tree->leaves[slot->entries[i].leg]);
}

bool ubd_plan_ended(void *context, unsigned tag)
{
	const struct ubd_queue *queue = context;

	return __atomic_load_n(&queue->slots[tag].ended, __ATOMIC_ACQUIRE) == queue->lives[tag];
}
