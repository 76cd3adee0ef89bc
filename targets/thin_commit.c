// SPDX-License-Identifier: MIT
/*
 * thin's commit: the one place that writes L2 entries. One runs at a time (its hold), for all
 * requests that wait by then.
 *
 *   flush     what the new entries will name is durable (left out where entries only go)
 *   bring     the pages of the map that are not in memory; all of them stay there until the end
 *   entries   set in memory, which requests see at once, and written, whole pages
 *   done      each request of the batch ends; its own commit finds that when it is its turn
 *
 * A crash before the entries are written leaves the old ones; during it, any of the old and the
 * new, each right by itself; nobody has been told yet. When the writing of entries fails, the disk
 * has the old or the new: the pages are read back, and what they say is so. Where that fails too,
 * nobody knows what the device holds: all its requests fail until the next start.
 */
#include "thin.h"

#include <assert.h>
#include <errno.h>

void thin_commit_wait(struct thin *thin, struct thin_io *io)
{
	struct thin_io **link = &thin->waiting;

	while (*link)
		link = &(*link)->next;
	*link = io;
	io->next = NULL;
	io->waits = true;
}

static uint64_t first_page(const struct thin *thin, const struct thin_io *io)
{
	return thin_page_of(thin, io->begin >> thin->cluster_bits);
}

static uint64_t last_page(const struct thin *thin, const struct thin_io *io)
{
	return thin_page_of(thin, (io->end - 1) >> thin->cluster_bits);
}

/* Takes one into the batch, if there is room for its pages. */
static bool admit(struct thin *thin, struct thin_io *io, uint32_t *room)
{
	uint64_t page;
	uint32_t more = 0;

	for (page = first_page(thin, io); page <= last_page(thin, io); page++)
		more += !thin_bit(thin->marks, page);
	if (more > *room)
		return false;
	*room -= more;
	for (page = first_page(thin, io); page <= last_page(thin, io); page++)
		thin_bit_set(thin->marks, page, true);
	io->waits = false;
	io->next = thin->batch;
	thin->batch = io;
	return true;
}

/* The parent, and who else waits. True: one of them needs the flush. */
static bool gather(struct thin *thin, struct thin_io *parent)
{
	uint32_t room = thin->pages_max + thin->commit_extra;
	struct thin_io **link = &thin->waiting, *io;
	bool flushes = !parent->unmaps, is_admitted;

	while (*link != parent)
		link = &(*link)->next;
	*link = parent->next;
	is_admitted = admit(thin, parent, &room);
	assert(is_admitted);
	(void)is_admitted;
	for (link = &thin->waiting; (io = *link);) {
		struct thin_io *next = io->next;

		if (admit(thin, io, &room)) {
			*link = next;
			flushes |= !io->unmaps;
		} else {
			link = &io->next;
		}
	}
	return flushes;
}

static void apply_grains(const struct thin *thin, const struct thin_io *io, uint64_t base,
	struct qcow2_entry *entry)
{
	uint64_t begin = io->begin > base ? io->begin - base : 0;
	uint64_t end = io->end - base < thin_cluster(thin) ? io->end - base : thin_cluster(thin);
	unsigned first = (unsigned)(begin >> thin->grain_bits);
	unsigned last = (unsigned)((end - 1) >> thin->grain_bits);
	uint32_t mask = (uint32_t)((UINT64_C(2) << last) - (UINT64_C(1) << first));

	entry->data |= mask;
	entry->zeroes &= ~mask;
}

/* The data ops of the request say where each cluster's bytes are. */
static void apply_write(struct thin *thin, struct thin_io *io)
{
	uint64_t base = thin_down(thin, io->begin);
	unsigned i;

	for (i = 0; base < io->end; i++, base += thin_cluster(thin)) {
		uint64_t cluster = base >> thin->cluster_bits;
		uint64_t host = thin_down(thin, io->plan->ops[io->first + i].request.offset);
		struct qcow2_entry entry = thin_lookup(thin, cluster);

		if (thin_is_external(thin)) {
			thin->allocated += !entry.is_external;
			entry.is_external = true;
			entry.external = base;
		} else if (entry.compressed || entry.host != host) {
			thin_name(thin, host);
			thin_drop(thin, &entry);
			thin->allocated += !entry.host || entry.compressed;
			if (entry.host) /* all of it was copied */
				entry = (struct qcow2_entry){ .host = host };
			entry.host = host;
		}
		entry.copied = true;
		apply_grains(thin, io, base, &entry);
		thin_store(thin, cluster, &entry);
	}
	io->has_hosts = false;
}

