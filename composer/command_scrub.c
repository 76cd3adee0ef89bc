// SPDX-License-Identifier: MIT
/* scrub: asks mirrors of a live device to compare their legs. What comes of it is in the status. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>

enum { REPAIR, BELIEVE, RATE, STOP, OPTION_COUNT };

struct scrub {
	const char *name; /* of the device */
	const char *mirror; /* NULL: all of them */
	const struct arguments *arguments;
	unsigned asked;
	struct err *err;
};

static bool is_mirror(const struct json *node)
{
	return !strcmp(json_get_string(node, "type", ""), "mirror");
}

static bool has_child(const struct json *node, const char *id)
{
	const struct json *children = json_get(node, "children");
	size_t i;

	for (i = 0; i < json_count(children); i++)
		if (!strcmp(json_get_string(json_at(children, i), "id", ""), id))
			return true;
	return false;
}

static bool is_meant(const struct scrub *scrub, const struct json *node)
{
	const char *believed = scrub->arguments->options[BELIEVE];

	if (!is_mirror(node) || (believed && !has_child(node, believed)))
		return false;
	return !scrub->mirror || !strcmp(json_get_string(node, "id", ""), scrub->mirror);
}

static struct json_object *arguments_make(const char *const *options)
{
	struct json_object *arguments = json_object_new_object();

	if (options[REPAIR])
		json_object_object_add(arguments, "repair", json_object_new_boolean(true));
	if (options[BELIEVE])
		json_object_object_add(
			arguments, "believe", json_object_new_string(options[BELIEVE]));
	if (options[RATE])
		json_object_object_add(arguments, "rate", json_object_new_string(options[RATE]));
	return arguments;
}

static void ask(struct scrub *scrub, const struct json *node)
{
	const char *const *options = scrub->arguments->options;

	json_destroy(control_ask_node(scrub->name, json_get_string(node, "id", ""),
		options[STOP] ? "stop-scrub" : "scrub", arguments_make(options), scrub->err));
	scrub->asked++;
}

/* Every node at and below this one that is meant. */
static void ask_all(struct scrub *scrub, const struct json *node)
{
	const struct json *children = json_get(node, "children");
	size_t i;

	if (is_meant(scrub, node))
		ask(scrub, node);
	for (i = 0; i < json_count(children); i++)
		ask_all(scrub, json_at(children, i));
}

static void ask_device(struct scrub *scrub)
{
	struct json *status = control_ask(scrub->name, CONTROL_STATUS, NULL, NULL, scrub->err);

	if (!status)
		return;
	ask_all(scrub, json_get(json_get(status, "status"), "root"));
	json_destroy(status);
	if (scrub->asked)
		return;
	if (scrub->arguments->options[BELIEVE])
		err_add(scrub->err, "%s: \"%s\" is no leg of %s", scrub->name,
			scrub->arguments->options[BELIEVE],
			scrub->mirror ? "that mirror" : "a mirror");
	else if (scrub->mirror)
		err_add(scrub->err, "%s: \"%s\" is no mirror; `" PROGRAM " status %s` shows the tree",
			scrub->name, scrub->mirror, scrub->name);
	else
		err_add(scrub->err, "%s: there is no mirror in it", scrub->name);
}

static int check(const struct arguments *arguments, struct err *err)
{
	const char *rate = arguments->options[RATE];

	if (arguments->options[STOP] &&
		(rate || arguments->options[REPAIR] || arguments->options[BELIEVE]))
		return err_add(err, "--stop goes with no other option");
	return command_check_rate(rate, err);
}

static int run(const struct arguments *arguments)
{
	struct err err = { 0 };
	int checked = check(arguments, &err);
	char *name = checked == 0 ? device_name_find(arguments->operands[0], &err) : NULL;
	struct scrub scrub = {
		.name = name,
		.mirror = arguments->operand_count > 1 ? arguments->operands[1] : NULL,
		.arguments = arguments,
		.err = &err,
	};

	if (name)
		ask_device(&scrub);
	free(name);
	return err.count ? command_fail(&err) : STATUS_DONE;
}

static const struct command_option options[] = {
	[REPAIR] = { .name = "repair",
		.help = "write what is decided to the legs that hold something else" },
	[BELIEVE] = { .name = "believe",
		.value = "LEG",
		.help = "where it isn't decided, the leg with that id is right" },
	[RATE] = { .name = "rate",
		.value = "SIZE",
		.help = "read at most that many bytes of a leg per second" },
	[STOP] = { .name = "stop", .help = "end it where it stands" },
	[OPTION_COUNT] = { 0 },
};

extern const struct command scrub_command;
const struct command scrub_command = {
	.name = "scrub",
	.operands = "DEVICE [MIRROR]",
	.summary = "compare the legs of a live mirror",
	.details = "Begins to read all legs of the mirror with the id MIRROR, or of all mirrors, and to compare\n"
		   "them, in the background. `status` shows how far it is, and which ranges differ on which\n"
		   "legs: where more than half of the legs agree the others are \"wrong\", else it is\n"
		   "\"undecided\".\n"
		   "Nothing is written without --repair.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
