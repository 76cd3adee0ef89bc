// SPDX-License-Identifier: MIT
/*
 * A target for the simulator alone, which needs every service of the engine: a write never goes over
 * what is there. Each page has two slots, and a table on the child says which one counts. The model
 * knows nothing of it: what is read must be right anyway, whatever crash, fault or power cut came.
 *
 *   child   0       one byte for each page: its slot; the last byte: CLEAN after a clean stop
 *           4096    page 0 slot 0, page 0 slot 1, page 1 slot 0, …
 *
 * A write copies what it leaves of its first and last page (scratch), goes to the other slots, turns
 * the pages in memory, and is acknowledged once the table is written (self op SYNC), for which the
 * data have to be durable (nested self op BARRIER). Pages are moved from slot to slot in the
 * background (work). load() and unload() bring the table from and to the child.
 *
 * What a power cut leaves: the table is never ahead of the data, so each page is one that was
 * written; a slot that the durable table still names may be written over, but by newer bytes of the
 * same page, each sector of which may be read from then on.
 */
#include "sim.h"

#include "child_io.h"

#include <stdlib.h>
#include <string.h>

#define TABLE 4096u
#define PAGE 1024u
#define PAGES_MAX (TABLE - 1)
#define CLEAN 0x5a
#define IDLE_NS 200000u

#define SELF_RANGE (UINT64_C(1) << 62)

enum word { WORD_SYNC = 1, WORD_BARRIER, WORD_MOVE };

struct shadow {
	unsigned char table[TABLE]; /* as it is by now */
	uint64_t turned; /* changes of the table so far */
	uint64_t written; /* those that the child's copy has */
	unsigned pages, turn, debt; /* debt: moves that writes have earned */
	uint64_t next_move;
	bool is_new; /* probe() saw nothing */
};

struct shadow_io {
	uint64_t turned; /* the state of the table that this request waits for, or writes */
	bool is_turned;
};

static uint64_t slot_of(const struct shadow *shadow, unsigned page, unsigned other)
{
	return TABLE + (uint64_t)(page * 2 + (shadow->table[page] ^ other)) * PAGE;
}

static int shadow_probe(struct node *node, struct err *err)
{
	struct shadow *shadow = node->state;
	unsigned i;

	if (child_read(node->children[0], 0, shadow->table, TABLE) < 0)
		return err_add(err, "%s: the table can't be read", node->id);
	for (i = 0; i < TABLE && shadow->table[i] == 0; i++)
		;
	shadow->is_new = i == TABLE;
	return 0;
}

static int shadow_open(struct node *node, struct err *err)
{
	struct shadow *shadow = node->state;

	(void)err;
	limits_join(node);
	shadow->pages = (unsigned)((node->children[0]->limits.size - TABLE) / (2 * PAGE));
	node->limits.size = (uint64_t)shadow->pages * PAGE;
	node->limits.discard_granularity = node->limits.zeroes_granularity = 0;
	node->needs = (struct needs){
		.ops_fixed = 2 + 4 + 1, /* pages cut at both ends, two copied, a flush */
		.ops_per = PAGE,
		.scratch = TABLE,
		.self_fixed = 1,
		.self_ops = 1,
		.self_scratch = TABLE,
		.self_nested = 1,
		.work_max = 2,
		.work_ops = 2,
	};
	return 0;
}

static int shadow_load(struct node *node, struct err *err)
{
	struct shadow *shadow = node->state;
	unsigned char *mark = &shadow->table[TABLE - 1];
	unsigned char found[TABLE];
	int result;

	result = child_read(node->children[0], 0, found, TABLE);
	/*
	 * Where legs may differ and one can't be read, or written and so is left out, another answers: what
	 * was judged is what counts. After a power cut that is every leaf, and nothing counts.
	 */
	if (result == 0 && !fault_hits() && images_budget != 0 && memcmp(found, shadow->table, TABLE) != 0)
		sim_fail("%s: the table isn't what was probed", node->id);
	if (!shadow->is_new && !node->unclean && *mark != CLEAN)
		sim_fail("%s: the labels say that the stop was clean, the table doesn't", node->id);
	*mark = 0;
	if (result == 0)
		result = child_write(node->children[0], 0, shadow->table, TABLE);
	if (result == 0)
		result = child_flush(node->children[0]);
	return result < 0 ? err_add(err, "%s: the table can't be loaded", node->id) : 0;
}

static int shadow_unload(struct node *node, struct err *err)
{
	struct shadow *shadow = node->state;

	shadow->table[TABLE - 1] = CLEAN;
	if (child_flush(node->children[0]) < 0 ||
		child_write(node->children[0], 0, shadow->table, TABLE) < 0)
		return err_add(err, "%s: the table can't be unloaded", node->id);
	return 0;
}

static enum hold shadow_hold(
	const struct node *node, const struct request *request, struct range *range)
{
	*range = (struct range){ request->offset / PAGE * PAGE, 0 };
	range->length = request->offset + request->length - range->offset;
	switch (request->kind) {
	case IO_READ:
		return HOLD_SHARED;
	case IO_WRITE:
		range->length = (range->length + PAGE - 1) / PAGE * PAGE;
		return HOLD_EXCLUSIVE;
	case IO_SELF:
		if (request->flags == WORD_BARRIER)
			return HOLD_NONE;
		if (request->flags == WORD_SYNC)
			*range = (struct range){ SELF_RANGE, 1 };
		return HOLD_EXCLUSIVE;
	default:
		return HOLD_NONE;
	}
}

