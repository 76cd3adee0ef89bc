/* SPDX-License-Identifier: MIT */
/*
 * The hook: a program of the user's that is run for each event, with its JSON on standard input.
 *
 * A process of its own, made before the daemon is confined, runs it: one at a time, for
 * HOOK_SECONDS at most, then it is killed with all that it started. The daemon only puts a message
 * into a socket: it never forks, waits or blocks, and a program that hangs costs events and no I/O.
 * When the daemon ends, the process runs what was still waiting and ends too.
 */
#ifndef COMPOSER_HOOK_H
#define COMPOSER_HOOK_H

#include "err.h"

#define HOOK_SECONDS 30

/*
 * Starts it; `path` NULL: none is named. Returns the socket, -1 without a hook, or -2 with a
 * message. The caller has one thread and no descriptor open that matters; close() it at the end.
 */
int hook_start(const char *path, struct err *err);

/* One event. What there is no room for is dropped. `fd` -1: nothing. */
void hook_send(int fd, const char *text);

#endif
