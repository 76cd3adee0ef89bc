// SPDX-License-Identifier: MIT
/*
 * thin's reads: each grain from the image, from backing, or as zeroes. A compressed cluster is read
 * into scratch, unpacked there in resume(), and copied into the request; one at a time.
 *
 * Scratch: [0, 2 * fill) is thin_fill.c's, if it can be written to; then the packed bytes and the unpacked cluster, these
 * only where the image has compressed clusters. The decompressor's memory is the node's, as one request at a time uses it.
 */
#include "thin.h"

#include <assert.h>
#include <errno.h>

#define BLOCK_MAX 4096u

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Room for the packed bytes: in whole blocks at both ends. A stream longer than its cluster is none of
 * QEMU's. */
static uint32_t packed_room(const struct thin *thin)
{
	return (uint32_t)(thin_cluster(thin) < BLOCK_MAX ? BLOCK_MAX : thin_cluster(thin)) +
		2 * BLOCK_MAX;
}

static uint32_t packed_at(const struct thin *thin)
{
	return thin->can_write ? 2 * thin->fill : 0;
}

static uint32_t cluster_at(const struct thin *thin)
{
	return packed_at(thin) + packed_room(thin);
}

uint32_t thin_packed_scratch(const struct node *node)
{
	const struct thin *thin = thin_of(node);
	uint32_t cluster = (uint32_t)thin_cluster(thin);

	return cluster_at(thin) + (cluster < BLOCK_MAX ? BLOCK_MAX : cluster);
}

/* The blocks that hold the packed bytes. */
void thin_read_packed(struct node *node, struct plan *plan, const struct qcow2_entry *entry)
{
	const struct thin *thin = thin_of(node);
	uint64_t mask = node->children[THIN_DATA]->limits.logical_block_size - 1;
	uint64_t from = entry->host & ~mask;
	uint64_t to = (entry->host + entry->packed + mask) & ~mask;
	uint64_t end = (thin->present + mask) & ~mask;

	to = smaller(smaller(to, end), from + packed_room(thin));
	plan_scratch(plan, IO_READ, 0, THIN_DATA, from, packed_at(thin), (uint32_t)(to - from));
	plan_ask(plan);
}

int thin_unpack(struct node *node, struct plan *plan, const struct qcow2_entry *entry, uint32_t *at)
{
	const struct thin *thin = thin_of(node);
	uint8_t *scratch = plan->scratch;
	uint32_t skip = (uint32_t)(entry->host & (node->children[THIN_DATA]->limits.logical_block_size - 1));
	uint64_t room = packed_room(thin) - skip, length = smaller(entry->packed, room);

	*at = cluster_at(thin);
	return qcow2_unpack(thin->header.compression, scratch + packed_at(thin) + skip, length,
		scratch + cluster_at(thin), thin_cluster(thin), thin->unpacker,
		qcow2_unpack_memory(thin->header.compression));
}

/* A hole: from backing as far as that goes, then zeroes. */
static void read_hole(struct node *node, const struct request *request, struct plan *plan,
	uint64_t skip, uint64_t length)
{
	uint64_t offset = request->offset + skip, there = 0;

	if (thin_has_backing(node)) {
		uint64_t size = thin_backing(node)->limits.size;

		there = offset < size ? smaller(length, size - offset) : 0;
	}
	if (there)
		plan_part(plan, request, skip, there, THIN_BACKING, offset);
	if (length > there)
		plan_clear(plan, request, skip + there, length - there);
}

/* Grains of one kind in a row, within one cluster. Returns where the next kind begins. */
uint64_t thin_run_end(const struct thin *thin, const struct qcow2_entry *entry, uint64_t within,
	uint64_t end)
{
	unsigned grain = (unsigned)(within >> thin->grain_bits);
	enum qcow2_kind kind = qcow2_entry_kind(entry, grain);

	do
		within = (uint64_t)++grain << thin->grain_bits;
	while (within < end && qcow2_entry_kind(entry, grain) == kind);
	return smaller(within, end);
}

