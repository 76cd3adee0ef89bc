// SPDX-License-Identifier: MIT
/* The control socket: clients, frames, timeouts. It knows no device: answers come from a callback.
 */
#include "control.h"

#include "log.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FRAME_FIRST 4096 /* most requests fit; the room doubles up to CONTROL_FRAME_MAX */
#define TICK_MS 500
#define EVENTS_MAX (CONTROL_CLIENTS_MAX + 2)

struct client {
	int fd; /* -1: the place is free */
	char *in, *out;
	size_t in_length, in_size, out_length, out_done;
	uint64_t deadline_ms, serial; /* serial: by order of arrival */
	bool follows; /* its connection stays */
};

struct control {
	int epoll, listener, timer;
	control_answer *answer;
	void *context;
	uint64_t arrived;
	struct client clients[CONTROL_CLIENTS_MAX];
};

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* can't fail with this clock */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The timer ticks only while there are clients. */
static void timer_set(struct control *control, bool on)
{
	struct itimerspec spec = { 0 };

	if (on)
		spec.it_value.tv_nsec = spec.it_interval.tv_nsec = TICK_MS * 1000000L;
	(void)timerfd_settime(control->timer, 0, &spec, NULL); /* fails for wrong arguments only */
}

static void client_close(struct control *control, struct client *client)
{
	unsigned i;

	if (client->fd < 0)
		return;
	close(client->fd); /* leaves the epoll set by this */
	free(client->in);
	free(client->out);
	*client = (struct client){ .fd = -1 };
	for (i = 0; i < CONTROL_CLIENTS_MAX && control->clients[i].fd < 0; i++)
		;
	if (i == CONTROL_CLIENTS_MAX)
		timer_set(control, false);
}

static bool peer_may(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static int watch(struct control *control, int fd, uint32_t events, void *what, int operation)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	return epoll_ctl(control->epoll, operation, fd, &event);
}

static void client_accept(struct control *control)
{
	struct client *place = &control->clients[0];
	int fd = accept4(control->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	unsigned i;

	if (fd < 0)
		return; /* gone again, or out of files: the client sees its connection end */
	if (!peer_may(fd)) {
		close(fd);
		return;
	}
	for (i = 0; i < CONTROL_CLIENTS_MAX && place->fd >= 0; i++) {
		struct client *client = &control->clients[i];

		if (client->fd < 0 || place->follows ||
			(client->serial < place->serial && !client->follows))
			place = client;
	}
	client_close(control, place);
	place->in = malloc(FRAME_FIRST);
	if (!place->in || watch(control, fd, EPOLLIN, place, EPOLL_CTL_ADD) < 0) {
		free(place->in);
		place->in = NULL;
		close(fd);
		return;
	}
	place->fd = fd;
	place->serial = ++control->arrived;
	place->in_size = FRAME_FIRST;
	place->deadline_ms = now_ms() + CONTROL_TIMEOUT_MS;
	timer_set(control, true);
}

static void client_write(struct control *control, struct client *client)
{
	while (client->out_done < client->out_length) {
		ssize_t count = send(client->fd, client->out + client->out_done,
			client->out_length - client->out_done, MSG_NOSIGNAL);

		if (count < 0 && errno == EAGAIN)
			return;
		if (count < 0)
			break;
		client->out_done += (size_t)count;
	}
	if (!client->follows || client->out_done < client->out_length ||
		watch(control, client->fd, EPOLLIN, client, EPOLL_CTL_MOD) < 0) {
		client_close(control, client);
		return;
	}
	free(client->out);
	client->out = NULL;
	client->out_length = client->out_done = 0;
	client->deadline_ms = UINT64_MAX;
}

static unsigned followers(const struct control *control)
{
	unsigned i, count = 0;

	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		count += control->clients[i].follows;
	return count;
}

/* The frame is whole: answers it and starts to write the reply. */
static void client_answer(struct control *control, struct client *client, const char *wrong)
{
	struct control_request request = { 0 };
	struct json_object *reply;

	if (!wrong)
		wrong = control_parse(client->in, client->in_length, &request);
	if (!wrong && request.command == CONTROL_FOLLOW) {
		client->follows = followers(control) < CONTROL_FOLLOWERS_MAX;
		wrong = client->follows ? NULL : "too_many_followers";
	}
	log_debug(DEBUG_CONTROL, "control: %zu bytes: %s", client->in_length,
		wrong ? wrong : control_command_name(request.command));
	if (wrong) {
		reply = json_object_new_object();
		json_object_object_add(reply, "error", json_object_new_string(wrong));
	} else {
		reply = control->answer(control->context, &request);
	}
	control_request_finish(&request);
	client->out = strdup(json_object_to_json_string_ext(
		reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(reply);
	if (!client->out || watch(control, client->fd, EPOLLOUT, client, EPOLL_CTL_MOD) < 0) {
		client_close(control, client);
		return;
	}
	client->out_length = strlen(client->out);
	client->out[client->out_length++] = '\n'; /* over the NUL */
	client->deadline_ms = now_ms() + CONTROL_TIMEOUT_MS;
	client_write(control, client);
}

/* Room for more of the frame. False: none. */
static bool client_grow(struct client *client)
{
	char *in;

	if (client->in_length < client->in_size)
		return true;
	in = realloc(client->in, client->in_size * 2);
	if (!in)
		return false;
	client->in = in;
	client->in_size *= 2;
	return true;
}

static void client_read(struct control *control, struct client *client)
{
	ssize_t count;
	char *end;

	if (client->follows) { /* it has nothing more to say, or has gone */
		client_close(control, client);
		return;
	}
	if (!client_grow(client)) {
		client_close(control, client);
		return;
	}
	count = recv(
		client->fd, client->in + client->in_length, client->in_size - client->in_length, 0);
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count < 0 || (count == 0 && client->in_length == 0)) {
		client_close(control, client);
		return;
	}
	end = memchr(client->in + client->in_length, '\n', (size_t)count);
	client->in_length = end ? (size_t)(end - client->in) : client->in_length + (size_t)count;
	if (client->in_length > CONTROL_FRAME_MAX)
		client_answer(control, client, "too_long");
	else if (end || count == 0)
		client_answer(control, client, NULL);
}

static void expire(struct control *control)
{
	uint64_t ticks, now = now_ms();
	unsigned i;

	(void)!read(control->timer, &ticks, sizeof(ticks)); /* only to make it unreadable again */
	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].fd >= 0 && control->clients[i].deadline_ms <= now)
			client_close(control, &control->clients[i]);
}

