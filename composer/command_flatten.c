// SPDX-License-Identifier: MIT
/* flatten: asks a live thin volume to take in what it reads from its backing. What comes of it is in the status. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <json-c/json_object.h>
#include <stdlib.h>

enum { RATE, STOP, OPTION_COUNT };

static void ask(const char *name, const struct arguments *arguments, struct err *err)
{
	const char *node = arguments->operand_count > 1 ? arguments->operands[1] : NULL;
	const char *rate = arguments->options[RATE];
	struct json *status = control_ask(name, CONTROL_STATUS, NULL, NULL, err);
	struct json_object *details;

	if (!status)
		return;
	node = command_find_thin(json_get(status, "status"), node, "flatten",
		"thin volume with a backing that is written to", err);
	if (node) {
		details = json_object_new_object();
		if (rate)
			json_object_object_add(details, "rate", json_object_new_string(rate));
		json_destroy(control_ask_node(
			name, node, arguments->options[STOP] ? "stop-flatten" : "flatten", details, err));
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
