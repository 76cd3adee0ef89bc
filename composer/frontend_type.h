/* SPDX-License-Identifier: MIT */
/*
 * What a kernel's driver has to give to be a front-end, and what all of them have in common.
 *
 * frontend.c does what is the same for all, in this order: control_open, add, the char device, attach,
 * the queues (driver_queue.h), start; back: stop, the queues' end, the char device, remove. Of a device
 * that was taken over: the char device, control_open, adopt, attach, the queues, resume; back, without
 * removing it: hand_over, the queues' end, the char device. Main thread only.
 */
#ifndef COMPOSER_FRONTEND_TYPE_H
#define COMPOSER_FRONTEND_TYPE_H

#include "driver_control.h"
#include "driver_queue.h"
#include "frontend.h"
#include "frontend_start.h"

struct frontend {
	const struct frontend_type *type;
	struct tree *tree;
	struct driver_control control;
	struct starter starter;
	bool is_added; /* there is a device with this id, ours to remove */
	bool is_left; /* handed over: our queues are about to end */
	bool is_unanswered; /* left with requests unanswered: all stays as it is until the process ends */
	bool is_taken; /* there is one that another daemon has left, not ours yet */
	bool is_smaller; /* … and its disk is smaller than the tree has become */
	uint32_t id;
	char path[FRONTEND_PATH_BYTES]; /* the disk's */
	int char_fd, ended_fd;
	/* What add() got, which may be less than the document's: */
	unsigned queues_wanted;
	uint16_t depth;
	const struct driver_queue_type *queue_type;
	struct driver_queue **queues;
	unsigned queue_count; /* those made so far */
};

struct frontend_type {
	enum driver driver;
	const char *control_path; /* "/dev/ubd-control": there when the driver is loaded */
	const char *char_path, *disk_path; /* "/dev/ubdc%u" */
	/* Whether the driver could serve the tree, as far as the document tells. -1: a message. */
	int (*check)(const struct tree *tree, struct err *err);
	/* The same, of a driver with these features. Optional. */
	int (*check_features)(const struct tree *tree, uint64_t features, struct err *err);
	/* The control node, by a driver that has what we need. 0, or -1 with a message. */
	int (*control_open)(struct driver_control *control, struct err *err);
	/*
	 * Makes the device and sets its parameters; calls frontend_added() as soon as there is
	 * one. 0, or -1 with a message.
	 */
	int (*add)(struct frontend *frontend, struct err *err);
	/* Tells the driver what lasts as long as the open char device. 0, or -1 with a message. Optional. */
	int (*attach)(struct frontend *frontend, struct err *err);
	/*
	 * The control commands: 0 or more, or -errno. start() returns when there is a disk; it is
	 * called in another process (frontend_start.h) than `server`.
	 */
	int (*start)(struct driver_control *control, uint32_t id, pid_t server);
	int (*stop)(struct driver_control *control, uint32_t id);
	/* The disk is there, new or taken: what is left to set where only the disk has it. Optional. */
	void (*started)(const struct frontend *frontend);
	/* `is_open`: the caller has the char device open; -EOPNOTSUPP: then it can't be removed. */
	int (*remove)(struct driver_control *control, uint32_t id, bool is_open);
	/* Whether there is a device of that number that nobody serves, nor waits for anybody. */
	bool (*is_dead)(struct driver_control *control, uint32_t id);
	/* Whether it will be so in a moment: its server's process has ended. Optional. */
	bool (*is_ending)(struct driver_control *control, uint32_t id);

	/*
	 * Recovery; all NULL where the driver has none.
	 *
	 * take() comes before the next server opens the char device, where the driver wants to
	 * know: -EBUSY: the last one is not gone yet. Optional.
	 * adopt() is what add() is to a device that was taken: frontend->id is set. It sees that the
	 * device waits and is one that the tree can serve; of a disk that is smaller than the tree has
	 * become it says so in frontend->is_smaller, or refuses it. resume() is what start() is.
	 */
	int (*take)(struct driver_control *control, uint32_t id);
	int (*adopt)(struct frontend *frontend, struct err *err);
	int (*resume)(struct frontend *frontend);
	/* Gives the disk the tree's size, where adopt() has set frontend->is_smaller. */
	int (*resize)(struct frontend *frontend);
	/*
	 * Ends our session and leaves the disk waiting: -ETIMEDOUT, and it goes on as before. Once
	 * it has answered it may be called again until the queues have ended: a driver may give
	 * back only the commands that are its own at the moment, and some are answers on their way.
	 */
	int (*hand_over)(struct driver_control *control, uint32_t id);
	bool (*is_waiting)(struct driver_control *control, uint32_t id);
	/* Whether a driver with these features can do hand_over(). -1: a message. Optional. */
	int (*check_hand_over)(uint64_t features, struct err *err);
};

extern const struct frontend_type frontend_ubd, frontend_ublk;

/* From then on a failure removes the device. */
void frontend_added(struct frontend *frontend, uint32_t id);

/* frontend.c's, for frontend_leave.c: calls the function in each queue's thread, one after the other. */
void frontend_call_all(struct frontend *frontend, frontend_function *function, void *argument);
/* Back: requests that were put off are answered; who was handed over waits until all queues have ended. */
void frontend_end_waiting(struct frontend *frontend);
void frontend_leave(struct frontend *frontend);

/* frontend.c's, for frontend_left.c: a front-end without a device, or NULL with a message. */
struct frontend *frontend_make(const struct frontend_type *type, struct err *err);
/* All types, from 0; NULL after the last. */
const struct frontend_type *frontend_type_at(unsigned i);
/* NULL: there is no such driver. */
const struct frontend_type *frontend_type_named(const char *driver);
/*
 * A server's session, or -errno. The last server's exit may be under way, for so many tries, and
 * udev with the node of a new device.
 */
int frontend_session(const struct frontend_type *type, uint32_t id, bool is_new, unsigned tries);
/* For is_ending(): whether the server's process is no more, or ends within ten seconds. Blocks so long. */
bool frontend_server_ends(int pid);
#define FRONTEND_TAKE_MS 45000 /* one command of take(): more than the block layer's own limit */
#define FRONTEND_TRIES 200 /* two seconds */

#endif
