// SPDX-License-Identifier: MIT
/*
 * What a leg that is taken back alone holds, in two files of the directory that the user names:
 *
 *   NAME.LEG.overlay	sparse, as long as the mirror. Byte n is byte n of the mirror as the leg held it
 *			if a range of the map covers it; else it is a hole, and says nothing.
 *   NAME.LEG.json	the map: {"format": 1, "name": device, "mirror": id, "leg": id, "leaves": [paths],
 *			"size": of the mirror, "ranges": [[offset, length], …], "saved": sum of the lengths},
 *			ranges in order. All in bytes.
 *
 * With the ranges copied over it (dd, per range) a copy of the device becomes what the leg would have
 * shown. Files that are there already are never replaced: the start is refused.
 *
 * The crash story, also of a leg that is to stand by from now on. Both files and the directory are durable before the first label is written, and the
 * leg's bytes change only after the labels no longer call it given up. A crash before that leaves
 * files of which the map may not be whole (it is no JSON then; where it is, the bytes are durable), and a leg
 * that is given up as before; the user moves the files away and begins again. A crash after it leaves whole
 * files, and a leg that is brought up to date like any other.
 */
#include "overlay.h"

#include "notice.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES (128u << 10)

struct overlay {
	struct node *node, *leg;
	char *paths[2]; /* of the bytes, and of the map */
	int directory, data; /* -1: not open */
	FILE *map; /* NULL: nothing was found yet, and neither file is there */
	uint64_t offset, length; /* the last range, not written yet */
	uint64_t ranges, saved;
};

static int failed(const struct overlay *overlay, const char *path, int error, struct err *err)
{
	return err_add(err,
		"what leg %s of mirror %s alone holds can't be saved, and so it is not taken back: %s: %s",
		overlay->leg->id, overlay->node->id, path, strerror(error));
}

