/* SPDX-License-Identifier: MIT */
/*
 * What tests of leaves and assembly share: a directory of its own for each test, with real files
 * and a document, and one create on them, step by step, without a device.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include "assemble.h"
#include "tree.h"

#include "fixture.h"

#define SCENE_MIB (UINT64_C(1) << 20)
#define SCENE_SIZE (2 * SCENE_MIB) /* of a leaf: a mirror keeps the first half of it */
#define SCENE_DATA (LABEL_FRONT + SCENE_MIB + 4096) /* somewhere in a leaf's data */
#define SCENE_LEAF_BYTES (LABEL_FRONT + LABEL_TAIL + SCENE_SIZE) /* a file with its label */

static const struct assemble_options scene_plain = { 0 };
static const struct assemble_options scene_force = { .force = true };
static const struct assemble_options scene_degraded = { .degraded = true };
static const struct assemble_options scene_dry = { .dry = true };

/* Degraded, and with that leaf preferred. Valid until the next call. */
struct assemble_options scene_prefer(const char *leaf);

/* cmocka's setup and teardown for each test. */
int scene_setup(void **state);
int scene_teardown(void **state);

/* The path of a name in the directory. Valid until the eighth call after this one. */
const char *scene_path(const char *name);

/* A file of that many bytes, all zero. */
void scene_file(const char *name, uint64_t bytes);
void scene_copy(const char *from, const char *to);
void scene_rename(const char *from, const char *to);
void scene_remove(const char *name);
bool scene_has(const char *name);
/* Writes text, or reads it into 64 bytes that are valid until the next call. */
void scene_write(const char *name, uint64_t offset, const char *text);
const char *scene_read(const char *name, uint64_t offset);
/* A sum over all bytes of all files named (blanks between them): has any changed? */
uint64_t scene_sum(const char *names);

/* Writes the document whose root this is, single quotes for double ones. */
void scene_document(const char *root);
/* The same: a root of that type (with further members) over files of 2 MiB, d0 … in this order. */
void scene_tree(const char *type, const char *names);

/* Such a tree over "a" and "b" with something in each at SCENE_DATA, after a clean stop. */
void scene_two_legs(const char *type);
/* A mirror of two: each leg was served alone, one after the other, and both are there afterwards. */
void scene_diverge(void);

/*
 * Opens the leaves, assembles and opens the tree of the document. On success the tree stands until
 * scene_close(); else all is as before. Messages and notes are kept, those of the last call.
 */
bool scene_open(enum leaf_access access);
bool scene_assemble(struct assemble_options options);
struct tree *scene_assembled(void);
/* The whole of a create, up to a live device; and the rest of it, up to its clean end. */
bool scene_start(struct assemble_options options);
void scene_stop(void);
/* Closes without a stop, as a crash would. */
void scene_close(void);
/* scene_start() and scene_stop(), both without a fault. */
void scene_run(void);

/* All messages, or notes, of the last call, as one text; the directory's path is left
 * out, and times are "TIME". */
void scene_said(const char *messages);
void scene_noted(const char *notes);
/* Whether the messages of the last call hold that text. */
bool scene_has_said(const char *part);

/* Reads a file's label, and writes both copies of it anew. */
void scene_label(const char *name, struct label *label);
void scene_relabel(const char *name, struct label *label);
/* What the label of a file says of the leaf in that place. */
enum label_peer_state scene_says(const char *name, unsigned of);

#endif
