/* SPDX-License-Identifier: MIT */
/*
 * Orphans: devices that a daemon of ours has left in a driver, when nobody serves them and no name
 * leads to them any more (their files in the run directory are gone).
 *
 * Main thread, for `list` and `delete`. Needs what devices need: root.
 */
#ifndef COMPOSER_ORPHAN_H
#define COMPOSER_ORPHAN_H

#include "err.h"

#include <stdint.h>

#define ORPHANS_MAX 256 /* more are not told, until some are gone */

struct orphan {
	const char *driver; /* "ubd" */
	unsigned id;
	char path[32]; /* that its disk has or had: "/dev/ubdb0" */
};

/* Up to ORPHANS_MAX into `orphans`; how many. None without the permission to look. */
unsigned orphans_find(struct orphan *orphans);

/* Removes the one called "ubdb0", "/dev/ubdb0" or "0". 0, or -1 with a message. */
int orphan_remove(const char *called, struct err *err);

#endif
