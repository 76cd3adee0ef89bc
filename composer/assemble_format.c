// SPDX-License-Identifier: MIT
/* A new tree of all leaves: what stands in its way, and the labels that they will get. */
#include "assemble_internal.h"

#include "leaf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (2 * IDENTIFY_MAX)
#define FIRST_GENERATION LABEL_COPIES

/* One leaf that stands in the way of formatting. */
static void refuse_format(const struct assembly *assembly, const struct leaf *leaf)
{
	const struct member *member = &assembly->members[leaf->place];
	uint64_t needed = leaf_bytes_for(leaf, leaf->wanted);
	char text[TEXT_MAX];

	switch (member->kind) {
	case MEMBER_RAW:
		return;
	case MEMBER_MISSING:
		err_add(assembly->err, "%s", leaf->problem);
		return;
	case MEMBER_UNREADABLE:
		leaf_err(leaf, assembly->err, "%s %s", leaf->path,
			member_says(member, text, sizeof(text)));
		return;
	case MEMBER_FOREIGN:
	case MEMBER_NEWER:
	case MEMBER_CORRUPT:
		if (!assembly->options->force)
			leaf_err(leaf, assembly->err, "%s %s; use --force to overwrite it",
				leaf->path, member_says(member, text, sizeof(text)));
		break;
	default:
		break;
	}
	if (leaf->wanted && leaf->bytes && leaf->bytes < needed)
		leaf_err(leaf, assembly->err,
			"%s has %" PRIu64 " bytes; size %" PRIu64 " with its label needs %" PRIu64,
			leaf->path, leaf->bytes, leaf->wanted, needed);
}

char *assemble_document(const struct tree *tree)
{
	size_t length;
	const char *text = json_text(tree->document, &length);

	return strndup(text, length);
}

int assemble_label_make(
	struct leaf *leaf, const struct assembly *assembly, const uuid_t tree_uuid)
{
	struct label *label = &leaf->label;
	unsigned i;

	label_finish(label);
	*label = (struct label){
		.place = leaf->place,
		.leaf_count = assembly->tree->leaf_count,
		.data_offset = LABEL_FRONT,
		.data_length = leaf->node->limits.size,
		.generation = FIRST_GENERATION,
		.flags = LABEL_FORMATTING,
		.peers = calloc(assembly->tree->leaf_count, sizeof(*label->peers)),
		.document = assemble_document(assembly->tree),
		.geometry = strdup(assembly->geometry),
		.lengths = calloc(assembly->tree->leaf_count, sizeof(*label->lengths)),
	};
	if (!label->peers || !label->document || !label->geometry || !label->lengths)
		return err_add(assembly->err, "out of memory");
	uuid_copy(label->tree_uuid, tree_uuid);
	uuid_generate(label->leaf_uuid);
	for (i = 0; i < label->leaf_count; i++)
		if (assembly->tree->leaves[i]->labelled) {
			label->peers[i].generation = FIRST_GENERATION;
			label->lengths[i] = assembly->tree->leaves[i]->node->limits.size;
			/* The first round changes no peer: only copy 0 can be torn before it is served (label_format()). */
			label->peers[i].state = leaf_peer_state(assembly->tree->leaves[i]);
		}
	return 0;
}

int assemble_format(struct assembly *assembly)
{
	const struct tree *tree = assembly->tree;
	const char *would = assembly->options->dry ? "would be" : "is";
	unsigned before = assembly->err->count, i;
	uuid_t tree_uuid;

	for (i = 0; i < tree->leaf_count; i++)
		refuse_format(assembly, tree->leaves[i]);
	if (assembly->err->count != before)
		return -1;
	assemble_first_spares(assembly->tree);
	uuid_generate(tree_uuid);
	for (i = 0; i < tree->leaf_count; i++) {
		struct leaf *leaf = tree->leaves[i];
		char text[TEXT_MAX];

		if (!leaf->labelled)
			continue;
		if (assemble_label_make(leaf, assembly, tree_uuid) < 0)
			return -1;
		leaf->data_offset = leaf->label.data_offset;
		leaf->todo = LEAF_FORMAT;
		if (assembly->members[i].kind > MEMBER_FRESH)
			leaf->todo = LEAF_WIPE_FORMAT;
		err_add(assembly->notes, "%s: %s %s formatted%s", leaf->node->id, leaf->path, would,
			member_over(&assembly->members[i], text, sizeof(text)));
	}
	return 0;
}
