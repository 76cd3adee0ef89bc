// SPDX-License-Identifier: MIT
/* Notices as JSON, kept and handed on. It knows no socket and no process. */
#include "events.h"

#include "control.h"
#include "hook.h"
#include "tree.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIME_TEXT 64

struct events {
	const struct tree *tree;
	int fd, hook;
	struct json_object *kept[EVENTS_KEPT]; /* by serial % EVENTS_KEPT */
	uint64_t serial; /* of the next one */
};

int events_open(struct events **opened, const struct tree *tree, int hook, struct err *err)
{
	struct events *events = calloc(1, sizeof(*events));

	if (!events)
		return err_add(err, "events: out of memory");
	events->fd = notice_open();
	if (events->fd < 0) {
		err_add(err, "events: %s", strerror(-events->fd));
		free(events);
		return -1;
	}
	events->tree = tree;
	events->hook = hook;
	*opened = events;
	return 0;
}

void events_close(struct events *events)
{
	unsigned i;

	if (!events)
		return;
	notice_close();
	for (i = 0; i < EVENTS_KEPT; i++)
		json_object_put(events->kept[i]);
	free(events);
}

int events_fd(const struct events *events)
{
	return events->fd;
}

static void add_text(struct json_object *out, const char *key, const char *text)
{
	json_object_object_add(out, key, json_object_new_string(text));
}

static void add_time(struct json_object *out, uint64_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	char text[TIME_TEXT] = "", whole[TIME_TEXT + 16];
	struct tm parts;

	if (gmtime_r(&seconds, &parts))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(whole, sizeof(whole), "%s.%03uZ", text, (unsigned)(time_ms % 1000));
	add_text(out, "time", whole);
}

static struct json_object *make(
	const struct events *events, const struct notice *notice, const char *device_path)
{
	struct json_object *out = json_object_new_object();
	const struct node *node = notice->node;

	add_time(out, notice->time_ms);
	json_object_object_add(out, "serial", json_object_new_uint64(events->serial));
	add_text(out, "device", events->tree->name);
	add_text(out, "event", notice->what);
	if (node) {
		add_text(out, "node", node->id);
		add_text(out, "type", node->type->name);
	}
	if (node && node->leaf)
		add_text(out, "path", node->leaf->path ? node->leaf->path : "");
	if (!node && device_path)
		add_text(out, "path", device_path);
	if (node && node->parent)
		add_text(out, "parent", node->parent->id);
	if (notice->key)
		json_object_object_add(out, notice->key, json_object_new_uint64(notice->number));
	return out;
}

static void tell(struct events *events, const struct notice *notice, const char *device_path,
	struct control *control)
{
	struct json_object *event = make(events, notice, device_path);
	struct json_object **place = &events->kept[events->serial++ % EVENTS_KEPT];
	const char *text = json_object_to_json_string_ext(
		event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	json_object_put(*place);
	*place = event;
	if (control)
		control_push(control, text);
	hook_send(events->hook, text);
}

void events_tell(struct events *events, const char *device_path, struct control *control)
{
	struct notice notice, loss = { .what = "events_lost", .key = "count" };
	unsigned told;

	for (told = 0; told < NOTICES_MAX && notice_next(&notice); told++) {
		tell(events, &notice, device_path, control);
		loss.time_ms = notice.time_ms;
	}
	loss.number = told ? notice_lost() : 0;
	if (loss.number)
		tell(events, &loss, device_path, control);
}

struct json_object *events_json(const struct events *events)
{
	struct json_object *list = json_object_new_array();
	uint64_t serial = events->serial > EVENTS_KEPT ? events->serial - EVENTS_KEPT : 0;

	for (; serial < events->serial; serial++)
		json_object_array_add(list, json_object_get(events->kept[serial % EVENTS_KEPT]));
	return list;
}
