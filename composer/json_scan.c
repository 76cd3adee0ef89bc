// SPDX-License-Identifier: MIT
/*
 * The structural scan of a document: which values there are, in which order, and where.
 * It stops at the first syntax error, as what follows one cannot be trusted.
 */
#include "json_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOUND_MAX 40
#define WORD_MAX 24
#define LINE_TEXT_MAX 32

struct scan {
	struct json_document *document;
	const char *text;
	size_t length;
	size_t at;
	unsigned line, depth;
	struct json *parent; /* the container being read */
	struct json *place; /* what a message is about */
	struct err *err;
};

static int scan_value(struct scan *scan, struct json_span key);

/* Columns count characters, from 1. */
static unsigned column_of(const char *text, size_t at)
{
	unsigned column = 1;

	while (at > 0 && text[at - 1] != '\n')
		column += ((unsigned char)text[--at] & 0xc0) != 0x80;
	return column;
}

static int __attribute__((format(printf, 3, 4)))
scan_fail(struct scan *scan, size_t at, const char *format, ...)
{
	char what[256];
	char line[LINE_TEXT_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	snprintf(line, sizeof(line), "%u:%u", scan->line, column_of(scan->text, at));
	return json_message(scan->document, scan->place, line, what, scan->err);
}

static int expected(struct scan *scan, const char *what)
{
	char found[FOUND_MAX];

	json_found(scan->text + scan->at, scan->length - scan->at, found, sizeof(found));
	return scan_fail(scan, scan->at, "expected %s, found %s", what, found);
}

static char peek(const struct scan *scan)
{
	return scan->at < scan->length ? scan->text[scan->at] : '\0';
}

static void skip_space(struct scan *scan)
{
	for (; scan->at < scan->length; scan->at++) {
		char c = scan->text[scan->at];

		if (c == '\n')
			scan->line++;
		else if (c != ' ' && c != '\t' && c != '\r')
			break;
	}
}

/* Goes on to the next thing; true if it is c, which is then taken. */
static bool take(struct scan *scan, char c)
{
	skip_space(scan);
	if (peek(scan) != c)
		return false;
	scan->at++;
	return true;
}

static struct json *add_value(struct scan *scan, struct json_span key)
{
	struct json *value = &scan->document->values[scan->document->count++];

	value->document = scan->document;
	value->parent = scan->parent;
	value->line = scan->line;
	value->raw_key = key;
	value->text.start = (uint32_t)scan->at;
	if (scan->parent)
		value->index = (uint32_t)scan->parent->count++;
	return value;
}

static void end_value(struct scan *scan, struct json *value)
{
	value->text.length = (uint32_t)scan->at - value->text.start;
}

static int scan_string(struct scan *scan, struct json_span *span)
{
	struct json_fault fault;
	size_t length = json_scan_string(scan->text + scan->at, scan->length - scan->at, &fault);

	if (!length)
		return scan_fail(scan, scan->at + fault.offset, "%s", fault.what);
	*span = (struct json_span){ (uint32_t)scan->at, (uint32_t)length };
	scan->at += length;
	return 0;
}

static int scan_number(struct scan *scan, struct json *value)
{
	struct json_fault fault;
	size_t length = json_scan_number(
		scan->text + scan->at, scan->length - scan->at, &value->kind, &fault);

	if (!length)
		return scan_fail(scan, scan->at + fault.offset, "%s", fault.what);
	scan->at += length;
	return 0;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static int scan_word(struct scan *scan, struct json *value)
{
	const char *word = scan->text + scan->at;
	size_t length = 0;

	while (scan->at + length < scan->length && is_word(word[length]))
		length++;
	if (length == 4 && !memcmp(word, "null", 4))
		value->kind = JSON_NULL;
	else if (length == 4 && !memcmp(word, "true", 4))
		value->kind = JSON_BOOLEAN, value->boolean = true;
	else if (length == 5 && !memcmp(word, "false", 5))
		value->kind = JSON_BOOLEAN, value->boolean = false;
	else if (length)
		return scan_fail(scan, scan->at, "expected a value, found the word %.*s%s",
			(int)(length < WORD_MAX ? length : WORD_MAX), word,
			length > WORD_MAX ? "…" : "");
	else if (*word == '/' && scan->at < scan->length)
		return expected(scan, "a value (JSON has no comments)");
	else if (*word == '\'' && scan->at < scan->length)
		return expected(scan, "a value (strings stand in double quotes)");
	else
		return expected(scan, "a value");
	scan->at += length;
	return 0;
}

static int scan_array(struct scan *scan, struct json *array)
{
	array->kind = JSON_ARRAY;
	scan->at++;
	if (take(scan, ']'))
		return 0;
	for (;;) {
		if (scan_value(scan, (struct json_span){ 0 }) < 0)
			return -1;
		if (take(scan, ']'))
			return 0;
		if (!take(scan, ','))
			return expected(scan, "',' or ']'");
		skip_space(scan);
		if (peek(scan) == ']')
			return expected(scan, "a value after the comma");
	}
}

static int scan_member(struct scan *scan)
{
	struct json_span key;

	if (scan_string(scan, &key) < 0)
		return -1;
	if (!take(scan, ':'))
		return expected(scan, "':' after the key");
	return scan_value(scan, key);
}

static int scan_object(struct scan *scan, struct json *object)
{
	object->kind = JSON_OBJECT;
	scan->at++;
	if (take(scan, '}'))
		return 0;
	if (peek(scan) != '"')
		return expected(scan, "a key in double quotes or '}'");
	for (;;) {
		if (scan_member(scan) < 0)
			return -1;
		if (take(scan, '}'))
			return 0;
		if (!take(scan, ','))
			return expected(scan, "',' or '}'");
		skip_space(scan);
		if (peek(scan) != '"')
			return expected(scan, "a key in double quotes after the comma");
	}
}

static int scan_container(struct scan *scan, struct json *container)
{
	struct json *parent = scan->parent;
	int result;

	if (scan->depth == JSON_DEPTH_MAX)
		return scan_fail(
			scan, scan->at, "arrays and objects nest deeper than %d", JSON_DEPTH_MAX);
	scan->depth++;
	scan->parent = container;
	result = peek(scan) == '[' ? scan_array(scan, container) : scan_object(scan, container);
	scan->parent = parent;
	scan->depth--;
	return result;
}

static int scan_value(struct scan *scan, struct json_span key)
{
	struct json *value;
	char c;
	int result;

	skip_space(scan);
	value = add_value(scan, key);
	scan->place = value;
	c = peek(scan);
	if (c == '{' || c == '[') {
		result = scan_container(scan, value);
	} else if (c == '"') {
		struct json_span span;

		value->kind = JSON_STRING;
		result = scan_string(scan, &span);
	} else if (c == '-' || (c >= '0' && c <= '9')) {
		result = scan_number(scan, value);
	} else {
		result = scan_word(scan, value);
	}
	if (result < 0)
		return -1;
	end_value(scan, value);
	scan->place = scan->parent;
	return 0;
}

/*
 * A finished value needs two bytes of the text or more (itself and a separator, or two brackets),
 * but for the root. At most JSON_DEPTH_MAX are unfinished, and one more is where the scan fails.
 */
static size_t values_max(size_t length)
{
	return length / 2 + 1 + JSON_DEPTH_MAX + 1;
}

int json_scan(struct json_document *document, struct err *err)
{
	struct scan scan = { .document = document,
		.text = document->text,
		.length = document->length,
		.line = 1,
		.err = err };

	if (scan.length >= 3 && !memcmp(scan.text, "\xef\xbb\xbf", 3))
		return scan_fail(
			&scan, 0, "the document begins with a byte order mark, which JSON forbids");
	document->values = calloc(values_max(scan.length), sizeof(*document->values));
	if (!document->values)
		abort();
	skip_space(&scan);
	if (scan.at == scan.length)
		return scan_fail(&scan, scan.at, "the document is empty");
	if (scan_value(&scan, (struct json_span){ 0 }) < 0)
		return -1;
	skip_space(&scan);
	if (scan.at < scan.length)
		return expected(&scan, "the end of the document");
	return 0;
}
