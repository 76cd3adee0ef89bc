/* SPDX-License-Identifier: MIT */
/*
 * From a tree that was read to a daemon that serves it, and what the user sees of that: what create
 * and assemble share.
 */
#ifndef COMPOSER_SERVE_H
#define COMPOSER_SERVE_H

#include "daemon.h"

/*
 * Serves the tree here until its end, or in a daemon of its own, of which this returns once the
 * device can be used; prints the device's path, and messages. The tree is destroyed. Returns the
 * exit status, and in the caller's process alone.
 */
int serve(struct tree *tree, struct daemon_config *config, bool in_foreground);

/*
 * The same for a device that waits for a daemon, not in the foreground. If the tree is refused, another daemon goes on
 * with what there was: the kept tree, and those of its leaves that are there. Both trees are destroyed.
 */
int serve_or_go_on(struct tree *kept, struct tree *wanted, struct daemon_config *config);

/* The tree that the last daemon of that name has served, or NULL with a message. */
struct tree *serve_read_kept(const char *name, struct err *err);

#endif
