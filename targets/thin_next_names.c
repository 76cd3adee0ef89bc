// SPDX-License-Identifier: MIT
/*
 * The names that go with a snapshot that is deleted: in the next counts all that hangs on its L1 table is
 * named once less. The tables are read again, piece by piece, while requests go on: nobody changes them.
 * Where the device goes back to it, the L1 table alone is read here (thin_next_revert.c does the rest).
 *
 * What nobody names then is "gone". It keeps a count of 1, so that it is nobody's until the switch, and
 * becomes free behind that. A cluster may come to be so by either of two: here, or where the device drops a
 * name meanwhile (which leaves the count alone, and shows in "less", thin_counts.h).
 *
 * A child that shows other tables than those that were judged when the image was opened is an I/O error:
 * names of what has no count left, or an entry of the device whose cluster would be gone.
 */
#include "thin_next.h"

#include <errno.h>
#include <stdlib.h>

#define RELEASED_MAX 16384u /* clusters at a time: more than that would keep requests waiting */

bool thin_next_is_gone(const struct thin *thin, uint64_t cluster)
{
	return thin_bit(thin->gone.words, cluster);
}

static uint64_t less_of(const struct thin *thin, uint64_t cluster)
{
	return thin_counts_less(&thin->counts, cluster);
}

static void lose_name(struct thin *thin, uint64_t cluster)
{
	struct thin_next *next = thin->next;
	uint64_t count = cluster < thin->clusters ? thin_next_count_of(thin, cluster) : 0;

	if (!count || thin_next_is_gone(thin, cluster) || count <= less_of(thin, cluster)) {
		next->is_bad = true;
		return;
	}
	if (count > 1)
		thin_counts_set_next(&thin->counts, cluster, count - 1);
	if (count == 1 || (count == 2 && less_of(thin, cluster) == 1))
		thin_bits_put(&thin->gone, cluster);
}

void thin_next_dropped(struct thin *thin, uint64_t cluster)
{
	if (thin->next->kind == NEXT_REVERTS && thin_count_of(thin, cluster) > 1)
		thin_next_shared(thin, cluster, -1);
	if (thin->next->kind == NEXT_DELETES && !thin_next_is_gone(thin, cluster) && less_of(thin, cluster) == 1 &&
		thin_next_count_of(thin, cluster) == 1)
		thin_bits_put(&thin->gone, cluster);
}

void thin_next_undropped(struct thin *thin, uint64_t cluster)
{
	if (thin->next->kind == NEXT_REVERTS && thin_count_of(thin, cluster) > 1)
		thin_next_shared(thin, cluster, 1);
	if (thin->next->kind == NEXT_DELETES)
		(void)thin_bits_take(&thin->gone, cluster);
}

static void look_for_gone(struct thin *thin, uint64_t cluster)
{
	thin->next->is_bad |= thin_next_is_gone(thin, cluster);
}

static void each_entry(struct thin *thin, const uint8_t *bytes, uint32_t length,
	void (*visit)(struct thin *thin, uint64_t cluster))
{
	uint32_t at;

	for (at = 0; at < length; at += 1u << thin->entry_bits) {
		struct qcow2_entry entry;
		char why[QCOW2_WHY];

		if (qcow2_entry_read(&thin->header, bytes + at, &entry, why) < 0)
			thin->next->is_bad = true;
		else
			thin_each_cluster(thin, &entry, visit);
	}
}

void thin_next_check(struct thin *thin, const uint8_t *page)
{
	each_entry(thin, page, thin->page, look_for_gone);
}

int thin_next_remember(const struct thin *thin, struct thin_next *next, const struct qcow2_snapshot *snapshot)
{
	uint64_t entries = snapshot->l1_size, bytes;

	if (next->kind == NEXT_REVERTS && entries > thin->table_count)
		entries = thin->table_count; /* what is behind the device's end may be a machine's state */
	bytes = entries * 8;
	next->past.l1_offset = snapshot->l1_offset;
	next->past.l1_bytes = bytes;
	next->past.l1 = calloc(1, bytes + thin->fill);
	if (next->kind == NEXT_REVERTS && thin_cache_next_make(thin, &next->map.cache) < 0)
		return -1;
	return next->past.l1 ? 0 : -1;
}

