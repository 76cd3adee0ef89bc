// SPDX-License-Identifier: MIT
/*
 * delete: stops a device that nobody uses.
 *
 * The disk is opened exclusively and kept so until the kernel has taken it away: a mount that comes
 * in between fails instead of losing its disk.
 */
#include "command.h"

#include "control_client.h"
#include "device_name.h"
#include "disk_take.h"
#include "frontend.h"
#include "leaf.h"
#include "orphan.h"
#include "run_directory.h"
#include "serve.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS 30000
#define POLL_MS 10

static bool is_there(const char *path)
{
	const char *disk = strrchr(path, '/');
	char *directory;
	bool there;

	if (asprintf(&directory, "/sys/block%s", disk ? disk : "/") < 0)
		abort();
	there = access(directory, F_OK) == 0;
	free(directory);
	return there;
}

/*
 * Until the daemon's process is gone: then its leaves are flushed and unlocked. `disk` is closed
 * once the kernel has taken the disk away, as removing the rest may wait for it.
 */
static int wait_gone(const char *name, const char *path, int process, int disk, struct err *err)
{
	struct pollfd poll_fd = { .fd = process, .events = POLLIN };
	unsigned waited;

	for (waited = 0; waited < STOP_TIMEOUT_MS; waited += POLL_MS) {
		if (disk >= 0 && !is_there(path)) {
			close(disk);
			disk = -1;
		}
		if (poll(&poll_fd, 1, POLL_MS) > 0)
			break;
	}
	if (disk >= 0)
		close(disk);
	if (waited < STOP_TIMEOUT_MS)
		return 0;
	if (is_there(path))
		return err_add(err, "%s: still stopping after %d s: I/O on %s has not ended", name,
			STOP_TIMEOUT_MS / 1000, path);
	return err_add(err,
		"%s: still stopping after %d s: the disk is gone, but its leaves are not "
		"flushed and closed yet",
		name, STOP_TIMEOUT_MS / 1000);
}

static int stop(const char *name, const char *path, pid_t pid, struct err *err)
{
	int process = (int)syscall(SYS_pidfd_open, pid, 0), disk = -1, result = -1;
	struct json *reply = NULL;

	if (process < 0) {
		err_add(err, "%s: its daemon (pid %d) can't be watched: %s", name, (int)pid,
			strerror(errno));
		return -1;
	}
	disk = disk_take(name, path, err);
	if (disk != -2)
		reply = control_ask(name, CONTROL_DELETE, NULL, NULL, err);
	if (reply)
		result = wait_gone(name, path, process, disk, err);
	else if (disk >= 0)
		close(disk);
	json_destroy(reply);
	close(process);
	return result;
}

/* A disk that waits for a daemon: not while somebody waits for it. */
static int clean_waiting(const char *name, const struct run_device *left, struct err *err)
{
	char path[FRONTEND_PATH_BYTES];
	int disk;

	frontend_path_of(left->driver, left->id, path);
	disk = disk_take(name, path, err);
	if (disk == -2)
		return -1;
	if (disk >= 0)
		close(disk); /* before it goes: removing it waits for that */
	frontend_remove_waiting(left->driver, left->id);
	return 0;
}

/*
 * Its leaves are closed a little after its device: who makes that again next finds them free.
 * Without a document that can be read there is nothing to wait for.
 */
static void await_leaves(const char *name)
{
	struct err ignored = { 0 };
	struct tree *tree = serve_read_kept(name, &ignored);

	if (tree)
		leaves_await(tree, LEAVES_PATIENCE_MS);
	tree_destroy(tree);
	err_finish(&ignored);
}

/* What a killed daemon has left: with its name claimed, nobody else can be at it. */
static int clean(const char *name, struct err *err)
{
	int listener = run_claim(name, err);
	struct run_device left;
	int result = 0;

	if (listener < 0)
		return -1;
	if (run_recorded(name, &left) && frontend_is_waiting(left.driver, left.id))
		result = clean_waiting(name, &left, err);
	else if (run_recorded(name, &left))
		frontend_remove_dead(left.driver, left.id);
	if (result == 0) {
		await_leaves(name);
		run_release(name);
	}
	close(listener);
	return result;
}

enum { ORPHAN };

static const struct command_option options[] = {
	[ORPHAN] = { "orphan", 0, NULL,
		"DEVICE is one that has neither a daemon nor a name any more." },
	{ 0 },
};

static int delete_device(const struct arguments *arguments)
{
	struct err err = { 0 };
	char *name;
	struct json *reply = NULL;
	int reason = 0, result = -1;
	pid_t pid;

	if (arguments->options[ORPHAN])
		return orphan_remove(arguments->operands[0], &err) < 0 ? command_fail(&err) :
									   STATUS_DONE;
	name = device_name_find(arguments->operands[0], &err);
	if (name)
		reply = control_ask(name, CONTROL_STATUS, &pid, &reason, &err);
	if (reply) {
		result = stop(
			name, json_get_string(json_get(reply, "status"), "path", ""), pid, &err);
	} else if (reason == -ECONNREFUSED) {
		err_finish(&err);
		result = clean(name, &err);
		if (result == 0) {
			err_add(&err, "%s: its daemon had died; removed what it left", name);
			command_note(&err);
		}
	}
	json_destroy(reply);
	free(name);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

extern const struct command delete_command;
const struct command delete_command = {
	.name = "delete",
	.operands = "DEVICE",
	.summary = "stop a device that nobody uses",
	.details = "Stops DEVICE, given by its name, its id or its path: ends what the kernel has "
		   "asked of it,\n"
		   "flushes the leaves and marks them as cleanly stopped. What they hold stays; "
		   "`" PROGRAM " create`\n"
		   "makes the device again. Refuses while the disk is mounted, open or part of "
		   "another device,\n"
		   "and says by whom.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = delete_device,
};
