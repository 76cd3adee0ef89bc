// SPDX-License-Identifier: MIT
/*
 * thin's new L2 tables: for parts of the device that have none, and in place of those that a
 * snapshot shares. One self op for all that a request needs.
 *
 * The table's bytes (those of the old one from memory, or read again), then a flush, then the L1
 * entries. A crash in between leaves clusters that are counted and not named. When the L1's write fails, the disk names the old tables or the new ones,
 * which say the same: memory goes back to the old, and the new ones are left alone until the next
 * start.
 */
#include "thin.h"

#include <assert.h>
#include <errno.h>

static uint64_t first_table(const struct thin *thin, const struct thin_io *parent)
{
	return parent->offset >> thin->cluster_bits >> thin->table_bits;
}

static uint64_t last_table(const struct thin *thin, const struct thin_io *parent)
{
	return (parent->offset + parent->length - 1) >> thin->cluster_bits >> thin->table_bits;
}

/* The entries, of tables whose bytes are durable. */
static void write_l1(struct thin *thin, struct plan *plan, const struct thin_io *parent)
{
	uint64_t index, written = UINT64_MAX;
	uint32_t skip = 0;

	for (index = first_table(thin, parent); index <= last_table(thin, parent); index++) {
		if (!thin->table_news[index])
			continue;
		qcow2_l1_write(thin->l1 + index * 8, thin->table_news[index], true);
	}
	for (index = first_table(thin, parent); index <= last_table(thin, parent); index++) {
		uint64_t page = index * 8 / thin->page;

		if (page == written)
			continue;
		written = page;
		memcpy((uint8_t *)plan->scratch + skip, thin->l1 + page * thin->page, thin->page);
		plan_scratch(plan, IO_WRITE, 0, THIN_DATA, thin->header.l1_offset + page * thin->page,
			skip, thin->page);
		skip += thin->page;
	}
}

/* The piece, as it is in memory or has been read. Nobody changes a table that is shared. */
static int put_piece(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	uint64_t at = (io->at << thin->cluster_bits) + (uint64_t)io->round * thin->fill;
	int result = thin_cache_copy(thin, at / thin->page, plan->scratch, thin->fill);

	if (result < 0)
		return result;
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA,
		thin->table_news[io->at] + (uint64_t)io->round * thin->fill, 0, thin->fill);
	plan_ask(plan);
	io->round++;
	io->step = STEP_WRITTEN;
	return 0;
}

/* The next piece of the next table's bytes; false: all are written. */
static bool write_piece(struct thin *thin, struct plan *plan, struct thin_io *io,
	const struct thin_io *parent)
{
	uint64_t last = last_table(thin, parent), done = (uint64_t)io->round * thin->fill;
	uint64_t offset;

	if (done >= thin_cluster(thin)) {
		io->at++;
		io->round = 0;
		done = 0;
	}
	while (io->at <= last && !thin->table_news[io->at])
		io->at++;
	if (io->at > last)
		return false;
	offset = ((io->at << thin->table_bits) + (done >> thin->entry_bits)) << thin->cluster_bits;
	if (thin_is_there(thin, offset, (uint64_t)thin->fill >> thin->entry_bits << thin->cluster_bits)) {
		(void)put_piece(thin, plan, io); /* from memory, which doesn't fail */
		return true;
	}
	plan_scratch(plan, IO_READ, 0, THIN_DATA, thin->table_hosts[io->at] + done, 0, thin->fill);
	plan_ask(plan);
	io->step = STEP_BROUGHT;
	return true;
}

/* What has no table reads as zeroes already where there is no backing. */
static bool is_left_out(const struct node *node, const struct thin_io *parent, uint64_t index)
{
	return parent->unmaps && !thin_of(node)->table_hosts[index] &&
		!thin_has_backing(node);
}

/* When the hold is granted others may have made the tables: then there is nothing to do. */
void thin_tables_map(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	struct thin *thin = thin_of(node);
	uint64_t index;

	if (thin->failed) {
		plan_end(plan, -EIO);
		return;
	}
	for (index = first_table(thin, parent); index <= last_table(thin, parent); index++)
		if (!thin_table_is_ready(thin, index) && !is_left_out(node, parent, index))
			thin->table_news[index] = thin_take(thin, parent);
	io->at = first_table(thin, parent);
	if (!write_piece(thin, plan, io, parent))
		plan_end(plan, 0);
}

static void undo(struct thin *thin, const struct thin_io *parent, bool may_be_named)
{
	uint64_t index;

	for (index = first_table(thin, parent); index <= last_table(thin, parent); index++) {
		if (!thin->table_news[index])
			continue;
		if (!may_be_named)
			thin_give_back(thin, thin->table_news[index]);
		thin_name(thin, thin->table_news[index]);
		thin->table_news[index] = 0;
		qcow2_l1_write(thin->l1 + index * 8, thin->table_hosts[index],
			thin_table_is_ready(thin, index));
	}
}

static void use_new(struct thin *thin, const struct thin_io *parent)
{
	uint64_t index;

	for (index = first_table(thin, parent); index <= last_table(thin, parent); index++) {
		struct qcow2_entry old = { .host = thin->table_hosts[index] };

		if (!thin->table_news[index])
			continue;
		thin_drop(thin, &old);
		thin_name(thin, thin->table_news[index]);
		thin->table_hosts[index] = thin->table_news[index];
		thin->table_news[index] = 0;
	}
}

void thin_tables_resume(
	struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);

	if (io->step == STEP_FLUSHED)
		thin_flushed(thin, plan, io, result);
	if (io->step == STEP_BROUGHT && result == 0) {
		result = put_piece(thin, plan, io);
		if (result == 0)
			return;
	}
	if (result < 0) {
		undo(thin, parent, io->step == STEP_PAGES);
		plan_end(plan, result);
		return;
	}
	switch (io->step) {
	case STEP_WRITTEN:
		if (write_piece(thin, plan, io, parent))
			return;
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_FLUSHED;
		break;
	case STEP_FLUSHED:
		write_l1(thin, plan, parent);
		plan_ask(plan);
		io->step = STEP_PAGES;
		break;
	default:
		assert(io->step == STEP_PAGES);
		use_new(thin, parent);
		thin->committed++;
		plan_end(plan, 0);
	}
}
