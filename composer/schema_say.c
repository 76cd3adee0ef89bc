// SPDX-License-Identifier: MIT
/*
 * The words of the schema's messages: what a fault is about, how a value is shown, which known name
 * is near to an unknown one. It knows no keyword.
 */
#include "schema_keyword.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SHOWN 48
#define VALUE_MAX_SHOWN 64
#define NEAR_LENGTH_MAX 32 /* longer names are not compared */
#define LETTERS_WRONG_MAX 3

struct shown schema_show(const struct json *value)
{
	struct shown shown;
	size_t length;
	const char *text = json_text(value, &length);
	size_t kept = json_cut(text, length, VALUE_MAX_SHOWN);

	if (json_kind(value) == JSON_OBJECT)
		snprintf(shown.text, sizeof(shown.text), "{…}");
	else if (json_kind(value) == JSON_ARRAY)
		snprintf(shown.text, sizeof(shown.text), "[…]");
	else
		snprintf(shown.text, sizeof(shown.text), "%.*s%s", (int)kept, text,
			kept < length ? "…" : "");
	return shown;
}

static void print_name(FILE *out, const char *name)
{
	fprintf(out, "%.*s", (int)json_cut(name, strlen(name), NAME_MAX_SHOWN), name);
}

/* An object is called by its node type, else by its key: "stripe: ", "device: ". */
static void print_object(FILE *out, const struct json *object)
{
	const struct json *type =
		json_kind(object) == JSON_OBJECT ? json_get(object, "type") : NULL;

	if (type && json_kind(type) == JSON_STRING)
		print_name(out, json_string(type));
	else if (json_key(object))
		print_name(out, json_key(object));
	else
		return;
	fputs(": ", out);
}

/* "stripe: chunk_size ", "mirror: children[3] ", "type " (which the node's own type would only
 * repeat). */
static void print_subject(FILE *out, const struct json *value)
{
	const struct json *member = value;
	const struct json *object;

	while (json_parent(member) && !json_key(member))
		member = json_parent(member);
	object = json_parent(member);
	if (!object) {
		fputs("the document ", out);
		return;
	}
	if (strcmp(json_key(member), "type") != 0)
		print_object(out, object);
	print_name(out, json_key(member));
	if (json_parent(value) == member)
		fprintf(out, "[%zu]", json_index(value));
	fputc(' ', out);
}

static void note(struct schema_faults *faults, const struct json *place)
{
	const struct json **places =
		realloc(faults->places, (faults->count + 1) * sizeof(*faults->places));

	if (!places)
		abort(); /* nothing is live yet that could be harmed */
	faults->places = places;
	faults->places[faults->count++] = place;
}

static void say(struct check *check, const struct json *place, const struct json *about,
	void (*print)(FILE *, const struct json *), const char *format, va_list arguments)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	print(out, about);
	vfprintf(out, format, arguments);
	if (fclose(out) != 0)
		abort();
	json_err(place, check->err, "%s", text);
	if (check->faults)
		note(check->faults, place);
	free(text);
}

bool schema_say(struct check *check, const struct json *value, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (check->err)
		say(check, value, value, print_subject, format, arguments);
	va_end(arguments);
	return false;
}

bool schema_say_of(struct check *check, const struct json *object, const struct json *place,
	const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (check->err)
		say(check, place, object, print_object, format, arguments);
	va_end(arguments);
	return false;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many letters must be added, taken away, changed or swapped to make one name of the other. */
static unsigned distance(const char *from, const char *to)
{
	unsigned rows[3][NEAR_LENGTH_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	size_t from_length = strlen(from), to_length = strlen(to);

	if (from_length > NEAR_LENGTH_MAX || to_length > NEAR_LENGTH_MAX)
		return UINT32_MAX;
	for (unsigned j = 0; j <= to_length; j++)
		last[j] = j;
	for (unsigned i = 1; i <= from_length; i++) {
		unsigned *unused = before;

		row[0] = i;
		for (unsigned j = 1; j <= to_length; j++) {
			row[j] = least(least(last[j], row[j - 1]) + 1,
				last[j - 1] + (from[i - 1] != to[j - 1]));
			if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = unused;
	}
	return last[to_length];
}

static const char *name_at(const struct json *names, size_t index)
{
	if (json_kind(names) == JSON_OBJECT)
		return json_key_at(names, index);
	return json_kind(json_at(names, index)) == JSON_STRING ? json_string(json_at(names, index))
							       : NULL;
}

/* The name that `given` may have meant: at most a third of its letters are wrong. */
const char *schema_nearest(const struct json *names, const char *given)
{
	unsigned best = least((unsigned)strlen(given), LETTERS_WRONG_MAX * 3) / 3 + 1;
	const char *found = NULL;

	for (size_t i = 0; i < json_count(names); i++) {
		const char *name = name_at(names, i);
		unsigned letters = name ? distance(given, name) : UINT32_MAX;

		if (letters < best) {
			best = letters;
			found = name;
		}
	}
	return found;
}

char *schema_list(const struct json *names)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	for (size_t i = 0; i < json_count(names); i++) {
		const char *name = name_at(names, i);

		if (name)
			fprintf(out, "%s\"%s\"", i ? ", " : "", name);
		else
			fprintf(out, "%s%s", i ? ", " : "", schema_show(json_at(names, i)).text);
	}
	if (fclose(out) != 0)
		abort();
	return text;
}
