// SPDX-License-Identifier: MIT
/*
 * Resync: regions are copied piece by piece from the primary to all other legs in use. A piece holds
 * its range alone, so that it never meets a write; what is zero is written as zeroes, so that holes
 * stay holes. A region is done when all its pieces are; that it is, becomes durable with the next page
 * after the next flush (mirror_work.c).
 *
 * Also here: what a leg couldn't read is written there again from another.
 */
#include "mirror.h"

#include "notice.h"

#include <errno.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define BUSY (100 * MS) /* for so long after a request the device is in use */
#define PAUSE (5000 * MS) /* after a piece that no leg could read */
#define SECOND (1000 * MS)
#define BAD_TRIES 3u

enum phase { PHASE_READ, PHASE_WRITE, PHASE_WRITE_BYTES };

bool mirror_copy_is_idle(const struct mirror *mirror)
{
	unsigned i;

	for (i = 0; i < COPY_SLOTS; i++)
		if (mirror->work.slots[i].is_busy)
			return false;
	return true;
}

/* Whether the region is another slot's. */
static bool is_taken(const struct work *work, unsigned region)
{
	unsigned i;

	for (i = 0; i < COPY_SLOTS; i++)
		if (work->slots[i].is_begun && work->slots[i].region == region)
			return true;
	return false;
}

/* Gives the slot a region. False: there is none left. */
static bool slot_begin(struct mirror *mirror, struct copy_slot *slot, uint64_t now)
{
	struct work *work = &mirror->work;
	unsigned i;

	for (i = 0; i < mirror->region_count; i++) {
		unsigned region = (work->cursor + i) % mirror->region_count;

		if (!(mirror->regions[region].bits & REGION_TODO) || is_taken(work, region) ||
			mirror_rests(mirror, region, now))
			continue;
		*slot = (struct copy_slot){ .is_begun = true, .region = region, .pass = work->pass };
		work->cursor = region + 1;
		return true;
	}
	return false;
}

static struct copy_slot *slot_free(struct mirror *mirror, uint64_t now)
{
	struct work *work = &mirror->work;
	unsigned i;

	for (i = 0; i < COPY_SLOTS; i++) {
		struct copy_slot *slot = &work->slots[i];

		if (slot->is_busy)
			continue;
		if (slot->is_begun && slot->pass != work->pass)
			slot->is_begun = false; /* a leg was taken in meanwhile: all of it again */
		if (slot->is_begun || slot_begin(mirror, slot, now))
			return slot;
	}
	return NULL;
}

/* When the next piece may begin: never, now or later. */
static uint64_t when(struct mirror *mirror, uint64_t now)
{
	struct work *work = &mirror->work;
	uint64_t time = work->next_copy;

	if (work->requests != work->seen)
		work->foreground = now;
	work->seen = work->requests;
	if (mirror->todo_count == 0 || work->wants_super)
		return UINT64_MAX;
	if (!work->is_urgent && work->foreground && now < work->foreground + BUSY)
		time = work->foreground + BUSY;
	return work->pause_until > time ? work->pause_until : time;
}

void mirror_spend(
	struct mirror *mirror, uint64_t *next, uint64_t now, uint64_t bytes, uint64_t limit)
{
	struct work *work = &mirror->work;
	bool is_busy = work->foreground && now < work->foreground + BUSY;
	uint64_t rate = is_busy ? work->rate_min : work->rate_max;

	if (limit && limit < rate)
		rate = limit;
	if (*next < now)
		*next = now;
	*next += bytes * SECOND / (rate ? rate : 1);
	if (now - work->rate_since >= SECOND) {
		__atomic_store_n(&work->rate,
			work->rate_bytes * 1000 / ((now - work->rate_since) / MS), __ATOMIC_RELAXED);
		work->rate_since = now;
		work->rate_bytes = 0;
	}
	work->rate_bytes += bytes;
}

bool mirror_copy_next(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct mirror *mirror = node->state;
	uint64_t time = when(mirror, now), offset, length;
	struct copy_slot *slot;

	if (time > now) {
		*again = time < *again ? time : *again;
		return false;
	}
	slot = slot_free(mirror, now);
	if (!slot)
		return false;
	slot->is_busy = true;
	offset = ((uint64_t)slot->region << mirror->region_shift) + slot->done;
	length = mirror->region_size - slot->done;
	if (length > COPY_BYTES)
		length = COPY_BYTES;
	if (length > mirror->size - offset)
		length = mirror->size - offset;
	*request = (struct request){
		.kind = IO_SELF,
		.flags = WORD_COPY | (unsigned)(slot - mirror->work.slots) << WORD_SLOT_SHIFT,
		.offset = offset,
		.length = length,
	};
	mirror_spend(mirror, &mirror->work.next_copy, now, length, 0);
	return true;
}

