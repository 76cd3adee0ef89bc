// SPDX-License-Identifier: MIT
/*
 * thin's way back to a snapshot: the next map of the device is a copy of the snapshot's tables, and the
 * snapshot stays as it is.
 *
 *   copy   each of its L2 tables is read again, named once more cluster by cluster, and written to its copy's
 *          place. Nobody changes it, so that this is done once. With the snapshot's name beside it no cluster's
 *          refcount is one: the copy says so of none, whatever requests do meanwhile
 *   walk   what the device names is named once less in the next counts, page by page; where a page has been
 *          walked, what requests change in it is followed
 *
 * Names that shared clusters have lost, and that are still counted ("less", thin_counts.h), are left out of the next
 * counts from the start: the device may come to be the only one that names such a cluster, and its flag goes
 * by the count, which then must not change by itself at a stop.
 *
 * What nobody names then, neither a snapshot nor the next map, is "gone": its count stays 1, so that it is
 * nobody's until the switch, and it becomes free behind that. A cluster whose only name the device drops
 * meanwhile goes the way of all that is dropped, and is not gone.
 *
 * A child that shows other tables than those that were judged when the image was opened is an I/O error.
 */
#include "thin_next.h"

#include <errno.h>

#define WALK_MAX 16u /* pages with names that one step walks */
#define LOOK_MAX 16384u /* pages that one step looks at */

bool thin_next_has_table(const struct thin *thin, uint64_t index)
{
	const struct thin_next *next = thin->next;
	char why[QCOW2_WHY];
	uint64_t table;
	bool copied;

	if (next->kind != NEXT_REVERTS)
		return thin->table_hosts[index];
	return index < next->past.l1_bytes / 8 &&
		qcow2_l1_read(&thin->header, next->past.l1 + index * 8, &table, &copied, why) == 0 && table;
}

/* Without a name: it stays counted until it is free. */
static void is_nobodys(struct thin *thin, uint64_t cluster)
{
	thin_next_count_set(thin, cluster, 1);
	thin_bits_put(&thin->gone, cluster);
}

void thin_next_fold(struct thin *thin, uint64_t first, uint64_t end)
{
	uint64_t cluster;

	for (cluster = first; cluster < end && cluster < thin->clusters; cluster++) {
		uint64_t count = thin_next_count_of(thin, cluster), less = thin_counts_less(&thin->counts, cluster);

		if (less && less < count)
			thin_next_count_set(thin, cluster, count - less);
		else if (less)
			is_nobodys(thin, cluster);
	}
}

/* A snapshot names it: so it is counted. */
static void gain(struct thin *thin, uint64_t cluster)
{
	if (thin_next_count_of(thin, cluster) && !thin_next_is_gone(thin, cluster))
		thin_next_gain(thin, cluster);
	else
		thin->next->is_bad = true;
}

static void gain_entry(struct thin *thin, const uint8_t *bytes)
{
	struct thin_next *next = thin->next;
	struct qcow2_entry entry;
	char why[QCOW2_WHY];

	if (qcow2_entry_read(&thin->header, bytes, &entry, why) < 0 ||
		entry.host >> thin->cluster_bits >= thin->clusters) {
		next->is_bad = true;
		return;
	}
	thin_each_cluster(thin, &entry, gain);
	next->map.allocated += entry.host && !entry.compressed;
}

/* It has been read, and becomes as it is to be written. */
static void take_page(struct thin *thin, uint64_t page, uint8_t *bytes)
{
	struct thin_next *next = thin->next;
	uint32_t at;

	for (at = 0; at < thin->page; at += 1u << thin->entry_bits)
		gain_entry(thin, bytes + at);
	thin_set_flags(thin, &next->counts, bytes);
	next->sums[page] = thin_cache_sum(bytes, thin->page);
	thin_cache_next_put(thin, &next->map.cache, page, bytes);
}

void thin_next_copy(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	struct thin_next *next = thin->next;
	uint64_t table;

	if (!thin_next_find_table(thin, &table)) {
		next->step = NEXT_WALK;
		thin_next_end(thin, plan, 0);
		return;
	}
	plan_scratch(plan, IO_READ, 0, THIN_DATA, table + next->past.at, 0, thin->fill);
	plan_ask(plan);
	io->step = STEP_READ_BACK;
}