/* Up to the L1 table's last block, as the image may end behind that. */
static uint32_t piece(const struct node *node, uint64_t left)
{
	uint32_t block = node->children[THIN_DATA]->limits.logical_block_size;
	uint64_t whole = (left + block - 1) / block * block;

	return whole < thin_of(node)->fill ? (uint32_t)whole : thin_of(node)->fill;
}

/* False: with the L1 table's entries all is done. */
bool thin_next_find_table(struct thin *thin, uint64_t *table)
{
	struct thin_next *next = thin->next;
	char why[QCOW2_WHY];
	bool copied;

	for (; next->past.index < next->past.l1_bytes / 8; next->past.index++) {
		const uint8_t *entry = next->past.l1 + next->past.index * 8;

		if (qcow2_l1_read(&thin->header, entry, table, &copied, why) < 0)
			next->is_bad = true;
		else if (*table)
			return true;
	}
	return false;
}

static void lose_l1(struct thin *thin)
{
	const struct thin_next *next = thin->next;
	uint64_t at;

	for (at = 0; at < next->past.l1_bytes; at += thin_cluster(thin))
		lose_name(thin, (next->past.l1_offset + at) >> thin->cluster_bits);
}

/* Between two steps: the L1 table from `at` on; when it is there, a table of its `index` from `at` on. */
void thin_next_names(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	struct thin_next *next = thin->next;
	uint64_t from = next->past.l1_offset;
	uint32_t length = piece(node, next->past.l1_bytes - next->past.l1_read);

	if (next->past.l1_read >= next->past.l1_bytes) {
		if (next->kind == NEXT_REVERTS) {
			next->step = NEXT_ROOM;
			thin_next_end(thin, plan, 0);
			return;
		}
		if (!thin_next_find_table(thin, &from)) {
			lose_l1(thin);
			next->step = NEXT_ROOM;
			thin_next_end(thin, plan, next->is_bad ? -EIO : 0);
			return;
		}
		length = thin->fill;
	}
	from += next->past.l1_read >= next->past.l1_bytes ? next->past.at : next->past.l1_read;
	plan_scratch(plan, IO_READ, 0, THIN_DATA, from, 0, length);
	plan_ask(plan);
	io->step = STEP_READ_BACK;
}

void thin_next_names_resume(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_next *next = thin->next;
	int result = thin_failure(plan);
	uint64_t table;

	if (result == 0 && next->past.l1_read < next->past.l1_bytes) {
		uint32_t length = piece(node, next->past.l1_bytes - next->past.l1_read);

		memcpy(next->past.l1 + next->past.l1_read, plan->scratch, length);
		next->past.l1_read += length;
	} else if (result == 0 && thin_next_find_table(thin, &table)) {
		each_entry(thin, plan->scratch, thin->fill, lose_name);
		next->past.at += thin->fill;
		if (next->past.at >= thin_cluster(thin)) {
			lose_name(thin, table >> thin->cluster_bits);
			next->past.index++;
			next->past.at = 0;
		}
	}
	thin_next_end(thin, plan, result == 0 && next->is_bad ? -EIO : result);
}

void thin_release_gone(struct thin *thin, uint64_t most)
{
	for (; thin->gone.count && most; most--) {
		uint64_t cluster = thin_bits_first(&thin->gone);

		thin_set_put(thin->punches ? &thin->freed : &thin->reserve, cluster);
	}
}

void thin_gone_work(struct thin *thin, uint64_t now, uint64_t *again)
{
	if (thin->next || thin->failed)
		return;
	thin_release_gone(thin, RELEASED_MAX);
	if (thin->gone.count)
		*again = now + 1;
}
