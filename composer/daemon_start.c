// SPDX-License-Identifier: MIT
/* The daemon's steps to a live device, each undone if a later one fails. */
#include "command.h"
#include "daemon_internal.h"
#include "lifetime.h"
#include "log.h"
#include "notice.h"
#include "process.h"
#include "run_directory.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>


/*
 * Signals come through a file, so that no code runs at a bad moment. They are blocked before the
 * queues' threads are made, which inherit that.
 */
static int signals_open(struct err *err)
{
	sigset_t set;
	int fd;

	(void)signal(SIGPIPE, SIG_IGN); /* these two can't fail: known signals */
	(void)signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
		(fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return err_add(err, "signals: %s", strerror(errno));
	return fd;
}

static uint64_t buffers_of(const struct device *device)
{
	return (uint64_t)device->queues * device->queue_depth * device->max_io_size;
}

/* What assembly, or the start, has left out, it has said; here it is an event. */
static void tell_left_out(struct daemon *daemon)
{
	const struct tree *tree = daemon->tree;
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (tree->nodes[i]->failed && !daemon->told[i]) {
			daemon->told[i] = true;
			notice_raise(tree->nodes[i], "leg_left_out", NULL, 0);
		}
}

static void tell_known(struct daemon *daemon)
{
	const struct tree *tree = daemon->tree;

	tell_left_out(daemon);
	if (tree->root->unclean)
		notice_raise(NULL, "was_not_stopped_cleanly", NULL, 0);
}

/*
 * What the last daemon of that name has left: with `recover` its device is ours now, else it must
 * not be one that somebody may still want.
 */
static int take_over(struct daemon *daemon, const struct daemon_config *config, struct err *err)
{
	const char *name = daemon->tree->name;
	char disk[FRONTEND_PATH_BYTES];
	struct run_device left;
	bool is_left = run_recorded(name, &left);

	if (config->recover && !is_left)
		return err_add(err, "%s: no daemon has left a device of that name", name);
	if (config->recover) {
		frontend_path_of(left.driver, left.id, disk);
		process_leave_mounts(disk);
		return frontend_take(&daemon->frontend, left.driver, left.id, err);
	}
	if (is_left && frontend_is_waiting(left.driver, left.id))
		return err_add(err,
			"%s: its daemon has died and its disk waits for another; `" PROGRAM
			" recover %s` serves it on, `" PROGRAM " delete %s` gives it up", name, name, name);
	if (is_left)
		frontend_remove_dead(left.driver, left.id);
	daemon->is_successor = is_left;
	return 0;
}

static int keep_document(const struct tree *tree, struct err *err)
{
	const char *slash = strrchr(tree->file, '/');
	size_t length;
	const char *text = json_text(tree->document, &length);
	char *path;
	int result;

	if (asprintf(&path, "%s/%s", tree->directory, slash ? slash + 1 : tree->file) < 0)
		abort();
	result = run_keep(tree->name, path, text, length, err);
	free(path);
	return result;
}

/* It is formatted for a leg that is brought up to date, as the user wants. */
static bool is_added(const struct daemon_config *config, const struct leaf *leaf)
{
	return config->assemble.add && node_is_stale(leaf->node);
}

/* Leaves, labels, limits; a disk that has users gets no leaf that was not its own, or is added. */
static int prepare(struct daemon *daemon, const struct daemon_config *config, struct err *err,
	struct err *notes)
{
	struct tree *tree = daemon->tree;
	unsigned i;

	if (config->recover || daemon->is_successor) {
		assemble_expect_removed(tree);
		leaves_await(tree, LEAVES_EXIT_MS);
	}
	if (lifetime_prepare(tree, &config->assemble, err, notes) < 0)
		return -1;
	for (i = 0; config->recover && i < tree->leaf_count; i++)
		if (tree->leaves[i]->todo >= LEAF_FORMAT && !is_added(config, tree->leaves[i]))
			return leaf_err(tree->leaves[i], err,
				"%s carries no label of this tree any more: it is not what %s was "
				"served from", tree->leaves[i]->path, tree->name);
	return 0;
}

/*
 * What is left of us is as if we had been killed: the next create or delete of the name removes the
 * device, and the leaves are as after any unclean stop.
 */
static _Noreturn void die_stuck(struct daemon *daemon, const struct daemon_config *config,
	bool is_started, struct err *err)
{
	config->stuck(config->context, err);
	if (!is_started)
		lifetime_undo(daemon->tree, false);
	_exit(EXIT_FAILURE);
}

/* Device and control socket. 0, or -1 with messages. */
static int device_open(
	struct daemon *daemon, const struct daemon_config *config, struct err *err)
{
	struct tree *tree = daemon->tree;
	int result = frontend_open(
		&daemon->frontend, tree, debug_mask & (DEBUG_REQUEST | DEBUG_OP), err);

	if (result == FRONTEND_STUCK)
		die_stuck(daemon, config, false, err);
	if (result < 0 ||
		run_record(tree->name, frontend_driver(daemon->frontend),
			frontend_id(daemon->frontend), err) < 0 ||
		keep_document(tree, err) < 0)
		return -1;
	return control_open(&daemon->control, dup(daemon->listener), daemon_answer, daemon, err);
}

/* The disk. 0, or -1 with messages. */
static int device_start(struct daemon *daemon, const struct daemon_config *config, struct err *err,
	struct err *notes)
{
	int result;

	if (lifetime_start(daemon->tree, err, notes) < 0)
		return -1;
	tell_left_out(daemon);
	process_protect(); /* all that requests need is there */
	result = frontend_start(daemon->frontend, err);
	if (result == FRONTEND_STUCK)
		die_stuck(daemon, config, true, err);
	return result;
}

int daemon_start(struct daemon *daemon, const struct daemon_config *config, struct err *err,
	struct err *notes)
{
	struct tree *tree = daemon->tree;
	bool started = false;

	daemon->signals = signals_open(err);
	if (daemon->signals < 0)
		return -1;
	if (process_check_memory(buffers_of(&tree->device), err) < 0)
		return -1;
	daemon->listener = run_claim(tree->name, err);
	if (daemon->listener < 0 || process_isolate(err) < 0)
		return -1;
	if (take_over(daemon, config, err) < 0)
		return -1;
	process_harden(notes);
	if (prepare(daemon, config, err, notes) < 0)
		goto undo;
	daemon->told = calloc(tree->node_count, sizeof(*daemon->told));
	daemon->flush_told = calloc(tree->leaf_count + 1, sizeof(*daemon->flush_told));
	if (!daemon->told || !daemon->flush_told) {
		err_add(err, "out of memory");
		goto undo;
	}
	tell_known(daemon);
	process_drop_capabilities(notes);
	if (device_open(daemon, config, err) < 0)
		goto undo;
	started = true;
	if (device_start(daemon, config, err, notes) < 0)
		goto undo;
	(void)clock_gettime(CLOCK_MONOTONIC, &daemon->started); /* can't fail with this clock */
	notice_raise(NULL, config->recover ? "recovered" : "created", "id",
		frontend_id(daemon->frontend));
	return 0;
undo:
	frontend_close(daemon->frontend);
	daemon->frontend = NULL;
	lifetime_undo(tree, started);
	return -1;
}
