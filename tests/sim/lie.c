// SPDX-License-Identifier: MIT
/*
 * Leaves that lie: a write that is acknowledged and not done, done elsewhere, or done with a wrong
 * bit; a flush that makes nothing durable; bits that turn while nobody looks. Nothing fails, so
 * nothing tells the engine: what must hold then is that a lie hurts what it was told about, and
 * nothing else. One seed in so many has some leaves that lie, in one of two ways:
 *
 * - LIES_DATA: about the user's bytes alone. Where they go is followed, through the leaf's sectors
 *   and through memory (copies, fills, repairs), and back to the device: a sector that was read
 * from where a leaf had lied may be anything, every other is judged as strictly as ever; so are
 * results, labels, images and starts.
 * - LIES_ANY: also about labels, tables and bitmaps, and at any time. A start may be refused. The
 *   device that is started has its size, every request ends, no leaf is asked for what it doesn't
 *   have, and a sector holds what was once written to it, however old, unless it was lied about; of
 *   a thin's sectors, whose map may be wrong, that isn't asked.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

enum { MARK_DATA = 1, MARK_LIED = 2, MARK_EVER = 4 };

#define MEMORY_MAX (1u << 15)
#define TRIES 16
#define LABEL_USED (64u << 10) /* of each copy: more than any of ours has */

static struct memory { /* sectors in memory that a leaf had something to do with */
	const char *at;
	bool is_lied;
} memory[MEMORY_MAX];
static unsigned memory_count;
static bool is_liar[IMAGES_MAX];
static uint32_t rate;
static const char *const lie_names[] = {
	[LIE_LOST] = "not done",
	[LIE_FLIPPED] = "done, but for one bit",
	[LIE_MISDIRECTED] = "done elsewhere",
};

void lie_begin(void)
{
	unsigned place;

	memset(memory, 0, life.lies ? sizeof(memory) : 0);
	memory_count = 0;
	if (!life.lies)
		return;
	rate = 4u << random_below(7);
	for (place = 0; place < life.document.leaf_count; place++)
		is_liar[place] = random_below(2);
	is_liar[random_below(life.document.leaf_count)] = true;
}

void lie_prepare(struct image *image)
{
	if (!life.lies)
		return;
	image->marks = calloc(image->bytes / SECTOR + 1, 1);
	if (!image->marks)
		sim_fail("out of memory");
}

/* NULL: nothing is known of it. With `add` it is listed. */
static struct memory *find(const char *at, bool add)
{
	unsigned n = (unsigned)(((uintptr_t)at >> 4) * 2654435761u >> 8) % MEMORY_MAX;

	for (; memory[n].at; n = (n + 1) % MEMORY_MAX)
		if (memory[n].at == at)
			return &memory[n];
	if (!add)
		return NULL;
	if (++memory_count > MEMORY_MAX / 4 * 3)
		sim_fail("more sectors in memory than can be followed");
	memory[n].at = at;
	return &memory[n];
}

bool lie_in(const void *at)
{
	const struct memory *sector = life.lies ? find(at, false) : NULL;

	return sector && sector->is_lied;
}

static void set(const char *at, bool is_lied)
{
	struct memory *sector = find(at, is_lied);

	if (sector)
		sector->is_lied = is_lied;
}

void lie_clear(const void *at, uint64_t length)
{
	uint64_t done;

	for (done = 0; life.lies && done < length; done += SECTOR)
		set((const char *)at + done, false);
}

void lie_copy(const void *to, const void *from, uint64_t length)
{
	uint64_t done;

	for (done = 0; life.lies && done < length; done += SECTOR)
		set((const char *)to + done, lie_in((const char *)from + done));
}

void lie_read(const struct image *image, uint64_t offset, const void *to, uint64_t length)
{
	uint64_t done;

	for (done = 0; image->marks && done < length; done += SECTOR)
		set((const char *)to + done, image->marks[(offset + done) / SECTOR] & MARK_LIED);
}

void lie_written(struct image *image, uint64_t offset, const void *from, uint64_t length)
{
	uint64_t done;

	for (done = 0; image->marks && done < length; done += SECTOR) {
		unsigned char *mark = &image->marks[(offset + done) / SECTOR];
		const char *at = from ? (const char *)from + done : NULL;

		*mark &= MARK_EVER;
		if (at && requests_own(at))
			*mark |= MARK_DATA;
		if (at && lie_in(at))
			*mark |= MARK_LIED | MARK_EVER;
	}
}

bool lie_at(const char *view)
{
	const struct image *image = life.lies ? image_of_view(view) : NULL;

	return image && image->marks && image->marks[(view - image->view) / SECTOR] & MARK_LIED;
}

/* What was lied about once may be back, and what was the user's something else. */
void lie_return(struct image *image)
{
	uint64_t n;

	for (n = 0; image->marks && n < image->bytes / SECTOR; n++)
		image->marks[n] = image->marks[n] & MARK_EVER ? MARK_EVER | MARK_LIED : 0;
}

static void mark(struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t done;

	for (done = 0; done < length; done += SECTOR)
		image->marks[(offset + done) / SECTOR] |= MARK_LIED | MARK_EVER;
}

