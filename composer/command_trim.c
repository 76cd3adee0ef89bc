// SPDX-License-Identifier: MIT
/* trim: asks a live thin volume to give back what is free in its image, waits for that, and tells how much it was. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <time.h>

#define POLL_NS 50000000

static uint64_t number_of(struct json_object *answer, const char *key)
{
	return json_object_get_uint64(json_object_object_get(answer, key));
}

/* What was begun goes on in the daemon, whoever waits for it. */
static void wait_for(const char *device, const char *node, struct err *err)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	bool is_running = true;

	while (is_running) {
		struct json_object *answer = control_ask_answer(device, node, "trimmed", NULL, err);

		is_running = answer && json_object_get_boolean(json_object_object_get(answer, "running"));
		if (answer && !is_running)
			printf("%" PRIu64 " bytes were free, %" PRIu64 " of them have been discarded below\n",
				number_of(answer, "free"), number_of(answer, "discarded"));
		json_object_put(answer);
		if (is_running)
			(void)nanosleep(&pause, NULL);
	}
}

static void trim(const char *device, const char *id, struct err *err)
{
	struct json *status = control_ask(device, CONTROL_STATUS, NULL, NULL, err), *reply = NULL;
	const char *node;

	if (!status)
		return;
	node = command_find_thin(json_get(status, "status"), id, "when_full", "thin volume that is written to", err);
	if (node)
		reply = control_ask_node(device, node, "trim", NULL, err);
	if (reply)
		wait_for(device, node, err);
	json_destroy(reply);
	json_destroy(status);
}

static int run(const struct arguments *arguments)
{
	struct err err = { 0 };
	char *name = device_name_find(arguments->operands[0], &err);

	if (name)
		trim(name, arguments->operand_count > 1 ? arguments->operands[1] : NULL, &err);
	free(name);
	return err.count ? command_fail(&err) : STATUS_DONE;
}

static const struct command_option options[] = { { 0 } };

extern const struct command trim_command;
const struct command trim_command = {
	.name = "trim",
	.operands = "DEVICE [NODE]",
	.summary = "give back to what a live thin volume is on all that is free in its image",
	.details = "What is discarded on the thin volume NODE, or the only one, is given back by itself; what earlier\n"
		   "lives left free (a clean stop, a crash, \"discard\": \"ignore\", QEMU) is by this, a part after the\n"
		   "other, while the device is used. Prints how much was free, and how much of it has been\n"
		   "discarded below, where some of it may have taken no room before.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
