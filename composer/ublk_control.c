// SPDX-License-Identifier: MIT
/* The ublk driver's control node. It knows no tree. */
#include "ublk_control.h"

#include <stddef.h>
#include <ubd_cmd.h>

static_assert(sizeof(struct ublk_ctrl_cmd) == sizeof(struct ubd_ctrl_cmd) &&
		      offsetof(struct ublk_ctrl_cmd, addr) == offsetof(struct ubd_ctrl_cmd, addr) &&
		      offsetof(struct ublk_ctrl_cmd, data) == offsetof(struct ubd_ctrl_cmd, data),
	"driver_control.c fills in one for both");

int ublk_control_open(struct driver_control *control, struct err *err)
{
	if (driver_control_open(control, "/dev/ublk-control", "ublk_drv", err) < 0)
		return -1;
	if (driver_control_command(control, UBLK_CMD_GET_FEATURES, DRIVER_NO_DEVICE,
		    &control->features, sizeof(control->features), 0) < 0)
		control->features = 0;
	return 0;
}

int ublk_command_within(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data, unsigned limit_ms)
{
	if (!(control->features & UBLK_F_CMD_IOCTL_ENCODE))
		code = UBLK_BARE(code);
	return driver_control_command_within(control, code, id, buffer, length, data, limit_ms);
}

int ublk_command(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data)
{
	return ublk_command_within(control, code, id, buffer, length, data, DRIVER_ANSWER_MS);
}
