/* SPDX-License-Identifier: MIT */
/*
 * The user's commit (as in qemu-img; among thin's parts a commit is of L2 entries, thin_commit.c): what the image
 * holds over its backing is written there, while requests go on.
 */
#ifndef TARGETS_THIN_MERGE_H
#define TARGETS_THIN_MERGE_H

#include "thin_job.h"

struct err;
struct json;
struct range;

enum thin_merge_step { MERGE_NONE, MERGE_LOOK, MERGE_UNPACK, MERGE_ZERO, MERGE_FLUSH, MERGE_DROP, MERGE_LAST };

struct thin_merge {
	struct thin_job job;
	bool is_allowed; /* the document says so: backing can be written, by nobody else */
	bool keeps; /* the image stays as it is */
	uint64_t pause; /* ns for which one run of clusters was held, at most */
};

/* thin_merge.c */
void thin_merge_needs(struct node *node); /* adds to what it needs otherwise */
bool thin_merge_next(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void thin_merge_map(struct node *node, const struct request *request, struct plan *plan);
void thin_merge_resume(struct node *node, const struct request *request, struct plan *plan);

/* thin_merge_command.c */
int thin_merge_open(struct node *node, struct err *err); /* whether the document allows it, and may */
void thin_merge_status(const struct node *node, struct json_object *out);
int thin_merge_begin(struct node *node, const struct json *arguments, struct err *err);
void thin_merge_stop(struct node *node);

#endif
