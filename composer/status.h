/* SPDX-License-Identifier: MIT */
/*
 * The status of a device: its JSON, made in the daemon, and its text, made by the command line.
 *
 * The JSON mirrors the tree's document: `root` with nested `children`, each with id and type, plus
 * what is known only while it is live. It is for programs: numbers in bytes, words, no sentences.
 */
#ifndef COMPOSER_STATUS_H
#define COMPOSER_STATUS_H

#include "engine.h"
#include "json.h"
#include "tree.h"

#include <stdio.h>
#include <time.h>

struct json_object; /* json-c's */

/* What the front-end and the process know. */
struct status_facts {
	const char *path, *driver;
	unsigned id;
	pid_t pid;
	struct timespec started; /* CLOCK_MONOTONIC */
	size_t memory;
	struct engine_stats stats;
};

/*
 * Any thread, while the tree is live; or with no facts for a tree that create would serve: then
 * each leaf has a member `action`. The caller frees it.
 */
struct json_object *status_make(const struct tree *tree, const struct status_facts *facts);

/* status_text.c: the object as people read it. `status` is what status_make() gave, parsed. */
void status_print(const struct json *status, FILE *out);

/* A line for each: NAME PATH SIZE DRIVER STATE. */
void status_print_list_head(FILE *out);
void status_print_orphan_line(const char *path, const char *driver, FILE *out);
void status_print_list_line(
	const char *name, const struct json *status, const char *state, FILE *out);

/* "running", "degraded": the one word for the device. */
const char *status_state(const struct json *status);

/* "1.5 GiB", "512 B" into text, which is also returned. */
#define SIZE_TEXT_MAX 32
const char *size_text(uint64_t bytes, char text[SIZE_TEXT_MAX]);

/* "4 min 5 s" likewise. */
const char *duration_text(uint64_t ms, char text[SIZE_TEXT_MAX]);

/*
 * status_progress.c: what takes its time. A node that is at such a thing has a member
 *   "progress": {"what": "resync", "done": BYTES, "total": BYTES, "rate": BYTES a second}
 * in its status; without a rate nobody can tell yet how long it will take. One line, as
 *   resync [###############...............] 50.0 %, 512 MiB of 1 GiB, 64 MiB/s, 8 s left
 */
void status_print_progress(const struct json *progress, FILE *out);

/*
 * Draws text over what the terminal shows, without a blank moment in between: what doesn't fit into
 * `rows` (0: unknown) or its width is left out.
 */
void status_print_screen(const char *text, unsigned rows, FILE *out);

/* Any JSON value, indented, one member a line. */
void json_print(const struct json *value, FILE *out);

#endif
