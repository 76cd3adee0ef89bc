// SPDX-License-Identifier: MIT
/* A driver's control node. It knows no command and no tree. */
#include "driver_control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <ubd_cmd.h>
#include <unistd.h>

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

int driver_control_command(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
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

int driver_control_open(
	struct driver_control *control, const char *path, const char *module, struct err *err)
{
	*control = (struct driver_control){ .fd = open(path, O_RDWR | O_CLOEXEC) };
	if (control->fd < 0 && errno == ENOENT)
		return err_add(err, "%s is not there: the driver isn't loaded; try: modprobe %s",
			path, module);
	if (control->fd < 0)
		return err_add(err, "%s: %s%s", path, strerror(errno),
			errno == EACCES || errno == EPERM ? "; devices are made by root" : "");
	if (uring_open(&control->uring, 4, 4, NULL, 0, err) < 0) {
		driver_control_close(control);
		return -1;
	}
	return 0;
}

void driver_control_close(struct driver_control *control)
{
	uring_close(&control->uring);
	if (control->fd >= 0)
		(void)close(control->fd); /* nothing was written through it */
	control->fd = -1;
}
