// SPDX-License-Identifier: MIT
/*
 * thin's fill: what stands before and behind a small first write within what becomes allocated
 * with it: from the backing child, from the cluster that the new one replaces, or zeroes. So no
 * device ever shows what lay in a host cluster before.
 *
 * Pieces of thin->fill bytes, side by side for head and tail: a wave that brings a piece into
 * scratch, a wave that writes it. A compressed cluster's bytes are in scratch already.
 */
#include "thin.h"

#include <assert.h>

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Zeroes into scratch, as an op: its turn is after the last write from there. */
static void clear(struct plan *plan, uint32_t skip, uint64_t length)
{
	if (length)
		plan_scratch(plan, IO_CLEAR, 0, 0, 0, skip, (uint32_t)length);
}

/* What the device reads at [offset, offset + length), within one grain, into scratch. */
static void bring_grain(struct node *node, struct plan *plan, uint64_t offset, uint64_t length,
	uint32_t skip)
{
	struct thin *thin = thin_of(node);
	struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);
	uint64_t within = offset & (thin_cluster(thin) - 1), there = 0;

	switch (qcow2_entry_kind(&entry, (unsigned)(within >> thin->grain_bits))) {
	case QCOW2_DATA:
		plan_scratch(plan, IO_READ, 0, thin->data_place, qcow2_entry_place(&entry) + within, skip,
			(uint32_t)length);
		return;
	case QCOW2_HOLE:
		if (thin_has_backing(node)) {
			uint64_t size = thin_backing(node)->limits.size;

			there = offset < size ? smaller(length, size - offset) : 0;
		}
		if (there)
			plan_scratch(plan, IO_READ, 0, THIN_BACKING, offset, skip, (uint32_t)there);
		clear(plan, skip + (uint32_t)there, length - there);
		return;
	default:
		clear(plan, skip, length);
	}
}

static void bring(struct node *node, struct plan *plan, uint64_t offset, uint64_t length, uint32_t skip)
{
	uint64_t grain = UINT64_C(1) << thin_of(node)->grain_bits;

	while (length) {
		uint64_t part = smaller(length, grain - (offset & (grain - 1)));

		bring_grain(node, plan, offset, part, skip);
		offset += part;
		length -= part;
		skip += (uint32_t)part;
	}
}

/* One side's piece that begins `done` bytes into it: brought, or written. */
static void piece(struct node *node, struct plan *plan, uint64_t begin, uint64_t end, uint64_t done,
	uint64_t host, uint32_t skip, bool writes)
{
	struct thin *thin = thin_of(node);
	uint64_t offset = begin + done, length;

	if (offset >= end)
		return;
	length = smaller(end - offset, thin->fill);
	if (writes)
		plan_scratch(plan, IO_WRITE, 0, thin->data_place, host + (offset & (thin_cluster(thin) - 1)),
			skip, (uint32_t)length);
	else
		bring(node, plan, offset, length, skip);
}

void thin_fill(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	uint64_t clusters = (thin_up(thin, io->end) - thin_down(thin, io->begin)) >> thin->cluster_bits;
	uint64_t head = thin_down(thin, plan->ops[io->first].request.offset);
	uint64_t tail = thin_down(thin, plan->ops[io->first + clusters - 1].request.offset);
	uint64_t end = io->offset + io->length, done;

	for (done = 0; done < thin_cluster(thin); done += thin->fill) {
		piece(node, plan, io->begin, io->offset, done, head, 0, false);
		piece(node, plan, end, io->end, done, tail, thin->fill, false);
		plan_then(plan);
		piece(node, plan, io->begin, io->offset, done, head, 0, true);
		piece(node, plan, end, io->end, done, tail, thin->fill, true);
		plan_then(plan);
	}
}

uint32_t thin_fill_ops(const struct thin *thin)
{
	uint64_t pieces = thin_cluster(thin) / thin->fill + 1;
	uint64_t grains = (thin->fill >> thin->grain_bits) + 4;

	return (uint32_t)(2 * pieces * (grains + 1));
}

/* Each piece is one side's, within its cluster. */
uint32_t thin_fill_reads(const struct thin *thin)
{
	uint32_t pieces = (uint32_t)(thin_cluster(thin) / thin->fill);
	uint32_t grains = thin->grain_bits == thin->cluster_bits ? 1 : (thin->fill >> thin->grain_bits) + 2;

	return 2 * pieces * grains;
}