static void apply_unmap(struct thin *thin, struct thin_io *io, bool has_backing)
{
	uint32_t all = qcow2_is_extended(&thin->header) ? UINT32_MAX : 1;
	uint64_t cluster;

	for (cluster = io->begin >> thin->cluster_bits; cluster < io->end >> thin->cluster_bits;
		cluster++) {
		struct qcow2_entry entry, none = { .zeroes = has_backing && !io->bares ? all : 0 };

		if (!thin_bit(thin->pinned, thin_page_of(thin, cluster)))
			continue;
		entry = thin_lookup(thin, cluster);
		if (io->keeps && thin_is_own(thin, &entry)) {
			none = entry;
			none.data = 0;
			none.zeroes = all;
			none.copied = true;
		} else {
			thin_drop(thin, &entry);
			thin->allocated -= (entry.host || entry.is_external) && !entry.compressed;
		}
		thin_store(thin, cluster, &none);
	}
}

static void mark(struct thin *thin, const struct thin_io *io, bool value)
{
	uint64_t page;

	for (page = first_page(thin, io); page <= last_page(thin, io); page++)
		thin_bit_set(thin->marks, page, value);
}

/* The batch's pages once each, but those of holes that an unmap goes across (tables may be made meanwhile). */
static void each_page(struct thin *thin, struct plan *plan,
	void (*visit)(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip))
{
	struct thin_io *io;
	uint32_t skip = 0;
	uint64_t page;

	for (io = thin->batch; io; io = io->next)
		mark(thin, io, true);
	for (io = thin->batch; io; io = io->next)
		for (page = first_page(thin, io); page <= last_page(thin, io); page++) {
			if (!thin_bit(thin->marks, page))
				continue;
			thin_bit_set(thin->marks, page, false);
			if (!thin_bit(thin->pinned, page))
				continue;
			visit(thin, plan, page, skip);
			skip += thin->page;
		}
}

static void unpin_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	(void)plan;
	(void)skip;
	thin_cache_pin(thin, page, -1);
	thin_bit_set(thin->pinned, page, false);
}

static void finish(struct thin *thin, struct plan *plan, int result)
{
	each_page(thin, plan, unpin_page);
	while (thin->batch) {
		struct thin_io *io = thin->batch;

		thin->batch = io->next;
		io->is_done = true;
		io->result = result;
	}
	plan_end(plan, result);
}

static void write_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	thin_page_plan(thin, plan, page, skip, true);
}

static void read_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	thin_page_plan(thin, plan, page, skip, false);
}

static void bring_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	thin_cache_pin(thin, page, 1);
	if (thin->pages[page])
		return;
	thin->cache.misses++;
	read_page(thin, plan, page, skip);
}

/* What was not there has been read. */
static void own_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	struct thin_io *self = plan->io_state;

	if (self->result == 0)
		self->result = thin_cache_put(thin, page, (uint8_t *)plan->scratch + skip);
	if (self->result == 0)
		thin_cache_own(thin, page);
}

static void note_page(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	(void)plan;
	(void)skip;
	thin_cache_written(thin, page);
}

