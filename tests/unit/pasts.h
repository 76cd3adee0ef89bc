/* SPDX-License-Identifier: MIT */
/*
 * A live thin and its snapshots, for cmocka tests: the scene's "x" holds the image, in clusters of LIVE_BYTES
 * unless the keys say otherwise.
 */
#ifndef TESTS_PASTS_H
#define TESTS_PASTS_H

#include "live.h"

#include "../past.h"
#include "thin_next.h"

#define CLUSTER LIVE_BYTES
#define TABLE_SPAN (2u << 20) /* what one L2 table maps */

struct json_object;

extern const struct past pasts_image; /* the file as it is now */

void pasts_load(void); /* 4 MiB */
void pasts_load_keys(const char *keys); /* the thin's, of the document */
struct thin *pasts_thin(void);

/* A verb of the thin's with a name; false with what it says. `answer` and `said` (512 bytes) may be NULL. */
bool pasts_command(const char *verb, const char *name, struct json_object *answer, char *said);
/* The verb, to its end, which is good. */
void pasts_do(const char *verb, const char *name);
/* What the nth snapshot has at an offset. */
char pasts_at(uint32_t index, uint64_t offset);

#endif
