// SPDX-License-Identifier: MIT
/*
 * What is known of each region, and the pages that say it durably. mirror_bitmap.c has the bytes and
 * the crash story.
 *
 * A write to a region that the legs don't call dirty waits for a self op on that region's page. It holds
 * the page alone, so that writes that come meanwhile share the next one, which says what is known by
 * then. Where pages begin stands in SELF_RANGES.
 */
#include "mirror.h"

#include "notice.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void count(unsigned *counter, int more)
{
	__atomic_store_n(counter, *counter + (unsigned)more, __ATOMIC_RELAXED);
}

void mirror_mark_all_changed(struct mirror *mirror, const struct region *own)
{
	unsigned i;

	for (i = 0; i < mirror->region_count; i++) {
		uint8_t bits = mirror->regions[i].bits | (own ? own[i].bits : 0);

		mirror_set_bits(
			mirror, i, bits & REGION_WRITTEN ? REGION_CHANGED : REGION_UNEVEN, 0);
	}
}

void mirror_set_bits(struct mirror *mirror, unsigned region, uint8_t set, uint8_t clear)
{
	uint8_t *bits = &mirror->regions[region].bits, before = *bits;
	uint8_t changed;

	*bits = (uint8_t)((before & ~clear) | set);
	changed = before ^ *bits;
	if (!(*bits & REGION_TODO) && mirror->regions[region].is_behind) {
		mirror->regions[region].is_behind = false;
		count(&mirror->behind.count, -1);
	}
	if (changed & REGION_TODO)
		count(&mirror->todo_count, *bits & REGION_TODO ? 1 : -1);
	if (changed & REGION_DIRTY)
		count(&mirror->dirty_count, *bits & REGION_DIRTY ? 1 : -1);
	if (changed & REGION_COPIED)
		count(&mirror->copied_count, *bits & REGION_COPIED ? 1 : -1);
}

void mirror_count(struct mirror *mirror)
{
	unsigned i;

	mirror->todo_count = mirror->dirty_count = mirror->copied_count = 0;
	for (i = 0; i < mirror->region_count; i++) {
		uint8_t bits = mirror->regions[i].bits;

		mirror->regions[i].bits = 0;
		mirror_set_bits(mirror, i, bits, 0);
	}
}

int mirror_find_regions(struct node *node, struct err *err)
{
	struct mirror *mirror = node->state;
	uint64_t size = mirror->size, automatic = mirror_region_size(size), needed = automatic;
	unsigned i;

	if (!mirror->has_region_size)
		mirror->region_size = mirror->is_found ? mirror->super.region_size : automatic;
	while (needed > REGION_SIZE_MIN && (size - 1) / (needed / 2) < REGIONS_MAX)
		needed /= 2;
	if (!mirror->has_region_size && mirror_has_grown(mirror) && mirror->region_size < needed)
		mirror->region_size = needed;
	if (mirror->region_size < needed)
		return json_err(json_get(node->json, "region_size"), err,
			"mirror: region_size %" PRIu64 " makes more than %u regions of %" PRIu64
			" bytes; at least %" PRIu64 " is needed",
			mirror->region_size, REGIONS_MAX, size, needed);
	mirror->region_shift = (unsigned)__builtin_ctzll(mirror->region_size);
	mirror->region_count = (unsigned)((size - 1) >> mirror->region_shift) + 1;
	mirror->page_count = (mirror->region_count - 1) / PAGE_REGIONS + 1;
	free(mirror->regions);
	mirror->regions = calloc(mirror->region_count, sizeof(*mirror->regions));
	if (!mirror->regions)
		return err_add(err, "out of memory");
	mirror->todo_count = mirror->dirty_count = mirror->copied_count = mirror->behind.count = 0;
	for (i = 0; i < mirror->region_count; i++) { /* until load() knows better */
		mirror_set_bits(mirror, i, REGION_WRITTEN | REGION_DIRTY, 0);
		mirror->regions[i].is_durable = true;
	}
	return 0;
}

struct span {
	unsigned first, last; /* both belong to it */
};

static struct span span_of(const struct mirror *mirror, uint64_t offset, uint64_t length)
{
	return (struct span){
		(unsigned)(offset >> mirror->region_shift),
		(unsigned)((offset + length - 1) >> mirror->region_shift),
	};
}

void mirror_plan_pages(struct plan *plan, unsigned first, unsigned last)
{
	plan_self(plan, SELF_RANGES + first * PAGE_BYTES,
		(uint64_t)(last - first + 1) * PAGE_BYTES, WORD_PAGE);
}

