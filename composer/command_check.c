// SPDX-License-Identifier: MIT
/* check: what create would do. */
#include "command.h"

#include "check.h"
#include "frontend.h"
#include "lifetime.h"
#include "run_directory.h"
#include "status.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>

enum { FORCE, DEGRADED, ADD, PREFER, TAKE_BACK, REPAIR, JSON };

extern const struct command check_command;

static const struct command_option options[] = {
	[FORCE] = { "force", 0, NULL, "As if create were given --force." },
	[DEGRADED] = { "degraded", 0, NULL, "As if create were given --degraded." },
	[ADD] = { "add", 0, NULL, "As if create were given --add." },
	[PREFER] = { "prefer", 0, "LEAF", "As if create were given --prefer=LEAF.", .many = true },
	[TAKE_BACK] = { "take-back", 0, "DIRECTORY",
		"As if create were given --take-back=DIRECTORY." },
	[REPAIR] = { "repair", 0, NULL, "Start the nodes and stop them, to put right what crashes have left." },
	[JSON] = { "json", 0, NULL, "An object that mirrors the tree, for programs." },
	{ 0 },
};

static int probe(struct tree *tree, const struct assemble_options *assembly, struct err *err,
	struct err *notes)
{
	if (run_check_free(tree->name, err) < 0)
		return -1; /* what it has written on the leaves would only seem wrong */
	return lifetime_probe(tree, assembly, err, notes);
}

static int print(const struct tree *tree, bool as_json, struct err *err)
{
	struct json_object *made = status_make(tree, NULL);
	const char *text = json_object_to_json_string_ext(
		made, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	struct json *status = json_parse("check", text, strlen(text), err);

	json_object_put(made);
	if (!status)
		return -1;
	if (as_json) {
		json_print(status, stdout);
		printf("\n");
	} else {
		status_print(status, stdout);
	}
	json_destroy(status);
	return 0;
}

/* Nothing may come into being by it, only be put right. */
static int refuse_new(const struct tree *tree, struct err *err)
{
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->made || tree->leaves[i]->todo >= LEAF_FORMAT)
			leaf_err(tree->leaves[i], err, "there is nothing to repair: a create would make it");
	return err->count == before ? 0 : -1;
}

/* What a start finds and puts right, it does; and a clean stop. */
static int repair(const char *document, const struct assemble_options *assembly, struct err *err,
	struct err *notes)
{
	struct tree *tree = tree_read(document, err);
	int result = -1;
	unsigned i;

	if (!tree)
		return -1;
	for (i = 0; i < tree->node_count; i++)
		tree->nodes[i]->repairs = true;
	if (run_check_free(tree->name, err) == 0 && lifetime_prepare(tree, assembly, err, notes) == 0) {
		bool is_old = refuse_new(tree, err) == 0;

		if (is_old && lifetime_start(tree, err, notes) == 0)
			result = lifetime_stop(tree, err);
		else
			lifetime_undo(tree, is_old);
	}
	tree_destroy(tree);
	return result;
}

/* A driver that isn't loaded is this machine's matter, not the tree's: it is told, and no more. */
static void note_driver(const struct tree *tree, struct err *notes)
{
	unsigned before = notes->count;

	if (frontend_check(tree, notes) < 0 && notes->count > before)
		err_add(notes, "the tree is good, but create would fail here until that is mended");
}

int check_tree(struct tree *tree, const struct assemble_options *assembly, bool as_json)
{
	struct err err = { 0 }, notes = { 0 };
	int result = probe(tree, assembly, &err, &notes);

	if (result == 0)
		result = print(tree, as_json, &err);
	if (result == 0)
		note_driver(tree, &notes);
	(void)fflush(stdout); /* the result first, then the notes; main looks for errors */
	command_note(&notes);
	tree_destroy(tree);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

static int check(const struct arguments *arguments)
{
	struct assemble_options assembly = {
		.force = arguments->options[FORCE] != NULL,
		.degraded = arguments->options[DEGRADED] != NULL,
		.add = arguments->options[ADD] != NULL,
		.dry = true,
		.take_back = arguments->options[TAKE_BACK],
		.prefer = arguments->values,
		.prefer_count = arguments->value_count,
	};
	const char *document = arguments->operands[0];
	struct err err = { 0 }, notes = { 0 };
	struct tree *tree;

	if (arguments->options[REPAIR]) {
		if (!strcmp(document, "-"))
			return command_misused(&check_command, "--repair needs TREE to be a file");
		assembly.dry = false;
		if (repair(document, &assembly, &err, &notes) < 0) {
			err_finish(&notes); /* of what has not been done */
			return command_fail(&err);
		}
		command_note(&notes);
		assembly.dry = true;
	}
	tree = tree_read(document, &err);
	return tree ? check_tree(tree, &assembly, arguments->options[JSON] != NULL)
		    : command_fail(&err);
}

const struct command check_command = {
	.name = "check",
	.operands = "TREE",
	.summary = "show what create would do, and touch nothing",
	.details = "Reads the document TREE (\"-\" is standard input), looks at its leaves, and "
		   "prints the device\n"
		   "that create would make of them: its size and limits, and for each leaf whether "
		   "it would be\n"
		   "made, formatted or recognised. Exit status 1, with every reason, if create "
		   "would refuse.\n"
		   "With --repair the tree is started first and stopped again, without a device: a "
		   "mirror's legs are\n"
		   "brought to the same, and clusters of a thin volume that a crash has left counted "
		   "and unused\n"
		   "(leaked=) are free again.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = check,
};
