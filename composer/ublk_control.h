/* SPDX-License-Identifier: MIT */
/* The ublk driver's control node (ublk_cmd.h), and what the driver that is loaded can do. */
#ifndef COMPOSER_UBLK_CONTROL_H
#define COMPOSER_UBLK_CONTROL_H

#include "driver_control.h"
#include "ublk_cmd.h"

#define UBLK_CHAR_PATH "/dev/ublkc%u"

/*
 * 0, or -1 with a message: no module, no permission. control->features are the driver's UBLK_F_*
 * bits, none for a driver that can't tell (before 6.5).
 */
int ublk_control_open(struct driver_control *control, struct err *err);

/* As driver_control_command*(); `code` is made a bare number for a driver that knows no other. */
int ublk_command(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data);
int ublk_command_within(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data, unsigned limit_ms);

#endif
