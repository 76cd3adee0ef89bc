// SPDX-License-Identifier: MIT
/*
 * Scrub: all legs in sync are read, piece by piece, and compared. A piece holds its range alone, so that
 * no write is on its way to one leg and not yet to the other.
 *
 * Where legs differ, more than half of them decide; else it is undecided, and nothing is guessed: the user
 * may name the leg that is right. Only when he asks for it are the others written. Not looked at:
 * what is still to be copied, and what was never written, where legs may differ.
 *
 * A write that comes back half done to a node above us gives up its hold until it is planned again:
 * nobody was told that it has ended, and legs may differ meanwhile. Where that may be, as regions that
 * are written are DIRTY, a difference counts only when it is still the same at a later look.
 */
#include "mirror.h"

#include "crc32c.h"
#include "notice.h"

#include <string.h>

#define SECTOR_BYTES 512u
#define NOBODY LEGS_MAX
#define LOOK_AGAIN UINT64_C(1000000000) /* after that time */
#define LOOKS_MAX 8u /* then it counts, however it may change */

struct look {
	const struct mirror *mirror;
	const struct plan *plan;
	uint64_t offset;
	uint32_t length; /* of the piece, on each leg */
};

/* As much as fits into work's scratch once for each leg. */
static uint32_t piece_bytes(const struct node *node)
{
	return COPY_BYTES / node->child_count / PAGE_BYTES * PAGE_BYTES;
}

static unsigned legs_in_sync(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i, count = 0;

	for (i = 0; i < node->child_count; i++)
		count += mirror->legs[i].state == LEG_IN_SYNC;
	return count;
}

static void scrub_ends(struct node *node, enum scrub_state state)
{
	struct scrub *scrub = &((struct mirror *)node->state)->scrub;

	scrub->state = state;
	notice_raise(node, state == SCRUB_DONE ? "scrub_ended" : "scrub_stopped", "differing",
		scrub->differing);
}

bool mirror_scrub_next(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct mirror *mirror = node->state;
	struct scrub *scrub = &mirror->scrub;
	uint64_t left = mirror->size - scrub->done;

	if (scrub->state != SCRUB_RUNNING || scrub->is_busy)
		return false;
	if (mirror->todo_count)
		return false; /* the end of that asks again */
	if (left == 0 || legs_in_sync(node) < 2) {
		scrub_ends(node, left == 0 ? SCRUB_DONE : SCRUB_STOPPED);
		return false;
	}
	if (now < scrub->next) {
		*again = scrub->next < *again ? scrub->next : *again;
		return false;
	}
	scrub->is_busy = true;
	request->flags = WORD_SCRUB;
	request->offset = scrub->done;
	request->length = left < piece_bytes(node) ? left : piece_bytes(node);
	mirror_spend(mirror, &scrub->next, now, request->length, scrub->rate);
	return true;
}

/* The bits that some, and those that all of the piece's regions have. */
static void piece_bits(
	const struct mirror *mirror, const struct request *request, uint8_t *any, uint8_t *all)
{
	uint64_t first = request->offset >> mirror->region_shift;
	uint64_t last = (request->offset + request->length - 1) >> mirror->region_shift, i;

	*any = 0;
	*all = UINT8_MAX;
	for (i = first; i <= last; i++) {
		*any |= mirror->regions[i].bits;
		*all &= mirror->regions[i].bits;
	}
}

/* All of it has been written once, and is even by all that is known. */
static bool is_comparable(const struct mirror *mirror, const struct request *request)
{
	uint8_t any, all;

	piece_bits(mirror, request, &any, &all);
	return all & REGION_WRITTEN && !(any & (REGION_TODO | REGION_UNEVEN));
}

/* The scrub that the piece was begun for runs no more. */
static bool is_forgotten(const struct scrub *scrub, const struct request *request)
{
	return scrub->state != SCRUB_RUNNING || scrub->done != request->offset;
}

static void piece_ended(struct mirror *mirror, const struct request *request)
{
	struct scrub *scrub = &mirror->scrub;

	scrub->is_busy = false;
	scrub->looks = 0;
	if (!is_forgotten(scrub, request))
		__atomic_store_n(&scrub->done, request->offset + request->length, __ATOMIC_RELAXED);
}

void mirror_scrub_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	uint32_t size = piece_bytes(node);
	unsigned i;

	if (!is_comparable(mirror, request)) {
		mirror->scrub.skipped += request->length;
		piece_ended(mirror, request);
		return;
	}
	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_IN_SYNC)
			plan_scratch(plan, IO_READ, 0, i, MIRROR_FRONT + request->offset, i * size,
				(uint32_t)request->length);
	plan_ask(plan);
}

