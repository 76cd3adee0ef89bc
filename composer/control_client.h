/* SPDX-License-Identifier: MIT */
/*
 * The control socket, the command line's side. Blocks, but never longer than a few seconds.
 */
#ifndef COMPOSER_CONTROL_CLIENT_H
#define COMPOSER_CONTROL_CLIENT_H

#include "control.h"
#include "json.h"

#include <sys/types.h>

struct json_object;

/*
 * Asks NAME's daemon. Returns the reply, to be freed with json_destroy(); or NULL with a message,
 * and then *reason says -ENOENT (no such name), -ECONNREFUSED (its daemon is dead), -ETIMEDOUT (it
 * doesn't answer) or another error. *pid is the daemon's, or 0. `reason` and `pid` may be NULL. One
 * that drops the connection, as a dying one does, is asked again for some seconds.
 */
struct json *control_ask(
	const char *name, enum control_command command, pid_t *pid, int *reason, struct err *err);

/*
 * Asks a node of NAME's tree for a verb of its type's (node_command.h). Takes `arguments`; NULL: there are none. The
 * reply, to be freed, or NULL with a message.
 */
struct json *control_ask_node(const char *name, const char *node, const char *verb,
	struct json_object *arguments, struct err *err);
/* The same, and its answer, to be freed with json_object_put(). */
struct json_object *control_ask_answer(const char *name, const char *node, const char *verb,
	struct json_object *arguments, struct err *err);

/*
 * Begins to follow NAME's events: the fd, from which lines come until the daemon ends, or -1 with a
 * message. Doesn't block for longer than control_ask().
 */
int control_follow(const char *name, struct err *err);

#endif