static void print_text(FILE *out, const char *key, const char *text)
{
	struct json_object *quoted = json_object_new_string(text);

	fprintf(out, "  \"%s\": %s,\n", key,
		json_object_to_json_string_ext(quoted, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(quoted);
}

static void add_leaves(const struct node *node, struct json_object *paths)
{
	unsigned i;

	if (node->leaf)
		json_object_array_add(paths, json_object_new_string(node->leaf->path));
	for (i = 0; i < node->child_count; i++)
		add_leaves(node->children[i], paths);
}

static void begin_map(const struct overlay *overlay)
{
	struct json_object *paths = json_object_new_array();

	add_leaves(overlay->leg, paths);
	fprintf(overlay->map, "{\n  \"format\": 1,\n");
	print_text(overlay->map, "name", overlay->node->tree->name);
	print_text(overlay->map, "mirror", overlay->node->id);
	print_text(overlay->map, "leg", overlay->leg->id);
	fprintf(overlay->map, "  \"leaves\": %s,\n  \"size\": %" PRIu64 ",\n  \"ranges\": [",
		json_object_to_json_string_ext(paths, JSON_C_TO_STRING_NOSLASHESCAPE),
		overlay->node->limits.size);
	json_object_put(paths);
}

static int make(const struct overlay *overlay, const char *path)
{
	return openat(overlay->directory, path,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* Both files, when the first bytes are there. 0, or -1 with a message. */
static int begin(struct overlay *overlay, struct err *err)
{
	int fd;

	overlay->data = make(overlay, overlay->paths[0]);
	if (overlay->data < 0)
		return failed(overlay, overlay->paths[0], errno, err);
	fd = make(overlay, overlay->paths[1]);
	overlay->map = fd < 0 ? NULL : fdopen(fd, "w");
	if (!overlay->map) {
		failed(overlay, overlay->paths[1], errno, err);
		if (fd >= 0)
			(void)close(fd); /* nothing was written */
		(void)unlinkat(overlay->directory, overlay->paths[0], 0); /* ours, made just now */
		return -1;
	}
	begin_map(overlay);
	if (ftruncate(overlay->data, (off_t)overlay->node->limits.size) < 0)
		return failed(overlay, overlay->paths[0], errno, err);
	return 0;
}

static void write_range(struct overlay *overlay)
{
	if (overlay->length == 0)
		return;
	fprintf(overlay->map, "%s\n    [%" PRIu64 ", %" PRIu64 "]", overlay->ranges ? "," : "",
		overlay->offset, overlay->length);
	overlay->ranges++;
}

static int save_piece(struct overlay *overlay, uint64_t offset, const char *bytes,
	uint32_t length, struct err *err)
{
	uint32_t done = 0;

	if (!overlay->map && begin(overlay, err) < 0)
		return -1;
	while (done < length) {
		ssize_t got = pwrite(
			overlay->data, bytes + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return failed(overlay, overlay->paths[0], got < 0 ? errno : ENOSPC, err);
		done += (uint32_t)got;
	}
	if (overlay->offset + overlay->length != offset || overlay->length == 0) {
		write_range(overlay);
		overlay->offset = offset;
		overlay->length = 0;
	}
	overlay->length += length;
	overlay->saved += length;
	return 0;
}

/* All of it is durable, or was not needed. 0, or -1 with a message. */
static int finish(struct overlay *overlay, struct err *err)
{
	if (!overlay->map)
		return 0;
	if (fsync(overlay->data) < 0)
		return failed(overlay, overlay->paths[0], errno, err);
	write_range(overlay);
	fprintf(overlay->map, "\n  ],\n  \"saved\": %" PRIu64 "\n}\n", overlay->saved);
	if (fflush(overlay->map) != 0 || ferror(overlay->map) || fsync(fileno(overlay->map)) < 0)
		return failed(overlay, overlay->paths[1], errno ? errno : EIO, err);
	if (fsync(overlay->directory) < 0)
		return failed(overlay, overlay->node->tree->overlays, errno, err);
	notice_raise(overlay->leg, "overlay_saved", "bytes", overlay->saved);
	return 0;
}

/* Closes; what is not whole goes. */
static void end(struct overlay *overlay, bool is_whole)
{
	unsigned i;

	for (i = 0; i < 2 && overlay->map && !is_whole; i++)
		(void)unlinkat(overlay->directory, overlay->paths[i], 0); /* ours; why has been said */
	if (overlay->map)
		(void)fclose(overlay->map); /* flushed before, or given up */
	if (overlay->data >= 0)
		(void)close(overlay->data); /* likewise */
	if (overlay->directory >= 0)
		(void)close(overlay->directory);
	for (i = 0; i < 2; i++)
		free(overlay->paths[i]);
}

static int save_all(struct overlay *overlay, struct err *err)
{
	struct node *node = overlay->node;
	char *memory = malloc(2 * (size_t)PIECE_BYTES); /* own() wants twice as much */
	uint32_t length = PIECE_BYTES;
	uint64_t offset = 0;
	int result = memory ? 0 : err_add(err, "out of memory");

	while (result == 0) {
		length = PIECE_BYTES;
		result = node->type->own(
			node, overlay->leg->place, &offset, memory, &length, err);
		if (result < 0 || length == 0)
			break;
		result = save_piece(overlay, offset, memory, length, err);
		offset += length;
	}
	free(memory);
	return result < 0 ? -1 : finish(overlay, err);
}

static int save_leg(struct node *node, struct node *leg, struct err *err)
{
	struct overlay overlay = { .node = node, .leg = leg, .data = -1 };
	struct tree *tree = node->tree;
	int result = -1;

	if (asprintf(&overlay.paths[0], "%s.%s.overlay", tree->name, leg->id) < 0 ||
		asprintf(&overlay.paths[1], "%s.%s.json", tree->name, leg->id) < 0)
		abort();
	overlay.directory = open(tree->overlays, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (overlay.directory < 0) {
		failed(&overlay, tree->overlays, errno, err);
	} else {
		tree->child_io = CHILD_IO_PROBE;
		result = save_all(&overlay, err);
		tree->child_io = CHILD_IO_NONE;
	}
	end(&overlay, result == 0);
	return result;
}

/* What the leg shows is, in part at least, of a leg that is taken back, and nowhere else to be seen. */
static bool shows_own(const struct node *leg)
{
	unsigned i;

	if (leg->is_taken_back)
		return true;
	for (i = 0; i < leg->child_count; i++)
		if (!leg->children[i]->rebuilding && !leg->children[i]->failed &&
			!leg->children[i]->spare && shows_own(leg->children[i]))
			return true;
	return false;
}

/* Who stands by is not written now, but as soon as it is taken in, and its label no more says that it was given up. */
static bool is_to_be_saved(const struct node *leg)
{
	return (leg->rebuilding || (leg->spare && !leg->failed)) && shows_own(leg);
}

int overlays_save(struct tree *tree, struct err *err)
{
	unsigned i, place;

	for (i = 0; tree->overlays && i < tree->node_count; i++) {
		struct node *node = tree->nodes[i];

		for (place = 0; node->type->own && place < node->child_count; place++)
			if (is_to_be_saved(node->children[place]) &&
				save_leg(node, node->children[place], err) < 0)
				return -1;
	}
	return 0;
}
