// SPDX-License-Identifier: MIT
/*
 * thin gives back what it has freed: in the background, one run of clusters after the other, as a
 * DISCARD of the child.
 *
 * Crash story: only what is `freed` goes, whose last entry's end has been flushed, so that no crash
 * brings a name of it back. While the child takes a run it is nobody's: a cluster that was in use
 * again could lose what is written to it. It stays counted, and is reserve afterwards, whatever the
 * child has answered: what lies in a reserve is never shown.
 */
#include "thin.h"
#include "thin_next.h"

#include <errno.h>

#define RUN_MAX (UINT64_C(16) << 20)

uint64_t thin_punch_max(const struct node *node)
{
	uint64_t most = node->children[THIN_DATA]->limits.unmap_max, clusters;

	clusters = (most && most < RUN_MAX ? most : RUN_MAX) >> thin_of(node)->cluster_bits;
	return clusters ? clusters : 1;
}

bool thin_work(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct thin *thin = thin_of(node);
	uint64_t first, end, most = thin_punch_max(node);

	thin_gone_work(thin, now, again);
	thin_room_forget(thin, now, again);
	if (thin_room_tries(thin, now, again)) {
		request->flags = SELF_GO_ON;
		return true;
	}
	if (thin->cache.wanted) {
		request->flags = SELF_BRING;
		request->offset = thin->cache.wanted - 1;
		request->length = 1;
		thin->cache.wanted = 0;
		return true;
	}
	if (thin_next_wants(thin, now, request) || thin_flatten_next(node, now, request, again) ||
		thin_merge_next(node, now, request, again) ||
		thin_trim_next(thin, request))
		return true;
	if (!thin->freed.count || thin->punching.count || thin->trim.is_busy || thin->failed)
		return false;
	first = thin_set_first(&thin->freed);
	thin_set_put(&thin->punching, first);
	for (end = first + 1; end < thin->clusters && end - first < most; end++) {
		if (!thin_set_take(&thin->freed, end))
			break;
		thin_set_put(&thin->punching, end);
	}
	request->flags = SELF_PUNCH;
	request->offset = first << thin->cluster_bits;
	request->length = (end - first) << thin->cluster_bits;
	return true;
}

void thin_punch_map(struct node *node, const struct request *request, struct plan *plan)
{
	(void)node;
	plan_add(plan, THIN_DATA,
		(struct request){
			.kind = IO_DISCARD,
			.offset = request->offset,
			.length = request->length,
		});
	plan_ask(plan);
}

void thin_punched(struct thin *thin, int result)
{
	thin_set_move(&thin->reserve, &thin->punching);
	if (result == -EOPNOTSUPP) {
		thin->punches = false;
		thin_set_move(&thin->reserve, &thin->freed);
	}
}

void thin_punch_resume(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	int result = thin_failure(plan);

	if (result == 0)
		thin->punched += thin->punching.count;
	thin_punched(thin, result);
	plan_end(plan, 0); /* it was an offer */
}
