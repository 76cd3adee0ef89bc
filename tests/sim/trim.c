// SPDX-License-Identifier: MIT
/*
 * A thin's trim, asked for now and then in half of the seeds. What it may not give back is judged as all that
 * requests wrote is: its clusters read as zeroes then, also behind crashes, in snapshots, and for qemu-img.
 */
#include "sim.h"

#include <json-c/json_object.h>
#include <string.h>

#define ASK_EVERY 16 /* requests */

static const char *const refusals[] = { "\"ignore\"", "can't discard", "snapshot", "flattened", "committed", "has failed" };

static bool may_be_refused(const char *text)
{
	size_t i;

	for (i = 0; i < sizeof(refusals) / sizeof(*refusals); i++)
		if (strstr(text, refusals[i]))
			return true;
	return false;
}

static uint64_t told(const struct node *node, const char *key)
{
	struct json_object *status = json_object_new_object();
	uint64_t number;

	node->type->status(node, status);
	number = json_object_get_uint64(json_object_object_get(status, key));
	json_object_put(status);
	return number;
}

void trim_ask(unsigned requests)
{
	struct node *root = life.tree->root;
	struct err err = { 0 };
	uint64_t given;

	if (!life.trims || !life.document.has_thin || requests % ASK_EVERY != ASK_EVERY / 4)
		return;
	given = told(root, "trim_discarded");
	if (root->type->command(root, "trim", NULL, NULL, &err) == 0) {
		sim_note("trim");
		if (!told(root, "trim_discarded")) /* else it is still that one */
			totals.trimmed += given;
	} else if (!may_be_refused(err.text)) {
		sim_fail("trim: %s", err.text);
	}
	err_finish(&err);
	queue_wake_node(root);
}
