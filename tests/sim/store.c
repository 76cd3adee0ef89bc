// SPDX-License-Identifier: MIT
/*
 * What a thin stands on, as large as its admin has made it by now: a window on its child that becomes
 * larger while the device is live, most often while somebody waits for room, and between two lives. What it
 * once had it keeps.
 *
 * One seed in so many has it, by its number alone, of those whose thin has little room.
 */
#include "sim.h"

#include "../../targets/thin.h"

#define STEP 4096u
#define STEPS_MAX 4u
#define WAITED_EVERY 12u /* requests: how often it grows while somebody waits */
#define GROWN_EVERY 60u /* … and else */

static uint64_t size; /* of the window; 0: it has never been opened */

bool store_is_seed(uint64_t seed)
{
	size = 0;
	return (seed * UINT64_C(0xa0761d6478bd642f) >> 33) % 2 == 0;
}

uint32_t store_hides(uint32_t device)
{
	return 16384 + device / 2 / STEP * STEP;
}

static int store_open(struct node *node, struct err *err)
{
	uint64_t there = node->children[0]->limits.size / STEP * STEP;

	(void)err;
	limits_join(node);
	if (!size)
		size = there - life.document.hidden;
	node->limits.size = size < there ? size : there;
	node->limits.is_extensible = true;
	node->needs = (struct needs){ .ops_fixed = 1 };
	return 0;
}

static void store_map(struct node *node, const struct request *request, struct plan *plan)
{
	if (request->kind == IO_FLUSH || request->kind == IO_RECORD)
		plan_all(plan, node, request);
	else if (request->offset + request->length > node->limits.size)
		sim_fail("%s: it has %llu bytes, and is asked for %llu at %llu", node->id,
			(unsigned long long)node->limits.size, (unsigned long long)request->length,
			(unsigned long long)request->offset);
	else
		plan_pass(plan, request, 0, request->offset);
}

const struct target_type store_target = {
	.name = "store",
	.state_size = 1,
	.io_state_size = 0,
	.open = store_open,
	.map = store_map,
};

static uint64_t larger(const struct node *store)
{
	uint64_t most = store->children[0]->limits.size / STEP * STEP;
	uint64_t wanted = size + STEP * (1 + random_below(STEPS_MAX));

	return wanted < most ? wanted : most;
}

void store_between(void)
{
	if (life.document.hidden && random_one_in(requests_busy() ? 2 : 8))
		size += STEP;
}

void store_ask(void)
{
	struct node *root = life.tree->root, *store;
	bool is_awaited, has_grown;
	uint64_t wanted;

	if (!life.document.hidden)
		return;
	store = root->children[THIN_DATA];
	is_awaited = thin_of(root)->waiting_count;
	if (!random_one_in(is_awaited ? WAITED_EVERY : GROWN_EVERY))
		return;
	wanted = larger(store);
	if (wanted <= store->limits.size)
		return;
	queue_enter(0);
	has_grown = engine_grow(backend.engine, store, wanted);
	queue_leave();
	if (!has_grown)
		return;
	size = wanted;
	totals.stores++;
	totals.stores_awaited += is_awaited;
	sim_note("the store has %llu bytes by now%s", (unsigned long long)size,
		is_awaited ? ", and somebody waits" : "");
}

void store_print_begin(FILE *out)
{
	fprintf(out, "{\"type\":\"linear\",\"annotations\":{\"sim\":\"store\"},\"children\":[");
}
