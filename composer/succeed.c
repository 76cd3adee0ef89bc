// SPDX-License-Identifier: MIT
/*
 * Making room for the next daemon of a device. A living one is asked to hand over and leave; from then on
 * it is as if it had died.
 */
#include "succeed.h"

#include "command.h"
#include "control_client.h"
#include "frontend.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEAVE_TIMEOUT_MS 30000

/* Until its process is gone: then its leaves are flushed, marked as clean and closed. */
static int wait_for_leaving(const char *name, int process, pid_t pid, struct err *err)
{
	struct pollfd poll_fd = { .fd = process, .events = POLLIN };

	if (poll(&poll_fd, 1, LEAVE_TIMEOUT_MS) > 0)
		return 0;
	return err_add(err,
		"%s: its daemon (pid %d) has handed the disk over, but not ended after %d s: its "
		"leaves are not flushed and closed yet; recover again when it is gone",
		name, (int)pid, LEAVE_TIMEOUT_MS / 1000);
}

int succeed_end(const char *name, struct err *err)
{
	int process, reason, result = -1;
	struct json *reply;
	pid_t pid;

	reply = control_ask(name, CONTROL_STATUS, &pid, &reason, err);
	if (!reply && reason == -ECONNREFUSED) {
		err_finish(err);
		return 0;
	}
	if (!reply)
		return -1;
	result = frontend_check_hand_over(
		json_get_string(json_get(reply, "status"), "driver", ""), err);
	json_destroy(reply);
	if (result < 0)
		return -1;
	result = -1;
	process = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process < 0)
		return err_add(err, "%s: its daemon (pid %d) can't be watched: %s", name, (int)pid,
			strerror(errno));
	reply = control_ask(name, CONTROL_HAND_OVER, NULL, &reason, err);
	if (reply) {
		result = wait_for_leaving(name, process, pid, err);
	} else if (reason == -ECONNREFUSED) { /* it has died meanwhile */
		err_finish(err);
		result = 0;
	} else {
		err_add(err, "%s: its daemon (pid %d) serves on", name, (int)pid);
	}
	json_destroy(reply);
	close(process);
	return result;
}

int succeed_check(const struct tree *tree, struct err *err)
{
	if (tree->device.recovery == RECOVERY_NONE)
		return err_add(err,
			"%s has no \"recovery\" in its document's \"device\": its disk goes with "
			"its daemon; `" PROGRAM " create` makes it again",
			tree->name);
	return frontend_check(tree, err);
}