/* The leg's bytes; NULL: it was not read, could not be, or has failed since. */
static char *leg_bytes(struct node *node, const struct plan *plan, unsigned place)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	if (mirror->legs[place].state != LEG_IN_SYNC)
		return NULL;
	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].request.kind == IO_READ && plan->ops[i].child == place)
			return plan->ops[i].result == 0
				? (char *)plan->scratch + (size_t)place * piece_bytes(node)
				: NULL;
	return NULL;
}

/* The leg whose sector more than half of all agree with, or whom the user believes; NOBODY. */
static unsigned find_truth(const struct mirror *mirror, char *const *bytes, unsigned legs, uint32_t at)
{
	unsigned i, j, count = 0;

	for (i = 0; i < legs; i++)
		count += bytes[i] != NULL;
	for (i = 0; i < legs; i++) {
		unsigned same = 0;

		for (j = 0; bytes[i] && j < legs; j++)
			same += bytes[j] && !memcmp(bytes[i] + at, bytes[j] + at, SECTOR_BYTES);
		if (2 * same > count)
			return i;
	}
	i = mirror->scrub.believed;
	return i < legs && bytes[i] ? i : NOBODY;
}

/* Adds the sector to the last range if that goes on with it, or begins one. */
static void note(struct scrub *scrub, uint64_t offset, unsigned truth, uint32_t wrong)
{
	struct difference *last = &scrub->found[scrub->found_count ? scrub->found_count - 1 : 0];

	scrub->differing += SECTOR_BYTES;
	if (truth == NOBODY)
		scrub->undecided += SECTOR_BYTES;
	if (scrub->found_count && last->offset + last->length == offset && last->wrong == wrong &&
		last->is_decided == (truth != NOBODY)) {
		last->length += SECTOR_BYTES;
		return;
	}
	if (scrub->found_count == DIFFERENCES_MAX)
		return; /* counted, and not listed */
	scrub->found[scrub->found_count] = (struct difference){
		.offset = offset,
		.length = SECTOR_BYTES,
		.wrong = wrong,
		.is_decided = truth != NOBODY,
	};
	__atomic_store_n(&scrub->found_count, scrub->found_count + 1, __ATOMIC_RELEASE);
}

/* Whether the legs that were read don't all hold the same there. */
static bool legs_differ(char *const *bytes, unsigned legs, uint64_t at, uint64_t length)
{
	unsigned i, first = NOBODY;
	bool differs = false;

	for (i = 0; i < legs; i++) {
		if (!bytes[i])
			continue;
		if (first == NOBODY)
			first = i;
		differs |= memcmp(bytes[first] + at, bytes[i] + at, length) != 0;
	}
	return differs;
}

/* One sector of all legs. Returns those that don't hold the truth, which they are given in memory. */
static uint32_t compare(
	struct mirror *mirror, char *const *bytes, unsigned legs, uint64_t offset, uint32_t at)
{
	uint32_t wrong = 0;
	unsigned truth, i;

	if (!legs_differ(bytes, legs, at, SECTOR_BYTES))
		return 0;
	truth = find_truth(mirror, bytes, legs, at);
	for (i = 0; i < legs; i++)
		if (bytes[i] && (truth == NOBODY ||
					memcmp(bytes[truth] + at, bytes[i] + at, SECTOR_BYTES) != 0))
			wrong |= 1u << i;
	note(&mirror->scrub, offset + at, truth, wrong);
	if (truth == NOBODY)
		return 0;
	for (i = 0; i < legs; i++)
		if (wrong & 1u << i)
			memcpy(bytes[i] + at, bytes[truth] + at, SECTOR_BYTES);
	if (mirror->scrub.repairs)
		mirror->scrub.repairing += SECTOR_BYTES;
	return wrong;
}

/* What could not be read is written there again by mirror_copy.c. */
static void note_unread(struct node *node, const struct request *request, const struct plan *plan)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].result < 0) {
			mirror->scrub.unreadable += request->length;
			mirror->legs[plan->ops[i].child].read_errors++;
			mirror_note_repair(mirror, plan->ops[i].child, request->offset,
				request->length);
		}
}

