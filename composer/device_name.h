/* SPDX-License-Identifier: MIT */
/*
 * What the user calls a device: by its name ("vol0"), by the driver's id ("0", "ubdb0"), or by a
 * path ("/dev/ubdb0", or a link to it). A name goes first, should it look like an id.
 */
#ifndef COMPOSER_DEVICE_NAME_H
#define COMPOSER_DEVICE_NAME_H

#include "json.h"

/* The name in the document, to be freed. NULL with a message. Asks the daemons; blocks for seconds
 * at most. */
char *device_name_find(const char *called, struct err *err);

/* A device as `list` shows it. */
struct device_found {
	char *name;
	const char *state; /* "running", "degraded", "dead", "silent" */
	struct json *reply; /* NULL: it didn't answer */
	const struct json *status; /* in the reply */
};

/* All that have a socket; *count of them. NULL with a message. */
struct device_found *devices_find(unsigned *count, struct err *err);
void devices_free(struct device_found *devices, unsigned count);

#endif
