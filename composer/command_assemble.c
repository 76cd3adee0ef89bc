// SPDX-License-Identifier: MIT
/* assemble: a device from its leaves alone. */
#include "command.h"

#include "assemble_leaves.h"
#include "check.h"
#include "frontend.h"
#include "schema.h"
#include "serve.h"

#include <json-c/json_object.h>
#include <string.h>

enum { FOREGROUND, NAME, DEGRADED, PREFER, TAKE_BACK, CHECK, DEBUG };

static const struct command_option options[] = {
	[FOREGROUND] = { "foreground", 'f', NULL,
		"Stay in the foreground. SIGINT and SIGTERM stop the device." },
	[NAME] = { "name", 0, "NAME", "Call the device so from now on." },
	[DEGRADED] = { "degraded", 0, NULL,
		"Go on without legs that are missing, where a mirror can." },
	[PREFER] = { "prefer", 0, "LEAF",
		"Where the labels can't tell which leg of a mirror has all writes, use that of\n"
		"LEAF, an id or a path, and give up those that are in conflict with it.",
		.many = true },
	[TAKE_BACK] = { "take-back", 0, "DIRECTORY",
		"Bring legs that were given up, now or earlier, up to date again, once what they\n"
		"alone hold is saved in that directory: NAME.LEG.overlay and NAME.LEG.json." },
	[CHECK] = { "check", 0, NULL, "Show what would be done, and touch nothing." },
	[DEBUG] = { "debug", 0, "WORDS",
		"Trace to stderr: request, op, control, or several with commas." },
	{ 0 },
};

/* By the schema, in a document that is otherwise good. 0, or -1 with a message. */
static int check_name(const char *name, struct err *err)
{
	struct json_object *document = json_object_new_object();
	struct json_object *root = json_object_new_object();
	struct json *parsed;
	const char *text;
	int result = -1;

	json_object_object_add(root, "type", json_object_new_string("zero"));
	json_object_object_add(root, "size", json_object_new_int(4096));
	json_object_object_add(document, "format", json_object_new_int(1));
	json_object_object_add(document, "name", json_object_new_string(name));
	json_object_object_add(document, "root", root);
	text = json_object_to_json_string(document);
	parsed = json_parse("--name", text, strlen(text), err);
	if (parsed)
		result = schema_check(parsed, err);
	json_destroy(parsed);
	json_object_put(document);
	return result;
}

static int assemble_them(const struct arguments *arguments)
{
	struct daemon_config config = {
		.assemble.degraded = arguments->options[DEGRADED] != NULL,
		.assemble.known_only = true,
		.assemble.dry = arguments->options[CHECK] != NULL,
		.assemble.prefer = arguments->values,
		.assemble.prefer_count = arguments->value_count,
	};
	const char *name = arguments->options[NAME];
	struct err err = { 0 };
	struct tree *tree;

	if (!command_debug(arguments->options[DEBUG]))
		return STATUS_USAGE;
	if (name && check_name(name, &err) < 0) {
		(void)command_fail(&err);
		return STATUS_USAGE;
	}
	if (!command_directory(arguments->options[TAKE_BACK], &config.assemble.take_back, &err))
		return command_fail(&err);
	tree = assemble_leaves(arguments->operands, arguments->operand_count, name, &err);
	if (!tree)
		return command_fail(&err);
	if (arguments->options[CHECK])
		return check_tree(tree, &config.assemble, false);
	if (frontend_check(tree, &err) < 0) {
		tree_destroy(tree);
		return command_fail(&err);
	}
	return serve(tree, &config, arguments->options[FOREGROUND] != NULL);
}

extern const struct command assemble_command;
const struct command assemble_command = {
	.name = "assemble",
	.operands = "LEAF...",
	.summary = "make a device of its leaves alone, without the document",
	.details =
		"Reads the labels of the LEAVES, files or disks, in any order and wherever they "
		"are now,\n"
		"takes the tree's document from them, and serves the tree as `" PROGRAM " create`\n"
		"does. They must be of one tree, and all that it has, unless it can go on "
		"--degraded.\n"
		"Nothing is formatted; the labels' copies of the document get the paths as they are now.\n"
		   "`" PROGRAM " examine` shows what a label says.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = COMMAND_LEAVES_MAX,
	.run = assemble_them,
};