/* A checksum of what the legs hold; 0 if all of them hold the same. */
static uint32_t checksum(char *const *bytes, unsigned legs, uint64_t length)
{
	uint32_t sums[LEGS_MAX] = { 0 };
	unsigned i;

	if (!legs_differ(bytes, legs, 0, length))
		return 0;
	for (i = 0; i < legs; i++)
		sums[i] = bytes[i] ? crc32c(bytes[i], length) : 0;
	return crc32c(sums, sizeof(sums)) | 1;
}

/* Whether what differs may be a write that is not done yet: then it is looked at again. */
static bool is_too_early(
	struct mirror *mirror, const struct request *request, uint32_t seen, uint64_t now)
{
	struct scrub *scrub = &mirror->scrub;
	bool is_same = scrub->looks && scrub->seen == seen;
	uint8_t any, all;

	piece_bits(mirror, request, &any, &all);
	if (!seen || is_same || !(any & REGION_DIRTY) || scrub->looks >= LOOKS_MAX)
		return false;
	scrub->looked_again += scrub->looks == 0;
	scrub->looks++;
	scrub->seen = seen;
	if (scrub->next < now + LOOK_AGAIN)
		scrub->next = now + LOOK_AGAIN;
	return true;
}

/* True: there is something to write. */
static bool compare_piece(struct node *node, const struct request *request, struct plan *plan,
	char *const *bytes)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	uint32_t wrong = 0, at;
	unsigned i;

	note_unread(node, request, plan);
	mirror->scrub.repairing = 0;
	for (at = 0; at < request->length; at += SECTOR_BYTES)
		wrong |= compare(mirror, bytes, node->child_count, request->offset, at);
	io->phase = 1;
	io->from = plan->count;
	for (i = 0; i < node->child_count && mirror->scrub.repairs; i++)
		if (wrong & 1u << i)
			plan_scratch(plan, IO_WRITE, IO_FUA, i, MIRROR_FRONT + request->offset,
				i * piece_bytes(node), (uint32_t)request->length);
	if (plan->count > io->from)
		plan_ask(plan);
	return plan->ask;
}

static bool has_written_all(const struct plan *plan)
{
	unsigned i;

	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].request.kind == IO_WRITE && plan->ops[i].result < 0)
			return false;
	return true;
}

/* The legs are read. True: there is something to write. */
static bool look(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	char *bytes[LEGS_MAX];
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		bytes[i] = leg_bytes(node, plan, i);
	if (is_forgotten(&mirror->scrub, request)) {
		mirror->scrub.is_busy = false;
		return false;
	}
	if (is_too_early(mirror, request, checksum(bytes, node->child_count, request->length),
		    plan->now)) {
		mirror->scrub.is_busy = false;
		return false;
	}
	if (compare_piece(node, request, plan, bytes))
		return true;
	piece_ended(mirror, request);
	return false;
}

void mirror_scrub_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct mirror_io *io = plan->io_state;
	int result = 0;

	if (io->phase == 0) {
		if (look(node, request, plan))
			return;
	} else {
		if (mirror_judge(node, plan, &result))
			return;
		if (has_written_all(plan) && !is_forgotten(&mirror->scrub, request))
			mirror->scrub.repaired += mirror->scrub.repairing;
		piece_ended(mirror, request);
	}
	plan_end(plan, result);
}

int mirror_scrub_begin(struct node *node, const struct scrub_wish *wish, struct err *err)
{
	struct mirror *mirror = node->state;
	unsigned believed = wish->believed;

	if (mirror->scrub.state == SCRUB_RUNNING)
		return err_add(err, "mirror %s is being scrubbed already", node->id);
	if (legs_in_sync(node) < 2)
		return err_add(err, "mirror %s has one leg in sync: there is nothing to compare it with",
			node->id);
	if (believed < node->child_count && mirror->legs[believed].state != LEG_IN_SYNC)
		return err_add(err, "mirror %s: leg %s is not in sync, and can't be believed", node->id,
			node->children[believed]->id);
	/* A piece of the last one may be under way still. */
	mirror->scrub = (struct scrub){
		.state = SCRUB_RUNNING,
		.is_busy = mirror->scrub.is_busy,
		.repairs = wish->repairs,
		.believed = believed,
		.rate = wish->rate,
	};
	notice_raise(node, "scrub_started", NULL, 0);
	return 0;
}

int mirror_scrub_stop(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;

	if (mirror->scrub.state != SCRUB_RUNNING)
		return err_add(err, "mirror %s is not being scrubbed", node->id);
	scrub_ends(node, SCRUB_STOPPED);
	return 0;
}