/* The request's part of one page, to or from one of its slots. */
static void plan_page(const struct shadow *shadow, const struct request *request, struct plan *plan,
	unsigned page, unsigned other)
{
	uint64_t begin = (uint64_t)page * PAGE, end = begin + PAGE;

	if (begin < request->offset)
		begin = request->offset;
	if (end > request->offset + request->length)
		end = request->offset + request->length;
	plan_part(plan, request, begin - request->offset, end - begin, 0,
		slot_of(shadow, page, other) + begin % PAGE);
}

static void plan_copy(const struct shadow *shadow, struct plan *plan, enum io_kind kind,
	unsigned page, uint32_t skip)
{
	plan_scratch(
		plan, kind, 0, 0, slot_of(shadow, page, kind == IO_WRITE), skip, PAGE);
}

static void map_write(const struct shadow *shadow, const struct request *request, struct plan *plan)
{
	uint64_t end = request->offset + request->length;
	unsigned first = (unsigned)(request->offset / PAGE), last = (unsigned)((end - 1) / PAGE);
	bool cuts_first = request->offset % PAGE, cuts_last = end % PAGE, i;
	unsigned page;

	for (i = false;; i = true) {
		if (cuts_first)
			plan_copy(shadow, plan, i ? IO_WRITE : IO_READ, first, 0);
		if (cuts_last && !(cuts_first && first == last))
			plan_copy(shadow, plan, i ? IO_WRITE : IO_READ, last, PAGE);
		plan_then(plan);
		if (i)
			break;
	}
	for (page = first; page <= last; page++)
		plan_page(shadow, request, plan, page, 1);
	plan_ask(plan);
}

static void map_self(
	const struct shadow *shadow, const struct request *request, struct plan *plan)
{
	struct shadow_io *io = plan->io_state;
	unsigned page = (unsigned)(request->offset / PAGE);

	switch ((enum word)request->flags) {
	case WORD_SYNC:
		if (request->offset <= shadow->written)
			return; /* somebody else's has done it */
		memcpy(plan->scratch, shadow->table, TABLE);
		io->turned = shadow->turned;
		plan_self(plan, 0, 0, WORD_BARRIER);
		plan_then(plan);
		plan_scratch(plan, IO_WRITE, 0, 0, 0, 0, TABLE);
		break;
	case WORD_BARRIER:
		plan_add(plan, 0, (struct request){ .kind = IO_FLUSH });
		return;
	case WORD_MOVE:
		plan_copy(shadow, plan, IO_READ, page, 0);
		plan_then(plan);
		plan_copy(shadow, plan, IO_WRITE, page, 0);
		break;
	}
	plan_ask(plan);
}

static void shadow_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct shadow *shadow = node->state;
	unsigned page = (unsigned)(request->offset / PAGE);

	switch (request->kind) {
	case IO_READ:
	case IO_DISCARD: /* never asked by the kernel: judge.c wants to know where a sector is */
		for (; page * (uint64_t)PAGE < request->offset + request->length; page++)
			plan_page(shadow, request, plan, page, 0);
		break;
	case IO_WRITE:
		shadow->debt += shadow->debt < 8;
		shadow->next_move = plan->now + IDLE_NS;
		plan_wake(plan);
		map_write(shadow, request, plan);
		break;
	case IO_SELF:
		map_self(shadow, request, plan);
		break;
	default:
		plan_all(plan, node, request);
	}
}

static void shadow_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct shadow *shadow = node->state;
	struct shadow_io *io = plan->io_state;
	uint64_t page;
	unsigned i;

	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].result < 0)
			return;
	if (request->kind == IO_SELF && request->flags == WORD_SYNC) {
		if (io->turned < shadow->written)
			sim_fail("%s: an older table was written over a newer one", node->id);
		shadow->written = io->turned;
		return;
	}
	if (io->is_turned)
		return;
	io->is_turned = true;
	for (page = request->offset / PAGE; page * PAGE < request->offset + request->length; page++)
		shadow->table[page] ^= 1;
	io->turned = ++shadow->turned;
	plan_self(plan, io->turned, 0, WORD_SYNC);
	plan_then(plan);
	if (request->flags & IO_FUA && request->kind == IO_WRITE)
		plan_add(plan, 0, (struct request){ .kind = IO_FLUSH });
}

static bool shadow_work(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct shadow *shadow = node->state;

	if (shadow->debt == 0)
		return false;
	if (now < shadow->next_move) {
		*again = shadow->next_move;
		return false;
	}
	shadow->debt--;
	shadow->turn = (shadow->turn + 1) % shadow->pages;
	*request = (struct request){
		.kind = IO_SELF,
		.flags = WORD_MOVE,
		.offset = (uint64_t)shadow->turn * PAGE,
		.length = PAGE,
	};
	totals.works++;
	return true;
}

static const struct target_type shadow_target = {
	.name = "shadow",
	.state_size = sizeof(struct shadow),
	.io_state_size = sizeof(struct shadow_io),
	.stateful = true,
	.timed = true,
	.probe = shadow_probe,
	.open = shadow_open,
	.load = shadow_load,
	.unload = shadow_unload,
	.hold = shadow_hold,
	.map = shadow_map,
	.resume = shadow_resume,
	.work = shadow_work,
};

void shadow_print_begin(FILE *out)
{
	fprintf(out, "{\"type\":\"linear\",\"annotations\":{\"sim\":\"shadow\"},\"children\":[");
}

void shadow_print_end(FILE *out)
{
	fprintf(out, "]}");
}

void shadow_place(struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++) {
		struct node *node = tree->nodes[i];
		const char *name = json_get_string(json_get(node->json, "annotations"), "sim", NULL);

		if (!name)
			continue;
		node->type->close(node);
		free(node->state);
		node->type = strcmp(name, "store") ? &shadow_target : &store_target;
		node->state = calloc(1, node->type->state_size);
		if (!node->state)
			sim_fail("out of memory");
	}
}