void control_serve(struct control *control)
{
	struct epoll_event events[EVENTS_MAX];
	int i, count = epoll_wait(control->epoll, events, EVENTS_MAX, 0);
	bool is_new = false;

	for (i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		if (events[i].data.ptr == &control->listener)
			is_new =
				true; /* last: a new client may take the place of one in events[] */
		else if (events[i].data.ptr == &control->timer)
			continue;
		else if (client->fd >= 0 && client->out)
			client_write(control, client);
		else if (client->fd >= 0)
			client_read(control, client);
	}
	expire(control);
	if (is_new)
		client_accept(control);
}

/* Adds a line to what a follower is to get. */
static void push_to(struct control *control, struct client *client, const char *line)
{
	size_t left = client->out_length - client->out_done, length = strlen(line);
	char *out = NULL;

	if (left + length < CONTROL_BACKLOG_MAX)
		out = malloc(left + length + 1);
	if (!out) {
		client_close(control, client);
		return;
	}
	if (left)
		memcpy(out, client->out + client->out_done, left);
	else
		client->deadline_ms = now_ms() + CONTROL_TIMEOUT_MS;
	memcpy(out + left, line, length);
	out[left + length] = '\n';
	free(client->out);
	client->out = out;
	client->out_done = 0;
	client->out_length = left + length + 1;
	if (watch(control, client->fd, EPOLLOUT, client, EPOLL_CTL_MOD) < 0)
		client_close(control, client);
	else
		client_write(control, client);
}

void control_push(struct control *control, const char *line)
{
	unsigned i;

	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].fd >= 0 && control->clients[i].follows)
			push_to(control, &control->clients[i], line);
}

int control_fd(const struct control *control)
{
	return control->epoll;
}

int control_open(struct control **opened, int listener, control_answer *answer, void *context,
	struct err *err)
{
	struct control *control = calloc(1, sizeof(*control));
	unsigned i;

	if (!control) {
		close(listener);
		return err_add(err, "control socket: out of memory");
	}
	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	control->listener = listener;
	control->answer = answer;
	control->context = context;
	control->epoll = epoll_create1(EPOLL_CLOEXEC);
	control->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (control->epoll >= 0 && control->timer >= 0 &&
		watch(control, listener, EPOLLIN, &control->listener, EPOLL_CTL_ADD) == 0 &&
		watch(control, control->timer, EPOLLIN, &control->timer, EPOLL_CTL_ADD) == 0) {
		*opened = control;
		return 0;
	}
	err_add(err, "control socket: %s", strerror(errno));
	control_close(control);
	return -1;
}

void control_close(struct control *control)
{
	unsigned i;

	if (!control)
		return;
	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		client_close(control, &control->clients[i]);
	close(control->listener);
	if (control->timer >= 0)
		close(control->timer);
	if (control->epoll >= 0)
		close(control->epoll);
	free(control);
}
