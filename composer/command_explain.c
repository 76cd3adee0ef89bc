// SPDX-License-Identifier: MIT
/* explain: what a tree would do with one request. */
#include "command.h"

#include "assemble.h"
#include "explain.h"

#include <string.h>

enum { FUA };

static const struct command_option options[] = {
	[FUA] = { "fua", 0, NULL,
		"The request is to be durable when it ends (write, write-zeroes)." },
	{ 0 },
};

extern const struct command explain_command;

/* A tree as if it were live. What create would refuse is a note: the plan is the same. */
static int open_tree(struct tree *tree, struct err *err)
{
	const struct assemble_options dry = { .dry = true };
	struct err refused = { 0 }, notes = { 0 };

	if (leaves_open(tree, LEAF_PROBE, err) < 0)
		return -1;
	if (assemble(tree, &dry, &refused, &notes) < 0)
		err_add(&refused, "create would refuse this tree as it is");
	command_note(&refused);
	err_finish(&notes); /* what would be formatted is check's matter */
	return tree_open(tree, err);
}

/* 0, or the exit status after a message. */
static int read_operands(const struct arguments *arguments, struct request *request)
{
	char **operands = arguments->operands;

	if (!explain_kind(operands[1], &request->kind))
		return command_misused(&explain_command,
			"there is no kind \"%s\"; there are read, "
			"write, write-zeroes, discard and flush",
			operands[1]);
	if (request->kind == IO_FLUSH)
		return arguments->operand_count == 2 ? 0
						     : command_misused(&explain_command,
							       "flush takes no OFFSET and LENGTH");
	if (arguments->operand_count < 4)
		return command_misused(&explain_command, "%s wants OFFSET and LENGTH", operands[1]);
	if (!command_size(operands[2], &request->offset))
		return command_misused(&explain_command,
			"OFFSET \"%s\" is not a size such as 4096 or "
			"96K",
			operands[2]);
	if (!command_size(operands[3], &request->length))
		return command_misused(&explain_command,
			"LENGTH \"%s\" is not a size such as 4096 or "
			"64KiB",
			operands[3]);
	if (request->kind == IO_READ || request->kind == IO_WRITE)
		request->data.home = DATA_REQUEST;
	if (!arguments->options[FUA])
		return 0;
	if (request->kind != IO_WRITE && request->kind != IO_WRITE_ZEROES)
		return command_misused(&explain_command, "--fua is for write and write-zeroes");
	request->flags = IO_FUA;
	return 0;
}

static int explain(const struct arguments *arguments)
{
	struct request request = { 0 };
	struct err err = { 0 };
	struct tree *tree;
	int result = read_operands(arguments, &request);

	if (result)
		return result;
	tree = tree_read(arguments->operands[0], &err);
	if (!tree)
		return command_fail(&err);
	result = open_tree(tree, &err);
	if (result == 0)
		result = explain_request(tree, &request, &err, stdout);
	tree_destroy(tree);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

const struct command explain_command = {
	.name = "explain",
	.operands = "TREE KIND [OFFSET LENGTH]",
	.summary = "show what a tree would do with a request",
	.details = "Prints the plan that each node of TREE makes for one request of the device, "
		   "down to the\n"
		   "leaves. KIND is read, write, write-zeroes, discard or flush; flush takes no "
		   "OFFSET and\n"
		   "LENGTH. Sizes are bytes, or have a unit: 96K, 64KiB, 1M. Nothing is touched.\n"
		   "\n"
		   "  wave N     what waits: a wave starts when all lower ones have succeeded\n"
		   "  from N     where in the request's own data the bytes begin\n"
		   "  at N       where on the leaf, counted from the front of the file or disk\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 4,
	.run = explain,
};
