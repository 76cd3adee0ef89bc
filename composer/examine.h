/* SPDX-License-Identifier: MIT */
/*
 * What a label says, as text and as JSON, damaged ones as far as they go. For `examine`; it changes
 * nothing.
 */
#ifndef COMPOSER_EXAMINE_H
#define COMPOSER_EXAMINE_H

#include "label_inspect.h"

#include <stdio.h>

struct json_object; /* json-c's */

void examine_print(const char *path, const struct label_copy copies[LABEL_COPIES], FILE *out);

/* The caller frees it. */
struct json_object *examine_json(const char *path, const struct label_copy copies[LABEL_COPIES]);

/*
 * The document that a label carries, the whole one of the newer copy first; NULL: there is none.
 * *whole: its checksum fits, and its label's head is whole.
 */
const char *examine_document(const struct label_copy copies[LABEL_COPIES], bool *whole);

#endif
