// SPDX-License-Identifier: MIT
/* What leaves do with sub-I/Os: carry them out, in full or in part, fail them, or lie. */
#include "perform.h"

#include <errno.h>
#include <string.h>

/* One piece of memory of the sub-I/O against the leaf. */
static void move_piece(struct image *image, const struct sub_io *sub, uint64_t offset, void *memory,
	uint64_t length)
{
	if (offset > image->bytes || length > image->bytes - offset)
		sim_fail("leaf %u of %zu bytes is asked for %llu at %llu", sub->leaf->place,
			image->bytes, (unsigned long long)length, (unsigned long long)offset);
	if (sub->kind == IO_READ) {
		memcpy(memory, image->view + offset, length);
		lie_read(image, offset, memory, length);
	} else {
		image_write(image, offset, memory, length);
		lie_written(image, offset, memory, length);
	}
}

/* Carries out the first `length` bytes. */
static void carry_out(const struct pending *each, uint64_t length)
{
	const struct sub_io *sub = each->sub, *part = sub;
	struct image *image = backend.images[sub->leaf->place];
	struct lie lie = lie_about(image, sub, length, each->is_passed);
	uint64_t offset = lie.offset, left = length;
	unsigned i;

	if (lie.kind == LIE_LOST)
		return;
	if (sub->kind == IO_FLUSH)
		image_flush(image, random_below(2) ? each->writes : image->writes);
	if (sub->kind == IO_WRITE_ZEROES || sub->kind == IO_DISCARD) {
		image_zero(image, sub->offset, length);
		lie_zeroed(image, sub, length);
	}
	for (i = 0; has_bytes(sub) && left > 0; i++) {
		struct iovec piece = each->is_passed ? part->vector : sub->vectors[i];
		uint64_t count = piece.iov_len < left ? piece.iov_len : left;

		if (each->is_passed) /* the driver works on the request's own pages */
			piece.iov_base = backend.page_of(each->tag, piece.iov_base);

		if (!each->is_passed && i >= sub->vector_count)
			sim_fail("leaf %u: the vectors hold less than %llu bytes", sub->leaf->place,
				(unsigned long long)sub->length);
		move_piece(image, sub, offset, piece.iov_base, count);
		offset += count;
		left -= count;
		part = part->merged;
	}
	if (sub->kind == IO_WRITE && sub->flags & IO_FUA && length)
		image_persist(image, lie.offset, length);
	lie_told(image, &lie, length);
}

/* Some whole sectors of it, perhaps none, perhaps all. */
static uint64_t some_of(const struct sub_io *sub)
{
	uint32_t count = (uint32_t)(sub->length / SECTOR);

	switch (random_below(3)) {
	case 0:
		return 0;
	case 1:
		return sub->length;
	default:
		return (uint64_t)random_below(count + 1) * SECTOR;
	}
}

void perform_some(const struct pending *each)
{
	carry_out(each, some_of(each->sub));
}

static int fail(const struct pending *each)
{
	const struct sub_io *sub = each->sub;
	struct image *image = backend.images[sub->leaf->place];

	model_fault();
	backend.has_lost |= sub->kind == IO_FLUSH;
	if (sub->kind == IO_FLUSH && random_below(2))
		image_lose_flush(image);
	else if (sub->kind != IO_FLUSH && !backend.dead[sub->leaf->place])
		perform_some(each);
	return !hardship_is_full(sub) && random_below(4) ? -EIO : -ENOSPC;
}

int perform(const struct pending *each)
{
	const struct sub_io *sub = each->sub;
	unsigned place = sub->leaf->place;
	uint64_t length = sub->length;

	if (backend.dead[place] || hardship_is_full(sub) || (!backend.guarded[place] && random_one_in(backend.faults.error)))
		return fail(each);
	if (random_one_in(backend.faults.again))
		return random_below(2) ? -EAGAIN : -EINTR;
	if (has_bytes(sub) && length > SECTOR && random_one_in(backend.faults.shorter))
		length = SECTOR * (1 + random_below((uint32_t)(length / SECTOR) - 1));
	carry_out(each, length);
	return has_bytes(sub) ? (int)length : 0;
}
