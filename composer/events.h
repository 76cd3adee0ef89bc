/* SPDX-License-Identifier: MIT */
/*
 * The events of a device: its notices as JSON, the last EVENTS_KEPT of them kept for who asks, and
 * each handed to the hook and to those that follow. The daemon's main thread only; never blocks.
 *
 *   {"time":"2026-11-22T20:40:25.123Z","serial":4,"device":"vol0","event":"leg_failed",
 *    "node":"d1","type":"block","path":"/dev/sdb","parent":"m0"}
 *
 * `path` is the leaf's, or the device's for events of the device as a whole. A notice's number
 * stands under its own key.
 */
#ifndef COMPOSER_EVENTS_H
#define COMPOSER_EVENTS_H

#include "err.h"
#include "notice.h"

#define EVENTS_KEPT 512

struct control;
struct events;
struct json_object; /* json-c's */
struct tree;

/* `hook` is an fd of hook_start(), or -1. 0, or -1 with a message. */
int events_open(struct events **events, const struct tree *tree, int hook, struct err *err);
void events_close(struct events *events);

/* Readable once there is something for events_tell(). */
int events_fd(const struct events *events);

/* Tells all notices that wait: keeps them, and hands them on. `control` may be NULL. */
void events_tell(struct events *events, const char *device_path, struct control *control);

/* An array of those kept, the oldest first; the caller frees it. */
struct json_object *events_json(const struct events *events);

#endif
