// SPDX-License-Identifier: MIT
/*
 * From the legs into memory at the start, and back at a clean stop. mirror_bitmap.c has the bytes and
 * the crash story; what is done here leaves, after a crash anywhere, marks that say no less than
 * before. A mirror that grows has its larger bitmap on every leg before a superblock tells of it, and
 * the old regions' marks stand where they stood. Where regions become larger they don't: then every
 * leg's bitmap is all ones, for the old regions as for the new, until all superblocks tell.
 */
#include "mirror.h"

#include "child_io.h"
#include "notice.h"

#include <stdlib.h>
#include <string.h>

#define ALL_WHOLE ((1u << PAGE_SECTORS) - 1)

bool mirror_read_super(struct node *node, unsigned place, struct superblock *super)
{
	struct node *child = node->children[place];
	char block[PAGE_BYTES];

	return child->limits.size >= MIRROR_FRONT &&
		child_read(child, 0, block, sizeof(block)) == 0 &&
		mirror_super_decode(super, block) && super->birth == node->birth &&
		super->leg_count == node->child_count;
}

/* The newest superblock of the legs in sync: the mirror's size and regions are as it says. */
int mirror_probe(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	struct superblock super;
	unsigned i;

	(void)err;
	mirror->is_found = mirror->is_loaded = false;
	for (i = 0; i < node->child_count && !node->fresh; i++) {
		if (!node_is_in_sync(node->children[i]) || !mirror_read_super(node, i, &super))
			continue;
		if (!mirror->is_found || super.sequence > mirror->super.sequence)
			mirror->super = super;
		mirror->is_found = true;
	}
	return 0;
}

static void set_all(struct mirror *mirror, uint8_t set, uint8_t clear)
{
	unsigned i;

	for (i = 0; i < mirror->region_count; i++)
		mirror_set_bits(mirror, i, set, clear);
}

/* A bitmap as the legs have it: of the mirror's own regions, or of those before it grew. */
struct bitmap {
	uint64_t size, region_size;
	struct region *regions;
	unsigned count;
};

/* What no leg in sync has whole counts as all ones. */
static void distrust(struct bitmap *bitmap, unsigned page, unsigned whole)
{
	unsigned i, first = page * PAGE_REGIONS;

	for (i = first; i < first + PAGE_REGIONS && i < bitmap->count; i++)
		if (!(whole & 1u << (i - first) / SECTOR_REGIONS))
			bitmap->regions[i].bits = REGION_BITS;
}

/* The regions' bits, ORed from all legs in sync whose superblock fits. */
static void read_pages(struct node *node, struct bitmap *bitmap)
{
	unsigned pages = (bitmap->count - 1) / PAGE_REGIONS + 1;
	unsigned whole[PAGES_MAX] = { 0 }, i, page;
	char memory[PAGE_BYTES];
	struct superblock super;

	for (i = 0; i < node->child_count; i++) {
		if (!node_is_in_sync(node->children[i]) || !mirror_read_super(node, i, &super) ||
			super.size != bitmap->size || super.region_size != bitmap->region_size)
			continue;
		for (page = 0; page < pages; page++)
			if (child_read(node->children[i], mirror_page_offset(page), memory,
				    sizeof(memory)) == 0)
				mirror_page_merge(memory, page, node->birth, bitmap->regions,
					bitmap->count, &whole[page]);
	}
	for (page = 0; page < pages; page++)
		if (whole[page] != ALL_WHOLE)
			distrust(bitmap, page, whole[page]);
}

/*
 * The mirror is larger than its superblock says. Regions may be larger too, each then has what any of
 * its parts had; of the new bytes nobody has made the legs agree, also where they begin within a
 * region.
 */
static int read_smaller(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	struct bitmap old = { .size = mirror->super.size, .region_size = mirror->super.region_size };
	unsigned i, parts = (unsigned)(mirror->region_size / old.region_size);

	old.count = (unsigned)((old.size - 1) / old.region_size) + 1;
	old.regions = calloc(old.count, sizeof(*old.regions));
	if (!old.regions)
		return err_add(err, "out of memory");
	read_pages(node, &old);
	for (i = 0; i < old.count; i++)
		mirror->regions[i / parts].bits |= old.regions[i].bits;
	for (i = (unsigned)(old.size >> mirror->region_shift); i < mirror->region_count; i++)
		mirror->regions[i].bits |= REGION_UNEVEN;
	free(old.regions);
	return 0;
}

