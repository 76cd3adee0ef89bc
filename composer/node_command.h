/* SPDX-License-Identifier: MIT */
/*
 * A verb of the user's for one node of a live device, from the control socket to the node's
 * command() and back:
 *
 *   {"command":"node","node":ID,"verb":VERB,"arguments":{…}}      {"answer":{…}}
 *                                                                {"error":"unknown_node"}
 *                                                                {"error":"no_commands"}
 *                                                                {"error":"refused","messages":["…"]}
 *
 * The messages are the target's own. What takes long is only begun; status shows how far it is.
 */
#ifndef COMPOSER_NODE_COMMAND_H
#define COMPOSER_NODE_COMMAND_H

#include "control.h"
#include "engine.h"

struct node_command {
	struct tree *tree;
	const struct control_request *request;
	struct json_object *reply; /* made by the run; the caller frees it */
};

/* In the queue's thread, between requests: a frontend_function over a node_command. */
void node_command_run(struct engine *engine, void *command);

#endif
