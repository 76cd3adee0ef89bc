// SPDX-License-Identifier: MIT
/* list: the devices there are. */
#include "command.h"

#include "device_name.h"
#include "orphan.h"
#include "status.h"

#include <json-c/json_object.h>
#include <string.h>

enum { JSON };

static const struct command_option options[] = {
	[JSON] = { "json", 0, NULL, "An array of objects, for programs." },
	{ 0 },
};

/* A device that doesn't answer has a name and a state, nothing else. */
static void add_json(struct json_object *list, const struct device_found *device)
{
	static const char *const keys[] = { "path", "driver" };
	static const char *const numbers[] = { "id", "pid", "size", "uptime_ms" };
	struct json_object *out = json_object_new_object();
	const struct json *status = device->status;
	unsigned i;

	json_object_object_add(out, "name", json_object_new_string(device->name));
	json_object_object_add(out, "state", json_object_new_string(device->state));
	for (i = 0; status && i < sizeof(keys) / sizeof(*keys); i++)
		json_object_object_add(
			out, keys[i], json_object_new_string(json_get_string(status, keys[i], "")));
	for (i = 0; status && i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_object_add(out, numbers[i],
			json_object_new_uint64(json_get_unsigned(status, numbers[i], 0)));
	json_object_array_add(list, out);
}

static void add_orphans(struct json_object *list)
{
	struct orphan orphans[ORPHANS_MAX];
	unsigned i, count = orphans_find(orphans);

	for (i = 0; i < count; i++) {
		struct json_object *out = json_object_new_object();

		json_object_object_add(out, "name", NULL);
		json_object_object_add(out, "state", json_object_new_string("orphan"));
		json_object_object_add(out, "path", json_object_new_string(orphans[i].path));
		json_object_object_add(out, "driver", json_object_new_string(orphans[i].driver));
		json_object_object_add(out, "id", json_object_new_uint64(orphans[i].id));
		json_object_array_add(list, out);
	}
}

static int print_json(const struct device_found *devices, unsigned count, struct err *err)
{
	struct json_object *list = json_object_new_array();
	unsigned i;
	int result;

	for (i = 0; i < count; i++)
		add_json(list, &devices[i]);
	add_orphans(list);
	result = command_print_json(list, err);
	json_object_put(list);
	return result;
}

static void print_text(const struct device_found *devices, unsigned count)
{
	struct orphan orphans[ORPHANS_MAX];
	unsigned i, orphan_count = orphans_find(orphans);

	if (count + orphan_count)
		status_print_list_head(stdout);
	for (i = 0; i < count; i++)
		status_print_list_line(
			devices[i].name, devices[i].status, devices[i].state, stdout);
	for (i = 0; i < orphan_count; i++)
		status_print_orphan_line(orphans[i].path, orphans[i].driver, stdout);
}

static int list(const struct arguments *arguments)
{
	struct device_found *devices;
	struct err err = { 0 };
	unsigned count;
	int result = 0;

	devices = devices_find(&count, &err);
	if (!devices)
		return command_fail(&err);
	if (arguments->options[JSON])
		result = print_json(devices, count, &err);
	else
		print_text(devices, count);
	devices_free(devices, count);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

extern const struct command list_command;
const struct command list_command = {
	.name = "list",
	.operands = "",
	.summary = "show which devices there are",
	.details =
		"Prints a line for each device: its name, path, size, driver and state. States: "
		"running;\n"
		"degraded (a leg is left out); silent (its daemon doesn't answer); dead (its "
		"daemon was\n"
		"killed: `" PROGRAM " delete` tidies up, `" PROGRAM " create` serves it again);\n"
		"orphan (of a killed daemon whose name is gone: `" PROGRAM " delete --orphan` "
		"removes it).\n",
	.options = options,
	.run = list,
};
