// SPDX-License-Identifier: MIT
/* replay: a script's requests through a tree, without a driver. */
#include "command.h"

#include "lifetime.h"
#include "log.h"
#include "replay.h"

#include <errno.h>
#include <string.h>

enum { FORCE, DEGRADED, PREFER, TAKE_BACK, DEBUG };

static const struct command_option options[] = {
	[FORCE] = { "force", 0, NULL,
		"Overwrite what is found on the leaves. What was there is lost." },
	[DEGRADED] = { "degraded", 0, NULL,
		"Go on without legs that are missing, where a mirror can." },
	[PREFER] = { "prefer", 0, "LEAF", "As for create.", .many = true },
	[TAKE_BACK] = { "take-back", 0, "DIRECTORY", "As for create." },
	[DEBUG] = { "debug", 0, "WORDS", "Trace to stderr: request, op." },
	{ 0 },
};

/* The tree is read; result as replay_run(). */
static int run(struct tree *tree, const struct assemble_options *assembly, FILE *script,
	const char *name, struct err *err)
{
	struct err notes = { 0 };
	int result;

	if (lifetime_prepare(tree, assembly, err, &notes) < 0)
		goto fail;
	if (lifetime_start(tree, err, &notes) < 0) {
		lifetime_undo(tree, true);
		goto fail;
	}
	command_note(&notes);
	result = replay_run(
		tree, script, name, stdout, debug_mask & (DEBUG_REQUEST | DEBUG_OP), err);
	return lifetime_stop(tree, err) < 0 ? -1 : result;
fail:
	err_finish(&notes); /* of things that have been undone */
	return -1;
}

static int replay(const struct arguments *arguments)
{
	const struct assemble_options assembly = {
		.force = arguments->options[FORCE] != NULL,
		.degraded = arguments->options[DEGRADED] != NULL,
		.take_back = arguments->options[TAKE_BACK],
		.prefer = arguments->values,
		.prefer_count = arguments->value_count,
	};
	const char *name = arguments->operands[1];
	struct err err = { 0 };
	struct tree *tree = NULL;
	FILE *script = NULL;
	int result = -1;

	if (!command_debug(arguments->options[DEBUG]))
		return STATUS_USAGE;
	script = strcmp(name, "-") ? fopen(name, "re") : stdin;
	if (!script)
		err_add(&err, "%s: %s", name, strerror(errno));
	else
		tree = tree_read(arguments->operands[0], &err);
	if (tree)
		result = run(tree, &assembly, script, name, &err);
	tree_destroy(tree);
	if (script && script != stdin)
		fclose(script);
	if (err.count)
		(void)command_fail(&err);
	return result == 0 ? STATUS_DONE : STATUS_FAILED;
}

extern const struct command replay_command;
const struct command replay_command = {
	.name = "replay",
	.operands = "TREE SCRIPT",
	.summary = "run a script of requests through a tree, without a driver",
	.details = "Opens the leaves of TREE as create does, and carries out the requests of "
		   "SCRIPT (\"-\" is\n"
		   "standard input) on them, with neither a driver nor root. Exit status 1 if one "
		   "failed or a\n"
		   "read differed from what its seed says. A line of SCRIPT is one of:\n"
		   "\n"
		   "  write OFFSET LENGTH SEED [fua]\n"
		   "  read OFFSET LENGTH [SEED]\n"
		   "  save OFFSET LENGTH FILE    the bytes go to FILE, which is made or replaced\n"
		   "  zeroes OFFSET LENGTH\n"
		   "  discard OFFSET LENGTH\n"
		   "  flush\n"
		   "  ask NODE VERB [JSON]    a verb of the node's, until all that it begins has ended\n"
		   "  depth N    so many requests in flight at a time, 1 at first\n"
		   "  wait       until all have ended\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 2,
	.run = replay,
};