/* Zeroes that a node writes by itself may be what it has read elsewhere, where a leaf had lied. */
void lie_zeroed(struct image *image, const struct sub_io *sub, uint64_t length)
{
	const struct io *io = sub->io;
	bool is_lied = false;
	uint32_t at;

	lie_written(image, sub->offset, NULL, length);
	for (at = 0; image->marks && io->worker && at < io->scratch_used; at += SECTOR)
		is_lied |= lie_in(io->scratch + at);
	if (is_lied)
		mark(image, sub->offset, length);
}

static bool is_data(const struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t done;

	for (done = 0; done < length; done += SECTOR)
		if (!(image->marks[(offset + done) / SECTOR] & MARK_DATA))
			return false;
	return true;
}

/* Some place of the leaf for as many bytes, which a lie may hurt. UINT64_MAX: none was found. */
static uint64_t elsewhere(const struct image *image, uint64_t length)
{
	bool has_label = image->bytes > LABEL_FRONT + LABEL_TAIL;
	uint64_t front = has_label ? LABEL_FRONT : 0;
	uint64_t room = image->bytes - front - (has_label ? LABEL_TAIL : 0), offset;
	unsigned tries;

	if (length > room)
		return UINT64_MAX;
	if (life.lies == LIES_ANY && has_label && random_one_in(3) && length <= LABEL_USED)
		return random_below(2) * LABEL_COPY_STRIDE +
		       random_below((uint32_t)((LABEL_USED - length) / SECTOR) + 1) * SECTOR;
	for (tries = 0; tries < TRIES; tries++) {
		offset = front + random_below((uint32_t)((room - length) / SECTOR) + 1) * SECTOR;
		if (life.lies == LIES_ANY || is_data(image, offset, length))
			return offset;
	}
	return UINT64_MAX;
}

static bool may_be_lied_about(const struct image *image, const struct sub_io *sub, bool is_passed)
{
	switch (sub->kind) {
	case IO_WRITE:
		return life.lies == LIES_ANY || is_passed || requests_own(sub->vectors[0].iov_base);
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		return life.lies == LIES_ANY || is_data(image, sub->offset, sub->length);
	case IO_FLUSH: /* tables and bitmaps may rely on it */
		return life.lies == LIES_ANY || !life.has_metadata;
	default:
		return false;
	}
}

/* Turns a bit of the sector, for good. */
static void turn_bit(struct image *image, uint64_t sector)
{
	uint64_t at = sector * SECTOR + random_below(SECTOR);
	char bit = (char)(1 << random_below(8));

	image->view[at] ^= bit;
	image->durable[at] ^= bit;
	mark(image, sector * SECTOR, SECTOR);
}

/* Of a write that has something to write. */
static struct lie lie_about_write(struct image *image, const struct sub_io *sub, uint64_t length)
{
	struct lie lie = { LIE_LOST, sub->offset };
	uint64_t offset;

	switch (sub->kind == IO_WRITE ? random_below(3) : 0) {
	case 0:
		break;
	case 1:
		lie.kind = LIE_FLIPPED;
		totals.flipped++;
		return lie;
	default:
		offset = elsewhere(image, length);
		if (offset == UINT64_MAX)
			break;
		lie = (struct lie){ LIE_MISDIRECTED, offset };
		totals.misdirected++;
	}
	totals.lost += lie.kind == LIE_LOST;
	mark(image, sub->offset, length);
	return lie;
}

struct lie lie_about(struct image *image, const struct sub_io *sub, uint64_t length, bool is_passed)
{
	struct lie lie = { LIE_NONE, sub->offset };

	if (!image->marks || !is_liar[sub->leaf->place] || !random_one_in(rate) ||
		!may_be_lied_about(image, sub, is_passed))
		return lie;
	if (sub->kind == IO_FLUSH) {
		image_doubt(image);
		lie.kind = LIE_LOST;
		totals.lied_flushes++;
	} else if (length > 0) {
		lie = lie_about_write(image, sub, length);
	}
	if (lie.kind != LIE_NONE)
		sim_note("  leaf %u lies: %s", sub->leaf->place, lie_names[lie.kind]);
	return lie;
}

void lie_told(struct image *image, const struct lie *lie, uint64_t length)
{
	if (lie->kind == LIE_FLIPPED)
		turn_bit(image, lie->offset / SECTOR + random_below((uint32_t)(length / SECTOR)));
	if (lie->kind == LIE_MISDIRECTED)
		mark(image, lie->offset, length);
}

void lie_doubt(struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t done;

	for (done = 0; image->marks && done < length; done += SECTOR)
		image->marks[(offset + done) / SECTOR] |= MARK_EVER;
}

bool lie_main(struct image *image, uint64_t offset, uint64_t length)
{
	if (life.lies != LIES_ANY || !random_one_in(8 * rate))
		return false;
	sim_note("a leaf loses what the main thread writes at %llu", (unsigned long long)offset);
	mark(image, offset, (length + SECTOR - 1) / SECTOR * SECTOR);
	totals.lost++;
	return true;
}

void lie_rot(void)
{
	unsigned place;
	uint64_t offset;

	if (!life.lies || !random_one_in(32 * rate))
		return;
	place = random_below(backend.tree->leaf_count);
	if (!is_liar[place] || !backend.images[place])
		return;
	offset = elsewhere(backend.images[place], SECTOR);
	if (offset == UINT64_MAX)
		return;
	turn_bit(backend.images[place], offset / SECTOR);
	model_upheavals++;
	totals.rotted++;
	sim_note("  leaf %u rots at %llu", place, (unsigned long long)offset);
}
