/* SPDX-License-Identifier: MIT */
/*
 * The log: what a daemon has to say once nobody waits for its answer, and the switches of --debug=.
 *
 * log_say() is for what the administrator should know: a leaf that failed, a device that was
 * stopped from elsewhere. It goes to stderr while there is a terminal or a caller, to syslog
 * afterwards. Any thread; it may block, so never from map(), resume() or hold(). Requests that are
 * refused, and faults of documents, are no log matter: they go back to who asked, through a struct
 * err.
 */
#ifndef COMPOSER_LOG_H
#define COMPOSER_LOG_H

#include "err.h"

#include <stdbool.h>

#define DEBUG_REQUEST 1u /* one line for each request of the device */
#define DEBUG_OP 2u /* one line for each op of each plan */
#define DEBUG_CONTROL 4u /* one line for each frame of the control socket */

/* Which kinds are traced. Set before the threads start, only read afterwards. */
extern unsigned debug_mask;

/* Reads "request,op" into the mask. 0, or -1 with a message for each unknown word. */
int debug_parse(const char *words, unsigned *mask, struct err *err);

/* `name` begins every line. With `detached` lines go to syslog, else to stderr. */
void log_open(const char *name, bool detached);

/* One line; no newline at its end. */
void log_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Each message of err as one line; err is finished. */
void log_err(struct err *err);

/* One line of a trace, to stderr always. Free when the kind is off. */
#define log_debug(kind, ...)                                                                       \
	do {                                                                                       \
		if (__builtin_expect(debug_mask & (kind), 0))                                      \
			log_trace(__VA_ARGS__);                                                    \
	} while (0)
void log_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
