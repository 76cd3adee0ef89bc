// SPDX-License-Identifier: MIT
/* The keywords of JSON Schema that look at one value alone: its type, size, length, pattern. */
#include "schema_keyword.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *title_of(const struct json *schema)
{
	return json_get_string(schema, "title", NULL);
}

static bool is_number(const struct json *value)
{
	return json_kind(value) == JSON_INTEGER || json_kind(value) == JSON_REAL;
}

/* An integer of more than 64 bits is read as a real number, but written without point or exponent.
 */
static bool is_huge_integer(const struct json *value)
{
	size_t length;
	const char *text = json_text(value, &length);

	return json_kind(value) == JSON_REAL && strspn(text, "-0123456789") >= length;
}

static int compare_numbers(const struct json *a, const struct json *b)
{
	uint64_t x = 0, y = 0;
	bool a_positive, b_positive;

	if (json_kind(a) == JSON_REAL || json_kind(b) == JSON_REAL)
		return (json_real(a) > json_real(b)) - (json_real(a) < json_real(b));
	a_positive = json_unsigned(a, &x);
	b_positive = json_unsigned(b, &y);
	if (a_positive != b_positive)
		return a_positive ? 1 : -1;
	return a_positive ? (x > y) - (x < y) : (y > x) - (y < x);
}

static bool equal(const struct json *a, const struct json *b)
{
	if (is_number(a) && is_number(b))
		return compare_numbers(a, b) == 0;
	if (json_kind(a) != json_kind(b) || json_count(a) != json_count(b))
		return false;
	if (json_kind(a) == JSON_BOOLEAN)
		return json_boolean(a) == json_boolean(b);
	if (json_kind(a) == JSON_STRING)
		return strcmp(json_string(a), json_string(b)) == 0;
	for (size_t i = 0; i < json_count(a); i++) {
		const struct json *other =
			json_kind(a) == JSON_ARRAY ? json_at(b, i) : json_get(b, json_key_at(a, i));

		if (!other || !equal(json_at(a, i), other))
			return false;
	}
	return true;
}

static bool type_admits(const char *type, const struct json *value)
{
	return strcmp(type, json_kind_name(json_kind(value))) == 0 ||
	       (strcmp(type, "number") == 0 && json_kind(value) == JSON_INTEGER);
}

bool schema_types_admit(const struct json *types, const struct json *value)
{
	if (json_kind(types) == JSON_STRING)
		return type_admits(json_string(types), value);
	for (size_t i = 0; i < json_count(types); i++)
		if (type_admits(json_string(json_at(types, i)), value))
			return true;
	return false;
}

bool schema_check_type(struct check *check, const struct json *schema, const struct json *types,
	const struct json *value)
{
	struct shown shown = schema_show(value);
	const char *name, *given;

	if (schema_types_admit(types, value))
		return true;
	if (json_kind(types) == JSON_ARRAY)
		return schema_say(check, value, "is %s, which its type does not allow", shown.text);
	name = json_string(types);
	if (strcmp(name, "integer") == 0 && is_huge_integer(value))
		return schema_say(check, value, "%s is too large", shown.text);
	given = json_kind(value) == JSON_OBJECT	 ? "an object"
		: json_kind(value) == JSON_ARRAY ? "an array"
						 : shown.text;
	return schema_say(check, value, "must be %s %s, not %s", strchr("aio", *name) ? "an" : "a",
		name, given);
}