static int read_bitmap(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	struct bitmap own = { mirror->size, mirror->region_size, mirror->regions,
		mirror->region_count };
	int result = 0;

	if (mirror_has_grown(mirror))
		result = read_smaller(node, err);
	else
		read_pages(node, &own);
	mirror_count(mirror);
	return result;
}

/* Whether a leg that is to be brought up to date left when the others say that it did. */
static bool is_in_step(struct node *node, unsigned place)
{
	const struct mirror *mirror = node->state;
	struct superblock super;

	return !node->children[place]->rebuild_all && mirror->super.tracked[place] &&
		mirror_read_super(node, place, &super) &&
		super.sequence == mirror->super.tracked[place] &&
		super.size == mirror->super.size && super.region_size == mirror->super.region_size;
}

/* A leg that isn't in step: all of it, and what it has written itself, alone perhaps. */
static void mark_all_of(struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;
	struct region *own = calloc(mirror->region_count, sizeof(*own));

	if (own)
		(void)mirror_read_bits(node, place, own); /* else nothing is known of it */
	mirror_mark_all_changed(mirror, own);
	free(own);
}

static int find_marks(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	bool is_rebuilding = false;
	unsigned i;

	set_all(mirror, 0, UINT8_MAX);
	if (node->fresh) {
		set_all(mirror, node->zeroed ? 0 : REGION_UNEVEN, 0);
		return 0;
	}
	if (read_bitmap(node, err) < 0)
		return -1;
	for (i = 0; i < node->child_count; i++) {
		if (mirror->legs[i].state != LEG_REBUILDING)
			continue;
		is_rebuilding = true;
		if (!is_in_step(node, i))
			mark_all_of(node, i);
	}
	if (!is_rebuilding && !mirror_has_away(node))
		set_all(mirror, 0, REGION_CHANGED); /* what it was kept for is done */
	return 0;
}

/* A leg whose label couldn't be written is left out since open(). */
static void drop_left_out(struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (node->children[i]->failed && mirror->legs[i].state != LEG_FAILED) {
			mirror->legs[i].state = LEG_FAILED;
			mirror->legs[i].was_used = false;
		}
	for (i = 0; mirror->legs[mirror->primary].state != LEG_IN_SYNC; i++)
		mirror->primary = i; /* one is, or the start would be refused */
}

static int write_err(struct node *node, unsigned place, int result, struct err *err)
{
	const struct node *child = node->children[place];

	return json_err(child->json, err,
		"mirror: the bitmap of %s can't be written to leg %s: error %d", node->id, child->id,
		-result);
}

/*
 * The same bytes on every leg in use, durably. A leg that fails is given up, unless it is the last in
 * sync: what is written from then on waits for the record of it (mirror_legs.c). A tree that is new, or grows, is
 * refused.
 */
static int write_legs(struct node *node, uint64_t offset, const void *memory, uint32_t length,
	struct err *err)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++) {
		int result;

		if (!mirror_leg_is_used(mirror, i))
			continue;
		result = child_write(node->children[i], offset, memory, length);
		if (result == 0)
			result = child_flush(node->children[i]);
		if (result == 0)
			continue;
		if (!node->fresh && !node->grows && mirror_fail(node, i))
			mirror->work.wants_record = true;
		if (mirror_leg_is_used(mirror, i))
			return write_err(node, i, result, err);
	}
	return 0;
}

static int write_pages(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	char memory[PAGE_BYTES];
	unsigned page;

	for (page = 0; page < mirror->page_count; page++) {
		mirror_page_encode(
			memory, page, mirror->super.birth, mirror->regions, mirror->region_count);
		if (write_legs(node, mirror_page_offset(page), memory, sizeof(memory), err) < 0)
			return -1;
	}
	return 0;
}

/* Read as of whatever regions, it says that all is to be copied. */
static int write_ones(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	struct region *regions = calloc(REGIONS_MAX, sizeof(*regions));
	char memory[PAGE_BYTES];
	unsigned i;
	int result = 0;

	if (!regions)
		return err_add(err, "out of memory");
	for (i = 0; i < REGIONS_MAX; i++)
		regions[i].bits = REGION_BITS;
	for (i = 0; i < PAGES_MAX && result == 0; i++) {
		mirror_page_encode(memory, i, mirror->super.birth, regions, REGIONS_MAX);
		result = write_legs(node, mirror_page_offset(i), memory, sizeof(memory), err);
	}
	free(regions);
	return result;
}

