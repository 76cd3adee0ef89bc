// SPDX-License-Identifier: MIT
/*
 * resize: a disk that is in use becomes larger, by a daemon that starts with a larger tree.
 *
 * The leaves, the labels and what nodes keep grow while nothing is served, which is the start's own work
 * and as safe; the disk is told last. If that start is refused, another one goes on with what there was:
 * it takes the sizes that the labels say.
 */
#include "command.h"

#include "control_client.h"
#include "device_name.h"
#include "document_size.h"
#include "run_directory.h"
#include "serve.h"
#include "succeed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TREE };

static const struct command_option options[] = {
	[TREE] = { "tree", 0, "TREE",
		"The document from now on: as the device's, but for sizes." },
	{ 0 },
};

/* The device's size; 0: its daemon has died, or doesn't say. */
static uint64_t size_now(const char *name)
{
	struct err ignored = { 0 };
	struct json *reply = control_ask(name, CONTROL_STATUS, NULL, NULL, &ignored);
	uint64_t size = json_get_unsigned(
		json_get(json_get(reply, "status"), "root"), "size", 0);

	json_destroy(reply);
	err_finish(&ignored);
	return size;
}

/* The kept tree with another size of its root. NULL with messages. */
static struct tree *tree_sized(const struct tree *kept, const char *text, struct err *err)
{
	uint64_t size, now = size_now(kept->name);
	struct tree *tree;
	char *document;

	if (!command_size(text, &size) || size == 0) {
		err_add(err, "\"%s\" is no size; one is 1073741824, 512M, 2GiB", text);
		return NULL;
	}
	if (size < now) {
		err_add(err, "%s has %" PRIu64 " bytes; it can't be made smaller, to %" PRIu64,
			kept->name, now, size);
		return NULL;
	}
	document = document_sized(kept, size, err);
	if (!document)
		return NULL;
	tree = tree_parse(kept->file, document, strlen(document), err);
	free(document);
	return tree;
}

/* The tree that is to be served. NULL with messages. */
static struct tree *tree_wanted(
	const struct arguments *arguments, const struct tree *kept, struct err *err)
{
	struct tree *tree;

	if (arguments->operand_count > 1)
		return tree_sized(kept, arguments->operands[1], err);
	if (!arguments->options[TREE])
		return serve_read_kept(kept->name, err);
	tree = tree_read(arguments->options[TREE], err);
	if (!tree || !strcmp(tree->name, kept->name))
		return tree;
	err_add(err, "%s: its name is \"%s\", and the device is %s", arguments->options[TREE],
		tree->name, kept->name);
	tree_destroy(tree);
	return NULL;
}

static int resize(const struct arguments *arguments)
{
	struct daemon_config config = { .recover = true, .assemble.grow = true };
	struct tree *kept = NULL, *wanted = NULL;
	struct err err = { 0 };
	char *name = device_name_find(arguments->operands[0], &err);

	if (name && run_check_known(name, &err) == 0)
		kept = serve_read_kept(name, &err);
	if (kept && succeed_check(kept, &err) == 0)
		wanted = tree_wanted(arguments, kept, &err);
	if (wanted && succeed_check(wanted, &err) == 0 && succeed_end(name, &err) == 0) {
		free(name);
		return serve_or_go_on(kept, wanted, &config);
	}
	free(name);
	tree_destroy(kept);
	tree_destroy(wanted);
	return command_fail(&err);
}

extern const struct command resize_command;
const struct command resize_command = {
	.name = "resize",
	.operands = "DEVICE [SIZE]",
	.summary = "make a disk larger that is in use",
	.details = "Makes the disk as large as its leaves are by now, where the document gives them no "
		   "\"size\", or\n"
		   "gives the root SIZE, if that is a thin or a file. Nothing becomes smaller. A new daemon "
		   "takes\n"
		   "over, as in `" PROGRAM " recover`: the device needs \"recovery\" in its document, and no "
		   "request fails.\n"
		   "A device without is deleted, and made again with `" PROGRAM " create --grow`.\n"
		   "With SIZE or --tree the document that the labels carry is changed; yours is not.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = resize,
};