/* One entry as the disk has it, in place of ours. */
static int take_back(struct thin *thin, uint64_t cluster, const uint8_t *bytes)
{
	struct qcow2_entry ours = thin_lookup(thin, cluster), old;
	char why[QCOW2_WHY];

	if (!memcmp(bytes, thin_entry(thin, cluster), (size_t)1 << thin->entry_bits))
		return 0;
	if (qcow2_entry_read(&thin->header, bytes, &old, why) < 0)
		return -EIO;
	thin->allocated += old.is_external;
	thin->allocated -= ours.is_external;
	if (old.host != ours.host || old.compressed) {
		if (!thin_was_dropped(thin, &old))
			return -EIO; /* it is not what we have replaced: the child has lost it */
		thin_undrop(thin, &old);
		thin_drop(thin, &ours);
		thin->allocated += old.host && !old.compressed;
		thin->allocated -= ours.host && !ours.compressed;
	}
	thin_store(thin, cluster, &old);
	return 0;
}

/* It has been read back. */
static void take_page_back(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip)
{
	uint32_t per_page = thin->page >> thin->entry_bits, i;
	const uint8_t *bytes = (uint8_t *)plan->scratch + skip;

	for (i = 0; i < per_page && !thin->failed; i++)
		if (take_back(thin, page * per_page + i, bytes + (i << thin->entry_bits)) < 0)
			thin->failed = true;
}

static void write_entries(struct node *node, struct plan *plan, struct thin_io *self)
{
	struct thin *thin = thin_of(node);
	unsigned planned = plan->count;
	struct thin_io *io;

	self->result = 0;
	each_page(thin, plan, own_page);
	if (self->result < 0) {
		finish(thin, plan, self->result);
		return;
	}
	thin->is_writing = true;
	for (io = thin->batch; io; io = io->next)
		if (io->unmaps)
			apply_unmap(thin, io, thin_has_backing(node));
		else
			apply_write(thin, io);
	each_page(thin, plan, write_page);
	plan_ask(plan);
	self->step = STEP_PAGES;
	if (plan->count == planned) {
		thin->is_writing = false; /* nothing had to be written */
		finish(thin, plan, 0);
	}
}

static void bring_pages(struct node *node, struct plan *plan, struct thin_io *self)
{
	struct thin *thin = thin_of(node);
	unsigned planned = plan->count;
	struct thin_io *io;
	uint64_t page;

	for (io = thin->batch; io; io = io->next)
		for (page = first_page(thin, io); page <= last_page(thin, io); page++)
			if (thin->table_hosts[page * thin->page >> thin->cluster_bits])
				thin_bit_set(thin->pinned, page, true);
	each_page(thin, plan, bring_page);
	if (plan->count == planned) {
		write_entries(node, plan, self);
		return;
	}
	plan_ask(plan);
	self->step = STEP_BROUGHT;
}

void thin_commit_map(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	struct thin *thin = thin_of(node);

	if (parent->is_done) {
		plan_end(plan, parent->result);
		return;
	}
	if ((gather(thin, parent) || thin_cache_is_pressed(thin)) && !thin->failed) {
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_FLUSHED;
	} else if (!thin->failed) {
		bring_pages(node, plan, io);
	} else {
		finish(thin, plan, -EIO);
	}
}

void thin_commit_resume(
	struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);

	(void)parent; /* one of the batch */
	if (io->step == STEP_FLUSHED) {
		thin_flushed(thin, plan, io, result);
		if (result == 0 && !thin->failed) {
			bring_pages(node, plan, io);
			return;
		}
		finish(thin, plan, result < 0 ? result : -EIO);
		return;
	}
	if (io->step == STEP_BROUGHT) {
		if (result == 0)
			write_entries(node, plan, io);
		else
			finish(thin, plan, result);
		return;
	}
	if (io->step == STEP_PAGES && result < 0) {
		io->result = result;
		io->checked = plan->count;
		each_page(thin, plan, read_page);
		plan_ask(plan);
		io->step = STEP_READ_BACK;
		return;
	}
	if (io->step == STEP_READ_BACK) {
		if (thin_failure_from(plan, io->checked) < 0)
			thin->failed = true;
		each_page(thin, plan, take_page_back);
		result = io->result;
	}
	thin->is_writing = false;
	thin->committed++; /* also where some pages have failed: others are written */
	each_page(thin, plan, note_page);
	thin_room_watch(node, plan);
	finish(thin, plan, result);
}
