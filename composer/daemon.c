// SPDX-License-Identifier: MIT
/*
 * The daemon: the steps to a live device, the loop, and the steps back.
 *
 * The loop's thread never touches the data path: requests are served by the queues' own threads, so
 * a slow control client or a long status costs no I/O anything.
 */
#include "daemon.h"

#include "command.h"
#include "control.h"
#include "events.h"
#include "frontend.h"
#include "hook.h"
#include "lifetime.h"
#include "log.h"
#include "node_command.h"
#include "process.h"
#include "run_directory.h"
#include "status.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define LEAVES_PATIENCE_MS 3000 /* a dead daemon's files close a little after its session */
#define LOOK_MS 1000 /* how soon a failed leg is logged */

struct daemon {
	struct tree *tree;
	struct frontend *frontend;
	struct control *control;
	int listener; /* until control has it */
	int signals;
	int hook; /* -1: none */
	struct events *events;
	bool *told; /* by node->index: its failure has been logged */
	bool *flush_told; /* by place: likewise that a flush has failed */
	struct timespec started;
	bool is_stopping, is_handing_over;
};

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

/* The driver lets no request in any more, and those that it had have been answered. */
static void hand_over(struct daemon *daemon, struct json_object *reply)
{
	struct err err = { 0 };

	if (frontend_hand_over(daemon->frontend, &err) == 0) {
		daemon->is_stopping = daemon->is_handing_over = true;
		json_object_object_add(reply, "handing_over", json_object_new_boolean(true));
	} else {
		json_object_object_add(reply, "error", json_object_new_string("cant_hand_over"));
	}
	log_err(&err);
}

static struct json_object *answer(void *context, const struct control_request *request)
{
	struct daemon *daemon = context;
	struct node_command command = { .tree = daemon->tree, .request = request };
	struct json_object *reply = json_object_new_object();
	struct status_facts facts = {
		.path = frontend_path(daemon->frontend),
		.id = frontend_id(daemon->frontend),
		.driver = frontend_driver(daemon->frontend),
		.pid = getpid(),
		.started = daemon->started,
		.memory = frontend_memory(daemon->frontend),
	};

	switch (request->command) {
	case CONTROL_STATUS:
		frontend_stats(daemon->frontend, &facts.stats);
		json_object_object_add(reply, "status", status_make(daemon->tree, &facts));
		break;
	case CONTROL_DELETE:
		daemon->is_stopping = true;
		json_object_object_add(reply, "stopping", json_object_new_boolean(true));
		break;
	case CONTROL_NODE:
		if (frontend_call(daemon->frontend, node_command_run, &command)) {
			json_object_put(reply);
			return command.reply;
		}
		json_object_object_add(reply, "stopping", json_object_new_boolean(true));
		break;
	case CONTROL_HAND_OVER:
		hand_over(daemon, reply);
		break;
	case CONTROL_EVENTS:
	case CONTROL_FOLLOW:
		json_object_object_add(reply, "events", events_json(daemon->events));
		break;
	}
	return reply;
}

static uint64_t buffers_of(const struct device *device)
{
	return (uint64_t)device->queues * device->queue_depth * device->max_io_size;
}

