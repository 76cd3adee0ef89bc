// SPDX-License-Identifier: MIT
/* What must be true of leaves, legs and labels, seen past the engine. */
#include "sim.h"

#include "../../targets/mirror.h"

#include <string.h>

/* Whether a sector of the node is one of a zero target: only mappings are asked. */
static bool is_void(struct node *node, uint64_t offset)
{
	struct op ops[64];
	struct plan plan = { .ops = ops, .capacity = 64, .result = PLAN_RUNNING };
	struct request request = {
		.kind = IO_DISCARD,
		.offset = offset,
		.length = SECTOR,
	};

	if (!strcmp(node->type->name, "zero"))
		return true;
	if (node->leaf || node->type->redundant || node->type->roles)
		return false;
	node->type->map(node, &request, &plan);
	return is_void(node->children[ops[0].child], ops[0].request.offset);
}

void judge_tell_void(unsigned first, unsigned end)
{
	for (; first < end; first++)
		if (is_void(life.tree->root, (uint64_t)first * SECTOR))
			model_set_void(first);
}

const char *judge_sector(struct node *node, uint64_t offset)
{
	struct op ops[64];
	struct plan plan = { .ops = ops, .capacity = 64, .result = PLAN_RUNNING };
	struct request request = {
		.kind = IO_DISCARD,
		.offset = offset,
		.length = SECTOR,
	};
	if (node->type->roles)
		return NULL; /* an image: where it has it, if anywhere, is its own affair */
	if (node->leaf)
		return backend.images[node->leaf->place]->view + node->leaf->data_offset + offset;
	if (node->type->redundant) {
		const struct mirror *mirror = node->state;

		return judge_sector(node->children[mirror->primary], MIRROR_FRONT + offset);
	}
	node->type->map(node, &request, &plan);
	return judge_sector(node->children[ops[0].child], ops[0].request.offset);
}

/* Nobody may have lied about either. */
static bool are_different(const char *a, const char *b)
{
	return a && b && memcmp(a, b, SECTOR) != 0 && !lie_at(a) && !lie_at(b);
}

void judge_watch(void)
{
	static uint64_t last;
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < life.tree->node_count; i++) {
		const struct node *node = life.tree->nodes[i];
		const struct mirror *mirror = node->state;

		sum = sum * 31 + node->failed;
		if (node->type->redundant)
			sum = sum * 31 + mirror->primary;
	}
	if (sum != last)
		model_upheavals++;
	last = sum;
}

/* Just so many stand by as the document says, and nobody does while a leg has failed. */
static void judge_spares(const struct node *node, bool is_settled)
{
	const struct mirror *mirror = node->state;
	bool is_missed = false, can_help = false;
	unsigned i, spares = 0;

	for (i = 0; i < node->child_count; i++) {
		const struct node *child = node->children[i];
		bool is_let_go = mirror->legs[i].replaces == LEG_REPLACED;
		bool replaces = mirror->legs[i].replaces && !is_let_go;

		if (replaces && is_settled)
			sim_fail("%s: leg %u never takes the other's place", node->id, i);
		totals.let_go += is_settled && is_let_go;
		spares += child->spare || replaces; /* one that has joined is one leg more */
		totals.taken += is_settled && !child->spare && i >= node->child_count - node->spare_count;
		is_missed |= !child->spare && mirror->legs[i].state == LEG_FAILED;
		can_help |= mirror->legs[i].state == LEG_SPARE && !is_let_go;
		if (child->spare != (mirror->legs[i].state == LEG_SPARE) && !child->failed && !replaces)
			sim_fail("%s: leg %u is a spare and is not", node->id, i);
	}
	if (spares != node->spare_count)
		sim_fail("%s: %u legs stand by, not %u", node->id, spares, node->spare_count);
	if (is_settled && is_missed && can_help)
		sim_fail("%s: a leg has failed, and a spare stands by", node->id);
}

static void judge_leg(struct node *node, unsigned place)
{
	const struct mirror *mirror = node->state;
	uint64_t offset;

	for (offset = 0; offset < node->limits.size; offset += SECTOR) {
		const struct region *region = &mirror->regions[offset >> mirror->region_shift];

		if (region->writers)
			sim_fail("%s: %u writers at %llu, and nothing is in flight", node->id,
				region->writers, (unsigned long long)offset);
		if (region->bits & (REGION_TODO | REGION_UNEVEN))
			continue;
		if (are_different(judge_sector(node, offset),
			    judge_sector(node->children[place], MIRROR_FRONT + offset)))
			sim_fail("%s: leg %u differs from leg %u at %llu", node->id, place,
				mirror->primary, (unsigned long long)offset);
	}
}

