// SPDX-License-Identifier: MIT
/* From what the user calls a device to the name in its document. */
#include "device_name.h"

#include "control_client.h"
#include "frontend.h"
#include "nearest.h"
#include "run_directory.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a device without a daemon is. */
static const char *dead_state(const char *name)
{
	struct run_device left;

	if (run_recorded(name, &left) && frontend_is_waiting(left.driver, left.id))
		return "waiting";
	return "dead";
}

struct device_found *devices_find(unsigned *count, struct err *err)
{
	char **names = run_list(err);
	struct device_found *devices;
	unsigned i;

	if (!names)
		return NULL;
	for (*count = 0; names[*count]; (*count)++)
		;
	devices = calloc(*count + 1, sizeof(*devices));
	if (!devices)
		abort();
	for (i = 0; i < *count; i++) {
		struct err unanswered = { 0 };
		int reason;

		devices[i].name = names[i]; /* the list's strings are ours from here */
		devices[i].reply =
			control_ask(names[i], CONTROL_STATUS, NULL, &reason, &unanswered);
		err_finish(&unanswered); /* the state says it */
		if (devices[i].reply)
			devices[i].status = json_get(devices[i].reply, "status");
		if (devices[i].status)
			devices[i].state = status_state(devices[i].status);
		else
			devices[i].state = reason == -ECONNREFUSED ? dead_state(names[i]) : "silent";
	}
	free(names);
	return devices;
}

void devices_free(struct device_found *devices, unsigned count)
{
	unsigned i;

	for (i = 0; devices && i < count; i++) {
		free(devices[i].name);
		json_destroy(devices[i].reply);
	}
	free(devices);
}

static bool has_socket(const char *name)
{
	char *path = run_socket_path(name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

/* Whether the device is meant by "ubdb0", "0" or "/dev/ubdb0". */
static bool is_called(const struct json *status, const char *called)
{
	const char *path = json_get_string(status, "path", "");
	const char *node = strrchr(path, '/');
	char *end;
	unsigned long id;

	if (!strcmp(path, called) || (node && !strcmp(node + 1, called)))
		return true;
	id = strtoul(called, &end, 10);
	return *called >= '0' && *called <= '9' && *end == '\0' &&
	       id == json_get_unsigned(status, "id", 0);
}

static void not_found(
	const char *called, const struct device_found *devices, unsigned count, struct err *err)
{
	const char **names = calloc(count + 1, sizeof(*names));
	const char *nearest;
	unsigned i;

	if (!names)
		abort();
	for (i = 0; i < count; i++)
		names[i] = devices[i].name;
	nearest = nearest_word(called, names);
	if (nearest)
		err_add(err, "there is no device \"%s\"; did you mean \"%s\"?", called, nearest);
	else if (count)
		err_add(err, "there is no device \"%s\"; `ubd-compose list` shows what there is",
			called);
	else
		err_add(err, "there is no device \"%s\"; no device is running", called);
	free(names);
}

/* The one that is meant. NULL with a message: none, or a number that two drivers have given. */
static const struct device_found *find_called(
	const char *called, const struct device_found *devices, unsigned count, struct err *err)
{
	const struct device_found *found = NULL;
	unsigned i;

	for (i = 0; i < count; i++) {
		if (!devices[i].status || !is_called(devices[i].status, called))
			continue;
		if (found) {
			err_add(err, "\"%s\" could be %s or %s; name it so", called,
				json_get_string(found->status, "path", ""),
				json_get_string(devices[i].status, "path", ""));
			return NULL;
		}
		found = &devices[i];
	}
	if (!found)
		not_found(called, devices, count, err);
	return found;
}

char *device_name_find(const char *called, struct err *err)
{
	const struct device_found *found;
	struct device_found *devices;
	char *real = NULL, *name = NULL;
	unsigned count;

	if (!strchr(called, '/') && *called && has_socket(called)) {
		name = strdup(called);
		if (!name)
			abort();
		return name;
	}
	devices = devices_find(&count, err);
	if (!devices)
		return NULL;
	if (strchr(called, '/'))
		real = realpath(called, NULL); /* if that fails, the word as it is */
	found = find_called(real ? real : called, devices, count, err);
	if (found) {
		name = strdup(found->name);
		if (!name)
			abort();
	}
	devices_free(devices, count);
	free(real);
	return name;
}
