// SPDX-License-Identifier: MIT
/* The ublk driver's control node. It knows no tree. */
#include "ublk_control.h"

#include "process.h"

#include <errno.h>
#include <stddef.h>
#include <ubd_cmd.h>

static_assert(sizeof(struct ublk_ctrl_cmd) == sizeof(struct ubd_ctrl_cmd) &&
		      offsetof(struct ublk_ctrl_cmd, addr) == offsetof(struct ubd_ctrl_cmd, addr) &&
		      offsetof(struct ublk_ctrl_cmd, data) == offsetof(struct ubd_ctrl_cmd, data),
	"driver_control.c fills in one for both");

/* Who isn't root makes devices of another kind, which can do less. */
static int unprivileged_open(struct driver_control *control, struct err *err)
{
	const uint64_t kept = UBLK_F_UNPRIVILEGED_DEV | UBLK_F_CMD_IOCTL_ENCODE;

	if ((control->features & kept) != kept) {
		driver_control_close(control);
		return err_add(err, "devices are made by root (CAP_SYS_ADMIN): this kernel's ublk has none for "
				    "others, which Linux 6.5 and later have");
	}
	control->features &= kept;
	control->path_format = UBLK_CHAR_PATH;
	return 0;
}

int ublk_control_open(struct driver_control *control, struct err *err)
{
	if (driver_control_open(control, "/dev/ublk-control", "ublk_drv", err) < 0)
		return -1;
	if (driver_control_command(control, UBLK_CMD_GET_FEATURES, DRIVER_NO_DEVICE,
		    &control->features, sizeof(control->features), 0) < 0)
		control->features = 0;
	if (!process_may_administrate())
		return unprivileged_open(control, err);
	control->features &= ~UBLK_F_UNPRIVILEGED_DEV;
	return 0;
}

/* What root sends about a device that may be a user's, and then wants its path. */
static bool is_for_others(uint32_t code)
{
	return code == UBLK_CMD_GET_DEV_INFO || code == UBLK_CMD_STOP_DEV || code == UBLK_CMD_DEL_DEV;
}

int ublk_command_within(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data, unsigned limit_ms)
{
	int result;

	if (!(control->features & UBLK_F_CMD_IOCTL_ENCODE))
		code = UBLK_BARE(code);
	result = driver_control_command_within(control, code, id, buffer, length, data, limit_ms);
	if (result != -EINVAL || control->path_format || !is_for_others(code))
		return result;
	control->path_format = UBLK_CHAR_PATH;
	result = driver_control_command_within(control,
		code == UBLK_CMD_GET_DEV_INFO ? UBLK_CMD_GET_DEV_INFO2 : code, id, buffer, length, data,
		limit_ms);
	control->path_format = NULL;
	return result;
}

int ublk_command(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data)
{
	return ublk_command_within(control, code, id, buffer, length, data, DRIVER_ANSWER_MS);
}
