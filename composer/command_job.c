// SPDX-License-Identifier: MIT
/* The user's side of a thin's jobs: asks for one, faster or slower, or for its end. What comes of it is in the status. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <json-c/json_object.h>
#include <stdio.h>
#include <stdlib.h>

#define VERB_MAX 32

static struct json_object *details_of(const struct arguments *arguments, const struct command_job *job)
{
	struct json_object *details = json_object_new_object();
	const char *rate = arguments->options[COMMAND_JOB_RATE];
	unsigned i;

	if (rate)
		json_object_object_add(details, "rate", json_object_new_string(rate));
	for (i = COMMAND_JOB_OPTIONS; job->options[i].name; i++)
		if (arguments->options[i])
			json_object_object_add(details, job->options[i].name, json_object_new_boolean(true));
	return details;
}

static void ask(const char *device, const struct arguments *arguments, const struct command_job *job, struct err *err)
{
	const char *node = arguments->operand_count > 1 ? arguments->operands[1] : NULL;
	struct json *status = control_ask(device, CONTROL_STATUS, NULL, NULL, err);
	char verb[VERB_MAX];

	if (!status)
		return;
	node = command_find_thin(json_get(status, "status"), node, job->name, job->what, err);
	(void)snprintf(verb, sizeof(verb), "%s%s", arguments->options[COMMAND_JOB_STOP] ? "stop-" : "", job->name);
	if (node)
		json_destroy(control_ask_node(device, node, verb, details_of(arguments, job), err));
	json_destroy(status);
}

static int check(const struct arguments *arguments, const struct command_job *job, struct err *err)
{
	bool has_others = arguments->options[COMMAND_JOB_RATE];
	unsigned i;

	for (i = COMMAND_JOB_OPTIONS; job->options[i].name; i++)
		has_others |= arguments->options[i] != NULL;
	if (arguments->options[COMMAND_JOB_STOP] && has_others)
		return err_add(err, "--stop goes with no other option");
	return command_check_rate(arguments->options[COMMAND_JOB_RATE], err);
}

int command_run_job(const struct arguments *arguments, const struct command_job *job)
{
	struct err err = { 0 };
	char *name = check(arguments, job, &err) == 0 ? device_name_find(arguments->operands[0], &err) : NULL;

	if (name)
		ask(name, arguments, job, &err);
	free(name);
	return err.count ? command_fail(&err) : STATUS_DONE;
}
