/* SPDX-License-Identifier: MIT */
/*
 * Front-ends: where requests come from. `ubd` is our driver, `ublk` the mainline one (not yet),
 * `replay` a script (replay.h). The document's device.driver says which; "auto" takes what is
 * loaded, ubd first. What a kernel's driver has to give is frontend_type.h's.
 *
 * Main thread only. A front-end owns the kernel's device, the queues' threads, their rings and
 * engines; the tree is the caller's and must be open and outlive it.
 */
#ifndef COMPOSER_FRONTEND_H
#define COMPOSER_FRONTEND_H

#include "tree.h"

struct frontend;

/*
 * Whether a driver is there for the tree's device, without making anything: for `check`, and for
 * `create` before it touches a leaf. 0, or -1 with a message (module not loaded, no permission, …).
 */
int frontend_check(const struct tree *tree, struct err *err);

/*
 * Makes the device and the queues that will serve it: all that can be refused is refused here.
 * There is no disk yet. 0, or -1 with messages, and nothing is left.
 */
int frontend_open(struct frontend **frontend, struct tree *tree, bool trace, struct err *err);

/*
 * Has the function called with the engine of the first queue, in that queue's thread, between
 * requests, and waits for it: for a node's commands, which are there on devices of one queue only.
 * False: the queue has ended, and it wasn't called.
 */
typedef void frontend_function(struct engine *engine, void *argument);
bool frontend_call(struct frontend *frontend, frontend_function *function, void *argument);

/*
 * Makes the disk: when this returns 0 it can be opened, and requests may have come before. -1 with
 * a message; then frontend_close() is next. From here on nodes are asked for work, too.
 */
int frontend_start(struct frontend *frontend, struct err *err);

/* "/dev/ubdb0", and the driver's number and name for it. */
const char *frontend_path(const struct frontend *frontend);
unsigned frontend_id(const struct frontend *frontend);
const char *frontend_driver(const struct frontend *frontend);

/* Becomes readable when the queues have ended by themselves (the device was stopped elsewhere). */
int frontend_ended_fd(const struct frontend *frontend);

/* The sum over the queues, and the memory of engines and buffers in bytes. */
void frontend_stats(const struct frontend *frontend, struct engine_stats *stats);
size_t frontend_memory(const struct frontend *frontend);

/*
 * Stops the disk (what the kernel has is ended first), joins the threads, removes the kernel's
 * device and frees all. Blocks until then. NULL is fine.
 */
void frontend_close(struct frontend *frontend);

/*
 * Removes from the driver ("ubd", "ublk") what a daemon that was killed has left: the device of
 * that number, unless somebody serves it, as numbers are given out again. Blocks shortly.
 */
void frontend_remove_dead(const char *driver, unsigned id);

#endif
