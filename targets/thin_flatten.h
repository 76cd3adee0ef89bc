/* SPDX-License-Identifier: MIT */
/*
 * Flattening a thin: what its image doesn't say is copied from backing, while requests go on.
 */
#ifndef TARGETS_THIN_FLATTEN_H
#define TARGETS_THIN_FLATTEN_H

#include "thin_job.h"

struct err;
struct json;
struct range;

enum thin_flatten_step { FLATTEN_NONE, FLATTEN_LOOK, FLATTEN_READ, FLATTEN_WRITE, FLATTEN_FLUSH, FLATTEN_HEADER };

/* thin_flatten.c */
bool thin_may_flatten(const struct node *node); /* there is something to be flattened */
void thin_flatten_needs(struct node *node); /* adds to what it needs otherwise */
bool thin_flatten_next(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void thin_flatten_hold(const struct thin *thin, const struct request *request, struct range *range);
void thin_flatten_map(struct node *node, const struct request *request, struct plan *plan);
void thin_flatten_resume(struct node *node, const struct request *request, struct plan *plan);

/* thin_flatten_command.c */
void thin_flatten_status(const struct node *node, struct json_object *out);
int thin_flatten_begin(struct node *node, const struct json *arguments, struct err *err);
void thin_flatten_stop(struct node *node);

#endif
