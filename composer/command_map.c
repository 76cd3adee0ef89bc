// SPDX-License-Identifier: MIT
/* map: what a thin volume has allocated, and where: by its document, or asked of the daemon that serves it. */
#include "command.h"

#include "control_client.h"
#include "device_name.h"
#include "lifetime.h"
#include "run_directory.h"
#include "tree.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>

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
	int result = lifetime_probe(tree, &assembly, err, &notes);

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

/* Who knows the map: a node that was opened here, or the daemon that has one of that id. */
struct source {
	struct node *node; /* NULL: the daemon's */
	const char *device, *id;
};

/* {"extents": [ … ], "next": M}, to be freed; NULL with messages. */
static struct json_object *ask_node(const struct source *source, uint64_t offset, struct err *err)
{
	struct json_object *answer = json_object_new_object();
	char text[64];
	struct json *arguments;
	int result;

	snprintf(text, sizeof(text), "{\"offset\":%" PRIu64 "}", offset);
	arguments = json_parse("map", text, strlen(text), err);
	result = arguments ? source->node->type->command(source->node, "map", arguments, answer, err) : -1;
	json_destroy(arguments);
	if (result == 0)
		return answer;
	json_object_put(answer);
	return NULL;
}

static struct json_object *ask_daemon(const struct source *source, uint64_t offset, struct err *err)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "offset", json_object_new_uint64(offset));
	return control_ask_answer(source->device, source->id, "map", arguments, err);
}

/* The next piece begins where this one did: what it needs is being read (thin_report.c). */
static void wait_a_little(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	(void)nanosleep(&pause, NULL);
}

/* Asks for one piece after the other. */
static int print_map(const struct source *source, bool as_json, struct err *err)
{
	bool is_first = true;
	uint64_t offset = 0, from;

	printf(as_json ? "[" : "START            LENGTH           DEPTH OFFSET\n");
	do {
		struct json_object *extents, *next, *answer;

		answer = source->node ? ask_node(source, offset, err) : ask_daemon(source, offset, err);
		if (!answer)
			break;
		if (json_object_object_get_ex(answer, "extents", &extents))
			print_extents(extents, as_json, &is_first);
		from = offset;
		offset = UINT64_MAX;
		if (json_object_object_get_ex(answer, "next", &next))
			offset = json_object_get_uint64(next);
		json_object_put(answer);
		if (offset == from)
			wait_a_little();
	} while (offset >= from && offset != UINT64_MAX);
	if (as_json)
		printf("]\n");
	return err->count ? -1 : 0;
}

/* The node in the status; NULL: none has that id. */
static const struct json *find_told(const struct json *node, const char *id)
{
	const struct json *children = json_get(node, "children"), *found;
	size_t i;

	if (!id || !strcmp(json_get_string(node, "id", ""), id))
		return node;
	for (i = 0; i < json_count(children); i++) {
		found = find_told(json_at(children, i), id);
		if (found)
			return found;
	}
	return NULL;
}

static int map_device(const char *name, const char *id, bool as_json, struct err *err)
{
	struct json *status = control_ask(name, CONTROL_STATUS, NULL, NULL, err);
	const struct json *node = json_get(json_get(status, "status"), "root");
	struct source source = { .device = name };
	int result = -1;

	if (node)
		node = find_told(node, id);
	if (node && !strcmp(json_get_string(node, "type", ""), "thin")) {
		source.id = json_get_string(node, "id", "");
		result = print_map(&source, as_json, err);
	} else if (node) {
		err_add(err, "%s %s has no map", json_get_string(node, "type", ""), json_get_string(node, "id", ""));
	} else if (status) {
		err_add(err, "%s has no node \"%s\"", name, id ? id : "");
	}
	json_destroy(status);
	return result;
}

static bool is_served(const char *name)
{
	struct err err = { 0 };
	bool result = run_check_free(name, &err) < 0;

	err_finish(&err);
	return result;
}

static int map_tree(const char *path, const char *id, bool as_json, struct err *err)
{
	struct tree *tree = tree_read(path, err);
	struct source source = { 0 };
	int result = -1;

	if (tree && is_served(tree->name)) {
		result = map_device(tree->name, id, as_json, err);
	} else {
		if (tree && open_tree(tree, err) == 0)
			source.node = find_node(tree, id, err);
		if (source.node)
			result = print_map(&source, as_json, err);
	}
	tree_destroy(tree);
	return result;
}

/* A document is a file, or called like one; all else is what a device may be called. */
static bool is_document(const char *operand)
{
	size_t length = strlen(operand);
	struct stat found;

	if (stat(operand, &found) == 0)
		return !S_ISBLK(found.st_mode);
	return strchr(operand, '/') || (length > 5 && !strcmp(operand + length - 5, ".json"));
}

static int map(const struct arguments *arguments)
{
	const char *operand = arguments->operands[0], *id = arguments->options[NODE];
	bool as_json = arguments->options[JSON] != NULL;
	struct err err = { 0 };
	char *name;
	int result;

	if (is_document(operand)) {
		result = map_tree(operand, id, as_json, &err);
	} else {
		name = device_name_find(operand, &err);
		result = name ? map_device(name, id, as_json, &err) : -1;
		free(name);
	}
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

extern const struct command map_command;
const struct command map_command = {
	.name = "map",
	.operands = "TREE|DEVICE",
	.summary = "show what a thin volume has allocated",
	.details = "Prints a line for each range of the thin volume that has bytes: where on the device and\n"
		   "how long, the depth at which they are (0: its own image, 1: its backing, …), and where in\n"
		   "that file. What is served is asked piece by piece: each piece is true for its moment. Of a\n"
		   "TREE that isn't, nothing is touched.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = map,
};
