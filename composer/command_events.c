// SPDX-License-Identifier: MIT
/* events: what has happened to devices, and what happens. */
#include "command.h"

#include "control_client.h"
#include "run_directory.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_MS 1000 /* how soon a new device is followed */
#define FOLLOWED_MAX 256

enum { JSON, FOLLOW };

static const struct command_option options[] = {
	[JSON] = { "json", 0, NULL,
		"An object on a line of its own for each event, for programs." },
	[FOLLOW] = { "follow", 0, NULL, "Go on with what happens from now on, until interrupted." },
	{ 0 },
};

/* One device that is followed. */
struct source {
	char *name;
	int fd; /* -1: the place is free */
	char *in;
	size_t length, size;
	bool begun; /* its first line, with what was before, has come */
	bool deleted; /* its end was told */
};

/* "TIME DEVICE EVENT NODE (TYPE PATH) of PARENT KEY=NUMBER" */
static void print_text(const struct json *event)
{
	static const char *const known[] = { "time", "serial", "device", "event", "node", "type",
		"path", "parent" };
	const char *node = json_get_string(event, "node", NULL);
	const char *path = json_get_string(event, "path", NULL);
	const char *parent = json_get_string(event, "parent", NULL);
	size_t i, j;

	printf("%s %s %s", json_get_string(event, "time", "?"),
		json_get_string(event, "device", "?"), json_get_string(event, "event", "?"));
	if (node)
		printf(" %s (%s%s%s)", node, json_get_string(event, "type", "?"), path ? " " : "",
			path ? path : "");
	else if (path)
		printf(" %s", path);
	if (parent)
		printf(" of %s", parent);
	for (i = 0; i < json_count(event); i++) {
		const char *key = json_key_at(event, i);

		for (j = 0; j < sizeof(known) / sizeof(*known) && strcmp(key, known[j]); j++)
			;
		if (j == sizeof(known) / sizeof(*known))
			printf(" %s=%" PRIu64, key, json_get_unsigned(event, key, 0));
	}
	printf("\n");
}

static void print_event(const struct json *event, bool as_json)
{
	const char *text;
	size_t length;

	if (!as_json) {
		print_text(event);
		return;
	}
	text = json_text(event, &length);
	printf("%.*s\n", (int)length, text);
}

static void print_all(const struct json *events, bool as_json)
{
	size_t i;

	for (i = 0; i < json_count(events); i++)
		print_event(json_at(events, i), as_json);
}

static int show(const char *name, bool as_json, struct err *err)
{
	struct json *reply = control_ask(name, CONTROL_EVENTS, NULL, NULL, err);

	if (!reply)
		return -1;
	print_all(json_get(reply, "events"), as_json);
	json_destroy(reply);
	return 0;
}

/* Devices that don't answer have no events to show; `list` has them. */
static int show_all(bool as_json, struct err *err)
{
	char **names = run_list(err), **name;

	for (name = names; name && *name; name++) {
		struct err ignored = { 0 };

		(void)show(*name, as_json, &ignored);
		err_finish(&ignored);
	}
	run_list_free(names);
	return names ? 0 : -1;
}

static int follow_begin(struct source *source, const char *name, struct err *err)
{
	int fd = control_follow(name, err);

	if (fd < 0)
		return -1;
	*source = (struct source){ .name = strdup(name), .fd = fd };
	if (!source->name)
		abort();
	return 0;
}

static void follow_end(struct source *source)
{
	close(source->fd);
	free(source->name);
	free(source->in);
	*source = (struct source){ .fd = -1 };
}

/* 0, or -1 with a message: not what a daemon says. */
static int take_line(
	struct source *source, const char *line, size_t length, bool as_json, struct err *err)
{
	struct json *value = json_parse(source->name, line, length, err);
	int result = 0;

	if (!value)
		return -1;
	if (json_kind(value) != JSON_OBJECT)
		result = err_add(err, "%s: its daemon has sent no object", source->name);
	else if (json_get(value, "error"))
		result = err_add(err, "%s: its daemon has refused the request: %s", source->name,
			json_get_string(value, "error", ""));
	else if (!source->begun)
		print_all(json_get(value, "events"), as_json);
	else
		print_event(value, as_json);
	if (source->begun && result == 0)
		source->deleted |= !strcmp(json_get_string(value, "event", ""), "deleted") ||
				   !strcmp(json_get_string(value, "event", ""), "handed_over");
	source->begun = true;
	json_destroy(value);
	return result;
}

