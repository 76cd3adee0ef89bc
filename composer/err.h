/* SPDX-License-Identifier: MIT */
/*
 * A list of user-facing messages, gathered where most is known and printed once, in main.
 *
 * Every function that can fail because of what the user gave takes a `struct err *` and adds one
 * line for each independent fault: what, where, the value and the limit. It goes on after a fault
 * that doesn't hide others, so that one run tells all. Nothing here may be called from map(),
 * resume() or hold(): what the world does wrong while I/O runs travels as -errno in results.
 *
 * No locks: a struct err belongs to one thread. No function here can fail: out of memory while a
 * message is made ends the program, as nothing is live yet that could be harmed.
 */
#ifndef COMPOSER_ERR_H
#define COMPOSER_ERR_H

#include <stdbool.h>
#include <stddef.h>

struct err {
	char *text; /* messages, each ended by a newline; NULL when there are none; owned */
	size_t length;
	unsigned count;
};

/* Adds one message. No trailing newline: err_add() sets it. Returns -1, so `return err_add(...)`.
 */
int err_add(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds all messages of another, which is as new afterwards. */
void err_move(struct err *err, struct err *from);

/* Frees the text. The struct is as new afterwards. */
void err_finish(struct err *err);

#endif
