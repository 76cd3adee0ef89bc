// SPDX-License-Identifier: MIT
/*
 * snapshot: asks a thin volume of a live device to keep what it holds now, and tells what it keeps. The
 * daemon makes one in the background; whoever asked waits here until that has ended.
 */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DATE_BYTES 32
#define POLL_NS 10000000

enum { JSON };

static const struct command_option options[] = {
	[JSON] = { "json", 0, NULL, "list: an array." },
	{ 0 },
};

struct target {
	const char *device;
	char *node; /* the thin's id */
};

/* Thins that are written to, at and below the node: only those can have new snapshots. */
static void find_thins(const struct json *node, const char *id, const char **found, unsigned *count)
{
	const struct json *children = json_get(node, "children");
	size_t i;

	if (id ? !strcmp(json_get_string(node, "id", ""), id) :
		 !strcmp(json_get_string(node, "type", ""), "thin") && json_get(node, "when_full")) {
		*found = json_get_string(node, "id", "");
		(*count)++;
	}
	for (i = 0; i < json_count(children); i++)
		find_thins(json_at(children, i), id, found, count);
}

/* The id, to be freed; NULL with a message. */
static char *find_node(const char *device, const char *id, struct err *err)
{
	struct json *status = control_ask(device, CONTROL_STATUS, NULL, NULL, err);
	const char *found = NULL;
	unsigned count = 0;
	char *node = NULL;

	if (!status)
		return NULL;
	find_thins(json_get(json_get(status, "status"), "root"), id, &found, &count);
	if (count == 1)
		node = strdup(found);
	else if (id)
		err_add(err, "%s has no node \"%s\"", device, id);
	else if (count == 0)
		err_add(err, "%s has no thin volume that is written to", device);
	else
		err_add(err, "%s has %u thin volumes; name one of them, as `" PROGRAM " status %s` has them",
			device, count, device);
	json_destroy(status);
	return node;
}

/* The answer, to be freed with json_object_put(); NULL with messages. `name` may be NULL. */
static struct json_object *ask(const struct target *target, const char *verb, const char *name, struct err *err)
{
	struct json_object *arguments = json_object_new_object();

	if (name)
		json_object_object_add(arguments, "name", json_object_new_string(name));
	if (name)
		json_object_object_add(arguments, "seconds", json_object_new_uint64((uint64_t)time(NULL)));
	return control_ask_answer(target->device, target->node, verb, arguments, err);
}

static uint64_t number_of(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

/* Others may have put anything into it. */
static void print_text(const char *text, int width)
{
	int done;

	for (done = 0; text[done]; done++)
		putchar((unsigned char)text[done] < ' ' || text[done] == 0x7f ? '?' : text[done]);
	printf("%*s", done < width ? width - done : 0, "");
}

static void print_one(struct json_object *one)
{
	time_t seconds = (time_t)number_of(one, "seconds");
	char date[DATE_BYTES] = "";
	struct tm when;

	if (gmtime_r(&seconds, &when))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &when);
	print_text(json_object_get_string(json_object_object_get(one, "id")), 8);
	printf("%-20s  %-16" PRIu64 " %-12" PRIu64 " ", date, number_of(one, "size"), number_of(one, "vm_state"));
	print_text(json_object_get_string(json_object_object_get(one, "name")), 0);
	putchar('\n');
}

static int list(const struct target *target, bool as_json, struct err *err)
{
	struct json_object *answer = ask(target, "snapshots", NULL, err), *all;
	int result = 0;
	size_t i;

	if (!answer)
		return -1;
	all = json_object_object_get(answer, "snapshots");
	if (as_json) {
		result = command_print_json(json_object_get(all), err);
	} else {
		printf("ID      DATE                  SIZE             VM_STATE     NAME\n");
		for (i = 0; i < json_object_array_length(all); i++)
			print_one(json_object_array_get_idx(all, i));
	}
	json_object_put(answer);
	return result;
}

/* What was begun goes on in the daemon, whoever waits for it. */
static int wait_for(const struct target *target, struct err *err)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	struct json_object *answer;
	bool is_running;

	do {
		(void)nanosleep(&pause, NULL);
		answer = ask(target, "snapshot-made", NULL, err);
		if (!answer)
			return -1;
		is_running = json_object_get_boolean(json_object_object_get(answer, "running"));
		if (!is_running)
			printf("requests waited for %.3f ms at most, and %" PRIu64 " sub-I/Os\n",
				(double)number_of(answer, "pause_ns") / 1e6, number_of(answer, "pause_ops"));
		json_object_put(answer);
	} while (is_running);
	return 0;
}

static int change(const struct target *target, const char *verb, const char *name, struct err *err)
{
	struct json_object *answer = ask(target, verb, name, err);

	if (!answer)
		return -1;
	json_object_put(answer);
	return wait_for(target, err);
}

extern const struct command snapshot_command;

static int run(const struct arguments *arguments)
{
	char **operands = arguments->operands;
	bool lists = !strcmp(operands[0], "list"), deletes = !strcmp(operands[0], "delete");
	unsigned names = lists ? 0 : 1, count = arguments->operand_count;
	struct target target = { 0 };
	struct err err = { 0 };
	char *device;
	int result = -1;

	if (!lists && !deletes && strcmp(operands[0], "create") != 0)
		return command_misused(&snapshot_command, "\"%s\" is none of create, delete and list", operands[0]);
	if (count < 2 + names || count > 3 + names)
		return command_misused(&snapshot_command, "%s takes DEVICE [NODE]%s", operands[0], lists ? "" : " SNAPSHOT");
	if (arguments->options[JSON] && !lists)
		return command_misused(&snapshot_command, "--json goes with list only");
	device = device_name_find(operands[1], &err);
	if (device) {
		target.device = device;
		target.node = find_node(device, count == 3 + names ? operands[2] : NULL, &err);
	}
	if (target.node && lists)
		result = list(&target, arguments->options[JSON] != NULL, &err);
	else if (target.node)
		result = change(&target, deletes ? "snapshot-delete" : "snapshot-create", operands[count - 1], &err);
	free(target.node);
	free(device);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

const struct command snapshot_command = {
	.name = "snapshot",
	.operands = "create|delete|list DEVICE [NODE] [SNAPSHOT]",
	.summary = "keep what a thin volume holds now, and list what is kept",
	.details = "create DEVICE [NODE] SNAPSHOT keeps what the thin volume NODE holds, under that name, inside its\n"
		   "image, while it is in use; NODE may be left out where there is one. All that was written by\n"
		   "then is in it; what a file system still has in memory is not, so run sync or fsfreeze before.\n"
		   "Requests wait a moment, which is printed. `qemu-img snapshot` and `qemu-img convert -l` know\n"
		   "such snapshots; what they keep takes room until they are deleted.\n"
		   "delete DEVICE [NODE] SNAPSHOT ends one, by its name or id: what it alone had is free then.\n"
		   "list DEVICE [NODE] shows what is kept.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 4,
	.run = run,
};
