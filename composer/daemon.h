/* SPDX-License-Identifier: MIT */
/*
 * The daemon: serves one tree as one device, from its first touch of a leaf to its last.
 *
 * Runs in the process that it is called in, which must have one thread only: in the foreground, or
 * in a child that detach.c has made. A failure before the device is live undoes all that was done,
 * in reverse. Once live it ends by SIGTERM or SIGINT, by `delete`, or when the device has been
 * stopped elsewhere; in each case what the kernel still has is ended first, then the leaves are
 * flushed. Or it hands over to the next daemon: then the disk stays, and so do its name and what the
 * run directory keeps of it, as when a daemon with recovery has died.
 */
#ifndef COMPOSER_DAEMON_H
#define COMPOSER_DAEMON_H

#include "assemble.h"

struct daemon_config {
	struct assemble_options assemble;
	bool recover; /* takes over the device that the last daemon of that name has left */
	bool detached; /* messages go to syslog once the device is live */
	/*
	 * The device is live: tells who waits. Returns 0, or -1 when nobody is there any more; then
	 * the device is stopped again, unless it was recovered, as its users are others.
	 */
	int (*ready)(void *context, const char *path, struct err *notes);
	/*
	 * The kernel doesn't answer: says so to who waits, since the process ends right after, and
	 * its end may take as long as the kernel does.
	 */
	void (*stuck)(void *context, struct err *err);
	void *context;
};

/*
 * frontend_check() has been asked: not here, as the kernel's helper threads of a ring that is
 * opened before capabilities are dropped would keep them.
 *
 * 0: was live and has ended cleanly. -1: with messages if it was never live, else they are logged.
 */
int daemon_run(struct tree *tree, const struct daemon_config *config, struct err *err);

#endif
