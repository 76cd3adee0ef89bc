// SPDX-License-Identifier: MIT
/* map: what a thin volume has allocated, and where. */
#include "command.h"

#include "lifetime.h"
#include "run_directory.h"
#include "tree.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <string.h>

enum { NODE, JSON };

static const struct command_option options[] = {
	[NODE] = { "node", 0, "ID", "Of that node; else of the root." },
	[JSON] = { "json", 0, NULL, "An array, with the keys of qemu-img map --output=json." },
	{ 0 },
};

static int open_tree(struct tree *tree, struct err *err)
{
	const struct assemble_options assembly = { .dry = true };
	struct err notes = { 0 };
	int result = -1;

	if (run_check_free(tree->name, err) == 0)
		result = lifetime_probe(tree, &assembly, err, &notes);
	err_finish(&notes); /* they are check's to tell */
	return result;
}

static struct node *find_node(const struct tree *tree, const char *id, struct err *err)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (id ? !strcmp(tree->nodes[i]->id, id) : tree->nodes[i] == tree->root) {
			if (tree->nodes[i]->type->command)
				return tree->nodes[i];
			err_add(err, "%s %s has no map", tree->nodes[i]->type->name, tree->nodes[i]->id);
			return NULL;
		}
	err_add(err, "%s has no node \"%s\"", tree->name, id);
	return NULL;
}

static void print_extents(struct json_object *extents, bool as_json, bool *is_first)
{
	size_t i;

	for (i = 0; i < json_object_array_length(extents); i++) {
		struct json_object *extent = json_object_array_get_idx(extents, i), *value;
		uint64_t start = json_object_get_uint64(json_object_object_get(extent, "start"));
		uint64_t length = json_object_get_uint64(json_object_object_get(extent, "length"));

		if (as_json) {
			printf("%s%s", *is_first ? "" : ",\n",
				json_object_to_json_string_ext(extent, JSON_C_TO_STRING_SPACED));
			*is_first = false;
			continue;
		}
		if (json_object_get_boolean(json_object_object_get(extent, "zero")))
			continue;
		printf("%-16" PRIu64 " %-16" PRIu64 " %-5d", start, length,
			json_object_get_int(json_object_object_get(extent, "depth")));
		if (json_object_object_get_ex(extent, "offset", &value))
			printf(" %" PRIu64 "\n", json_object_get_uint64(value));
		else
			printf(" compressed\n");
	}
}

/* Asks for one piece after the other. */
static int print_map(struct node *node, bool as_json, struct err *err)
{
	bool is_first = true;
	uint64_t offset = 0;
	int result;

	printf(as_json ? "[" : "START            LENGTH           DEPTH OFFSET\n");
	for (;;) {
		struct json_object *answer = json_object_new_object(), *extents, *next;
		char text[64];
		struct json *arguments;

		snprintf(text, sizeof(text), "{\"offset\":%" PRIu64 "}", offset);
		arguments = json_parse("map", text, strlen(text), err);
		result = arguments ? node->type->command(node, "map", arguments, answer, err) : -1;
		if (result == 0 && json_object_object_get_ex(answer, "extents", &extents))
			print_extents(extents, as_json, &is_first);
		if (json_object_object_get_ex(answer, "next", &next))
			offset = json_object_get_uint64(next);
		else
			offset = UINT64_MAX;
		json_destroy(arguments);
		json_object_put(answer);
		if (result < 0 || offset == UINT64_MAX)
			break;
	}
	if (as_json)
		printf("]\n");
	return result;
}

static int map(const struct arguments *arguments)
{
	struct err err = { 0 };
	struct tree *tree = tree_read(arguments->operands[0], &err);
	struct node *node = NULL;
	int result = -1;

	if (tree && open_tree(tree, &err) == 0)
		node = find_node(tree, arguments->options[NODE], &err);
	if (node)
		result = print_map(node, arguments->options[JSON] != NULL, &err);
	tree_destroy(tree);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

extern const struct command map_command;
const struct command map_command = {
	.name = "map",
	.operands = "TREE",
	.summary = "show what a thin volume has allocated",
	.details = "Prints a line for each range of the thin volume TREE that has bytes: where on the "
		   "device and\n"
		   "how long, the depth at which they are (0: its own image, 1: its backing, …), and "
		   "where in\n"
		   "that file. TREE must not be served; nothing is touched.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = map,
};
