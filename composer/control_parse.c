// SPDX-License-Identifier: MIT
/* Frames of the control socket: taking one apart. It knows no client. */
#include "control.h"

#include "json.h"

#include <string.h>

static const char *const command_names[] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_DELETE] = "delete",
	[CONTROL_NODE] = "node",
	[CONTROL_HAND_OVER] = "hand_over",
	[CONTROL_EVENTS] = "events",
	[CONTROL_FOLLOW] = "follow",
};
#define COMMANDS (sizeof(command_names) / sizeof(*command_names))

const char *control_command_name(enum control_command command)
{
	return command_names[command];
}

static const char *text_of(const struct json *json)
{
	return json && json_kind(json) == JSON_STRING ? json_string(json) : NULL;
}

/* The other members: those of the one command that has any. */
static const char *members_read(const struct json *root, struct control_request *request)
{
	const struct json *arguments = json_get(root, "arguments");

	if (request->command != CONTROL_NODE)
		return json_count(root) == 1 ? NULL : "unknown_key";
	request->node = text_of(json_get(root, "node"));
	request->verb = text_of(json_get(root, "verb"));
	request->arguments = arguments;
	if (!request->node || !request->verb)
		return "no_node_or_verb";
	if (arguments && json_kind(arguments) != JSON_OBJECT)
		return "arguments_not_an_object";
	return json_count(root) == (arguments ? 4 : 3) ? NULL : "unknown_key";
}

static const char *request_read(const struct json *root, struct control_request *request)
{
	const struct json *command;
	unsigned i;

	if (json_kind(root) != JSON_OBJECT)
		return "not_an_object";
	command = json_get(root, "command");
	if (!command || json_kind(command) != JSON_STRING)
		return "no_command";
	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(json_string(command), command_names[i])) {
			request->command = (enum control_command)i;
			return members_read(root, request);
		}
	return "unknown_command";
}

const char *control_parse(const char *frame, size_t length, struct control_request *request)
{
	struct err err = { 0 };
	const char *wrong;

	*request = (struct control_request){ 0 };
	if (length > CONTROL_FRAME_MAX)
		return "too_long";
	request->json = json_parse("request", frame, length, &err);
	wrong = request->json ? request_read(request->json, request) : "not_json";
	err_finish(&err); /* where in the frame it is wrong helps nobody */
	return wrong;
}

void control_request_finish(struct control_request *request)
{
	json_destroy(request->json);
	request->json = NULL;
}
