/* SPDX-License-Identifier: MIT */
/*
 * Notices: changes of state that people and programs should hear of (a leg failed, a resync ended),
 * raised where they happen and told by the daemon's main thread (events.c).
 *
 *   notice_raise(node, "resync_ended", "bytes", done);
 *
 * Words are lower case with underscores, and so are keys; a number's unit is in its key where it
 * isn't bytes. (composer/event.h's events are another matter: the ends of sub-I/Os.)
 */
#ifndef COMPOSER_NOTICE_H
#define COMPOSER_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#define NOTICES_MAX 256 /* raised and not yet told; a power of two */

struct node;

struct notice {
	uint64_t time_ms; /* since 1970, UTC */
	const char *what; /* of static storage, as the key */
	const struct node *node; /* NULL: the device as a whole */
	const char *key; /* NULL: no number */
	uint64_t number;
};

/*
 * Any thread, also a queue's: never blocks, takes no lock and no memory. What is raised while
 * NOTICES_MAX wait is dropped and counted. The node lives until the daemon's end. Does nothing in
 * programs that haven't called notice_open().
 */
void notice_raise(const struct node *node, const char *what, const char *key, uint64_t number);

/* The daemon's main thread. The fd is readable once something was raised; -errno without one. */
int notice_open(void);
void notice_close(void);
/* Takes the oldest one. False: there is none. */
bool notice_next(struct notice *notice);
/* How many were dropped since the last call. */
uint64_t notice_lost(void);

#endif
