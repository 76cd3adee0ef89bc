// SPDX-License-Identifier: MIT
/* A driver's control node. It knows no command and no tree. */
#include "driver_control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ubd_cmd.h>
#include <unistd.h>

#define RING_ENTRIES 8
#define INTERRUPTED_MAX 1000
#define PATH_BYTES 64

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

static void ignored(struct event *event, int result)
{
	(void)event;
	(void)result;
}

static struct event nobody = { .end = ignored };

/* Takes back what `event` belongs to. */
static void cancel(struct uring *uring, const struct event *event)
{
	struct io_uring_sqe *sqe = uring_sqe(uring, &nobody, 1);

	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = (uintptr_t)event;
}

/* Waits for the answer, as long as that may take. 0, -ETIME, or the ring's own -errno. */
static int await(struct uring *uring, const struct answer *answer, unsigned limit_ms)
{
	struct __kernel_timespec limit = {
		.tv_sec = limit_ms / 1000,
		.tv_nsec = limit_ms % 1000 * 1000000LL,
	};
	struct answer timeout = { .event.end = answered };
	int result = 0;

	if (limit_ms) {
		struct io_uring_sqe *sqe = uring_sqe(uring, &timeout.event, 1);

		sqe->opcode = IORING_OP_TIMEOUT;
		sqe->fd = -1;
		sqe->addr = (uintptr_t)&limit;
		sqe->len = 1;
	}
	while (result == 0 && !answer->is_there && !timeout.is_there)
		result = uring_run(uring);
	if (limit_ms && !timeout.is_there) {
		cancel(uring, &timeout.event);
		while (result == 0 && !timeout.is_there)
			result = uring_run(uring);
	}
	if (result < 0 || answer->is_there)
		return result;
	return -ETIME;
}

static void command_send(struct driver_control *control, struct event *event, uint32_t code,
	struct ubd_ctrl_cmd command)
{
	struct io_uring_sqe *sqe = uring_sqe(&control->uring, event, 1);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = control->fd;
	sqe->cmd_op = code;
	memcpy(sqe->cmd, &command, sizeof(command));
}

/* One command and its answer, as long as that may take. As await(). */
static int command_answered(struct driver_control *control, uint32_t code,
	const struct ubd_ctrl_cmd *command, unsigned limit_ms, int *result)
{
	struct answer answer = { .event.end = answered };
	int error;

	command_send(control, &answer.event, code, *command);
	error = await(&control->uring, &answer, limit_ms);
	*result = answer.result;
	return error;
}

static uint16_t path_length(const struct driver_control *control, uint32_t id)
{
	char path[PATH_BYTES];

	if (!control->path_format || id == DRIVER_NO_DEVICE)
		return 0;
	return (uint16_t)snprintf(path, sizeof(path), control->path_format, id);
}

int driver_control_command_within(struct driver_control *control, uint32_t code, uint32_t id,
	void *buffer, uint16_t length, uint64_t data, unsigned limit_ms)
{
	uint16_t front = path_length(control, id), all = (uint16_t)(front + length);
	char *own = all ? malloc(all + 1u) : NULL; /* the kernel's, should it be stuck */
	const struct ubd_ctrl_cmd command = {
		.dev_id = id,
		.queue_id = UBD_NO_QUEUE,
		.len = all,
		.addr = (uintptr_t)own,
		.data = { data, front }, /* ublk's: the length of the path */
	};
	unsigned tries = 0;
	int result, answer;

	if (control->is_stuck || (all && !own)) {
		free(own);
		return control->is_stuck ? -ETIME : -ENOMEM;
	}
	if (front)
		(void)snprintf(own, all + 1u, control->path_format, id); /* fits: it was measured */
	if (length)
		memcpy(own + front, buffer, length);
	/* Who was stopped while the driver waited is told so, and nothing was done. */
	do
		result = command_answered(control, code, &command, limit_ms, &answer);
	while (result == 0 && answer == -EINTR && tries++ < INTERRUPTED_MAX);
	control->is_stuck = result < 0;
	if (control->is_stuck)
		return result;
	if (length)
		memcpy(buffer, own + front, length);
	free(own);
	return answer;
}

int driver_control_command(struct driver_control *control, uint32_t code, uint32_t id, void *buffer,
	uint16_t length, uint64_t data)
{
	return driver_control_command_within(
		control, code, id, buffer, length, data, DRIVER_ANSWER_MS);
}

int driver_control_open(
	struct driver_control *control, const char *path, const char *module, struct err *err)
{
	const struct uring_config ring = { .entries = RING_ENTRIES, .completions = RING_ENTRIES };

	*control = (struct driver_control){ .fd = open(path, O_RDWR | O_CLOEXEC) };
	if (control->fd < 0 && errno == ENOENT)
		return err_add(err, "%s is not there: the driver isn't loaded; try: modprobe %s",
			path, module);
	if (control->fd < 0)
		return err_add(err, "%s: %s%s", path, strerror(errno),
			errno == EACCES || errno == EPERM ? "; devices are made by root" : "");
	if (uring_open(&control->uring, &ring, err) < 0) {
		driver_control_close(control);
		return -1;
	}
	return 0;
}

void driver_control_close(struct driver_control *control)
{
	if (control->is_stuck)
		return; /* taking the ring apart could wait for ever */
	uring_close(&control->uring);
	if (control->fd >= 0)
		(void)close(control->fd); /* nothing was written through it */
	control->fd = -1;
}
