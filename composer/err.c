// SPDX-License-Identifier: MIT
/* The list of user-facing messages: appends text. It knows no message's meaning. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_add(struct err *err, const char *format, ...)
{
	va_list arguments;
	char *line = NULL;
	char *text;
	int length;

	va_start(arguments, format);
	length = vasprintf(&line, format, arguments);
	va_end(arguments);
	if (length < 0)
		abort();
	text = realloc(err->text, err->length + (size_t)length + 2);
	if (!text)
		abort();
	memcpy(text + err->length, line, (size_t)length);
	free(line);
	err->text = text;
	err->length += (size_t)length;
	err->text[err->length++] = '\n';
	err->text[err->length] = '\0';
	err->count++;
	return -1;
}

void err_move(struct err *err, struct err *from)
{
	if (from->count) {
		err_add(err, "%.*s", (int)from->length - 1, from->text); /* err_add() sets its own newline */
		err->count += from->count - 1;
	}
	err_finish(from);
}

void err_finish(struct err *err)
{
	free(err->text);
	*err = (struct err){ 0 };
}
