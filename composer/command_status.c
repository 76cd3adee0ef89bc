// SPDX-License-Identifier: MIT
/* status: what a device is and does, as text or JSON, once or every second. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"
#include "status.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { JSON, WATCH };

static const struct command_option options[] = {
	[JSON] = { "json", 0, NULL,
		"An object that mirrors the tree, for programs; without DEVICE an array\nof "
		"them." },
	[WATCH] = { "watch", 0, NULL, "Again every second, until interrupted; on a terminal each time over the last." },
	{ 0 },
};

#define CLEAR_SCREEN "\033[H\033[2J"

static int show_one(const char *name, bool as_json, FILE *out)
{
	struct err err = { 0 };
	struct json *reply = control_ask(name, CONTROL_STATUS, NULL, NULL, &err);
	const struct json *status = reply ? json_get(reply, "status") : NULL;

	if (!status) {
		if (reply)
			err_add(&err, "%s: its daemon has answered without a status", name);
		json_destroy(reply);
		return command_fail(&err);
	}
	if (as_json) {
		json_print(status, out);
		fprintf(out, "\n");
	} else {
		status_print(status, out);
	}
	json_destroy(reply);
	return STATUS_DONE;
}

static void show_found(
	const struct device_found *device, bool as_json, bool is_first, FILE *out)
{
	if (as_json) {
		if (!device->status)
			return; /* `list` has those that don't answer */
		fprintf(out, "%s", is_first ? "" : ",\n");
		json_print(device->status, out);
		return;
	}
	fprintf(out, "%s", is_first ? "" : "\n");
	if (device->status)
		status_print(device->status, out);
	else
		fprintf(out, "%s  %s\n", device->name, device->state);
}

static int show_all(bool as_json, FILE *out)
{
	struct err err = { 0 };
	unsigned i, count;
	struct device_found *devices = devices_find(&count, &err);
	bool is_first = true;

	if (!devices)
		return command_fail(&err);
	if (as_json)
		fprintf(out, "[\n");
	for (i = 0; i < count; i++) {
		show_found(&devices[i], as_json, is_first, out);
		is_first &= as_json && !devices[i].status;
	}
	if (as_json)
		fprintf(out, "\n]\n");
	devices_free(devices, count);
	return STATUS_DONE;
}

static int show(const char *name, bool as_json, FILE *out)
{
	return name ? show_one(name, as_json, out) : show_all(as_json, out);
}

/* Again every second. On a terminal each is drawn over the one before. */
static int watch(const char *name, bool as_json)
{
	bool draws = !as_json && isatty(STDOUT_FILENO);
	int result;

	if (draws)
		printf(CLEAR_SCREEN);
	do {
		struct winsize size = { 0 };
		char *text = NULL;
		size_t length;
		FILE *out = open_memstream(&text, &length);

		if (!out)
			abort();
		result = show(name, as_json, out);
		fclose(out);
		if (draws)
			(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size); /* 0: not known */
		if (draws && result == STATUS_DONE)
			status_print_screen(text, size.ws_row, stdout);
		else
			fputs(text, stdout);
		free(text);
	} while (result == STATUS_DONE && fflush(stdout) == 0 && sleep(1) == 0);
	return result;
}

static int status(const struct arguments *arguments)
{
	bool as_json = arguments->options[JSON] != NULL;
	char *name = NULL;
	int result;

	if (!command_device(arguments, &name))
		return STATUS_FAILED;
	result = arguments->options[WATCH] ? watch(name, as_json) : show(name, as_json, stdout);
	free(name);
	return result;
}

extern const struct command status_command;
const struct command status_command = {
	.name = "status",
	.operands = "[DEVICE]",
	.summary = "show what a device is and does",
	.details = "Prints DEVICE, given by its name, its id or its path, or every device: a "
		   "header, the counters\n"
		   "since its start, and its tree with each node's state.\n",
	.options = options,
	.operands_max = 1,
	.run = status,
};
