/* SPDX-License-Identifier: MIT */
/* What a live thin is asked to do in the background, and tells of it, for cmocka tests. */
#ifndef TESTS_JOBS_H
#define TESTS_JOBS_H

#include "live.h"

/* Asks the root for it, and expects that message; NULL: none. */
void jobs_ask(const char *verb, const char *arguments, const char *message);
/* A member of the root's status: text, valid until the next call; a number, 0 where there is none. */
const char *jobs_state(const char *key);
uint64_t jobs_told(const char *key);
uint64_t jobs_done(void); /* of its progress */

#endif