/* What assembly has left out, it has said; here it is an event. */
static void tell_known(struct daemon *daemon)
{
	const struct tree *tree = daemon->tree;
	unsigned i;

	for (i = 0; i < tree->node_count; i++) {
		daemon->told[i] = tree->nodes[i]->failed;
		if (tree->nodes[i]->failed)
			notice_raise(tree->nodes[i], "leg_left_out", NULL, 0);
	}
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

/* Leaves, labels, limits; a disk that has users gets no leaf that was not its own. */
static int prepare(struct daemon *daemon, const struct daemon_config *config, struct err *err,
	struct err *notes)
{
	struct tree *tree = daemon->tree;
	unsigned i;

	if (config->recover)
		leaves_await(tree, LEAVES_PATIENCE_MS);
	if (lifetime_prepare(tree, &config->assemble, err, notes) < 0)
		return -1;
	for (i = 0; config->recover && i < tree->leaf_count; i++)
		if (tree->leaves[i]->todo >= LEAF_FORMAT)
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
	return control_open(&daemon->control, dup(daemon->listener), answer, daemon, err);
}

/* The disk. 0, or -1 with messages. */
static int device_start(
	struct daemon *daemon, const struct daemon_config *config, struct err *err)
{
	int result;

	if (lifetime_start(daemon->tree, err) < 0)
		return -1;
	result = frontend_start(daemon->frontend, err);
	if (result == FRONTEND_STUCK)
		die_stuck(daemon, config, true, err);
	return result;
}

/* 0, or -1 with messages and nothing left but what daemon_stop() undoes. */
static int daemon_start(struct daemon *daemon, const struct daemon_config *config, struct err *err,
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
	process_protect();
	started = true;
	if (device_start(daemon, config, err) < 0)
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

/* Why the loop ends, or NULL to go on. */
static const char *signal_read(const struct daemon *daemon)
{
	struct signalfd_siginfo info;

	while (read(daemon->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGTERM)
			return "SIGTERM";
		if (info.ssi_signo == SIGINT)
			return "SIGINT";
	}
	return NULL; /* SIGHUP: a terminal that closes is no reason to take a disk away */
}

/* Legs fail in the queues' threads, which don't log. Says what has failed since the last look. */
static void tell_failures(struct daemon *daemon)
{
	const struct tree *tree = daemon->tree;
	unsigned i;

	for (i = 0; i < tree->node_count; i++) {
		const struct node *node = tree->nodes[i];

		if (daemon->told[i] || !__atomic_load_n(&node->failed, __ATOMIC_RELAXED))
			continue;
		daemon->told[i] = true;
		log_say("%s %s%s%s has failed a write and is left out of %s", node->type->name,
			node->id, node->leaf ? ", " : "", node->leaf ? node->leaf->path : "",
			node->parent ? node->parent->id : tree->name);
		notice_raise(node, "leg_failed", NULL, 0);
	}
	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (daemon->flush_told[i] ||
			!__atomic_load_n(&leaf->flush_failed, __ATOMIC_RELAXED))
			continue;
		daemon->flush_told[i] = true;
		log_say("%s, %s: a flush has failed; no later one is believed", leaf->node->id,
			leaf->path);
		notice_raise(leaf->node, "flush_failed", NULL, 0);
	}
}

/* Serves until something ends it. */
static void loop(struct daemon *daemon)
{
	struct pollfd fds[] = {
		{ .fd = daemon->signals, .events = POLLIN },
		{ .fd = frontend_ended_fd(daemon->frontend), .events = POLLIN },
		{ .fd = control_fd(daemon->control), .events = POLLIN },
		{ .fd = events_fd(daemon->events), .events = POLLIN },
	};

	while (!daemon->is_stopping) {
		const char *reason;

		if (poll(fds, sizeof(fds) / sizeof(*fds), LOOK_MS) < 0 && errno != EINTR) {
			log_say("stopping: poll: %s", strerror(errno));
			return;
		}
		reason = signal_read(daemon);
		if (reason) {
			log_say("stopping: %s", reason);
			return;
		}
		if (fds[1].revents && !daemon->is_handing_over) {
			log_say("stopping: %s was stopped elsewhere",
				frontend_path(daemon->frontend));
			return;
		}
		tell_failures(daemon);
		events_tell(daemon->events, frontend_path(daemon->frontend), daemon->control);
		control_serve(daemon->control);
	}
	log_say(daemon->is_handing_over ? "stopping: another daemon takes over"
					: "stopping: deleted");
}

static int daemon_serve(
	struct daemon *daemon, const struct daemon_config *config, struct err *notes)
{
	struct err late = { 0 };
	int result;

	if (config->ready(config->context, frontend_path(daemon->frontend), notes) < 0 &&
		!config->recover) {
		log_say("stopping: who asked for the device is gone");
	} else {
		log_open(daemon->tree->name, config->detached);
		if (config->detached &&
			chdir("/") < 0) /* else the caller's could not be unmounted */
			log_say("can't leave the directory it was started in: %s", strerror(errno));
		loop(daemon);
	}
	frontend_close(daemon->frontend);
	daemon->frontend = NULL;
	tell_failures(daemon);
	result = lifetime_stop(daemon->tree, &late);
	log_err(&late);
	notice_raise(NULL, result < 0			 ? "stopped_uncleanly"
			   : daemon->is_handing_over ? "handed_over"
						     : "deleted", NULL, 0);
	events_tell(daemon->events, NULL, daemon->control);
	return result;
}

/* A disk without a daemon keeps its name. */
static bool is_waiting(const char *name)
{
	struct run_device left;

	return run_recorded(name, &left) && frontend_is_waiting(left.driver, left.id);
}

int daemon_run(struct tree *tree, const struct daemon_config *config, struct err *err)
{
	struct daemon daemon = { .tree = tree, .listener = -1, .signals = -1 };
	struct err notes = { 0 };
	bool is_left;
	int result = -1;

	log_open(tree->name, false);
	daemon.hook = hook_start(tree->device.hook, err);
	if (daemon.hook >= -1)
		result = events_open(&daemon.events, tree, daemon.hook, err);
	if (result == 0)
		result = daemon_start(&daemon, config, err, &notes);
	is_left = result < 0 && config->recover; /* the next create or delete tidies it up */
	if (result == 0)
		result = daemon_serve(&daemon, config, &notes);
	err_finish(&notes);
	free(daemon.told);
	free(daemon.flush_told);
	control_close(daemon.control);
	events_close(daemon.events);
	if (daemon.hook >= 0)
		close(daemon.hook);
	if (daemon.listener >= 0) {
		if (!is_left && !is_waiting(tree->name))
			run_release(tree->name);
		close(daemon.listener);
	}
	if (daemon.signals >= 0)
		close(daemon.signals);
	return result;
}