/* Plans the read on the primary, or on the next leg in sync that it wasn't tried on; false: none. */
static bool read_next(struct node *node, struct plan *plan, uint64_t offset, uint64_t length)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		unsigned place = (mirror->primary + i) % node->child_count;

		if (mirror->legs[place].state != LEG_IN_SYNC || io->tried & 1u << place)
			continue;
		io->tried |= 1u << place;
		io->source = (uint8_t)place;
		plan_scratch(plan, IO_READ, 0, place, MIRROR_FRONT + offset, 0, (uint32_t)length);
		plan_ask(plan);
		return true;
	}
	return false;
}

static void write_bytes(struct plan *plan, unsigned place, uint64_t offset, uint64_t length)
{
	plan_scratch(plan, IO_WRITE, 0, place, MIRROR_FRONT + offset, 0, (uint32_t)length);
	plan_ask(plan);
}

static bool is_zero(const char *bytes, uint64_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/*
 * Whether the leg that was read is written too: where it is in doubt (mirror.h), and where legs of its own
 * may differ, of which only one was read. So what is even here is even all the way down, and it
 * is nothing to us which leg a mirror below goes by.
 */
static bool is_rewritten(const struct mirror *mirror, unsigned source, uint64_t offset)
{
	const struct region *region = &mirror->regions[offset >> mirror->region_shift];

	return region->is_doubted || (mirror->legs[source].has_mirror &&
					     region->bits & (REGION_DIRTY | REGION_UNEVEN));
}

/* To all legs but the one that was read, and perhaps to that too. False: there was none to write to. */
static bool write_others(struct node *node, const struct request *request, struct plan *plan)
{
	const struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	bool is_hole = is_zero(plan->scratch, request->length);
	bool rewrites = is_rewritten(mirror, io->source, request->offset);
	unsigned i;

	io->from = plan->count;
	io->phase = PHASE_WRITE;
	for (i = 0; i < node->child_count; i++) {
		if ((i == io->source && !rewrites) || !mirror_leg_is_used(mirror, i))
			continue;
		if (is_hole && node->children[i]->limits.zeroes_granularity)
			plan_add(plan, i,
				(struct request){ .kind = IO_WRITE_ZEROES,
					.offset = MIRROR_FRONT + request->offset,
					.length = request->length });
		else
			write_bytes(plan, i, request->offset, request->length);
	}
	plan_ask(plan);
	return plan->count > io->from;
}

/* Legs that turn out not to know zeroing are given the bytes. */
static bool write_refused(const struct request *request, struct plan *plan)
{
	struct mirror_io *io = plan->io_state;
	unsigned i, count = plan->count;

	io->phase = PHASE_WRITE_BYTES;
	for (i = io->from; i < count; i++) {
		struct op *op = &plan->ops[i];

		if (op->request.kind != IO_WRITE_ZEROES || op->result != -EOPNOTSUPP)
			continue;
		op->result = 0;
		write_bytes(plan, op->child, request->offset, request->length);
	}
	return plan->count > count;
}

void mirror_copy_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)read_next(node, plan, request->offset, request->length); /* one leg is in sync */
}

/*
 * Another leg may hold something else than what was read so far: only if the primary goes on failing
 * is that the truth from now on.
 */
static bool may_read_another(struct node *node, const struct copy_slot *slot)
{
	struct mirror *mirror = node->state;
	struct work *work = &mirror->work;

	if (!(mirror->regions[slot->region].bits & (REGION_DIRTY | REGION_UNEVEN)))
		return true;
	if (work->bad_region != slot->region)
		work->bad_tries = 0;
	work->bad_region = slot->region;
	return ++work->bad_tries >= BAD_TRIES;
}

static void copy_given_up(struct mirror *mirror, struct copy_slot *slot, struct plan *plan)
{
	slot->is_begun = false;
	mirror->work.unreadable++;
	mirror->work.pause_until = plan->now + PAUSE;
}

