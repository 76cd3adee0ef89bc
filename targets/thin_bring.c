// SPDX-License-Identifier: MIT
/*
 * thin brings pages of its map that are not in memory: SELF_BRING, with the first page as its offset
 * and how many as its length. Who asked for it is resumed as soon as it has ended, before anything
 * else, and finds all of them.
 *
 * Where somebody who tells the map has asked and another map has taken its place meanwhile, what was read
 * is nothing, and no error either: it is asked for again.
 *
 * Lanes bound how many are under way at once. What is wanted by several, with the same first page, is
 * in one lane: it is read once, and the others find it.
 */
#include "thin.h"

#include <errno.h>

void thin_bring(struct thin *thin, struct plan *plan, uint64_t offset, uint64_t length)
{
	uint64_t first = thin_page_of(thin, offset >> thin->cluster_bits);
	uint64_t last = thin_page_of(thin, (offset + length - 1) >> thin->cluster_bits);

	plan_self(plan, first, last - first + 1, SELF_BRING);
	plan_ask(plan);
}

static void pin(struct thin *thin, const struct request *request, int more)
{
	uint64_t i;

	for (i = 0; i < request->length; i++)
		thin_cache_pin(thin, request->offset + i, more);
}

void thin_bring_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t i;

	if (thin->failed) {
		plan_end(plan, -EIO);
		return;
	}
	io->round = thin->cache.generation;
	for (i = 0; i < request->length; i++)
		if (!thin->pages[request->offset + i])
			thin_page_plan(thin, plan, request->offset + i, (uint32_t)i * thin->page, false);
	if (plan->count == 0) {
		plan_end(plan, 0);
		return;
	}
	thin->cache.misses += plan->count;
	pin(thin, request, 1);
	plan_ask(plan);
}

/* What was there has stayed, and what was not is either there now, by somebody else, or was read. */
void thin_bring_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	const struct thin_io *io = plan->io_state;
	int result = thin_failure(plan);
	bool is_past = io->round != thin->cache.generation;
	uint64_t i;

	for (i = 0; i < request->length && result == 0 && !is_past; i++)
		result = thin_cache_put(
			thin, request->offset + i, (uint8_t *)plan->scratch + i * thin->page);
	pin(thin, request, -1);
	if (!plan->asker && result < 0 && !is_past)
		thin->cache.unread = request->offset + 1;
	plan_end(plan, result);
}