void mirror_mark(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct span span = span_of(mirror, request->offset, request->length);
	bool is_discard = request->kind == IO_DISCARD; /* of nothing is no write */
	struct span pages = { PAGES_MAX, 0 };
	unsigned i;
	uint8_t set;

	for (i = span.first; i <= span.last; i++) {
		struct region *region = &mirror->regions[i];

		region->writers++;
		region->is_recent = true;
		region->bits &= (uint8_t)~(REGION_IDLE | REGION_SETTLED);
		if (region->is_durable || (is_discard && !(region->bits & REGION_WRITTEN)))
			continue;
		set = REGION_DIRTY | REGION_WRITTEN;
		if (region->bits & REGION_UNEVEN && mirror_legs_used(node) > 1)
			set |= REGION_TODO; /* what stands around it is made even one day */
		mirror_set_bits(mirror, i, set, 0);
		if (pages.first == PAGES_MAX)
			pages.first = i / PAGE_REGIONS;
		pages.last = i / PAGE_REGIONS;
	}
	if (pages.first == PAGES_MAX)
		return;
	mirror_plan_pages(plan, pages.first, pages.last);
	plan_then(plan);
	plan_ask(plan); /* a leg that failed the page is to be recorded before the answer */
}

void mirror_unmark(struct node *node, const struct request *request)
{
	struct mirror *mirror = node->state;
	struct span span = span_of(mirror, request->offset, request->length);
	unsigned i;

	for (i = span.first; i <= span.last; i++)
		mirror->regions[i].writers--;
	mirror->behind.writing--;
}

bool mirror_is_single(const struct node *node, uint64_t offset, uint64_t length)
{
	const struct mirror *mirror = node->state;
	struct span span = span_of(mirror, offset, length);
	unsigned i;

	if (mirror->is_found && !mirror->is_loaded)
		return true; /* who probes us must see what he will see then */

	for (i = span.first; i <= span.last; i++)
		if (mirror->regions[i].bits & (REGION_TODO | REGION_UNEVEN))
			return true;
	return false;
}

void mirror_doubt(struct node *node, const struct request *request)
{
	struct mirror *mirror = node->state;
	struct span span = span_of(mirror, request->offset, request->length);
	unsigned i;

	if (mirror_legs_used(node) < 2)
		return;
	for (i = span.first; i <= span.last; i++)
		mirror_set_bits(mirror, i, REGION_TODO, REGION_COPIED);
	mirror->work.is_urgent = true;
	mirror->work.pass++; /* a region may be half copied */
}

static bool has_todo(const struct mirror *mirror, uint64_t offset, uint64_t length)
{
	struct span span = span_of(mirror, offset, length);
	unsigned i;

	for (i = span.first; mirror->todo_count && i <= span.last; i++)
		if (mirror->regions[i].bits & REGION_TODO)
			return true;
	return false;
}

/*
 * Two writes to one block in flight could land in different orders on two legs: keep them apart, and
 * what is copied in the background from both. A read must not fall between what a copy has read and
 * what it writes of that: it could meet another version, which then changes back. Self ops hold the
 * pages that they name.
 */
enum hold mirror_hold(const struct node *node, const struct request *request,
	struct range *range)
{
	enum hold hold = HOLD_NONE;

	switch (request->kind) {
	case IO_WRITE:
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
	case IO_SELF:
		hold = request->length ? HOLD_EXCLUSIVE : HOLD_NONE;
		break;
	case IO_READ:
		if (has_todo(node->state, request->offset, request->length))
			hold = HOLD_SHARED;
		break;
	default:
		break;
	}
	if (hold != HOLD_NONE)
		*range = (struct range){ request->offset, request->length };
	return hold;
}

static bool has_rebuilding(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror->legs[i].state == LEG_REBUILDING)
			return true;
	return false;
}

/*
 * To be asked when nothing of this life is in flight (load), or when a leg was taken in: then
 * regions dirty by this life's own writes are copied once too often, which costs little.
 */
void mirror_find_todo(struct node *node)
{
	struct mirror *mirror = node->state;
	uint8_t reasons = REGION_DIRTY | (has_rebuilding(node) ? REGION_CHANGED : 0);
	bool has_others = mirror_legs_used(node) > 1;
	struct work *work = &mirror->work;
	unsigned i;

	work->is_urgent = false;

	for (i = 0; i < mirror->region_count; i++) {
		uint8_t bits = mirror->regions[i].bits;
		bool is_todo = bits & reasons ||
			(bits & REGION_UNEVEN && bits & REGION_WRITTEN);

		if (!mirror->regions[i].is_doubted && (!is_todo || !has_others))
			continue;
		work->is_urgent |= bits & reasons;
		mirror_set_bits(
			mirror, i, REGION_TODO, REGION_COPIED | REGION_IDLE | REGION_SETTLED);
	}
	__atomic_store_n(&work->total, mirror->todo_count, __ATOMIC_RELAXED);
}

