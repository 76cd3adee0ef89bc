// SPDX-License-Identifier: MIT
/*
 * The JSON document: reading it, its life, and messages about its values. The grammar is in
 * json_scan.c and json_scalar.c, access to values in json_get.c. It knows no schema.
 */
#include "json_value.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 100 /* messages per document: hostile ones could ask for gigabytes */
#define POINTER_MAX 256
#define KEY_MAX 64
#define LINE_TEXT_MAX 16

static void *must_alloc(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static bool is_scalar(const struct json *value)
{
	return value->kind == JSON_STRING || value->kind == JSON_INTEGER ||
	       value->kind == JSON_REAL;
}

struct batch { /* all scalars of a document as one array for json-c */
	char *text;
	size_t length;
};

static void batch_add(
	struct batch *batch, const struct json_document *document, struct json_span span)
{
	if (batch->length > 1)
		batch->text[batch->length++] = ',';
	memcpy(batch->text + batch->length, document->text + span.start, span.length);
	batch->length += span.length;
}

static void batch_add_value(struct batch *batch, const struct json *value)
{
	if (value->raw_key.length)
		batch_add(batch, value->document, value->raw_key);
	if (is_scalar(value))
		batch_add(batch, value->document, value->text);
	/* json-c refuses an integer of over 64 bits; the scan has called it real, so make it so. */
	if (value->kind == JSON_REAL && !memchr(json_text(value, NULL), '.', value->text.length) &&
		!memchr(json_text(value, NULL), 'e', value->text.length) &&
		!memchr(json_text(value, NULL), 'E', value->text.length)) {
		memcpy(batch->text + batch->length, ".0", 2);
		batch->length += 2;
	}
}

static void set_scalar(struct json *value, struct json_object *scalar)
{
	if (value->kind == JSON_STRING) {
		value->string = json_object_get_string(scalar);
	} else if (value->kind == JSON_REAL) {
		value->real = json_object_get_double(scalar);
	} else if (value->kind == JSON_INTEGER && json_text(value, NULL)[0] == '-') {
		int64_t number = json_object_get_int64(scalar);

		value->negative = number < 0;
		value->magnitude = 0 - (uint64_t)number;
		value->real = (double)number;
	} else if (value->kind == JSON_INTEGER) {
		value->magnitude = json_object_get_uint64(scalar);
		value->real = (double)value->magnitude;
	}
}

/* One call of json-c for the whole document: a tokener per scalar costs a locale switch each. */
int json_decode(struct json_document *document, struct err *err)
{
	/* A key or scalar and its comma; ".0" only where there are twenty digits. */
	struct batch batch = { must_alloc(malloc(document->length * 2 + 4)), 1 };
	struct json_tokener *tokener = must_alloc(json_tokener_new());
	size_t next = 0;
	int result = 0;

	batch.text[0] = '[';
	for (size_t i = 0; i < document->count; i++)
		batch_add_value(&batch, &document->values[i]);
	batch.text[batch.length++] = ']';
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	document->scalars = json_tokener_parse_ex(tokener, batch.text, (int)batch.length);
	if (!document->scalars)
		result = err_add(err, "json-c cannot decode the document's values: %s (%s)",
			json_tokener_error_desc(json_tokener_get_error(tokener)), document->name);
	for (size_t i = 0; result == 0 && i < document->count; i++) {
		struct json *value = &document->values[i];

		if (value->raw_key.length)
			value->key = json_object_get_string(
				json_object_array_get_idx(document->scalars, next++));
		if (is_scalar(value))
			set_scalar(value, json_object_array_get_idx(document->scalars, next++));
	}
	json_tokener_free(tokener);
	free(batch.text);
	return result;
}

/* Gives each container its row of children. */
static void link_children(struct json_document *document)
{
	struct json **next = must_alloc(calloc(document->count, sizeof(struct json *)));

	document->children = next;
	for (size_t i = 0; i < document->count; i++) {
		struct json *value = &document->values[i];

		value->children = next;
		next += value->count;
		if (value->parent)
			value->parent->children[value->index] = value;
	}
}

static int compare_keys(const void *left, const void *right)
{
	const struct json *a = *(struct json *const *)left;
	const struct json *b = *(struct json *const *)right;
	int order = strcmp(a->key, b->key);

	return order ? order : (a->index > b->index) - (a->index < b->index);
}

/* Reports each key that an object has before; room is for as many pointers as it has members. */
static int check_keys(const struct json *object, struct json **room, struct err *err)
{
	const struct json **first = (const struct json **)room + object->count;
	int result = 0;

	memcpy(room, object->children, object->count * sizeof(*room));
	qsort(room, object->count, sizeof(*room), compare_keys);
	memset(first, 0, object->count * sizeof(*first));
	for (size_t i = 0, run = 0; i < object->count; i++) {
		if (strcmp(room[run]->key, room[i]->key) != 0)
			run = i;
		else if (i > run)
			first[room[i]->index] = room[run];
	}
	for (size_t i = 0; i < object->count; i++) {
		const char *key = object->children[i]->key;

		if (first[i])
			result = json_err(object->children[i], err,
				"duplicate key \"%.*s\", given before on line %u",
				(int)json_cut(key, strlen(key), KEY_MAX), key, first[i]->line);
	}
	return result;
}

static int check_all_keys(const struct json_document *document, struct err *err)
{
	struct json **room = must_alloc(calloc(document->count * 2, sizeof(*room)));
	int result = 0;

	for (size_t i = 0; i < document->count; i++) {
		const struct json *value = &document->values[i];

		if (value->kind == JSON_OBJECT && check_keys(value, room, err) < 0)
			result = -1;
	}
	free(room);
	return result;
}

static void document_destroy(struct json_document *document)
{
	json_object_put(document->scalars);
	free(document->children);
	free(document->values);
	free(document->text);
	free(document->name);
	free(document);
}

struct json *json_parse(const char *name, const char *text, size_t length, struct err *err)
{
	struct json_document *document;

	if (length > JSON_BYTES_MAX) {
		err_add(err, "the document is larger than %zu bytes (%s)", JSON_BYTES_MAX, name);
		return NULL;
	}
	document = must_alloc(calloc(1, sizeof(*document)));
	document->name = must_alloc(strdup(name));
	document->text = must_alloc(malloc(length + 1));
	if (length)
		memcpy(document->text, text, length);
	document->text[length] = '\0';
	document->length = length;
	if (json_scan(document, err) < 0 || json_decode(document, err) < 0)
		goto fail;
	link_children(document);
	if (check_all_keys(document, err) < 0)
		goto fail;
	return document->values;
fail:
	document_destroy(document);
	return NULL;
}

struct json *json_read_file(const char *path, struct err *err)
{
	bool standard_input = strcmp(path, "-") == 0;
	FILE *file = standard_input ? stdin : fopen(path, "re");
	struct json *root = NULL;
	size_t length;
	char *text;

	if (!file) {
		err_add(err, "cannot open %s: %s", path, strerror(errno));
		return NULL;
	}
	text = must_alloc(malloc(JSON_BYTES_MAX + 1)); /* one more, to notice that there is more */
	length = fread(text, 1, JSON_BYTES_MAX + 1, file);
	if (ferror(file))
		err_add(err, "cannot read %s: %s", path, strerror(errno));
	else
		root = json_parse(standard_input ? "<stdin>" : path, text, length, err);
	free(text);
	if (!standard_input)
		(void)fclose(file); /* it was only read */
	return root;
}

void json_destroy(struct json *root)
{
	if (root)
		document_destroy(root->document);
}

/* Text from a document may go to a terminal: shows control characters, C1 too, as \u00xx. */
static void print_safely(const char *text, FILE *out)
{
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		if (*at < ' ' || *at == 0x7f)
			fprintf(out, "\\u%04x", *at);
		else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
			fprintf(out, "\\u%04x", *++at);
		else
			fputc(*at, out);
	}
}

