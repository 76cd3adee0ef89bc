/* SPDX-License-Identifier: MIT */
/*
 * Front-ends: where requests come from. `ubd` is our driver, `ublk` the mainline one,
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
 * With a message: the kernel doesn't answer, and may for ever not. What has been begun can't be
 * undone: all that is left is to end the process, as if it were killed.
 */
#define FRONTEND_STUCK (-2)

/*
 * Whether a driver is there for the tree's device, without making anything: for `check`, and for
 * `create` before it touches a leaf. 0, or -1 with a message (module not loaded, no permission, …).
 */
int frontend_check(const struct tree *tree, struct err *err);

/*
 * Takes over the device that a daemon has left: driver and number as that one recorded them. Blocks
 * until its session has ended, for some seconds if need be. From then on nothing of it is under way
 * any more, neither in the kernel nor on the leaves: so this comes before they are opened. 0, or -1
 * with a message.
 */
int frontend_take(struct frontend **frontend, const char *driver, unsigned id, struct err *err);

/*
 * Makes the device, unless it was taken, and the queues that will serve it: all that can be refused
 * is refused here, such as a tree that is not what the device was made of. *frontend is NULL or what
 * frontend_take() gave. There is no disk yet, or it still waits. 0, or -1 with messages, and nothing
 * is left but what another daemon had left. Or FRONTEND_STUCK.
 */
int frontend_open(struct frontend **frontend, struct tree *tree, bool trace, struct err *err);

/*
 * Has the function called with the engine of the first queue, in that queue's thread, between
 * requests, and waits for it: for a node's commands, as nodes that have some share that engine.
 * False: the queue has ended, and it wasn't called.
 */
typedef void frontend_function(struct engine *engine, void *argument);
bool frontend_call(struct frontend *frontend, frontend_function *function, void *argument);

/*
 * Makes the disk, or lets it wait no longer: when this returns 0 it can be opened, and requests may
 * have come before. -1 with a message; then frontend_close() is next. Or FRONTEND_STUCK. From here
 * on nodes are asked for work, too.
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
 * Leaves the disk to the next daemon: no request comes any more, and those that came are answered, those that a
 * node has put off with their error. Blocks until then. 0, and frontend_close() leaves the device as it is. Or -1 with a
 * message, and it serves on as before: they could not be answered in time, or the device can't wait.
 *
 * With "recovery": "reissue" those that were put off are kept for the next daemon, if there are any, and so are those that have
 * come since. Then frontend_is_unanswered(): nothing is under way, and the driver believes that we serve until the process
 * ends, which has to be as soon as leaves and labels are done, by _exit(): the queues' threads and all that they use
 * stay as they are, frontend_close() does nothing.
 */
int frontend_hand_over(struct frontend *frontend, struct err *err);
bool frontend_is_unanswered(const struct frontend *frontend);

/*
 * Stops the disk (what the kernel has is ended first), joins the threads, removes the kernel's
 * device and frees all. Blocks until then. A device that was taken and not started goes on waiting,
 * as does one whose session has ended by itself. NULL is fine.
 */
void frontend_close(struct frontend *frontend);

/*
 * Removes from the driver ("ubd", "ublk") what a daemon that was killed has left: the device of
 * that number, unless somebody serves it, as numbers are given out again. Blocks shortly.
 */
void frontend_remove_dead(const char *driver, unsigned id);

/* Whether a daemon that lives could leave its disk to another. -1 with a message: no. */
int frontend_check_hand_over(const char *driver, struct err *err);

/*
 * Whether the disk of that device is there and waits for a daemon; and removes it, with what waits.
 * Both block shortly.
 */
bool frontend_is_waiting(const char *driver, unsigned id);
void frontend_remove_waiting(const char *driver, unsigned id);

/* The path of that device's disk into `path`. */
#define FRONTEND_PATH_BYTES 32
void frontend_path_of(const char *driver, unsigned id, char path[FRONTEND_PATH_BYTES]);

#endif