/* Whole lines out of what has come. 0, or -1 with a message. */
static int take_lines(struct source *source, bool as_json, struct err *err)
{
	char *line = source->in, *end;

	while ((end = memchr(line, '\n', source->length - (size_t)(line - source->in)))) {
		if (take_line(source, line, (size_t)(end - line), as_json, err) < 0)
			return -1;
		line = end + 1;
	}
	source->length -= (size_t)(line - source->in);
	memmove(source->in, line, source->length);
	return 0;
}

/* 1: more may come; 0: the stream has ended; -1 with a message. */
static int follow_read(struct source *source, bool as_json, struct err *err)
{
	ssize_t count;

	if (source->length == source->size) {
		if (source->size > CONTROL_FRAME_MAX)
			return err_add(
				err, "%s: its daemon has sent a line without end", source->name);
		source->size = source->size ? source->size * 2 : 65536;
		source->in = realloc(source->in, source->size);
		if (!source->in)
			abort();
	}
	count = recv(source->fd, source->in + source->length, source->size - source->length, 0);
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (count <= 0)
		return 0;
	source->length += (size_t)count;
	return take_lines(source, as_json, err) < 0 ? -1 : 1;
}

/* Devices that have come since the last look. */
static void look_for_more(struct source *sources)
{
	struct err ignored = { 0 };
	char **names = run_list(&ignored), **name;
	unsigned i;

	for (name = names; name && *name; name++) {
		struct source *place = NULL;

		for (i = 0; i < FOLLOWED_MAX; i++) {
			if (sources[i].fd >= 0 && !strcmp(sources[i].name, *name))
				break;
			if (sources[i].fd < 0 && !place)
				place = &sources[i];
		}
		if (i == FOLLOWED_MAX && place)
			(void)follow_begin(place, *name, &ignored); /* dead: told by `list` */
	}
	run_list_free(names);
	err_finish(&ignored);
}

/* Until the one that is named ends, or for ever. */
static int follow(const char *name, bool as_json, struct err *err)
{
	struct source sources[FOLLOWED_MAX];
	struct pollfd fds[FOLLOWED_MAX];
	unsigned i;

	for (i = 0; i < FOLLOWED_MAX; i++)
		sources[i] = (struct source){ .fd = -1 };
	if (name && follow_begin(&sources[0], name, err) < 0)
		return -1;
	for (;;) {
		if (!name)
			look_for_more(sources);
		for (i = 0; i < FOLLOWED_MAX; i++)
			fds[i] = (struct pollfd){ .fd = sources[i].fd, .events = POLLIN };
		if (poll(fds, FOLLOWED_MAX, LOOK_MS) < 0 && errno != EINTR)
			return err_add(err, "poll: %s", strerror(errno));
		for (i = 0; i < FOLLOWED_MAX; i++) {
			int result = fds[i].fd >= 0 && fds[i].revents
					     ? follow_read(&sources[i], as_json, err)
					     : 1;

			if (result > 0)
				continue;
			if (name && result == 0 && !sources[i].deleted)
				err_add(err, "%s: its daemon is gone", name);
			follow_end(&sources[i]);
			if (name)
				return err->count ? -1 : 0;
		}
		if (fflush(stdout) != 0)
			return 0; /* main tells */
	}
}

static int events(const struct arguments *arguments)
{
	bool as_json = arguments->options[JSON] != NULL;
	struct err err = { 0 };
	char *name = NULL;
	int result;

	if (!command_device(arguments, &name))
		return STATUS_FAILED;
	if (arguments->options[FOLLOW])
		result = follow(name, as_json, &err);
	else
		result = name ? show(name, as_json, &err) : show_all(as_json, &err);
	free(name);
	(void)fflush(stdout); /* the events first; main looks for errors */
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

extern const struct command events_command;
const struct command events_command = {
	.name = "events",
	.operands = "[DEVICE]",
	.summary = "show what has happened to a device, and what happens",
	.details = "Prints the last events of DEVICE, given by its name, its id or its path, or of "
		   "every\n"
		   "device, a line for each: created, deleted, leg_failed, flush_failed, "
		   "leg_left_out,\n"
		   "resync_started, resync_ended, was_not_stopped_cleanly and others. A daemon remembers "
		   "the\n"
		   "last 512 while it lives. A program named in the document, {\"device\": {\"hook\":\n"
		   "\"/path\"}}, is run for each of them with its JSON on standard input.\n",
	.options = options,
	.operands_max = 1,
	.run = events,
};
