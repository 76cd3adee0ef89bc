// SPDX-License-Identifier: MIT
/* The ubd driver's control node. It knows no tree. */
#include "ubd_control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CONTROL_PATH "/dev/ubd-control"

struct answer {
	struct event event;
	int result;
	bool is_there;
};

static void answered(struct event *event, int result)
{
	struct answer *answer = container_of(event, struct answer, event);

	answer->result = result;
	answer->is_there = true;
}

int ubd_control_command(struct ubd_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data)
{
	struct ubd_ctrl_cmd command = {
		.dev_id = id,
		.queue_id = UBD_NO_QUEUE,
		.len = length,
		.addr = (uintptr_t)buffer,
		.data = { data },
	};
	struct answer answer = { .event.end = answered };
	struct io_uring_sqe *sqe = uring_sqe(&control->uring, &answer.event, 1);
	int result;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = control->fd;
	sqe->cmd_op = code;
	memcpy(sqe->cmd, &command, sizeof(command));
	while (!answer.is_there) {
		result = uring_run(&control->uring);
		if (result < 0)
			return result;
	}
	return answer.result;
}

static int control_features(struct ubd_control *control, struct err *err)
{
	uint64_t features = 0;
	int result = ubd_control_command(control, UBD_CMD_GET_FEATURES, (uint32_t)-1, &features,
		sizeof(features), 0);

	if (result < 0)
		return err_add(err, "%s: the driver doesn't tell its features: %s", CONTROL_PATH,
			strerror(-result));
	if (!(features & UBD_F_PARAMS))
		return err_add(err, "%s: the driver is too old: features 0x%llx, 0x%llx needed",
			CONTROL_PATH, (unsigned long long)features,
			(unsigned long long)UBD_F_PARAMS);
	return 0;
}

int ubd_control_open(struct ubd_control *control, struct err *err)
{
	*control = (struct ubd_control){ .fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC) };
	if (control->fd < 0 && errno == ENOENT)
		return err_add(err, "%s is not there: the driver isn't loaded; try: modprobe ubd",
			CONTROL_PATH);
	if (control->fd < 0)
		return err_add(err, "%s: %s%s", CONTROL_PATH, strerror(errno),
			errno == EACCES || errno == EPERM ? "; devices are made by root" : "");
	if (uring_open(&control->uring, 4, 4, NULL, 0, err) < 0 ||
		control_features(control, err) < 0) {
		ubd_control_close(control);
		return -1;
	}
	return 0;
}

void ubd_control_close(struct ubd_control *control)
{
	uring_close(&control->uring);
	if (control->fd >= 0)
		(void)close(control->fd); /* nothing was written through it */
	control->fd = -1;
}