static uint64_t todo_bytes(const struct mirror *mirror)
{
	return (uint64_t)mirror->todo_count << mirror->region_shift;
}

void mirror_tell_resync(const struct node *node, unsigned place)
{
	notice_raise(node->children[place], "resync_started", "bytes", todo_bytes(node->state));
}

void mirror_drop_todo(struct mirror *mirror)
{
	unsigned i;

	for (i = 0; i < mirror->region_count; i++)
		if (!mirror->regions[i].is_doubted)
			mirror_set_bits(mirror, i, 0, REGION_TODO);
}

void mirror_settle(const struct node *node, struct region *region)
{
	struct mirror *mirror = node->state;
	unsigned number = (unsigned)(region - mirror->regions);
	uint8_t bits = region->bits, set = 0, clear = REGION_DIRTY;

	if (bits & REGION_TODO)
		return;
	if (bits & REGION_COPIED)
		clear |= REGION_UNEVEN | REGION_COPIED;
	if (!mirror_has_away(node))
		clear |= REGION_CHANGED;
	else if (bits & REGION_DIRTY || bits & REGION_COPIED)
		set = REGION_CHANGED;
	mirror_set_bits(mirror, number, set, clear);
	region->is_durable = region->is_doubted = false;
}

/* The regions of the pages that the request names. */
static struct span pages_span(const struct mirror *mirror, const struct request *request)
{
	unsigned first = (unsigned)((request->offset - SELF_RANGES) / PAGE_BYTES) * PAGE_REGIONS;
	unsigned end = first + (unsigned)(request->length / PAGE_BYTES) * PAGE_REGIONS;

	return (struct span){ first, (end < mirror->region_count ? end : mirror->region_count) - 1 };
}

static bool is_wanted(const struct mirror *mirror, struct span span)
{
	unsigned i;

	if (mirror->work.wants_pages)
		return true;
	for (i = 0; i < LEGS_MAX; i++)
		if (mirror->legs[i].state == LEG_JOINING)
			return true; /* it has none of those that were written while it was away */
	for (i = span.first; i <= span.last; i++) {
		const struct region *region = &mirror->regions[i];

		if (region->bits & REGION_SETTLED ||
			(region->bits & REGION_DIRTY && !region->is_durable))
			return true;
	}
	return false;
}

void mirror_write_everywhere(
	struct node *node, struct plan *plan, uint64_t offset, uint32_t length)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (mirror_leg_is_used(node->state, i) && !mirror_leg_is_behind(node->state, i))
			plan_scratch(plan, IO_WRITE, IO_FUA, i, offset, 0, length);
	plan_ask(plan);
}

void mirror_page_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct span span = pages_span(mirror, request);
	unsigned first = span.first / PAGE_REGIONS, i;

	if (!is_wanted(mirror, span))
		return; /* somebody else has written it meanwhile */
	for (i = span.first; i <= span.last; i++) {
		struct region *region = &mirror->regions[i];

		if (region->bits & REGION_SETTLED)
			mirror_settle(node, region);
		region->bits &= (uint8_t)~REGION_SETTLED;
	}
	for (i = first; i <= span.last / PAGE_REGIONS; i++)
		mirror_page_encode((char *)plan->scratch + (size_t)(i - first) * PAGE_BYTES, i,
			mirror->super.birth, mirror->regions, mirror->region_count);
	mirror_write_everywhere(node, plan, mirror_page_offset(first), (uint32_t)request->length);
}

void mirror_page_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct mirror *mirror = node->state;
	struct span span = pages_span(mirror, request);
	unsigned i;
	int result;

	(void)mirror_fail_ops(node, plan, &result); /* recorded by those who wait for the page */
	for (i = span.first; i <= span.last && result == 0; i++) {
		unsigned n = i - span.first;
		const char *page = (const char *)plan->scratch +
			(size_t)(n / PAGE_REGIONS) * PAGE_BYTES;

		if (mirror_page_bits(page, n % PAGE_REGIONS) & REGION_DIRTY)
			mirror->regions[i].is_durable = true;
	}
	plan_end(plan, result);
}
