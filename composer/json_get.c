// SPDX-License-Identifier: MIT
/* Access to the values of a JSON document: members, places, sizes. */
#include "json_value.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum json_kind json_kind(const struct json *value)
{
	return value->kind;
}

const char *json_kind_name(enum json_kind kind)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",
		[JSON_BOOLEAN] = "boolean",
		[JSON_INTEGER] = "integer",
		[JSON_REAL] = "number",
		[JSON_STRING] = "string",
		[JSON_ARRAY] = "array",
		[JSON_OBJECT] = "object",
	};

	return names[kind];
}

bool json_boolean(const struct json *value)
{
	assert(value->kind == JSON_BOOLEAN);
	return value->boolean;
}

const char *json_string(const struct json *value)
{
	assert(value->kind == JSON_STRING);
	return value->string;
}

double json_real(const struct json *value)
{
	assert(value->kind == JSON_REAL || value->kind == JSON_INTEGER);
	return value->real;
}

bool json_unsigned(const struct json *value, uint64_t *number)
{
	assert(value->kind == JSON_INTEGER);
	*number = value->magnitude;
	return !value->negative;
}

const char *json_text(const struct json *value, size_t *length)
{
	if (length)
		*length = value->text.length;
	return value->document->text + value->text.start;
}

size_t json_count(const struct json *value)
{
	return value ? value->count : 0;
}

const struct json *json_at(const struct json *value, size_t index)
{
	assert(index < value->count);
	return value->children[index];
}

const char *json_key_at(const struct json *object, size_t index)
{
	assert(object->kind == JSON_OBJECT);
	return json_at(object, index)->key;
}

const struct json *json_get(const struct json *object, const char *key)
{
	assert(!object || object->kind == JSON_OBJECT);
	for (size_t i = 0; object && i < object->count; i++)
		if (strcmp(object->children[i]->key, key) == 0)
			return object->children[i];
	return NULL;
}

const struct json *json_parent(const struct json *value)
{
	return value->parent;
}

const char *json_key(const struct json *value)
{
	return value->key;
}

size_t json_index(const struct json *value)
{
	return value->index;
}

unsigned json_line(const struct json *value)
{
	return value->line;
}

size_t json_cut(const char *text, size_t length, size_t limit)
{
	if (length <= limit)
		return length;
	while (limit > 0 && ((unsigned char)text[limit] & 0xc0) == 0x80)
		limit--;
	return limit;
}

struct room { /* what fits is kept, what is wanted is counted */
	char *text;
	size_t size, wanted;
};

static void room_add(struct room *room, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++, room->wanted++)
		if (room->wanted < room->size)
			room->text[room->wanted] = bytes[i];
}

/* While the scan runs there are no decoded keys: a syntax error shows them as they were written. */
static void room_add_key(struct room *room, const struct json *value)
{
	const char *key = value->key;
	size_t length;

	if (key) {
		length = strlen(key);
	} else {
		key = value->document->text + value->raw_key.start + 1;
		length = value->raw_key.length - 2;
	}
	for (size_t i = 0; i < length; i++) {
		if (key[i] == '~')
			room_add(room, "~0", 2);
		else if (key[i] == '/')
			room_add(room, "~1", 2);
		else
			room_add(room, &key[i], 1);
	}
}

size_t json_pointer(const struct json *value, char *text, size_t size)
{
	const struct json *path[JSON_DEPTH_MAX + 1];
	struct room room = { text, size, 0 };
	size_t depth = 0, end;

	for (; value->parent; value = value->parent)
		path[depth++] = value;
	while (depth > 0) {
		char index[16];

		value = path[--depth];
		room_add(&room, "/", 1);
		if (value->raw_key.length)
			room_add_key(&room, value);
		else
			room_add(&room, index,
				(size_t)snprintf(index, sizeof(index), "%u", value->index));
	}
	if (size == 0)
		return room.wanted;
	end = room.wanted < size ? room.wanted : size - 1;
	text[room.wanted < size ? end : json_cut(text, size, end)] = '\0';
	return room.wanted;
}

/* Whether a suffix means the unit: in full ("KiB"), by its letter ("K"), or for B not at all. */
static bool is_unit(const char *suffix, const char *unit)
{
	return !strcmp(suffix, unit) || (suffix[0] == unit[0] && !suffix[1]) ||
		(unit[0] == 'B' && !suffix[0]);
}

bool json_parse_size(const char *text, uint64_t *bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	static const unsigned unit_bits = 10; /* each unit is 1024 of the one before */
	uint64_t number = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(number, 10u, &number) ||
			__builtin_add_overflow(number, (unsigned)(*at - '0'), &number))
			return false;
	if (at == text)
		return false;
	for (unsigned i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (!is_unit(at, units[i]))
			continue;
		if (number > UINT64_MAX >> (i * unit_bits))
			return false;
		*bytes = number << (i * unit_bits);
		return true;
	}
	return false;
}

uint64_t json_get_size(const struct json *object, const char *key, uint64_t preset)
{
	const struct json *value = json_get(object, key);
	uint64_t bytes = preset;
	bool good;

	if (!value)
		return preset;
	good = value->kind == JSON_STRING ? json_parse_size(json_string(value), &bytes)
					  : json_unsigned(value, &bytes);
	assert(good);
	return bytes;
}

uint64_t json_get_unsigned(const struct json *object, const char *key, uint64_t preset)
{
	const struct json *value = json_get(object, key);
	uint64_t number = preset;
	bool good = !value || json_unsigned(value, &number);

	assert(good);
	return number;
}

bool json_get_boolean(const struct json *object, const char *key, bool preset)
{
	const struct json *value = json_get(object, key);

	return value ? json_boolean(value) : preset;
}

const char *json_get_string(const struct json *object, const char *key, const char *preset)
{
	const struct json *value = json_get(object, key);

	return value ? json_string(value) : preset;
}