/* [skip, skip + length) of the request, within one cluster that is not compressed. */
static void read_cluster(struct node *node, const struct request *request, struct plan *plan,
	const struct qcow2_entry *entry, uint64_t skip, uint64_t length)
{
	const struct thin *thin = thin_of(node);
	uint64_t within = (request->offset + skip) & (thin_cluster(thin) - 1);
	uint64_t end = within + length;

	while (within < end) {
		uint64_t next = thin_run_end(thin, entry, within, end);

		switch (qcow2_entry_kind(entry, (unsigned)(within >> thin->grain_bits))) {
		case QCOW2_DATA:
			plan_part(plan, request, skip, next - within, thin->data_place,
				qcow2_entry_place(entry) + within);
			break;
		case QCOW2_HOLE:
			read_hole(node, request, plan, skip, next - within);
			break;
		default:
			plan_clear(plan, request, skip, next - within);
		}
		skip += next - within;
		within = next;
	}
}

/* The next compressed cluster from io->at on, if there is one: its bytes into scratch. */
static void next_packed(struct node *node, const struct request *request, struct plan *plan)
{
	const struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t end = request->offset + request->length;

	for (; io->at < end; io->at = thin_down(thin, io->at) + thin_cluster(thin)) {
		struct qcow2_entry entry = thin_lookup(thin, io->at >> thin->cluster_bits);

		if (!entry.compressed)
			continue;
		thin_read_packed(node, plan, &entry);
		io->step = STEP_UNPACKED;
		return;
	}
}

/* Nearly all reads: within one cluster, whose bytes are there whole. */
static bool read_plain(struct thin *thin, const struct request *request, struct plan *plan)
{
	uint64_t cluster = request->offset >> thin->cluster_bits, host;
	uint64_t within = request->offset & (thin_cluster(thin) - 1);

	if (within + request->length > thin_cluster(thin) || thin->grain_bits != thin->cluster_bits)
		return false;
	if (thin_is_external(thin)) {
		if (!qcow2_entry_is_external(thin_entry(thin, cluster)))
			return false;
		plan_pass(plan, request, thin->data_place, request->offset);
		return true;
	}
	host = qcow2_entry_data(thin_entry(thin, cluster));
	if (host)
		plan_pass(plan, request, THIN_DATA, host + within);
	return host;
}

void thin_read(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t skip = 0;
	bool is_packed = false;

	if (thin->failed) {
		plan_end(plan, -EIO);
		return;
	}
	if (!thin_is_there(thin, request->offset, request->length)) {
		thin_bring(thin, plan, request->offset, request->length);
		io->step = STEP_BROUGHT;
		return;
	}
	thin->cache.hits += io->step == STEP_NONE;
	io->step = STEP_NONE;
	if (read_plain(thin, request, plan))
		return;
	while (skip < request->length) {
		uint64_t offset = request->offset + skip;
		struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);
		uint64_t part = thin_cluster(thin) - (offset & (thin_cluster(thin) - 1));

		part = smaller(part, request->length - skip);
		if (!entry.compressed)
			read_cluster(node, request, plan, &entry, skip, part);
		is_packed |= entry.compressed;
		skip += part;
	}
	if (is_packed) {
		io->at = request->offset;
		next_packed(node, request, plan);
	}
}

void thin_read_resume(struct node *node, const struct request *request, struct plan *plan)
{
	const struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	struct qcow2_entry entry;
	uint64_t part, within = io->at & (thin_cluster(thin) - 1);
	uint32_t at;
	int result = thin_failure(plan);

	if (result < 0 || io->step == STEP_NONE)
		return; /* the first error is the result */
	if (io->step == STEP_BROUGHT) {
		thin_read(node, request, plan);
		return;
	}
	entry = thin_lookup(thin, io->at >> thin->cluster_bits);
	if (thin_unpack(node, plan, &entry, &at) < 0) {
		plan_end(plan, -EIO);
		return;
	}
	part = smaller(thin_cluster(thin) - within, request->offset + request->length - io->at);
	plan_from_scratch(plan, request, io->at - request->offset, part, at + (uint32_t)within);
	plan_then(plan);
	io->at += part;
	io->step = STEP_NONE;
	next_packed(node, request, plan);
}
