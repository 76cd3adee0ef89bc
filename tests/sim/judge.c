// SPDX-License-Identifier: MIT
/* What must be true of leaves, legs and labels, seen past the engine. */
#include "sim.h"

#include <string.h>

/* Whether a sector of the node is one of a zero target: only mappings are asked. */
bool judge_is_void(struct node *node, uint64_t offset)
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
	return judge_is_void(node->children[ops[0].child], ops[0].request.offset);
}

/* What a node's sector holds, below the engine. */
static const char *sector_of(struct node *node, uint64_t offset)
{
	struct op ops[64];
	struct plan plan = { .ops = ops, .capacity = 64, .result = PLAN_RUNNING };
	struct request request = {
		.kind = IO_DISCARD,
		.offset = offset,
		.length = SECTOR,
	};
	unsigned i;

	if (node->leaf)
		return backend.images[node->leaf->place]->view + node->leaf->data_offset + offset;
	if (node->type->redundant) {
		for (i = 0; node->children[i]->failed; i++)
			;
		return sector_of(node->children[i], offset);
	}
	node->type->map(node, &request, &plan);
	return sector_of(node->children[ops[0].child], ops[0].request.offset);
}

/* Nobody may have lied about either. */
static bool are_different(const char *a, const char *b)
{
	return memcmp(a, b, SECTOR) != 0 && !lie_at(a) && !lie_at(b);
}

static bool is_failed(const struct node *node)
{
	for (; node; node = node->parent)
		if (node->failed)
			return true;
	return false;
}

void judge_legs(void)
{
	unsigned i, j;
	uint64_t offset;

	for (i = 0; i < life.tree->node_count && !model_may_differ() && life.lies != LIES_ANY; i++) {
		struct node *node = life.tree->nodes[i];

		for (j = 0; node->type->redundant && j < node->child_count; j++)
			for (offset = 0;
				!is_failed(node->children[j]) && offset < node->limits.size;
				offset += SECTOR)
				if (are_different(sector_of(node, offset),
					    sector_of(node->children[j], offset)))
					sim_fail("%s: leg %u differs at %llu", node->id, j,
						(unsigned long long)offset);
	}
}

/* Where the leaf's bytes are those of the image, and something was made there. */
void judge_keep_image(void)
{
	static unsigned count;
	char from[300], to[600], memory[4096];
	FILE *in, *out;
	size_t got;

	if (!sim_images || life.lies == LIES_ANY || !life.document.has_thin || life.document.leaf_count != 1 ||
		!strstr(life.document.text, "\"data\":{\"type\":\"file\"") ||
		strstr(life.document.text, "\"backing\""))
		return;
	meddle_path(0, "", from);
	(void)snprintf(to, sizeof(to), "%s/%06u", sim_images, count);
	in = fopen(from, "r");
	if (!in)
		return; /* the first start is still to come */
	if (fseek(in, LABEL_FRONT, SEEK_SET) != 0 || fread(memory, 1, 4, in) != 4 ||
		memcmp(memory, "QFI\xfb", 4) != 0) { /* not made yet */
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
