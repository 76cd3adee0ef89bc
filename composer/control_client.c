// SPDX-License-Identifier: MIT
/* Asking a daemon through its control socket. It knows frames, not what they say. */
#include "control_client.h"

#include "run_directory.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_MS 5000
#define DYING_MS 5000
#define PAUSE_MS 20

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* can't fail with this clock */
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until fd is ready; 0, or -errno. */
static int wait_for(int fd, short events, int64_t deadline_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int64_t left = deadline_ms - now_ms();
	int count = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;

	if (count < 0 && errno != EINTR)
		return -errno;
	return count == 0 ? -ETIMEDOUT : 0;
}

static int send_all(int fd, const char *text, int64_t deadline_ms)
{
	size_t length = strlen(text);

	while (length) {
		ssize_t count = send(fd, text, length, MSG_NOSIGNAL);
		int result;

		if (count >= 0) {
			text += count;
			length -= (size_t)count;
			continue;
		}
		if (errno != EAGAIN)
			return -errno;
		result = wait_for(fd, POLLOUT, deadline_ms);
		if (result < 0)
			return result;
	}
	return 0;
}

/* Reads to the end of the stream into *text (to be freed). The length, or -errno. */
static ssize_t receive_all(int fd, char **text, int64_t deadline_ms)
{
	size_t length = 0, size = 65536;
	ssize_t count;

	*text = malloc(size);
	for (;;) {
		if (length == size && size <= CONTROL_FRAME_MAX)
			*text = realloc(*text, size *= 2);
		if (!*text || length == size)
			return *text ? -EMSGSIZE : -ENOMEM;
		count = recv(fd, *text + length, size - length, 0);
		if (count == 0)
			return length ? (ssize_t)length : -ECONNRESET;
		if (count > 0) {
			length += (size_t)count;
			continue;
		}
		if (errno != EAGAIN)
			return -errno;
		count = wait_for(fd, POLLIN, deadline_ms);
		if (count < 0)
			return count;
	}
}

static pid_t peer_pid(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return 0;
	return peer.pid;
}

/* What a failed call means to the user. */
static void explain_failure(const char *name, pid_t pid, int result, struct err *err)
{
	switch (result) {
	case -ENOENT:
		err_add(err, "there is no device \"%s\"", name);
		break;
	case -ECONNREFUSED:
		err_add(err, "%s: its daemon is dead", name);
		break;
	case -EAGAIN:
	case -ETIMEDOUT:
		err_add(err, "%s: its daemon (pid %d) hasn't answered within %d s", name, (int)pid,
			ANSWER_TIMEOUT_MS / 1000);
		break;
	case -EACCES:
		err_add(err, "%s: no permission to ask its daemon; this needs root", name);
		break;
	default:
		err_add(err, "%s: can't ask its daemon: %s", name, strerror(-result));
	}
}

/* One question, and its answer as text, to be freed. The length, or -errno. */
static ssize_t ask_once(const char *name, const char *request, pid_t *peer, char **text)
{
	int64_t deadline_ms = now_ms() + ANSWER_TIMEOUT_MS;
	int fd = run_connect(name);
	ssize_t result = fd;

	*text = NULL;
	if (fd < 0)
		return result;
	*peer = peer_pid(fd);
	result = send_all(fd, request, deadline_ms);
	if (result >= 0)
		result = receive_all(fd, text, deadline_ms);
	close(fd);
	return result;
}

/*
 * A daemon that is just dying may still take a connection, and drop it: asked again, either nobody
 * is there, or the next one.
 */
static ssize_t ask(const char *name, const char *request, pid_t *peer, char **text)
{
	const struct timespec pause = { 0, PAUSE_MS * 1000000 };
	ssize_t result;
	unsigned waited;

	for (waited = 0;; waited += PAUSE_MS) {
		result = ask_once(name, request, peer, text);
		if ((result != -ECONNRESET && result != -EPIPE) || waited >= DYING_MS)
			return result;
		free(*text);
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	}
}

/* Sends a frame and takes the answer. It is not looked into but for "error". */
static struct json *exchange(
	const char *name, const char *request, pid_t *pid, int *reason, struct err *err)
{
	struct json *reply = NULL;
	pid_t peer = 0;
	char *text;
	ssize_t result = ask(name, request, &peer, &text);
	size_t i;

	if (result >= 0)
		reply = json_parse("reply", text, (size_t)result, err);
	else
		explain_failure(name, peer, (int)result, err);
	if (reply && json_kind(reply) != JSON_OBJECT) {
		err_add(err, "%s: its daemon has answered with no object", name);
		json_destroy(reply);
		reply = NULL;
	}
	if (reply && json_get(reply, "messages")) { /* a node's own words */
		for (i = 0; i < json_count(json_get(reply, "messages")); i++)
			err_add(err, "%s: %s", name,
				json_string(json_at(json_get(reply, "messages"), i)));
		json_destroy(reply);
		reply = NULL;
	}
	if (reply && json_get(reply, "error")) {
		err_add(err, "%s: its daemon has refused the request: %s", name,
			json_get_string(reply, "error", ""));
		json_destroy(reply);
		reply = NULL;
	}
	if (pid)
		*pid = peer;
	if (reason)
		*reason = result < 0 ? (int)result : 0;
	free(text);
	return reply;
}

struct json *control_ask(
	const char *name, enum control_command command, pid_t *pid, int *reason, struct err *err)
{
	struct json *reply;
	char *request;

	if (asprintf(&request, "{\"command\":\"%s\"}\n", control_command_name(command)) < 0)
		abort();
	reply = exchange(name, request, pid, reason, err);
	free(request);
	return reply;
}

struct json *control_ask_node(const char *name, const char *node, const char *verb,
	struct json_object *arguments, struct err *err)
{
	struct json_object *request = json_object_new_object();
	struct json *reply;
	char *frame;

	json_object_object_add(request, "command", json_object_new_string("node"));
	json_object_object_add(request, "node", json_object_new_string(node));
	json_object_object_add(request, "verb", json_object_new_string(verb));
	json_object_object_add(
		request, "arguments", arguments ? arguments : json_object_new_object());
	if (asprintf(&frame, "%s\n",
		    json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN)) < 0)
		abort();
	reply = exchange(name, frame, NULL, NULL, err);
	free(frame);
	json_object_put(request);
	return reply;
}

struct json_object *control_ask_answer(const char *name, const char *node, const char *verb,
	struct json_object *arguments, struct err *err)
{
	struct json *reply = control_ask_node(name, node, verb, arguments, err);
	struct json_object *answer = NULL;
	size_t length;

	if (reply && json_get(reply, "answer"))
		answer = json_tokener_parse(json_text(json_get(reply, "answer"), &length));
	if (reply && !answer)
		err_add(err, "%s: its daemon has answered with nothing", name);
	json_destroy(reply);
	return answer;
}

int control_follow(const char *name, struct err *err)
{
	int fd = run_connect(name), result = fd;
	char *request;

	if (asprintf(&request, "{\"command\":\"%s\"}\n", control_command_name(CONTROL_FOLLOW)) < 0)
		abort();
	if (fd >= 0)
		result = send_all(fd, request, now_ms() + ANSWER_TIMEOUT_MS);
	if (result < 0)
		explain_failure(name, fd >= 0 ? peer_pid(fd) : 0, result, err);
	if (result < 0 && fd >= 0)
		close(fd);
	free(request);
	return result < 0 ? -1 : fd;
}
