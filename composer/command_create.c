// SPDX-License-Identifier: MIT
/* create: a tree becomes a device. */
#include "command.h"

#include "frontend.h"
#include "serve.h"

enum { FOREGROUND, FORCE, DEGRADED, ADD, GROW, PREFER, TAKE_BACK, DEBUG };

static const struct command_option options[] = {
	[FOREGROUND] = { "foreground", 'f', NULL,
		"Stay in the foreground. SIGINT and SIGTERM stop the device." },
	[FORCE] = { "force", 0, NULL,
		"Overwrite what is found on the leaves. What was there is lost." },
	[DEGRADED] = { "degraded", 0, NULL,
		"Go on without legs that are missing, where a mirror can." },
	[ADD] = { "add", 0, NULL,
		"Where a mirror misses a leg, take the blank leaf in that the document names\n"
		"in its place: it is formatted, and brought up to date. So are legs that were\n"
		"removed, where they are there." },
	[GROW] = { "grow", 0, NULL,
		"Take leaves as large as the document says or, where it says nothing, as they are\n"
		"by now. What was there stays; nothing becomes smaller again." },
	[PREFER] = { "prefer", 0, "LEAF",
		"Where the labels can't tell which leg of a mirror has all writes, use that of\n"
		"LEAF, an id or a path, and give up those that are in conflict with it.",
		.many = true },
	[TAKE_BACK] = { "take-back", 0, "DIRECTORY",
		"Bring legs that were given up, now or earlier, up to date again, once what they\n"
		"alone hold is saved in that directory: NAME.LEG.overlay and NAME.LEG.json." },
	[DEBUG] = { "debug", 0, "WORDS",
		"Trace to stderr: request, op, control, or several with commas." },
	{ 0 },
};

static int create(const struct arguments *arguments)
{
	struct daemon_config config = {
		.assemble.force = arguments->options[FORCE] != NULL,
		.assemble.degraded = arguments->options[DEGRADED] != NULL,
		.assemble.add = arguments->options[ADD] != NULL,
		.assemble.grow = arguments->options[GROW] != NULL,
		.assemble.prefer = arguments->values,
		.assemble.prefer_count = arguments->value_count,
	};
	struct err err = { 0 };
	struct tree *tree;

	if (!command_debug(arguments->options[DEBUG]))
		return STATUS_USAGE;
	if (!command_directory(arguments->options[TAKE_BACK], &config.assemble.take_back, &err))
		return command_fail(&err);
	tree = tree_read(arguments->operands[0], &err);
	if (!tree || frontend_check(tree, &err) < 0) {
		tree_destroy(tree);
		return command_fail(&err);
	}
	return serve(tree, &config, arguments->options[FOREGROUND] != NULL);
}

extern const struct command create_command;
const struct command create_command = {
	.name = "create",
	.operands = "TREE",
	.summary = "make a device of a tree and print its path",
	.details = "Reads the document TREE (\"-\" is standard input), formats blank leaves, "
		   "assembles leaves\n"
		   "that carry its labels, refuses all others, and serves the tree as one block "
		   "device. Returns\n"
		   "once the device can be used and prints its path, such as /dev/ubdb0; a daemon "
		   "goes on\n"
		   "serving it until `" PROGRAM
		   " delete`. If anything is refused, nothing has been changed.\n"
		   "`" PROGRAM " check TREE` says beforehand what create would do.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = create,
};
