/* SPDX-License-Identifier: MIT */
/*
 * Control commands of a kernel driver, one at a time, each awaited. ubd and ublk have one layout
 * for them; their codes and answers are ubd_control.c's and ublk_control.c's.
 *
 * One thread, since the ring belongs to it; a call blocks until the driver has answered.
 */
#ifndef COMPOSER_DRIVER_CONTROL_H
#define COMPOSER_DRIVER_CONTROL_H

#include "uring.h"

struct driver_control {
	int fd;
	struct uring uring;
	uint64_t features; /* as the driver has told, once it was asked */
	/*
	 * The char device's path by a device's number: commands about a device begin with it, as the
	 * driver asks whether we may use that. NULL: they don't.
	 */
	const char *path_format;
	bool is_stuck; /* a command was never answered: there must be no further one */
};

/* How long a command may take. */
#define DRIVER_ANSWER_MS 30000

#define DRIVER_NO_DEVICE ((uint32_t)-1) /* the id of a command that is about none */

/*
 * Opens the driver's control node. 0, or -1 with a message: no module (`module` is what modprobe
 * would be asked for), no permission.
 */
int driver_control_open(
	struct driver_control *control, const char *path, const char *module, struct err *err);
void driver_control_close(struct driver_control *control);

/*
 * 0 or more, or -errno as the driver gave it. `buffer` may be NULL.
 *
 * A command that isn't answered in time (0: there is no limit) leaves the control stuck, and the
 * result is -ETIME: the ring can't be taken apart, and our exit will wait for the kernel.
 */
int driver_control_command_within(struct driver_control *control, uint32_t code, uint32_t id,
	void *buffer, uint16_t length, uint64_t data, unsigned limit_ms);
/* Within DRIVER_ANSWER_MS. */
int driver_control_command(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data);

#endif