bool schema_check_enum(struct check *check, const struct json *schema, const struct json *choices,
	const struct json *value)
{
	const char *near = NULL;
	char *known;

	for (size_t i = 0; i < json_count(choices); i++)
		if (equal(json_at(choices, i), value))
			return true;
	if (!check->err)
		return false;
	if (json_kind(value) == JSON_STRING)
		near = schema_nearest(choices, json_string(value));
	known = schema_list(choices);
	schema_say(check, value, "%s is not one of %s%s%s%s", schema_show(value).text, known,
		near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	free(known);
	return false;
}

bool schema_check_const(struct check *check, const struct json *schema, const struct json *only,
	const struct json *value)
{
	return equal(only, value) || schema_say(check, value, "must be %s, not %s",
					     schema_show(only).text, schema_show(value).text);
}

bool schema_check_minimum(struct check *check, const struct json *schema, const struct json *limit,
	const struct json *value)
{
	return !is_number(value) || compare_numbers(value, limit) >= 0 ||
	       schema_say(check, value, "%s is below the minimum %s", schema_show(value).text,
		       schema_show(limit).text);
}

bool schema_check_maximum(struct check *check, const struct json *schema, const struct json *limit,
	const struct json *value)
{
	return !is_number(value) || compare_numbers(value, limit) <= 0 ||
	       schema_say(check, value, "%s is above the maximum %s", schema_show(value).text,
		       schema_show(limit).text);
}

static uint64_t count_of(const struct json *word)
{
	uint64_t count = 0;

	(void)json_unsigned(word, &count); /* schema_supported() has checked it */
	return count;
}

static uint64_t characters(const struct json *string)
{
	uint64_t count = 0;

	for (const char *at = json_string(string); *at; at++)
		count += ((unsigned char)*at & 0xc0) != 0x80;
	return count;
}

bool schema_check_min_length(struct check *check, const struct json *schema,
	const struct json *limit, const struct json *value)
{
	if (json_kind(value) != JSON_STRING || characters(value) >= count_of(limit))
		return true;
	if (!*json_string(value))
		return schema_say(check, value, "is empty");
	return schema_say(check, value, "%s has %" PRIu64 " characters, the minimum is %" PRIu64,
		schema_show(value).text, characters(value), count_of(limit));
}

bool schema_check_max_length(struct check *check, const struct json *schema,
	const struct json *limit, const struct json *value)
{
	return json_kind(value) != JSON_STRING || characters(value) <= count_of(limit) ||
	       schema_say(check, value, "%s has %" PRIu64 " characters, the maximum is %" PRIu64,
		       schema_show(value).text, characters(value), count_of(limit));
}

static const regex_t *compiled(struct check *check, const struct json *source)
{
	unsigned i = 0;

	while (i < check->patterns_count && check->patterns[i].source != source)
		i++;
	if (i == check->patterns_count) {
		if (i == PATTERNS_MAX) {
			regfree(&check->patterns[--i].compiled);
			check->patterns_count--;
		}
		if (regcomp(&check->patterns[i].compiled, json_string(source),
			    REG_EXTENDED | REG_NOSUB))
			abort();
		check->patterns[i].source = source;
		check->patterns_count++;
	}
	return &check->patterns[i].compiled;
}

bool schema_check_pattern(struct check *check, const struct json *schema,
	const struct json *pattern, const struct json *value)
{
	const struct json *limit = json_get(schema, "maxLength");

	if (json_kind(value) != JSON_STRING)
		return true;
	if (limit && characters(value) > count_of(limit))
		return true; /* maxLength has said so, and spared the expression a megabyte */
	if (!*json_string(value) && json_get(schema, "minLength"))
		return true; /* said too */
	if (regexec(compiled(check, pattern), json_string(value), 0, NULL, 0) == 0)
		return true;
	if (title_of(schema))
		return schema_say(
			check, value, "%s is not %s", schema_show(value).text, title_of(schema));
	return schema_say(check, value, "%s does not match %s", schema_show(value).text,
		json_string(pattern));
}

bool schema_check_min_items(struct check *check, const struct json *schema,
	const struct json *limit, const struct json *value)
{
	return json_kind(value) != JSON_ARRAY || json_count(value) >= count_of(limit) ||
	       schema_say(check, value, "has %zu elements, the minimum is %" PRIu64,
		       json_count(value), count_of(limit));
}

bool schema_check_max_items(struct check *check, const struct json *schema,
	const struct json *limit, const struct json *value)
{
	const char *title = title_of(schema);

	return json_kind(value) != JSON_ARRAY || json_count(value) <= count_of(limit) ||
	       schema_say(check, value, "has %zu elements, the maximum is %" PRIu64 "%s%s",
		       json_count(value), count_of(limit), title ? ": " : "", title ? title : "");
}