static void copy_ended(struct node *node, const struct request *request, struct copy_slot *slot)
{
	struct mirror *mirror = node->state;
	uint64_t end = (uint64_t)(slot->region + 1) << mirror->region_shift;

	slot->done += request->length;
	if (request->offset + request->length < end &&
		request->offset + request->length < mirror->size)
		return;
	slot->is_begun = false;
	if (slot->pass != mirror->work.pass)
		return;
	mirror_set_bits(mirror, slot->region, REGION_COPIED, REGION_TODO);
	if (mirror->todo_count == 0) {
		mirror->work.is_urgent = false;
		if (mirror->work.is_evening)
			notice_raise(node, "resync_ended", NULL, 0);
		mirror->work.is_evening = false;
	}
}

void mirror_copy_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	struct copy_slot *slot = &mirror->work.slots[request->flags >> WORD_SLOT_SHIFT];
	int result = plan->ops[plan->count - 1].result;

	if (io->phase == PHASE_READ && mirror->legs[io->source].state != LEG_IN_SYNC) {
		slot->is_begun = false; /* it is nobody's truth any more: begun again elsewhere */
	} else if (io->phase == PHASE_READ && result == 0) {
		if (write_others(node, request, plan))
			return;
		copy_ended(node, request, slot); /* they have failed meanwhile: no resume() would follow */
	} else if (io->phase == PHASE_READ) {
		mirror->legs[io->source].read_errors++;
		if (may_read_another(node, slot) &&
			read_next(node, plan, request->offset, request->length))
			return;
		copy_given_up(mirror, slot, plan);
	} else {
		if (io->phase == PHASE_WRITE && write_refused(request, plan))
			return;
		if (mirror_judge(node, plan, &result))
			return;
		if (result == 0)
			copy_ended(node, request, slot);
		else
			copy_given_up(mirror, slot, plan);
	}
	slot->is_busy = false;
	plan_end(plan, result);
}

void mirror_note_repair(struct mirror *mirror, unsigned place, uint64_t offset, uint64_t length)
{
	struct work *work = &mirror->work;

	while (length && work->repair_count < REPAIRS_MAX) { /* what is too much is met again */
		uint32_t piece = length < COPY_BYTES ? (uint32_t)length : COPY_BYTES;

		work->repairs[work->repair_count++] = (struct repair){ offset, piece, place };
		offset += piece;
		length -= piece;
	}
}

void mirror_repair_map(struct node *node, struct plan *plan)
{
	struct mirror *mirror = node->state;
	const struct repair *repair = &mirror->work.repairs[0];
	struct mirror_io *io = plan->io_state;

	io->tried = 1u << repair->place;
	if (mirror->legs[repair->place].state == LEG_IN_SYNC)
		(void)read_next(node, plan, repair->offset, repair->length);
	plan_ask(plan);
}

/* The first of the list is done, or given up. */
static void repair_ended(struct mirror *mirror, bool is_repaired)
{
	struct work *work = &mirror->work;
	struct leg *leg = &mirror->legs[work->repairs[0].place];

	if (is_repaired)
		leg->repaired = leg->read_errors;
	work->repair_count--;
	memmove(work->repairs, work->repairs + 1, work->repair_count * sizeof(*work->repairs));
	work->is_repairing = false;
}

/*
 * Where legs may differ nobody else's bytes are written over those of the primary, which may be read again
 * meanwhile, and has been: what it can't read the copying will see (may_read_another()).
 */
static bool may_be_repaired(const struct node *node, const struct repair *repair)
{
	const struct mirror *mirror = node->state;

	return mirror->legs[repair->place].state == LEG_IN_SYNC &&
		!(repair->place == mirror->primary && mirror_is_single(node, repair->offset, repair->length));
}

void mirror_repair_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	const struct repair *repair = &mirror->work.repairs[0];
	struct mirror_io *io = plan->io_state;
	int result = plan->count ? plan->ops[plan->count - 1].result : -EIO;

	if (io->phase == PHASE_READ && result == 0 &&
		mirror->legs[io->source].state == LEG_IN_SYNC && may_be_repaired(node, repair)) {
		io->phase = PHASE_WRITE;
		io->from = plan->count;
		write_bytes(plan, repair->place, repair->offset, repair->length);
		return;
	}
	if (io->phase == PHASE_READ) {
		if (plan->count && result < 0 && read_next(node, plan, request->offset, request->length))
			return;
	} else if (mirror_judge(node, plan, &result)) {
		return;
	}
	repair_ended(mirror, io->phase == PHASE_WRITE && result == 0 &&
			mirror_leg_is_used(mirror, repair->place));
	plan_end(plan, result);
}
