// SPDX-License-Identifier: MIT
/*
 * recover: a new daemon for a device that goes on without one, or in place of one that lives.
 *
 * A living one is asked to hand over and leave; from then on both cases are the same.
 */
#include "command.h"

#include "control_client.h"
#include "frontend.h"
#include "run_directory.h"
#include "serve.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEAVE_TIMEOUT_MS 30000

enum { FOREGROUND, DEGRADED, PREFER };

static const struct command_option options[] = {
	[FOREGROUND] = { "foreground", 'f', NULL,
		"Stay in the foreground. SIGINT and SIGTERM stop the device." },
	[DEGRADED] = { "degraded", 0, NULL,
		"Go on without legs that are missing, where a mirror can." },
	[PREFER] = { "prefer", 0, "LEAF",
		"Where the labels can't tell which leg of a mirror has all writes, use that of\n"
		"LEAF, an id or a path, and give up those that are in conflict with it.",
		.many = true },
	{ 0 },
};

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

/* 0: no daemon has the device any more. */
static int end_daemon(const char *name, struct err *err)
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

static int check(const struct tree *tree, struct err *err)
{
	if (tree->device.recovery == RECOVERY_NONE)
		return err_add(err,
			"%s has no \"recovery\" in its document's \"device\": its disk goes with "
			"its daemon; `" PROGRAM " create` makes it again",
			tree->name);
	return frontend_check(tree, err);
}

static int recover(const struct arguments *arguments)
{
	const char *name = arguments->operands[0];
	struct daemon_config config = {
		.recover = true,
		.assemble.degraded = arguments->options[DEGRADED] != NULL,
		.assemble.prefer = arguments->values,
		.assemble.prefer_count = arguments->value_count,
	};
	struct err err = { 0 };
	struct tree *tree = NULL;

	if (run_check_known(name, &err) == 0)
		tree = serve_read_kept(name, &err);
	if (tree && check(tree, &err) == 0 && end_daemon(name, &err) == 0)
		return serve(tree, &config, arguments->options[FOREGROUND] != NULL);
	tree_destroy(tree);
	return command_fail(&err);
}

extern const struct command recover_command;
const struct command recover_command = {
	.name = "recover",
	.operands = "NAME",
	.summary = "put a new daemon in the place of one that died, or lives",
	.details = "A device whose document says \"recovery\" outlives its daemon: whoever uses the "
		   "disk waits, for\n"
		   "\"recovery_timeout\" seconds at most, until this has started the next one. With "
		   "\"reissue\"\n"
		   "requests that the dead daemon had in its hands are done again; with \"fail\" they "
		   "fail.\n"
		   "A daemon that lives is asked to leave first, as for an upgrade: then no request "
		   "fails.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = recover,
};
