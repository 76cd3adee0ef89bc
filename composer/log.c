// SPDX-License-Identifier: MIT
/* The log: one line at a time, to stderr or syslog. It knows no message's meaning. */
#include "log.h"

#include "nearest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define LINE_MAX_BYTES 1024
#define KINDS 3

static const char *const kind_words[KINDS + 1] = { "request", "op", "control", NULL };
static const unsigned kind_bits[KINDS] = { DEBUG_REQUEST, DEBUG_OP, DEBUG_CONTROL };

unsigned debug_mask;
static const char *log_name = "";
static bool log_detached;

int debug_parse(const char *words, unsigned *mask, struct err *err)
{
	unsigned before = err->count;

	while (*words) {
		size_t length = strcspn(words, ",");
		char *word = strndup(words, length);
		const char *nearest;
		unsigned i;

		if (!word)
			abort();
		for (i = 0; i < KINDS && strcmp(word, kind_words[i]); i++)
			;
		nearest = i < KINDS ? NULL : nearest_word(word, kind_words);
		if (i < KINDS)
			*mask |= kind_bits[i];
		else if (nearest)
			err_add(err, "--debug: there is no \"%s\"; did you mean \"%s\"?", word,
				nearest);
		else
			err_add(err,
				"--debug: there is no \"%s\"; there are request, op "
				"and control",
				word);
		free(word);
		words += length + (words[length] == ',');
	}
	return err->count == before ? 0 : -1;
}

void log_open(const char *name, bool detached)
{
	log_name = name;
	log_detached = detached;
	if (detached)
		openlog("ubd-compose", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_say(const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line, sizeof(line), format, arguments); /* a long line is cut */
	va_end(arguments);
	if (log_detached)
		syslog(LOG_WARNING, "%s: %s", log_name, line);
	else
		fprintf(stderr, "ubd-compose: %s: %s\n", log_name, line);
}

void log_err(struct err *err)
{
	char *rest = err->text, *line;

	while (rest && (line = strsep(&rest, "\n")))
		if (*line)
			log_say("%s", line);
	err_finish(err);
}

void log_trace(const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	fprintf(stderr, "%s\n", line);
}
