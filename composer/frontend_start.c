// SPDX-License-Identifier: MIT
/* The process that starts a disk. It gets the device's number, and answers with the result. */
#include "frontend_start.h"

#include "frontend_type.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int start(const struct frontend_type *type, uint32_t id, pid_t server)
{
	struct driver_control control;
	struct err err = { 0 };
	int result;

	if (type->control_open(&control, &err) < 0) {
		err_finish(&err); /* a moment ago it could be opened: memory is short */
		return -ENOMEM;
	}
	result = type->start(&control, id, server);
	driver_control_close(&control);
	return result;
}

static _Noreturn void serve(const struct frontend_type *type, int fd, pid_t server)
{
	const int kept = STDERR_FILENO + 1;
	uint32_t id;
	int result;

	if (fd != kept)
		(void)dup2(fd, kept); /* an open file to a number in range */
	(void)close_range(kept + 1, ~0u, 0); /* our leaves' locks are not to outlive the daemon */
	if (read(kept, &id, sizeof(id)) == sizeof(id)) {
		result = start(type, id, server);
		/* MSG_NOSIGNAL: nobody may be there any more, and then nobody wants to know. */
		(void)send(kept, &result, sizeof(result), MSG_NOSIGNAL);
	}
	_exit(EXIT_SUCCESS);
}

int starter_open(struct starter *starter, const struct frontend_type *type, struct err *err)
{
	pid_t server = getpid();
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return err_add(err, "socketpair: %s", strerror(errno));
	starter->pid = fork();
	if (starter->pid == 0)
		serve(type, ends[1], server);
	(void)close(ends[1]); /* the child's */
	if (starter->pid < 0) {
		starter->pid = 0;
		(void)close(ends[0]); /* nothing was written */
		return err_add(err, "fork: %s", strerror(errno));
	}
	starter->fd = ends[0];
	return 0;
}

int starter_run(struct starter *starter, uint32_t id, unsigned limit_ms)
{
	struct pollfd answer = { .fd = starter->fd, .events = POLLIN };
	int result = -EIO, ready;

	if (send(starter->fd, &id, sizeof(id), MSG_NOSIGNAL) < 0)
		return -errno;
	do
		ready = poll(&answer, 1, (int)limit_ms); /* signals are blocked: EINTR is rare */
	while (ready < 0 && errno == EINTR);
	if (ready == 0) {
		starter->pid = 0; /* it ends by itself, once its command is answered */
		return -ETIME;
	}
	if (read(starter->fd, &result, sizeof(result)) != sizeof(result))
		return -EIO; /* it was killed */
	return result;
}

void starter_close(struct starter *starter)
{
	if (starter->pid == 0)
		return;
	(void)close(starter->fd); /* tells it that nothing more comes */
	(void)waitpid(starter->pid, NULL, 0); /* its end is all we want */
	starter->pid = 0;
}
