/* SPDX-License-Identifier: MIT */
/*
 * An image at its start and its end, while no requests are served: read and judged, counted, made, grown,
 * written.
 */
#ifndef TARGETS_THIN_OPEN_H
#define TARGETS_THIN_OPEN_H

#include "thin.h"

/* thin_open.c, thin_memory.c, thin_count.c, thin_judge.c, thin_grow.c, thin_resize.c, thin_make.c, thin_create.c */
int thin_probe(struct node *node, struct err *err);
int thin_child_read(const struct node *node, uint64_t offset, void *memory, uint64_t length);
const char *thin_base_name(const char *path); /* the last part of it */
int thin_count(struct node *node, struct err *err);
int thin_judge(struct node *node, uint8_t *memory, struct err *err); /* all names are counted; memory for a cluster */
int thin_widen(struct node *node, uint64_t largest, struct err *err); /* thin->counts, for so large ones */
void thin_grow_plan(struct thin *thin); /* all is counted: finds a place for it, or none */
int thin_grow(struct node *node); /* 0 or -errno */
int thin_resize_plan(struct node *node, struct err *err); /* the header is there; 0, or -1 with messages */
void thin_resize_clear(struct thin *thin); /* new L1 entries, once the old ones have been read */
int thin_resize(struct node *node); /* 0 or -errno */
int thin_make(struct node *node, struct err *err); /* a new image's tables, in memory */
void thin_make_cluster(const struct node *node, uint64_t cluster, uint8_t *bytes); /* what it has there */
/* Memory for all tables, and so much of it for the map. */
int thin_allocate(struct node *node, uint64_t cache, struct err *err);
int thin_write_top(struct node *node); /* all of it; 0 or -errno */
int thin_write_counts(struct node *node); /* that differ from the disk's; 0 or -errno */
int thin_load(struct node *node, struct err *err);
int thin_unload(struct node *node, struct err *err);
void thin_free(struct thin *thin);

#endif