void judge_scrub(void)
{
	unsigned i;

	for (i = 0; i < life.tree->node_count; i++) {
		struct node *node = life.tree->nodes[i];
		struct err err = { 0 };

		if (!node->type->redundant)
			continue;
		(void)node->type->command(node, "scrub", NULL, NULL, &err); /* or it runs already */
		err_finish(&err);
		queue_wake_node(node);
	}
}

/* Legs that compare themselves see what we see. */
static void judge_scrubbed(const struct node *node)
{
	const struct mirror *mirror = node->state;
	unsigned i;

	totals.scrubbed += mirror->scrub.done - mirror->scrub.skipped;
	totals.looked_again += mirror->scrub.looked_again;
	for (i = 0; i < node->child_count; i++)
		totals.slow += mirror_leg_is_slow(mirror, i) || mirror->legs[i].is_behind;
	totals.behind += mirror->behind.missed;
	if (mirror->scrub.differing && !life.lies)
		sim_fail("%s: %llu bytes differ, says its scrub, the first at %llu", node->id,
			(unsigned long long)mirror->scrub.differing,
			(unsigned long long)mirror->scrub.found[0].offset);
}

void judge_legs(void)
{
	unsigned i, j;

	for (i = 0; i < life.tree->node_count && life.lies != LIES_ANY; i++) {
		struct node *node = life.tree->nodes[i];
		const struct mirror *mirror = node->state;

		if (!node->type->redundant || node_is_stale(node))
			continue;
		judge_scrubbed(node);
		judge_spares(node, false);
		for (j = 0; j < node->child_count; j++)
			if (mirror->legs[j].state == LEG_IN_SYNC)
				judge_leg(node, j);
	}
}

void judge_settled(void)
{
	unsigned i, j;

	if (backend.has_lost)
		return; /* what a flush has failed for is never said clean in this life */
	if (life.document.has_images && life.faults_before != model_faults)
		return; /* an image whose metadata could not be written, nor read again, is no source for others */
	if (backend_hung())
		return; /* a mirror's last leg, perhaps: one above can do without it, and has had nothing to write */
	for (i = 0; i < life.tree->node_count; i++) {
		struct node *node = life.tree->nodes[i];
		const struct mirror *mirror = node->state;

		if (!node->type->redundant || node_is_stale(node))
			continue;
		for (j = 0; j < node->child_count; j++)
			if (mirror->legs[j].state == LEG_REBUILDING ||
				mirror->legs[j].state == LEG_LEAVING || mirror->legs[j].state == LEG_JOINING)
				sim_fail("%s: leg %u is never up to date", node->id, j);
		judge_spares(node, true);
		if (mirror->scrub.state == SCRUB_RUNNING)
			sim_fail("%s: its scrub never ends", node->id);
		if (mirror->todo_count || mirror->dirty_count)
			sim_fail("%s: %u regions are never copied, %u never said clean", node->id,
				mirror->todo_count, mirror->dirty_count);
	}
	model_agree();
}

/* Where the leaf's bytes are those of the image, and something was made there. */
void judge_keep_image(void)
{
	static const char no_backing[8];
	static unsigned count;
	char from[300], to[600], memory[4096];
	FILE *in, *out;
	size_t got;

	if (!sim_images || life.lies == LIES_ANY || !life.document.has_thin || life.document.has_data_file ||
		!strstr(life.document.text, "\"data\":{\"type\":\"file\""))
		return;
	meddle_path(0, "", from);
	(void)snprintf(to, sizeof(to), "%s/%06u", sim_images, count);
	in = fopen(from, "r");
	if (!in)
		return; /* the first start is still to come */
	if (fseek(in, LABEL_FRONT, SEEK_SET) != 0 || fread(memory, 1, 16, in) != 16 ||
		memcmp(memory, "QFI\xfb", 4) != 0 || memcmp(memory + 8, no_backing, 8) != 0) { /* not made yet */
		fclose(in);
		return;
	}
	count++;
	out = fopen(to, "w");
	(void)fseek(in, LABEL_FRONT, SEEK_SET);
	while (out && (got = fread(memory, 1, sizeof(memory), in)) > 0)
		(void)fwrite(memory, 1, got, out);
	fclose(in);
	if (!out || fclose(out) != 0)
		sim_fail("%s can't be written", to);
}

void judge_labels(void)
{
	char why[300];
	struct label label;
	unsigned i;

	for (i = 0; i < life.tree->leaf_count && life.lies != LIES_ANY; i++) {
		const struct leaf *leaf = life.tree->leaves[i];

		if (!leaf->labelled || leaf->fd < 0)
			continue;
		if (label_read(leaf->fd, leaf->bytes, &label, why, sizeof(why)) != LABEL_FOUND)
			sim_fail("leaf %u has no label: %s", i, why);
		label_finish(&label);
	}
}