static void write_copy(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	struct thin_next *next = thin->next;
	uint64_t first = ((next->past.index << thin->cluster_bits) + next->past.at) / thin->page;
	uint32_t at;

	for (at = 0; at < thin->fill; at += thin->page)
		take_page(thin, first + at / thin->page, (uint8_t *)plan->scratch + at);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, next->tables[next->past.index] + next->past.at, 0, thin->fill);
	plan_ask(plan);
	io->step = STEP_PAGES;
	next->past.at += thin->fill;
	if (next->past.at == thin_cluster(thin)) {
		next->past.index++;
		next->past.at = 0;
	}
}

void thin_next_copy_resume(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);

	if (result == 0 && io->step == STEP_READ_BACK)
		write_copy(thin, plan, io);
	else
		thin_next_end(thin, plan, result);
}

static void lose(struct thin *thin, uint64_t cluster)
{
	uint64_t count = thin_next_count_of(thin, cluster);

	if (count > 1)
		thin_next_count_set(thin, cluster, count - 1);
	else if (count && !thin_next_is_gone(thin, cluster))
		is_nobodys(thin, cluster);
	else
		thin->next->is_bad = true;
}

static void lose_page(struct thin *thin, uint64_t page)
{
	uint32_t at;

	for (at = 0; at < thin->page; at += 1u << thin->entry_bits) {
		struct qcow2_entry entry;
		char why[QCOW2_WHY];

		(void)qcow2_entry_read(&thin->header, thin->pages[page] + at, &entry, why); /* judged */
		thin_each_cluster(thin, &entry, lose);
	}
}

/* The device's pages from the last one on; one that isn't in memory is brought first. */
void thin_next_walk(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	struct thin_next *next = thin->next;
	uint64_t *page = &next->map.walked, end = *page + LOOK_MAX;
	unsigned names = 0;

	for (; *page < thin->page_count && *page < end && names < WALK_MAX; (*page)++) {
		if (!thin->pages[*page] && names == 0) {
			plan_self(plan, *page, 1, SELF_BRING);
			plan_ask(plan);
			io->step = STEP_BROUGHT;
			return;
		}
		if (!thin->pages[*page])
			break;
		if (thin->pages[*page] == thin->cache.memory)
			continue; /* of zeroes */
		lose_page(thin, *page);
		names++;
	}
	if (*page == thin->page_count)
		next->step = NEXT_PAGES;
	thin_next_end(thin, plan, 0);
}

/*
 * A shared cluster has lost a name of the device's, or has it again: by a table, or by an entry, of which
 * thin_next_restores() hears next. The count may be 0 until then.
 */
void thin_next_shared(struct thin *thin, uint64_t cluster, int more)
{
	if (cluster < thin->next->copied && !thin_next_is_gone(thin, cluster))
		thin_next_count_set(thin, cluster, thin_next_count_of(thin, cluster) + (uint64_t)(int64_t)more);
}

/* What is said above of a page that has been walked: its names were not counted any more, nor are they now. */
static void old_of_walked(struct thin *thin, uint64_t cluster)
{
	if (thin_count_of(thin, cluster) == 1)
		(void)thin_bits_take(&thin->gone, cluster); /* but dropped */
	else
		thin_next_shared(thin, cluster, 1);
}

static void new_of_walked(struct thin *thin, uint64_t cluster)
{
	if (thin_count_of(thin, cluster) == 1)
		thin_bits_put(&thin->gone, cluster);
	else
		thin_next_shared(thin, cluster, -1);
}

static void old_of_others(struct thin *thin, uint64_t cluster)
{
	if (cluster < thin->next->copied && !thin_next_count_of(thin, cluster))
		is_nobodys(thin, cluster);
}

static void new_of_others(struct thin *thin, uint64_t cluster)
{
	(void)thin_bits_take(&thin->gone, cluster); /* that it had been was counted as one */
}

void thin_next_restores(struct thin *thin, uint64_t cluster, const struct qcow2_entry *entry)
{
	struct qcow2_entry old = thin_lookup(thin, cluster);
	bool is_walked = thin_page_of(thin, cluster) < thin->next->map.walked;

	if (old.host == entry->host && old.compressed == entry->compressed)
		return;
	thin_each_cluster(thin, &old, is_walked ? old_of_walked : old_of_others);
	thin_each_cluster(thin, entry, is_walked ? new_of_walked : new_of_others);
}