static int write_super(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	char block[PAGE_BYTES];

	mirror_super_encode(&mirror->super, block);
	return write_legs(node, 0, block, sizeof(block), err);
}

/* What the superblock says from this start on. */
static void next_super(struct node *node)
{
	struct mirror *mirror = node->state;
	struct superblock *super = &mirror->super;
	unsigned i;

	if (!mirror->is_found)
		*super = (struct superblock){ .primary = mirror->primary };
	if (super->primary < node->child_count &&
		mirror->legs[super->primary].state == LEG_IN_SYNC)
		mirror->primary = super->primary;
	super->birth = node->birth;
	super->size = mirror->size;
	super->region_size = mirror->region_size;
	super->leg_count = node->child_count;
	mirror_super_fill(node);
	super->sequence++;
	for (i = 0; i < node->child_count; i++)
		super->tracked[i] = mirror_leg_is_used(mirror, i)    ? super->sequence
				    : node->children[i]->spare ? 0
							       : super->tracked[i];
}

/* Of legs that are brought up to date; or of the mirror, whose legs may differ since an unclean stop. */
static void tell_resync(struct node *node)
{
	struct mirror *mirror = node->state;
	bool is_rebuilding = false;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_REBUILDING) {
			is_rebuilding = true;
			mirror_tell_resync(node, i);
		}
	mirror->work.is_evening = !is_rebuilding && mirror->work.is_urgent;
	if (mirror->work.is_evening)
		notice_raise(node, "resync_started", "bytes",
			(uint64_t)mirror->todo_count << mirror->region_shift);
}

/* Marks and superblock are durable: the next start goes on with legs that begin from nothing in this one. */
static void track(struct node *node)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_REBUILDING && node->children[i]->rebuild_all) {
			child_tracked(node->children[i]);
			mirror->work.wants_record = true;
		}
}

int mirror_load(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	bool has_larger_regions =
		mirror_has_grown(mirror) && mirror->super.region_size != mirror->region_size;
	unsigned i;

	drop_left_out(node);
	if (find_marks(node, err) < 0)
		return -1;
	mirror->is_loaded = true;
	next_super(node);
	if (has_larger_regions && (write_ones(node, err) < 0 || write_super(node, err) < 0))
		return -1;
	for (i = 0; i < mirror->region_count; i++)
		mirror->regions[i].is_doubted = mirror->regions[i].bits & REGION_DIRTY;
	mirror_find_todo(node);
	/* Marks first: with the superblock a stale leg is in step, and they are what it misses. */
	if (write_pages(node, err) < 0 || write_super(node, err) < 0)
		return -1;
	for (i = 0; i < mirror->region_count; i++) {
		uint8_t bits = mirror->regions[i].bits;

		mirror->regions[i].is_durable = bits & REGION_DIRTY && bits & REGION_WRITTEN;
	}
	tell_resync(node);
	track(node);
	return 0;
}

/* All requests have ended: what is left to copy stays marked, the rest is clean. */
int mirror_unload(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (node->children[i]->failed)
			mirror->legs[i].state = LEG_FAILED;
	for (i = 0; i < node->child_count; i++) {
		int result = mirror_leg_is_used(mirror, i) ? child_flush(node->children[i]) : 0;

		if (result < 0)
			(void)mirror_fail(node, i); /* the labels will say so */
		if (result < 0 && mirror_leg_is_used(mirror, i))
			return json_err(node->children[i]->json, err,
				"mirror: leg %s of %s can't be flushed, and is the last: error %d",
				node->children[i]->id, node->id, -result);
	}
	for (i = 0; i < mirror->region_count; i++)
		if (mirror->regions[i].bits & (REGION_DIRTY | REGION_COPIED))
			mirror_settle(node, &mirror->regions[i]);
	mirror_super_fill(node);
	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_is_used(mirror, i))
			mirror->super.tracked[i] = mirror->super.sequence; /* who is behind may have missed that one */
	return write_pages(node, err) < 0 ? -1 : write_super(node, err);
}
