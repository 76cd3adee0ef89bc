/* SPDX-License-Identifier: MIT */
/*
 * Control commands of the ubd driver (kmod/ubd_cmd.h), one at a time, each awaited.
 *
 * One thread, since the ring belongs to it; every call blocks until the driver has answered.
 */
#ifndef COMPOSER_UBD_CONTROL_H
#define COMPOSER_UBD_CONTROL_H

#include "uring.h"

#include <ubd_cmd.h>

struct ubd_control {
	int fd;
	struct uring uring;
};

/* 0, or -1 with a message: no module, no permission, a driver without what we need. */
int ubd_control_open(struct ubd_control *control, struct err *err);
void ubd_control_close(struct ubd_control *control);

/* 0 or more, or -errno as the driver gave it. `buffer` may be NULL. */
int ubd_control_command(struct ubd_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data);

#endif
