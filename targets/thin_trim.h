/* SPDX-License-Identifier: MIT */
/*
 * Trimming a thin: what is free in its image, and was never given back to the child, is, while requests go on.
 */
#ifndef TARGETS_THIN_TRIM_H
#define TARGETS_THIN_TRIM_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct json_object;
struct node;
struct plan;
struct request;
struct thin;
struct thin_io;

enum thin_trim_state { TRIM_NEVER, TRIM_RUNNING, TRIM_FAILED, TRIM_DONE };

struct thin_trim {
	enum thin_trim_state state;
	bool is_busy; /* a step is under way */
	bool is_flushed; /* what the image was read as is durable */
	bool gave_way; /* to what was freed of late, once */
	uint64_t cursor, end; /* host clusters: those before the cursor have been looked at */
	uint64_t run; /* how many before the cursor the child is taking */
	uint64_t free, given; /* clusters that were found free, and that the child has taken */
	int error; /* FAILED */
};

/* thin_trim.c */
bool thin_trim_next(struct thin *thin, struct request *request); /* a step for work() */
void thin_trim_map(struct node *node, struct plan *plan, struct thin_io *io);
void thin_trim_resume(struct node *node, struct plan *plan, struct thin_io *io);
bool thin_is_trimming(const struct thin *thin);
int thin_trim_begin(struct node *node, struct err *err);
int thin_trim_tell(const struct node *node, struct json_object *answer, struct err *err);
void thin_trim_status(const struct node *node, struct json_object *out);

#endif
