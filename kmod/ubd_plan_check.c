// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plan as the server wrote it, against its request and the legs. The slot is the one place of the
 * server's memory that is read here: it is copied once, and checked in the copy.
 */
#include "ubd_plan.h"

static bool ubd_plan_has_bytes(const struct request *rq)
{
	return req_op(rq) == REQ_OP_READ || req_op(rq) == REQ_OP_WRITE;
}

bool ubd_plan_take_vectors(struct ubd_plan *plan, struct request *rq)
{
	struct req_iterator ri;
	struct bio_vec vector;
	unsigned int count = 0;

	if (unlikely(!ubd_plan_has_bytes(rq)))
		return true;
	if (likely(rq->bio == rq->biotail)) {
		plan->table = rq->bio->bi_io_vec;
		plan->iter = rq->bio->bi_iter;
		return true;
	}
	rq_for_each_bvec(vector, rq, ri) {
		if (count == UBD_PLAN_VECTORS)
			return false;
		plan->vectors[count++] = vector;
	}
	plan->table = plan->vectors;
	plan->iter = (struct bvec_iter){ .bi_size = blk_rq_bytes(rq) };
	return true;
}

/* Which flags an entry of that kind may have in a plan for the request. -1: there is none such. */
static int ubd_plan_flags(const struct request *rq, u8 kind)
{
	if (likely(kind == req_op(rq) && kind <= UBD_OP_WRITE)) /* numbered as the block layer's */
		return kind == UBD_OP_WRITE ? UBD_PLAN_FUA : 0;
	switch (kind) {
	case UBD_OP_FLUSH:
		return req_op(rq) == REQ_OP_READ ? -1 : 0;
	case UBD_OP_DISCARD:
		return req_op(rq) == REQ_OP_DISCARD ? 0 : -1;
	case UBD_OP_WRITE_ZEROES:
		return req_op(rq) == REQ_OP_WRITE_ZEROES || req_op(rq) == REQ_OP_DISCARD ?
			       UBD_PLAN_NOUNMAP :
			       -1;
	default:
		return -1;
	}
}

/* One entry against the request and the leg. *end: where a READ's last entry ended. */
static bool ubd_plan_check_entry(const struct ubd_device *device,
				 const struct ubd_plan_entry *entry, const struct request *rq,
				 u32 *end)
{
	int flags = ubd_plan_flags(rq, entry->kind);
	u64 end_of_entry, length = entry->length;

	if (entry->leg >= device->nr_legs || !device->legs[entry->leg].file)
		return false;
	if (flags < 0 || entry->flags & ~flags || entry->reserved1 ||
	    (entry->reserved0[0] | entry->reserved0[1] | entry->reserved0[2]))
		return false;
	if (unlikely(entry->kind == UBD_OP_FLUSH))
		return !(entry->offset | length | entry->leg_offset);
	if (!length || entry->offset > blk_rq_bytes(rq) ||
	    length > blk_rq_bytes(rq) - entry->offset)
		return false;
	if (entry->kind != UBD_OP_WRITE && entry->offset != *end)
		return false;
	if (entry->kind == UBD_OP_READ)
		*end = entry->offset + length; /* else it stays 0: there are no bytes */
	if ((entry->offset | length | entry->leg_offset) & device->legs[entry->leg].block_mask)
		return false;
	/* Past the leg's end is for the leg to say: one that shrank has failed. */
	return !check_add_overflow(entry->leg_offset, length, &end_of_entry) &&
	       end_of_entry <= LLONG_MAX;
}

bool ubd_plan_take(struct ubd_plan *plan, const struct request *rq)
{
	const struct ubd_plan_slot *slot = ubd_plan_slot(plan);
	const struct ubd_plan_entry *source = slot->entries;
	struct ubd_plan_slot *copy = &plan->copy;
	struct ubd_plan_entry *entry = copy->entries;
	unsigned int left;
	u32 end = 0;
	u8 wave = 0;

	memcpy(copy, slot, offsetof(struct ubd_plan_slot, entries));
	barrier(); /* the copy is what we go by */
	if (copy->count > UBD_PLAN_ENTRIES_MAX || copy->flags ||
	    (copy->reserved[0] | copy->reserved[1] | copy->reserved[2] | copy->reserved[3] |
	     copy->reserved[4]))
		return false;
	if (!copy->count)
		return true;
	for (left = copy->count; left; left--, entry++) {
		*entry = *source++;
		barrier();
		if (entry->wave < wave ||
		    !ubd_plan_check_entry(plan->queue->device, entry, rq, &end))
			return false;
		wave = entry->wave;
		entry->result = -ECANCELED; /* until it is begun */
	}
	/* No byte of a READ may be what its page held before. */
	return req_op(rq) != REQ_OP_READ || end == blk_rq_bytes(rq);
}
