/* SPDX-License-Identifier: MIT */
/*
 * What a document is made of, for the files of the JSON reader alone: json.h is the interface.
 *
 * A document is read in three steps: json_scan() finds the structure and the place of every value,
 * json_decode() has json-c decode all keys, strings and numbers, then the duplicate keys are found.
 * Values stand in one array in the order of the text, a parent before its children.
 */
#ifndef COMPOSER_JSON_VALUE_H
#define COMPOSER_JSON_VALUE_H

#include "json.h"

struct json_object; /* json-c's */

struct json_span { /* a piece of the document's text */
	uint32_t start, length;
};

struct json_document {
	char *name;
	char *text; /* NUL-ended */
	size_t length;
	struct json *values; /* values[0] is the root */
	size_t count;
	struct json **children; /* each container's children stand side by side in here */
	struct json_object *scalars; /* what json-c decoded: owns keys and strings */
	unsigned errors; /* messages given about this document */
};

struct json {
	struct json_document *document;
	struct json *parent;
	struct json **children;
	size_t count;
	uint32_t index; /* place among the parent's children */
	unsigned line;
	struct json_span text;
	struct json_span raw_key; /* with its quotes; length 0: no key */
	const char *key; /* NULL until decoded */
	enum json_kind kind;
	bool boolean;
	bool negative; /* of an integer */
	uint64_t magnitude; /* of an integer */
	double real;
	const char *string;
};

/* Fills document->values from document->text. On a syntax error adds one message; returns -1. */
int json_scan(struct json_document *document, struct err *err);

/*
 * Adds "what (name:line, /pointer)". What a document's text put into it is made fit for a terminal.
 * place NULL: no pointer. Returns -1.
 */
int json_message(const struct json_document *document, const struct json *place, const char *line,
	const char *what, struct err *err);

/* Decodes the scalars of a scanned document. Returns -1 with a message if json-c refuses. */
int json_decode(struct json_document *document, struct err *err);

/* The scalar that begins at text[0]. */
struct json_fault {
	size_t offset; /* where in text */
	char what[128];
};

/* Both return the length of the string (with its quotes) or number, or 0 with the fault. */
size_t json_scan_string(const char *text, size_t length, struct json_fault *fault);
size_t json_scan_number(
	const char *text, size_t length, enum json_kind *kind, struct json_fault *fault);

/* Says what stands at text[0] in a message: "'}'", "the end of the document". Returns found. */
const char *json_found(const char *text, size_t length, char *found, size_t size);

#endif
