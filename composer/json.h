/* SPDX-License-Identifier: MIT */
/*
 * A JSON document in memory, each value with the place where it was read.
 *
 * json-c decodes the scalars; the structure is scanned here, because json-c tells neither
 * positions nor duplicate keys. There is no second parser in the program: documents, labels'
 * texts, the schema and control frames all come through json_parse().
 *
 * Who calls: the tree, the targets' parse(), the schema validator, the control socket. Nothing
 * here blocks, except json_read_file(), which reads a file. Not for map(), resume() or hold().
 * Ownership: a document owns all its values; they live until json_destroy().
 * Errors: user-facing, added to a struct err with "(file:line, /pointer)" at the end.
 */
#ifndef COMPOSER_JSON_H
#define COMPOSER_JSON_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 80 /* arrays and objects within each other */
#define JSON_BYTES_MAX ((size_t)1024 * 1024) /* a document's text */

enum json_kind {
	JSON_NULL,
	JSON_BOOLEAN,
	JSON_INTEGER, /* no fraction, no exponent, fits int64_t or uint64_t */
	JSON_REAL, /* any other number */
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

struct json; /* one value */

/*
 * Reads `text` of `length` bytes, which needs no terminating NUL. `name` stands for the document in
 * messages ("device.json"). Returns the root, or NULL with messages in err: syntax (strict RFC
 * 8259, UTF-8 checked), duplicate keys (all of them), depth over JSON_DEPTH_MAX, text over
 * JSON_BYTES_MAX.
 */
struct json *json_parse(const char *name, const char *text, size_t length, struct err *err);

/* The same for a file; "-" is standard input. */
struct json *json_read_file(const char *path, struct err *err);

/* Frees the document whose root this is. NULL is fine. */
void json_destroy(struct json *root);

enum json_kind json_kind(const struct json *value);
/* "object", "integer", … as JSON Schema says them */
const char *json_kind_name(enum json_kind kind);

bool json_boolean(const struct json *value); /* kind is JSON_BOOLEAN */
/* NUL-ended, no NUL inside. kind is JSON_STRING */
const char *json_string(const struct json *value);
double json_real(const struct json *value); /* kind is JSON_REAL or JSON_INTEGER */
/* False if the integer is negative. kind is JSON_INTEGER */
bool json_unsigned(const struct json *value, uint64_t *number);
/* The value's own text as it stands in the document, for messages and for keeping it. */
const char *json_text(const struct json *value, size_t *length);

/* An absent object or array (NULL) is an empty one to json_count(), json_get() and json_get_…(). */
size_t json_count(const struct json *value); /* members or elements */
const struct json *json_at(const struct json *value, size_t index); /* element, or member's value */
const char *json_key_at(const struct json *object, size_t index); /* member's key */
const char *json_key(const struct json *value); /* its own; NULL: not a member */
size_t json_index(const struct json *value); /* its place among its parent's */
const struct json *json_parent(const struct json *value); /* NULL: the root */
const struct json *json_get(const struct json *object, const char *key); /* NULL: not there */

/*
 * Where a value stands: line from 1, and its JSON Pointer (RFC 6901) written into text, cut to what
 * fits and NUL-ended. Returns the length of the whole pointer, 0 for the root.
 */
unsigned json_line(const struct json *value);
size_t json_pointer(const struct json *value, char *text, size_t size);

/*
 * The length of text when it is cut to at most `limit` bytes between two characters: for "%.*s" in
 * messages, as keys and strings may be as long as the document.
 */
size_t json_cut(const char *text, size_t length, size_t limit);

/* Adds "message (file:line, /pointer)"; of one document's messages, the first 100. Returns -1. */
int json_err(const struct json *value, struct err *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Typed members, after the schema has checked their shape: absent keys give `preset`.
 * A size is an integer in bytes, or a string of an integer and B, KiB, MiB, GiB, TiB, PiB or EiB.
 */
uint64_t json_get_size(const struct json *object, const char *key, uint64_t preset);
uint64_t json_get_unsigned(const struct json *object, const char *key, uint64_t preset);
bool json_get_boolean(const struct json *object, const char *key, bool preset);
const char *json_get_string(const struct json *object, const char *key, const char *preset);

/*
 * Reads a size from text, for the command line too: there "K" stands for "KiB" (documents spell it
 * out: the schema sees to that). False: not a size, or over 2^64-1.
 */
bool json_parse_size(const char *text, uint64_t *bytes);

#endif
