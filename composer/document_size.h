/* SPDX-License-Identifier: MIT */
/* A document with another size: its text as it stands, but for one number. */
#ifndef COMPOSER_DOCUMENT_SIZE_H
#define COMPOSER_DOCUMENT_SIZE_H

#include "tree.h"

/*
 * The text of the tree's document with `size` as that of its root, to be freed. NULL with a message: the
 * root's size comes of its children's.
 */
char *document_sized(const struct tree *tree, uint64_t size, struct err *err);

#endif
