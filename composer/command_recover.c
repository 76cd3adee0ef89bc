// SPDX-License-Identifier: MIT
/* recover: a new daemon for a device that goes on without one, or in place of one that lives. */
#include "command.h"

#include "run_directory.h"
#include "serve.h"
#include "succeed.h"

enum { FOREGROUND, DEGRADED, ADD, PREFER };

static const struct command_option options[] = {
	[FOREGROUND] = { "foreground", 'f', NULL,
		"Stay in the foreground. SIGINT and SIGTERM stop the device." },
	[DEGRADED] = { "degraded", 0, NULL,
		"Go on without legs that are missing, where a mirror can." },
	[ADD] = { "add", 0, NULL,
		"Take blank leaves in where a mirror has lost those that were there, and legs that\n"
		"were removed." },
	[PREFER] = { "prefer", 0, "LEAF",
		"Where the labels can't tell which leg of a mirror has all writes, use that of\n"
		"LEAF, an id or a path, and give up those that are in conflict with it.",
		.many = true },
	{ 0 },
};

static int recover(const struct arguments *arguments)
{
	const char *name = arguments->operands[0];
	struct daemon_config config = {
		.recover = true,
		.assemble.sizes_by_label = true,
		.assemble.degraded = arguments->options[DEGRADED] != NULL,
		.assemble.add = arguments->options[ADD] != NULL,
		.assemble.prefer = arguments->values,
		.assemble.prefer_count = arguments->value_count,
	};
	struct err err = { 0 };
	struct tree *tree = NULL;

	if (run_check_known(name, &err) == 0)
		tree = serve_read_kept(name, &err);
	if (tree && succeed_check(tree, &err) == 0 && succeed_end(name, &err) == 0)
		return serve(tree, &config, arguments->options[FOREGROUND] != NULL);
	tree_destroy(tree);
	return command_fail(&err);
}

extern const struct command recover_command;
const struct command recover_command = {
	.name = "recover",
	.operands = "NAME",
	.summary = "put a new daemon in the place of one that died, or lives",
	.details = "A device whose document says \"recovery\" outlives its daemon: whoever uses the "
		   "disk waits, for\n"
		   "\"recovery_timeout\" seconds at most, until this has started the next one. With "
		   "\"reissue\"\n"
		   "requests that the dead daemon had in its hands are done again; with \"fail\" they "
		   "fail.\n"
		   "A daemon that lives is asked to leave first, as for an upgrade: then no request "
		   "fails.\n"
		   "So a disk is exchanged, too: `fail` its leg, pull it, put a blank one in its place, and --add;\n"
		   "`" PROGRAM " remove` and `add` do it step by step.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = recover,
};
