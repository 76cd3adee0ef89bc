// SPDX-License-Identifier: MIT
/* flatten: asks a live thin volume to take in what it reads from its backing. What comes of it is in the status. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>

enum { RATE, STOP, OPTION_COUNT };

/* Who could be meant: only a thin that is written to and named a backing has that in its status. */
struct found {
	const char *node; /* NULL: any */
	const char *id;
	unsigned count;
};

static void find(struct found *found, const struct json *node)
{
	const struct json *children = json_get(node, "children");
	const char *id = json_get_string(node, "id", "");
	size_t i;

	if (json_get(node, "flatten") && (!found->node || !strcmp(found->node, id))) {
		found->id = id;
		found->count++;
	}
	for (i = 0; i < json_count(children); i++)
		find(found, json_at(children, i));
}

static struct json_object *request_make(const char *node, const char *const *options)
{
	struct json_object *request = json_object_new_object();
	struct json_object *arguments = json_object_new_object();

	if (options[RATE])
		json_object_object_add(arguments, "rate", json_object_new_string(options[RATE]));
	json_object_object_add(request, "command", json_object_new_string("node"));
	json_object_object_add(request, "node", json_object_new_string(node));
	json_object_object_add(
		request, "verb", json_object_new_string(options[STOP] ? "stop-flatten" : "flatten"));
	json_object_object_add(request, "arguments", arguments);
	return request;
}

static void ask(const char *name, const struct arguments *arguments, struct err *err)
{
	struct found found = { .node = arguments->operand_count > 1 ? arguments->operands[1] : NULL };
	struct json *status = control_ask(name, CONTROL_STATUS, NULL, NULL, err);
	struct json_object *request;

	if (!status)
		return;
	find(&found, json_get(json_get(status, "status"), "root"));
	if (found.count == 1) {
		request = request_make(found.id, arguments->options);
		json_destroy(control_ask_node(name, request, err));
		json_object_put(request);
	} else if (found.node) {
		err_add(err, "%s: \"%s\" is no thin volume with a backing that is written to; `" PROGRAM
			" status %s` shows the tree", name, found.node, name);
	} else if (found.count) {
		err_add(err, "%s: %u thin volumes have a backing; name one of them", name, found.count);
	} else {
		err_add(err, "%s: no thin volume in it has a backing and is written to", name);
	}
	json_destroy(status);
}

static int check(const struct arguments *arguments, struct err *err)
{
	const char *rate = arguments->options[RATE];

	if (arguments->options[STOP] && rate)
		return err_add(err, "--stop goes with no other option");
	return command_check_rate(rate, err);
}

static int run(const struct arguments *arguments)
{
	struct err err = { 0 };
	char *name = check(arguments, &err) == 0 ? device_name_find(arguments->operands[0], &err) : NULL;

	if (name)
		ask(name, arguments, &err);
	free(name);
	return err.count ? command_fail(&err) : STATUS_DONE;
}

static const struct command_option options[] = {
	[RATE] = { .name = "rate",
		.value = "SIZE",
		.help = "read at most that many bytes of the backing per second" },
	[STOP] = { .name = "stop", .help = "end it where it stands; it can go on from there" },
	[OPTION_COUNT] = { 0 },
};

extern const struct command flatten_command;
const struct command flatten_command = {
	.name = "flatten",
	.operands = "DEVICE [NODE]",
	.summary = "take into a live thin volume all that it reads from its backing",
	.details = "Copies what the thin volume NODE, or the only one, still reads from its backing into its\n"
		   "image, in the background, while the device is used. `status` shows how far it is. When all\n"
		   "is there the image stands by itself, and the document may leave \"backing\" out. What is\n"
		   "zeroes takes no room. If it breaks off, asked again it goes on.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
