// SPDX-License-Identifier: MIT
/*
 * The daemon: its loop, and the steps back. Those to a live device are daemon_start.c's.
 *
 * The loop's thread never touches the data path: requests are served by the queues' own threads, so
 * a slow control client or a long status costs no I/O anything.
 */
#include "daemon_internal.h"

#include "control.h"
#include "events.h"
#include "frontend.h"
#include "hook.h"
#include "lifetime.h"
#include "log.h"
#include "node_command.h"
#include "run_directory.h"
#include "status.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000 /* how soon a failed leg is logged */

/* What came has been answered, or comes again to the next one. */
static void hand_over(struct daemon *daemon, struct json_object *reply)
{
	struct err err = { 0 };

	if (frontend_hand_over(daemon->frontend, &err) == 0) {
		daemon->is_stopping = daemon->is_handing_over = true;
		daemon->has_unanswered = frontend_is_unanswered(daemon->frontend);
		json_object_object_add(reply, "handing_over", json_object_new_boolean(true));
	} else {
		json_object_object_add(reply, "error", json_object_new_string("cant_hand_over"));
	}
	log_err(&err);
}

struct json_object *daemon_answer(void *context, const struct control_request *request)
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

		bool has_failed = __atomic_load_n(&node->failed, __ATOMIC_RELAXED);

		if (daemon->told[i] == has_failed)
			continue;
		daemon->told[i] = has_failed; /* or it has been taken in again */
		if (!has_failed)
			continue;
		log_say("%s %s%s%s has failed and is left out of %s", node->type->name,
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

struct growth {
	struct leaf *leaf;
	uint64_t bytes;
	bool is_taken;
};

static void grow(struct engine *engine, void *argument)
{
	struct growth *growth = argument;
	struct node *node = growth->leaf->node;

	growth->is_taken = engine_grow(
		engine, node, growth->bytes - growth->bytes % node->limits.logical_block_size);
	if (growth->is_taken)
		growth->leaf->bytes = growth->bytes;
}

/* Disks that nodes use as large as they are may become larger, and nobody tells us. */
static void look_for_growth(struct daemon *daemon)
{
	const struct tree *tree = daemon->tree;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		struct growth growth = { .leaf = tree->leaves[i] };
		uint64_t before = growth.leaf->bytes;

		if (!growth.leaf->node->limits.is_extensible)
			continue;
		growth.bytes = leaf_bytes_now(growth.leaf);
		if (growth.bytes <= before || !frontend_call(daemon->frontend, grow, &growth) ||
			!growth.is_taken)
			continue;
		log_say("%s, %s has grown from %" PRIu64 " to %" PRIu64 " bytes, which %s %s uses from now on",
			growth.leaf->node->id, growth.leaf->path, before, growth.bytes,
			growth.leaf->node->parent->type->name, growth.leaf->node->parent->id);
	}
}

/* Leaves that hang when we go: the kernel has them, and their locks, until they answer. */
static void tell_late(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (leaf_late(leaf) > 0)
			log_say("%s, %s hangs: %u sub-I/Os that were given up after %" PRIu64
				" ms have not ended; it stays in use until they have",
				leaf->node->id, leaf->path, leaf_late(leaf), leaf->timeout_ms);
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
		look_for_growth(daemon);
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
	tell_late(daemon->tree);
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
	if (daemon.has_unanswered)
		_exit(result < 0 ? EXIT_FAILURE : EXIT_SUCCESS); /* the driver gives them to the next one when we are gone */
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
