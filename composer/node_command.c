// SPDX-License-Identifier: MIT
/* Verbs for nodes. It knows no type, and no verb of any. */
#include "node_command.h"

#include "tree.h"

#include <json-c/json_object.h>
#include <string.h>

static struct node *node_find(const struct tree *tree, const char *id)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (!strcmp(tree->nodes[i]->id, id))
			return tree->nodes[i];
	return NULL;
}

static void add_text(struct json_object *out, const char *key, const char *text)
{
	json_object_object_add(out, key, json_object_new_string(text));
}

/* One member of the array for each line. */
static struct json_object *messages_make(const struct err *err)
{
	struct json_object *out = json_object_new_array();
	const char *line = err->text ? err->text : "";

	while (*line) {
		size_t length = strcspn(line, "\n");

		json_object_array_add(out, json_object_new_string_len(line, (int)length));
		line += length + (line[length] == '\n');
	}
	return out;
}

void node_command_run(struct engine *engine, void *argument)
{
	struct node_command *command = argument;
	const struct control_request *request = command->request;
	struct node *node = node_find(command->tree, request->node);
	struct json_object *answer;
	struct err err = { 0 };

	command->reply = json_object_new_object();
	if (!node || !node->type->command) {
		add_text(command->reply, "error", node ? "no_commands" : "unknown_node");
		return;
	}
	answer = json_object_new_object();
	if (node->type->command(node, request->verb, request->arguments, answer, &err) == 0) {
		json_object_object_add(command->reply, "answer", answer);
	} else {
		json_object_put(answer);
		add_text(command->reply, "error", "refused");
		json_object_object_add(command->reply, "messages", messages_make(&err));
	}
	err_finish(&err);
	engine_wake(engine, node);
}
