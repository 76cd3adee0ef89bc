// SPDX-License-Identifier: MIT
/*
 * Fuzzes the JSON reader and the schema check with any bytes as document (libFuzzer):
 * make fuzz T=json MINUTES=10.
 *
 * What must hold: a document is either read or refused with a message; every value's place can be
 * told; its own text, read again, is the same value; what the schema accepts, the readers of sizes
 * and numbers accept too.
 */
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool what)
{
	if (!what)
		abort();
}

static void look_at(const struct json *value)
{
	char pointer[64];
	char found[8];
	size_t length;
	const char *text = json_text(value, &length);

	must(length > 0 && text[length - 1] != '\n');
	must(json_line(value) > 0);
	must(json_pointer(value, pointer, sizeof(pointer)) >= strlen(pointer));
	must(json_pointer(value, found, 0) == json_pointer(value, found, sizeof(found)));
	for (size_t i = 0; i < json_count(value); i++) {
		must(json_parent(json_at(value, i)) == value && json_index(json_at(value, i)) == i);
		if (json_kind(value) == JSON_OBJECT)
			must(json_key_at(value, i) == json_key(json_at(value, i)));
		look_at(json_at(value, i));
	}
}

static void must_be_same(const struct json *a, const struct json *b)
{
	must(json_kind(a) == json_kind(b) && json_count(a) == json_count(b));
	if (json_kind(a) == JSON_STRING)
		must(strcmp(json_string(a), json_string(b)) == 0);
	for (size_t i = 0; i < json_count(a); i++)
		must_be_same(json_at(a, i), json_at(b, i));
}

static void read_again(const struct json *root)
{
	struct err err = { 0 };
	size_t length;
	const char *text = json_text(root, &length);
	struct json *again = json_parse("again", text, length, &err);

	must(again && !err.count);
	must_be_same(root, again);
	json_destroy(again);
}

static void read_sizes(const struct json *node)
{
	const struct json *children = json_get(node, "children");

	(void)json_get_size(node, "size", 0);
	(void)json_get_size(node, "offset", 0);
	(void)json_get_size(node, "chunk_size", 0);
	(void)json_get_size(node, "region_size", 0);
	(void)json_get_boolean(node, "label", true);
	(void)json_get_string(node, "path", NULL);
	for (size_t i = 0; i < json_count(children); i++)
		read_sizes(json_at(children, i));
}

static void read_device(const struct json *device)
{
	uint64_t size = json_get_size(device, "max_io_size", 4096);

	must(size >= 4096 && size <= 4u << 20);
	must(json_get_unsigned(device, "queues", 1) <= 64);
	must(json_get_unsigned(device, "queue_depth", 1) <= 4096);
	(void)json_get_string(device, "driver", NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = { 0 };
	struct json *document = json_parse("fuzz", (const char *)data, size, &err);
	int result;

	must(!document == (err.count > 0));
	if (document) {
		look_at(document);
		read_again(document);
		result = schema_check(document, &err);
		must((result < 0) == (err.count > 0));
		if (result == 0) {
			read_sizes(json_get(document, "root"));
			read_device(json_get(document, "device"));
		}
	}
	for (size_t i = 0; i < err.length; i++) /* fit for a terminal */
		must(err.text[i] == '\n' || ((unsigned char)err.text[i] >= ' ' && err.text[i] != 0x7f));
	json_destroy(document);
	err_finish(&err);
	return 0;
}
