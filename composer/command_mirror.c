// SPDX-License-Identifier: MIT
/*
 * fail, add, remove, replace: verbs on a leg of a live mirror. They find the node that the leg belongs to, and ask it.
 *
 * What a daemon has open it keeps to its end, and it takes in nothing that wasn't there when it began: so remove, and
 * add of what isn't there in this one, is a planned hand-over to a daemon that leaves the leg out, or takes it in
 * (assemble.h). If that start is refused, another one goes on as before.
 */
#include "command.h"

#include "control_client.h"
#include "device_name.h"
#include "frontend.h"
#include "serve.h"
#include "succeed.h"

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

struct wish {
	const char *name, *verb, *leg;
	const char *with; /* another leg of the same mirror, or NULL */
	const struct json *status; /* the daemon's reply */
	const struct json *mirror; /* in it: the leg's */
};

static const struct json *root_of(const struct wish *wish)
{
	return json_get(json_get(wish->status, "status"), "root");
}

/* 0, or -1 with messages. */
static int ask(const struct wish *wish, struct err *err)
{
	struct json *reply = control_ask_node(wish->name, json_get_string(wish->mirror, "id", ""),
		wish->verb, arguments_make(wish->leg, wish->with), err);

	if (!reply)
		return -1;
	json_destroy(reply);
	return 0;
}

/* Whether the leg was not used when the daemon began. */
static bool is_left_out(const struct wish *wish)
{
	const struct json *ids = json_get(wish->mirror, "left_out");
	size_t i;

	for (i = 0; i < json_count(ids); i++)
		if (!strcmp(json_string(json_at(ids, i)), wish->leg))
			return true;
	return false;
}

static bool is_removed(const struct wish *wish)
{
	const struct json *children = json_get(wish->mirror, "children");
	size_t i;

	for (i = 0; i < json_count(children); i++)
		if (!strcmp(json_get_string(json_at(children, i), "id", ""), wish->leg))
			return json_get_boolean(json_at(children, i), "removed", false);
	return false;
}

/* Whether the device goes on without others than that leg, which need not be there for the next daemon either. */
static bool has_lost_others(const struct json *node, const char *leg)
{
	const struct json *children = json_get(node, "children");
	size_t i;

	if (!strcmp(json_get_string(node, "id", ""), leg))
		return false;
	if (json_get_boolean(node, "failed", false) && !json_get_boolean(node, "removed", false))
		return true;
	for (i = 0; i < json_count(children); i++)
		if (has_lost_others(json_at(children, i), leg))
			return true;
	return false;
}

/* 0, or -1 with messages: the daemon serves on. */
static int prepare(const struct wish *wish, const struct tree *kept, bool removes, struct err *err)
{
	const char *driver = json_get_string(json_get(wish->status, "status"), "driver", "");

	if (removes && is_removed(wish))
		return err_add(err, "%s: leg %s is removed already", wish->name, wish->leg);
	if (succeed_check(kept, err) < 0 || frontend_check_hand_over(driver, err) < 0 ||
		(removes && ask(wish, err) < 0))
		return -1;
	return succeed_end(wish->name, err);
}

static int hand_over(const struct wish *wish, bool removes, struct err *err)
{
	struct daemon_config config = {
		.recover = true,
		.assemble.sizes_by_label = true,
		.assemble.degraded = has_lost_others(root_of(wish), wish->leg),
		.assemble.add = !removes,
		.assemble.leg = removes ? NULL : wish->leg,
		.assemble.remove = removes ? wish->leg : NULL,
	};
	struct tree *kept = serve_read_kept(wish->name, err);
	struct tree *wanted = kept ? serve_read_kept(wish->name, err) : NULL;

	if (wanted && prepare(wish, kept, removes, err) == 0)
		return serve_or_go_on(kept, wanted, &config);
	tree_destroy(kept);
	tree_destroy(wanted);
	return command_fail(err);
}

static int carry_out(const struct wish *wish)
{
	bool removes = !strcmp(wish->verb, "remove");
	struct err err = { 0 };

	if (removes || (!strcmp(wish->verb, "add") && is_left_out(wish)))
		return hand_over(wish, removes, &err);
	return ask(wish, &err) < 0 ? command_fail(&err) : STATUS_DONE;
}

static int run(const struct arguments *arguments, const char *verb, const char *with)
{
	struct err err = { 0 };
	char *name = device_name_find(arguments->operands[0], &err);
	struct json *status = name ? control_ask(name, CONTROL_STATUS, NULL, NULL, &err) : NULL;
	struct wish wish = {
		.name = name, .verb = verb, .leg = arguments->operands[1], .with = with, .status = status };
	int result;

	wish.mirror = find_parent(root_of(&wish), wish.leg);
	if (status && (!wish.mirror || strcmp(json_get_string(wish.mirror, "type", ""), "mirror") != 0))
		err_add(&err, "%s: \"%s\" is no leg of a mirror; `" PROGRAM " status %s` shows the tree",
			name, wish.leg, name);
	result = err.count ? command_fail(&err) : carry_out(&wish);
	json_destroy(status);
	free(name);
	return result;
}

static int fail(const struct arguments *arguments)
{
	return run(arguments, "fail", NULL);
}

static int add(const struct arguments *arguments)
{
	return run(arguments, "add", NULL);
}

static int remove_leg(const struct arguments *arguments)
{
	return run(arguments, "remove", NULL);
}

static int replace(const struct arguments *arguments)
{
	return run(arguments, "replace", arguments->options[0]);
}

extern const struct command fail_command, add_command, remove_command, replace_command;
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
	.summary = "take a leg of a live mirror in again, or a blank one",
	.details = "A leg that has failed since the device was started is written again at once, and brought "
		   "up to\n"
		   "date in the background: what has changed meanwhile is copied. `status` shows how far it is.\n"
		   "If a spare has taken its place, or it was replaced, it stands by as a spare instead.\n"
		   "A leg that was removed, or was not there at the start, is taken in by a new daemon, as with\n"
		   "`" PROGRAM " remove`: a blank disk in its place is formatted, and all is copied to it;\n"
		   "to one that was the leg before what it has missed.\n",
	.operands_min = 2,
	.operands_max = 2,
	.run = add,
};
const struct command remove_command = {
	.name = "remove",
	.operands = "DEVICE LEG",
	.summary = "close a leg of a live mirror, and leave it out from now on",
	.details = "The leg with the id LEG must have failed (`" PROGRAM " fail`), or stand by as a spare. A\n"
		   "new daemon takes over that doesn't use it, as in `" PROGRAM " recover`: the device needs\n"
		   "\"recovery\" in its document, and no request fails. Then its files and disks are closed: they can\n"
		   "be pulled, wiped, or used for something else. The other legs' labels say that it was removed: it\n"
		   "is not brought up to date by later starts, nor waited for, before `" PROGRAM " add` or\n"
		   "--add takes it, or a blank one, in again.\n",
	.operands_min = 2,
	.operands_max = 2,
	.run = remove_leg,
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
