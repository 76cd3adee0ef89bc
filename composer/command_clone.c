// SPDX-License-Identifier: MIT
/*
 * clone: from a document one of a new device, that begins with what this one holds and has what is
 * written to it in an image of its own. It writes nothing: `create` makes the image, whose backing
 * this tree is from then on.
 */
#include "command.h"

#include "control_client.h"
#include "lifetime.h"
#include "run_directory.h"
#include "tree.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <json-c/linkhash.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME, OPTION_COUNT };

static const struct command_option options[] = {
	[NAME] = { "name", 0, "NAME", "What the new device is called; else as IMAGE, without its ending." },
	[OPTION_COUNT] = { 0 },
};

/* A device that nobody can write to may be read by others meanwhile. */
static int check_rests(const struct tree *tree, struct err *err)
{
	struct err ignored = { 0 };
	struct json *reply;
	bool is_free = run_check_free(tree->name, &ignored) == 0, is_read_only = false;

	err_finish(&ignored);
	if (is_free)
		return 0;
	reply = control_ask(tree->name, CONTROL_STATUS, NULL, NULL, &ignored);
	is_read_only = json_get_boolean(json_get(reply, "status"), "read_only", false);
	err_finish(&ignored);
	json_destroy(reply);
	if (is_read_only)
		return 0;
	return err_add(err, "%s is being served and can be written to, and its clone would change with it: "
		"`" PROGRAM " delete %s` first, or serve it with \"read_only\": true in its \"device\"",
		tree->name, tree->name);
}

/* Labels belong to one tree alone; a backing is other trees' too. */
static int check_leaves(const struct tree *tree, struct err *err)
{
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->labelled)
			leaf_err(tree->leaves[i], err, "it carries a label of %s, so that no other device can have "
				"it as its backing", tree->name);
	return err->count == before ? 0 : -1;
}

static char *joined(const char *directory, const char *name)
{
	char *made;

	if (asprintf(&made, "%s/%s", directory, name) < 0)
		abort();
	return made;
}

/* The path that a document anywhere can name a file by that does not exist. NULL with a message. */
static char *new_path(const char *image, struct err *err)
{
	const char *slash = strrchr(image, '/');
	const char *name = slash ? slash + 1 : image;
	char *directory = slash ? strndup(image, (size_t)(slash - image) + 1) : strdup(".");
	char *real = directory ? realpath(directory, NULL) : NULL, *path = NULL;
	struct stat found;

	if (!real)
		err_add(err, "%s: its directory: %s", image, strerror(errno));
	else if (!*name)
		err_add(err, "%s is a directory: name the image that is to be made", image);
	else if (lstat(image, &found) == 0)
		err_add(err, "%s exists; a clone has a new image", image);
	else
		path = joined(strcmp(real, "/") ? real : "", name);
	free(directory);
	free(real);
	return path;
}

/* "new" of "/srv/new.qcow2"; to be freed. */
static char *name_of(const char *path)
{
	const char *name = strrchr(path, '/') + 1, *dot = strrchr(name, '.');

	return strndup(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

/* The same node, with its leaves' paths as a document elsewhere has to name them. */
static void make_absolute(struct json_object *json, const struct tree *tree)
{
	struct json_object *path;
	size_t i;
	char *absolute;

	if (json_object_is_type(json, json_type_array))
		for (i = 0; i < json_object_array_length(json); i++)
			make_absolute(json_object_array_get_idx(json, i), tree);
	if (!json_object_is_type(json, json_type_object))
		return;
	if (json_object_object_get_ex(json, "path", &path) && *json_object_get_string(path) != '/') {
		absolute = joined(strcmp(tree->directory, "/") ? tree->directory : "", json_object_get_string(path));
		json_object_object_add(json, "path", json_object_new_string(absolute));
		free(absolute);
	}
	json_object_object_foreach(json, key, value)
		if (strcmp(key, "annotations") != 0)
			make_absolute(value, tree);
}

static struct json_object *copy_of(const struct json *json)
{
	size_t length;
	const char *text = json_text(json, &length);
	struct json_tokener *tokener = json_tokener_new_ex(2 * TREE_DEPTH_MAX + 8);
	struct json_object *made = json_tokener_parse_ex(tokener, text, (int)length);

	json_tokener_free(tokener);
	return made;
}

static struct json_object *document_of(const struct tree *tree, const char *name, const char *path)
{
	const struct json *device = json_get(tree->document, "device");
	struct json_object *made = json_object_new_object(), *root = json_object_new_object();
	struct json_object *data = json_object_new_object(), *backing = copy_of(tree->root->json);

	make_absolute(backing, tree);
	json_object_object_add(made, "format", json_object_new_int(1));
	json_object_object_add(made, "name", json_object_new_string(name));
	if (device) {
		json_object_object_add(made, "device", copy_of(device));
		json_object_object_del(json_object_object_get(made, "device"), "read_only");
	}
	json_object_object_add(data, "type", json_object_new_string("file"));
	json_object_object_add(data, "path", json_object_new_string(path));
	json_object_object_add(root, "id", json_object_new_string(name));
	json_object_object_add(root, "type", json_object_new_string("thin"));
	json_object_object_add(root, "data", data);
	json_object_object_add(root, "backing", backing);
	json_object_object_add(made, "root", root);
	return made;
}

/* What is printed is what create would take. */
static int try(const struct json_object *made, struct err *err)
{
	const struct assemble_options assembly = { .dry = true };
	const char *text = json_object_to_json_string((struct json_object *)made);
	struct tree *tree = tree_parse("clone", text, strlen(text), err);
	struct err notes = { 0 };
	int result = tree ? lifetime_probe(tree, &assembly, err, &notes) : -1;

	err_finish(&notes); /* they are check's to tell */
	tree_destroy(tree);
	return result;
}

static int clone_tree(const struct tree *tree, const char *image, const char *name, struct err *err)
{
	char *path, *own = NULL;
	struct json_object *made;
	int result = -1;

	if (check_rests(tree, err) < 0 || check_leaves(tree, err) < 0)
		return -1;
	path = new_path(image, err);
	if (!path)
		return -1;
	if (!name)
		name = own = name_of(path);
	made = document_of(tree, name, path);
	if (try(made, err) == 0)
		result = command_print_json(made, err);
	json_object_put(made);
	free(own);
	free(path);
	return result;
}

static int run(const struct arguments *arguments)
{
	struct err err = { 0 };
	struct tree *tree = tree_read(arguments->operands[0], &err);
	int result = tree ? clone_tree(tree, arguments->operands[1], arguments->options[NAME], &err) : -1;

	tree_destroy(tree);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

extern const struct command clone_command;
const struct command clone_command = {
	.name = "clone",
	.operands = "TREE IMAGE",
	.summary = "print the document of a device that begins as a copy of another",
	.details = "Prints a document whose root is a thin volume on the new file IMAGE, with what TREE describes\n"
		   "as its backing: it reads what TREE holds until it is written to, and takes room for that alone.\n"
		   "Nothing is touched; `" PROGRAM " create` makes IMAGE. While a clone is served, and as long as it\n"
		   "is to be read, TREE can't be written to any more: served with \"read_only\" it can, and be cloned\n"
		   "again. A TREE that is being served otherwise, or whose leaves carry labels, is refused.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 2,
	.run = run,
};
