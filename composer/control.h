/* SPDX-License-Identifier: MIT */
/*
 * The control socket, the daemon's side: one JSON object comes, one goes back, the connection ends.
 *
 *   request  {"command":"status"}                reply  {"status":{…}}
 *            {"command":"delete"}                       {"stopping":true}
 *            {"command":"node",…}                       node_command.h
 *            {"command":"hand_over"}                    {"handing_over":true}
 *                                                       {"error":"cant_hand_over"}
 *            {"command":"events"}                       {"events":[…]}
 *            {"command":"follow"}                       {"events":[…]}, and the connection stays: each
 *                                                       further event is a line of its own
 *                                                       {"error":"unknown_command"}
 *
 * A frame is one line: JSON without a raw newline, ended by a newline or the end of the stream, of
 * at most CONTROL_FRAME_MAX bytes. Replies hold no sentences but a node's own: whoever asks makes
 * them.
 *
 * Runs in the daemon's main thread and never blocks: a client that is slow, silent or hostile costs
 * one of CONTROL_CLIENTS_MAX places, for CONTROL_TIMEOUT_MS; a new client takes the oldest's place,
 * though not a follower's.
 * Only root and the daemon's own user are answered.
 */
#ifndef COMPOSER_CONTROL_H
#define COMPOSER_CONTROL_H

#include "err.h"

#include <stddef.h>

#define CONTROL_FRAME_MAX ((size_t)1024 * 1024)
#define CONTROL_CLIENTS_MAX 16
#define CONTROL_FOLLOWERS_MAX 8 /* of these */
#define CONTROL_BACKLOG_MAX ((size_t)1024 * 1024) /* a follower that has not read more is let go */
#define CONTROL_TIMEOUT_MS 5000

struct json;
struct json_object; /* json-c's */

enum control_command {
	CONTROL_STATUS,
	CONTROL_DELETE,
	CONTROL_NODE,
	CONTROL_HAND_OVER,
	CONTROL_EVENTS,
	CONTROL_FOLLOW,
};

struct control_request {
	enum control_command command;
	const char *node, *verb; /* CONTROL_NODE */
	const struct json *arguments; /* likewise; an object, NULL: none */
	struct json *json; /* what they point into */
};

/*
 * Reads a frame. NULL, or the word for what is wrong with it. Pure, for any bytes.
 * control_request_finish() after either.
 */
const char *control_parse(const char *frame, size_t length, struct control_request *request);
void control_request_finish(struct control_request *request);

/* The word of a command, as frames have it. */
const char *control_command_name(enum control_command command);

struct control;

/* Makes the reply to a request; the caller frees it. */
typedef struct json_object *control_answer(void *context, const struct control_request *request);

/* Serves the listening socket, which is control's from then on. 0, or -1 with a message. */
int control_open(struct control **control, int listener, control_answer *answer, void *context,
	struct err *err);

/* Readable when control_serve() has something to do. */
int control_fd(const struct control *control);
void control_serve(struct control *control);

/* Sends a line (without its newline) to all who follow. */
void control_push(struct control *control, const char *line);

/* Ends all connections. NULL is fine. */
void control_close(struct control *control);

#endif
