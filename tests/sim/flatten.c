// SPDX-License-Identifier: MIT
/*
 * A thin's backing: a file with bytes in it, which the device shows from the start; and its flatten, which
 * may break off at any moment and goes on in another life. As soon as the thin says that it needs its
 * backing no more, nothing is left there that anybody wrote.
 */
#include "sim.h"

#include <fcntl.h>
#include <json-c/json_object.h>
#include <string.h>
#include <unistd.h>

#define VALUE (UINT64_C(1) << 60) /* no request writes it */
#define ASK_EVERY 24 /* requests */

static bool is_garbled;

/* Every third is a hole, in runs that don't fit clusters. */
static bool has_bytes(unsigned sector)
{
	return sector / 3 % 3 != 1;
}

void flatten_prepare(void)
{
	const struct document *document = &life.document;
	char sector[SECTOR], path[300];
	unsigned i;
	int fd;

	is_garbled = false;
	if (!document->backing_sectors)
		return;
	meddle_path(document->backing_place, "", path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	for (i = 0; i < document->backing_sectors; i++) {
		sector_fill(sector, has_bytes(i) ? VALUE : 0, i);
		if (fd < 0 || pwrite(fd, sector, SECTOR, (off_t)i * SECTOR) != SECTOR)
			sim_fail("%s can't be made", path);
	}
	close(fd);
}

void flatten_read_backing(unsigned sector, char *bytes)
{
	bool is_there = sector < life.document.backing_sectors && !is_garbled && has_bytes(sector);

	sector_fill(bytes, is_there ? VALUE : 0, sector);
}

void flatten_tell_model(void)
{
	unsigned i;

	for (i = 0; i < life.document.backing_sectors && i < life.sectors; i++)
		if (has_bytes(i))
			model_set_first(i, VALUE);
}

static void garble(void)
{
	struct image *image = backend.images[life.document.backing_place];

	if (!image)
		return;
	is_garbled = true;
	totals.flattened++;
	memset(image->view, 'g', image->bytes);
	image_persist(image, 0, image->bytes); /* nor does a power cut bring anything back */
	sim_note("it needs its backing no more");
}

void flatten_watch(void)
{
	const struct node *root = life.tree->root;
	struct json_object *status, *state;

	if (!life.document.backing_sectors || is_garbled)
		return;
	status = json_object_new_object();
	root->type->status(root, status);
	if (json_object_object_get_ex(status, "flatten", &state) && !strcmp(json_object_get_string(state), "done"))
		garble();
	json_object_put(status);
}

void flatten_ask(unsigned requests)
{
	struct node *root = life.tree->root;
	struct err err = { 0 };

	if (!life.document.backing_sectors || !life.flattens)
		return;
	flatten_watch();
	if (requests % ASK_EVERY != ASK_EVERY / 2)
		return;
	if (root->type->command(root, requests % 5 ? "flatten" : "stop-flatten", NULL, NULL, &err) < 0 &&
		!is_garbled && !strstr(err.text, "end within a block") &&
		!(past_were_asked() && strstr(err.text, "snapshot")) && !(life.trims && strstr(err.text, "trimmed")))
		sim_fail("flatten: %s", err.text);
	err_finish(&err);
	engine_wake(backend.engine, root);
}