int json_message(const struct json_document *document, const struct json *place, const char *line,
	const char *what, struct err *err)
{
	char pointer[POINTER_MAX] = "";
	char *safe = NULL;
	size_t size;
	FILE *out = must_alloc(open_memstream(&safe, &size));

	if (place)
		(void)json_pointer(place, pointer, sizeof(pointer)); /* cut where it is long */
	print_safely(what, out);
	fprintf(out, " (%s:%s%s", document->name, line, *pointer ? ", " : "");
	print_safely(pointer, out);
	if (fputc(')', out) == EOF || fclose(out) != 0)
		abort();
	err_add(err, "%s", safe);
	free(safe);
	return -1;
}

int json_err(const struct json *value, struct err *err, const char *format, ...)
{
	struct json_document *document = value->document;
	char line[LINE_TEXT_MAX];
	char *what = NULL;
	va_list arguments;

	if (document->errors++ >= ERRORS_MAX)
		return document->errors > ERRORS_MAX + 1
			       ? -1
			       : err_add(err, "there are more errors than %d (%s)", ERRORS_MAX,
					 document->name);
	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) < 0)
		abort();
	va_end(arguments);
	snprintf(line, sizeof(line), "%u", value->line);
	json_message(document, value, line, what, err);
	free(what);
	return -1;
}
