// SPDX-License-Identifier: MIT
/* fail, add, replace: verbs on a leg of a live mirror. They find the node that the leg belongs to, and ask it. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>

/* The node in the status whose child has that id; NULL: there is none. */
static const struct json *find_parent(const struct json *node, const char *leg)
{
	const struct json *children = json_get(node, "children"), *found;
	size_t i;

	for (i = 0; i < json_count(children); i++) {
		if (!strcmp(json_get_string(json_at(children, i), "id", ""), leg))
			return node;
		found = find_parent(json_at(children, i), leg);
		if (found)
			return found;
	}
	return NULL;
}

/* `with`: another leg of the same, or NULL. */
static struct json_object *arguments_make(const char *leg, const char *with)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "leg", json_object_new_string(leg));
	if (with)
		json_object_object_add(arguments, "with", json_object_new_string(with));
	return arguments;
}

/* Asks the leg's mirror. 0, or -1 with messages. */
static int ask(const char *name, const char *verb, const char *leg, const char *with, struct err *err)
{
	struct json *status = control_ask(name, CONTROL_STATUS, NULL, NULL, err), *reply;
	const struct json *parent;

	if (!status)
		return -1;
	parent = find_parent(json_get(json_get(status, "status"), "root"), leg);
	if (!parent || strcmp(json_get_string(parent, "type", ""), "mirror") != 0) {
		json_destroy(status);
		return err_add(err, "%s: \"%s\" is no leg of a mirror; `" PROGRAM
			" status %s` shows the tree", name, leg, name);
	}
	reply = control_ask_node(
		name, json_get_string(parent, "id", ""), verb, arguments_make(leg, with), err);
	json_destroy(status);
	if (!reply)
		return -1;
	json_destroy(reply);
	return 0;
}

static int run(const struct arguments *arguments, const char *verb, const char *with)
{
	struct err err = { 0 };
	char *name = device_name_find(arguments->operands[0], &err);
	int result = name ? ask(name, verb, arguments->operands[1], with, &err) : -1;

	free(name);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

static int fail(const struct arguments *arguments)
{
	return run(arguments, "fail", NULL);
}

static int add(const struct arguments *arguments)
{
	return run(arguments, "add", NULL);
}

static int replace(const struct arguments *arguments)
{
	return run(arguments, "replace", arguments->options[0]);
}

extern const struct command fail_command, add_command, replace_command;
const struct command fail_command = {
	.name = "fail",
	.operands = "DEVICE LEG",
	.summary = "give a leg of a live mirror up",
	.details = "As if a write to the leg with the id LEG had failed: it is used no more, and the other "
		   "legs'\n"
		   "labels say so. The last leg in sync can't be failed.\n",
	.operands_min = 2,
	.operands_max = 2,
	.run = fail,
};
const struct command add_command = {
	.name = "add",
	.operands = "DEVICE LEG",
	.summary = "take a leg of a live mirror in again",
	.details = "A leg that has failed since the device was started is written again at once, and brought "
		   "up to\n"
		   "date in the background: what has changed meanwhile is copied. `status` shows how far it is.\n"
		   "If a spare has taken its place, or it was replaced, it stands by as a spare instead.\n",
	.operands_min = 2,
	.operands_max = 2,
	.run = add,
};
static const struct command_option replace_options[] = {
	{ .name = "with",
		.value = "SPARE",
		.help = "the spare with that id, instead of the first that stands by" },
	{ 0 },
};
const struct command replace_command = {
	.name = "replace",
	.operands = "DEVICE LEG",
	.summary = "have a spare take the place of a leg of a live mirror",
	.details = "A spare of the document is brought up to date in the background, while the leg with the id "
		   "LEG\n"
		   "goes on serving. When the spare is in sync, and the labels say so, the leg is let go: it isn't\n"
		   "used any more, and doesn't stand by before it is added. `status` shows how far it is. After a\n"
		   "restart it goes on. If the leg fails meanwhile the spare takes its place as any would, if the\n"
		   "spare fails (or is failed by hand) all is as before.\n",
	.options = replace_options,
	.operands_min = 2,
	.operands_max = 2,
	.run = replace,
};
