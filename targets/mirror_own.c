// SPDX-License-Identifier: MIT
/*
 * What a leg alone holds that went on without the others, for who saves it before the leg is brought up
 * to date. The leg's own bitmap says where it was written since then; of that, what another leg
 * holds too is nothing of its own.
 *
 * The leg's bitmap is believed where it and the mirror name the same start as the last one that both were
 * part of; else wherever the leg was ever written, and where it says nothing that is whole, all of it
 * may be its own.
 */
#include "mirror.h"

#include "child_io.h"

#include <inttypes.h>

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 4096u /* what differs anywhere in one is saved as a whole */

/* Whether the leg's bitmap begins where the mirror's marks for that leg do. */
static bool is_dated(struct node *node, unsigned place)
{
	const struct mirror *mirror = node->state;
	struct superblock super;
	unsigned i;

	if (!mirror->is_found || !mirror_read_super(node, place, &super))
		return false;
	for (i = 0; i < super.leg_count; i++)
		if (i != place && mirror->legs[i].state == LEG_IN_SYNC && super.tracked[i] &&
			super.tracked[i] == mirror->super.tracked[place])
			return true;
	return false;
}

bool mirror_read_bits(struct node *node, unsigned place, struct region *regions)
{
	struct mirror *mirror = node->state;
	struct superblock super;
	char memory[PAGE_BYTES];
	unsigned page, i;

	if (!mirror_read_super(node, place, &super) || super.size != mirror->size ||
		super.region_size != mirror->region_size)
		return false;
	for (page = 0; page < mirror->page_count; page++) {
		unsigned first = page * PAGE_REGIONS, whole = 0;

		if (child_read(node->children[place], mirror_page_offset(page), memory,
			    sizeof(memory)) == 0)
			mirror_page_merge(memory, page, node->birth, regions, mirror->region_count,
				&whole);
		for (i = first; i < first + PAGE_REGIONS && i < mirror->region_count; i++)
			if (!(whole & 1u << (i - first) / SECTOR_REGIONS))
				regions[i].bits = REGION_BITS;
	}
	return true;
}

/* For each region whether the leg may have been written there alone. NULL: out of memory. */
static bool *find_own(struct node *node, unsigned place)
{
	struct mirror *mirror = node->state;
	struct region *regions = calloc(mirror->region_count, sizeof(*regions));
	bool *own = calloc(mirror->region_count, sizeof(*own));
	uint8_t wanted = REGION_WRITTEN | REGION_DIRTY | REGION_CHANGED;
	bool is_known;
	unsigned i;

	if (!regions || !own) {
		free(regions);
		free(own);
		return NULL;
	}
	is_known = mirror_read_bits(node, place, regions);
	if (is_known && is_dated(node, place))
		wanted = REGION_DIRTY | REGION_CHANGED;
	for (i = 0; i < mirror->region_count; i++)
		own[i] = !is_known || regions[i].bits & wanted;
	free(regions);
	return own;
}

/* Where the bytes that the leg may have alone begin, at or behind that; the node's end: nowhere. */
static uint64_t next_own(const struct node *node, uint64_t offset)
{
	const struct mirror *mirror = node->state;

	while (offset < node->limits.size && !mirror->own[offset >> mirror->region_shift])
		offset = ((offset >> mirror->region_shift) + 1) << mirror->region_shift;
	return offset < node->limits.size ? offset : node->limits.size;
}

/* Sets those blocks of the piece in which some leg in sync holds something else, or can't be read. */
static void compare(struct node *node, const char *bytes, char *other, uint64_t offset,
	uint32_t length, bool *differs)
{
	const struct mirror *mirror = node->state;
	unsigned i;
	uint32_t at;

	for (i = 0; i < node->child_count; i++) {
		bool is_read;

		if (mirror->legs[i].state != LEG_IN_SYNC)
			continue;
		is_read = child_read(node->children[i], MIRROR_FRONT + offset, other, length) == 0;
		for (at = 0; at < length; at += BLOCK_BYTES) {
			uint32_t block = length - at < BLOCK_BYTES ? length - at : BLOCK_BYTES;

			differs[at / BLOCK_BYTES] |=
				!is_read || memcmp(bytes + at, other + at, block) != 0;
		}
	}
}

/* The first blocks in a row that differ. False: none does. */
static bool find_run(const bool *differs, uint32_t length, uint32_t *first, uint32_t *end)
{
	uint32_t blocks = (length + BLOCK_BYTES - 1) / BLOCK_BYTES, from = 0, to;

	while (from < blocks && !differs[from])
		from++;
	for (to = from; to < blocks && differs[to]; to++)
		;
	*first = from * BLOCK_BYTES;
	*end = to * BLOCK_BYTES < length ? to * BLOCK_BYTES : length;
	return from < blocks;
}

/* As much as there is room for, and stands in one region. */
static uint32_t piece_length(const struct node *node, uint64_t offset, uint32_t room)
{
	const struct mirror *mirror = node->state;
	uint64_t left = mirror->region_size - (offset & (mirror->region_size - 1));

	if (left > node->limits.size - offset)
		left = node->limits.size - offset;
	return left < room ? (uint32_t)left : room;
}

static void forget(struct mirror *mirror)
{
	free(mirror->own);
	mirror->own = NULL;
}

int mirror_own(struct node *node, unsigned place, uint64_t *offset, void *memory, uint32_t *length,
	struct err *err)
{
	struct mirror *mirror = node->state;
	struct node *leg = node->children[place];
	uint32_t room = *length < COPY_BYTES ? *length : COPY_BYTES, size, first, end;
	uint64_t at;
	int result;

	*length = 0;
	if (*offset == 0) {
		forget(mirror);
		mirror->own = find_own(node, place);
		if (!mirror->own)
			return err_add(err, "out of memory");
	}
	for (at = next_own(node, *offset); at < node->limits.size; at = next_own(node, at + size)) {
		bool differs[COPY_BYTES / BLOCK_BYTES] = { false };

		size = piece_length(node, at, room);
		result = child_read(leg, MIRROR_FRONT + at, memory, size);
		if (result < 0)
			return json_err(leg->json, err,
				"mirror %s: what leg %s alone holds can't be read at %" PRIu64
				" of the mirror: error %d",
				node->id, leg->id, at, -result);
		compare(node, memory, (char *)memory + room, at, size, differs);
		if (!find_run(differs, size, &first, &end))
			continue;
		memmove(memory, (char *)memory + first, end - first);
		*offset = at + first;
		*length = end - first;
		return 0;
	}
	forget(mirror);
	return 0;
}
