// SPDX-License-Identifier: MIT
/*
 * wipe: removes our label from leaves.
 *
 * The crash story: each copy's head goes first, durably, then what else is in front of the data. A
 * crash in between leaves one copy, which is a damaged label of the same tree, or none.
 */
#include "command.h"

#include "assemble_internal.h"
#include "leaf_io.h"
#include "operand.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WHY_TEXT 256

enum { FORCE };

static const struct command_option options[] = {
	[FORCE] = { "force", 0, NULL,
		"Remove labels too that are damaged or a newer ubd-compose's." },
	{ 0 },
};

struct victim {
	struct operand operand;
	struct label label; /* if it is whole */
	enum label_found found;
};

/* Whether it may be wiped. 0, or -1 with a message. */
static int judge(struct victim *victim, bool force, struct err *err)
{
	const struct operand *leaf = &victim->operand;
	char what[IDENTIFY_MAX], why[WHY_TEXT];
	int foreign = identify(leaf->fd, leaf->bytes, what, sizeof(what));

	if (foreign < 0)
		return err_add(err, "%s can't be read: %s", leaf->path, strerror(-foreign));
	if (foreign)
		return err_add(err, "%s holds %s, which is not ours to wipe", leaf->path, what);
	victim->found = label_read(leaf->fd, leaf->bytes, &victim->label, why, sizeof(why));
	switch (victim->found) {
	case LABEL_NONE:
		return err_add(err, "%s carries no label", leaf->path);
	case LABEL_UNREADABLE:
		return err_add(err, "%s: %s", leaf->path, why);
	case LABEL_NEWER:
		if (!force)
			return err_add(err, "%s: %s; use --force to remove it", leaf->path, why);
		break;
	case LABEL_CORRUPT:
		if (!force)
			return err_add(err,
				"%s carries a damaged label: %s; use --force to remove it",
				leaf->path, why);
		break;
	case LABEL_FOUND:
		break;
	}
	return 0;
}

static int wipe_one(const struct victim *victim, struct err *err)
{
	const struct operand *leaf = &victim->operand;
	uint64_t front = leaf->bytes < LABEL_FRONT ? leaf->bytes : LABEL_FRONT;
	char name[IDENTIFY_MAX];
	unsigned copy;
	int result = 0;

	for (copy = 0; copy < LABEL_COPIES && result == 0; copy++)
		if (front >= copy * LABEL_COPY_STRIDE + LABEL_BLOCK)
			result = leaf_io_zero(leaf->fd, LABEL_BLOCK, copy * LABEL_COPY_STRIDE);
	if (result == 0)
		result = leaf_io_flush(leaf->fd);
	if (result == 0)
		result = leaf_io_zero(leaf->fd, front / LABEL_BLOCK * LABEL_BLOCK, 0);
	if (result == 0)
		result = leaf_io_flush(leaf->fd);
	if (result < 0)
		return err_add(err, "wiping %s: %s", leaf->path, strerror(-result));
	if (victim->found != LABEL_FOUND) {
		printf("%s: removed a label that could not be read\n", leaf->path);
		return 0;
	}
	label_tree_name(&victim->label, name, sizeof(name));
	printf("%s: removed the label of leaf %" PRIu32 " of the tree %s, generation %" PRIu64 "\n",
		leaf->path, victim->label.place, name, victim->label.generation);
	return 0;
}

static int wipe(const struct arguments *arguments)
{
	struct victim *victims = calloc(arguments->operand_count, sizeof(*victims));
	bool force = arguments->options[FORCE] != NULL;
	struct err err = { 0 };
	unsigned i;

	if (!victims)
		abort();
	for (i = 0; i < arguments->operand_count; i++)
		if (operand_open(
			    &victims[i].operand, arguments->operands[i], OPERAND_WRITE, &err) == 0)
			(void)judge(&victims[i], force, &err); /* counted in err */
	for (i = 0; i < arguments->operand_count && !err.count; i++)
		(void)wipe_one(&victims[i], &err); /* likewise: what follows stays as it is */
	for (i = 0; i < arguments->operand_count; i++) {
		operand_close(&victims[i].operand);
		label_finish(&victims[i].label);
	}
	free(victims);
	(void)fflush(stdout); /* the results first; main looks for errors */
	return err.count ? command_fail(&err) : STATUS_DONE;
}

extern const struct command wipe_command;
const struct command wipe_command = {
	.name = "wipe",
	.operands = "LEAF...",
	.summary = "remove our label from leaves",
	.details = "Removes the label of each LEAF, a file or a disk, so that it is nobody's: "
		   "create takes\n"
		   "it for a blank one. Its data stay where they are, but nothing will tell any "
		   "more whose\n"
		   "they were. Refuses a LEAF that is in use, and one that carries no label of "
		   "ours or a\n"
		   "file system of somebody else's. If one is refused, none is changed.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = COMMAND_LEAVES_MAX,
	.run = wipe,
};
