// SPDX-License-Identifier: MIT
/*
 * A thin's backing: a file with bytes in it, which the device shows from the start; its flatten, which
 * may break off at any moment and goes on in another life; and in half of the seeds its commit, likewise, which
 * writes there: what is judged is the device, as it is then read from there. As soon as the thin says that it needs its
 * backing no more, nothing is left there that anybody wrote.
 */
#include "sim.h"

#include <fcntl.h>
#include <json-c/json_object.h>
#include <string.h>
#include <unistd.h>

#define VALUE (UINT64_C(1) << 60) /* no request writes it */
#define ASK_EVERY 24 /* requests */
#define COMMIT_EVERY 13

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
		!(past_were_asked() && strstr(err.text, "snapshot")) &&
		!(life.commits && strstr(err.text, "committed")) && !(life.trims && strstr(err.text, "trimmed")))
		sim_fail("flatten: %s", err.text);
	err_finish(&err);
	queue_wake_node(root);
}

bool commit_is_seed(uint64_t seed)
{
	return (seed * UINT64_C(0xa0761d6478bd642f) >> 36) % 2 == 1;
}

/* The last one's, and whether it has come to its end. */
static void count_commit(const struct node *root)
{
	struct json_object *status = json_object_new_object(), *state, *copied;

	root->type->status(root, status);
	if (json_object_object_get_ex(status, "commit_copied", &copied) &&
		json_object_object_get_ex(status, "commit", &state) &&
		strcmp(json_object_get_string(state), "running") != 0) {
		totals.committed += json_object_get_uint64(copied);
		totals.commits += !strcmp(json_object_get_string(state), "done");
	}
	json_object_put(status);
}

static bool commit_may_be_refused(const char *text)
{
	static const char *const refusals[] = { "flattened", "a flatten failed at its end", "trimmed", "no backing file", "its backing has",
		"ends within a block", "not ended yet", "\"keep\"" };
	size_t i;

	for (i = 0; i < sizeof(refusals) / sizeof(*refusals); i++)
		if (strstr(text, refusals[i]))
			return true;
	return false;
}

void commit_ask(unsigned requests)
{
	static const char *const arguments[] = { "{}", "{}", "{}", "{\"keep\":true}" };
	struct node *root = life.tree->root;
	struct err err = { 0 };
	const char *text = arguments[requests / COMMIT_EVERY % 4];
	struct json *json;

	if (!life.document.backing_sectors || !life.commits || life.lies || requests % COMMIT_EVERY != COMMIT_EVERY / 3)
		return;
	count_commit(root);
	json = json_parse("arguments", text, strlen(text), &err);
	if (root->type->command(root, requests % 7 ? "commit" : "stop-commit", json, NULL, &err) == 0)
		sim_note("%s %s", requests % 7 ? "commit" : "stop-commit", text);
	else if (!commit_may_be_refused(err.text))
		sim_fail("commit: %s", err.text);
	json_destroy(json);
	err_finish(&err);
	queue_wake_node(root);
}
