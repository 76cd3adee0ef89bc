// SPDX-License-Identifier: MIT
/*
 * The interpreter of the JSON Schema that the program carries within. It knows JSON Schema's
 * keywords and nothing of what the schema describes. Keywords about one value are in
 * schema_value.c.
 */
#include "schema_keyword.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 64
#define DEPTH_MAX                                                                                  \
	(JSON_DEPTH_MAX * 16) /* some schemas ($ref, allOf, then) for each level of the document   \
			       */

static bool check_value(struct check *check, const struct json *schema, const struct json *value);

/* The verdict without messages. */
static bool admits(struct check *check, const struct json *schema, const struct json *value)
{
	struct err *err = check->err;
	bool good;

	check->err = NULL;
	good = check_value(check, schema, value);
	check->err = err;
	return good;
}

static bool check_items(struct check *check, const struct json *schema, const struct json *items,
	const struct json *value)
{
	bool good = true;

	if (json_kind(value) != JSON_ARRAY)
		return true;
	for (size_t i = 0; i < json_count(value) && (good || check->err); i++)
		good = check_value(check, items, json_at(value, i)) && good;
	return good;
}

static bool check_properties(struct check *check, const struct json *schema,
	const struct json *properties, const struct json *value)
{
	bool good = true;

	if (json_kind(value) != JSON_OBJECT)
		return true;
	for (size_t i = 0; i < json_count(value) && (good || check->err); i++) {
		const struct json *property = json_get(properties, json_key_at(value, i));

		good = (!property || check_value(check, property, json_at(value, i))) && good;
	}
	return good;
}

static bool check_required(struct check *check, const struct json *schema,
	const struct json *required, const struct json *value)
{
	bool good = true;

	if (json_kind(value) != JSON_OBJECT)
		return true;
	for (size_t i = 0; i < json_count(required); i++) {
		const char *key = json_string(json_at(required, i));

		if (!json_get(value, key))
			good = schema_say_of(check, value, value, "\"%s\" is missing", key);
	}
	return good;
}

static bool say_unknown_key(
	struct check *check, const struct json *properties, const struct json *object, size_t index)
{
	const char *key = json_key_at(object, index);
	const char *near = properties ? schema_nearest(properties, key) : NULL;
	int length = (int)json_cut(key, strlen(key), KEY_MAX);
	char *known;

	if (near)
		return schema_say_of(check, object, json_at(object, index),
			"unknown key \"%.*s\"; did you mean \"%s\"?", length, key, near);
	known = properties ? schema_list(properties) : NULL;
	schema_say_of(check, object, json_at(object, index), "unknown key \"%.*s\"%s%s", length,
		key, known ? "; known are " : "", known ? known : "");
	free(known);
	return false;
}

static bool check_additional(struct check *check, const struct json *schema,
	const struct json *additional, const struct json *value)
{
	const struct json *properties = json_get(schema, "properties");
	bool good = true;

	if (json_kind(value) != JSON_OBJECT)
		return true;
	for (size_t i = 0; i < json_count(value) && (good || check->err); i++) {
		if (properties && json_get(properties, json_key_at(value, i)))
			continue;
		if (json_kind(additional) == JSON_BOOLEAN && !json_boolean(additional))
			good = say_unknown_key(check, properties, value, i);
		else
			good = check_value(check, additional, json_at(value, i)) && good;
	}
	return good;
}

static bool check_ref(struct check *check, const struct json *schema, const struct json *reference,
	const struct json *value)
{
	return check_value(check, schema_resolve(check->schema, json_string(reference)), value);
}

static bool check_all_of(struct check *check, const struct json *schema, const struct json *schemas,
	const struct json *value)
{
	bool good = true;

	for (size_t i = 0; i < json_count(schemas) && (good || check->err); i++)
		good = check_value(check, json_at(schemas, i), value) && good;
	return good;
}

/* The message of the one alternative that is for values of this kind says more than "none fits". */
static bool check_any_of(struct check *check, const struct json *schema, const struct json *schemas,
	const struct json *value)
{
	const struct json *title = json_get(schema, "title");
	const struct json *alternative = NULL;
	unsigned alternatives = 0;

	for (size_t i = 0; i < json_count(schemas); i++) {
		const struct json *type = NULL;

		if (admits(check, json_at(schemas, i), value))
			return true;
		if (json_kind(json_at(schemas, i)) == JSON_OBJECT)
			type = json_get(json_at(schemas, i), "type");
		if (type && schema_types_admit(type, value)) {
			alternative = json_at(schemas, i);
			alternatives++;
		}
	}
	if (!check->err)
		return false;
	if (alternatives == 1)
		return check_value(check, alternative, value);
	if (title)
		return schema_say(
			check, value, "%s is not %s", schema_show(value).text, json_string(title));
	return schema_say(
		check, value, "%s fits none of what is allowed here", schema_show(value).text);
}

static bool check_if(struct check *check, const struct json *schema, const struct json *condition,
	const struct json *value)
{
	const struct json *branch =
		json_get(schema, admits(check, condition, value) ? "then" : "else");

	return !branch || check_value(check, branch, value);
}

static const struct keyword keywords[] = {
	{ "$comment", FORM_ANY, NULL },
	{ "$defs", FORM_NAMED_SCHEMAS, NULL },
	{ "$id", FORM_ANY, NULL },
	{ "$ref", FORM_REF, check_ref },
	{ "$schema", FORM_ANY, NULL },
	{ "additionalProperties", FORM_SCHEMA, check_additional },
	{ "allOf", FORM_SCHEMAS, check_all_of },
	{ "anyOf", FORM_SCHEMAS, check_any_of },
	{ "const", FORM_ANY, schema_check_const },
	{ "default", FORM_ANY, NULL },
	{ "description", FORM_ANY, NULL },
	{ "else", FORM_SCHEMA, NULL },
	{ "enum", FORM_LIST, schema_check_enum },
	{ "examples", FORM_ANY, NULL },
	{ "if", FORM_SCHEMA, check_if },
	{ "items", FORM_SCHEMA, check_items },
	{ "maxItems", FORM_COUNT, schema_check_max_items },
	{ "maxLength", FORM_COUNT, schema_check_max_length },
	{ "maximum", FORM_NUMBER, schema_check_maximum },
	{ "minItems", FORM_COUNT, schema_check_min_items },
	{ "minLength", FORM_COUNT, schema_check_min_length },
	{ "minimum", FORM_NUMBER, schema_check_minimum },
	{ "pattern", FORM_PATTERN, schema_check_pattern },
	{ "properties", FORM_NAMED_SCHEMAS, check_properties },
	{ "required", FORM_STRINGS, check_required },
	{ "then", FORM_SCHEMA, NULL },
	{ "title", FORM_TITLE, NULL },
	{ "type", FORM_TYPE, schema_check_type },
};

const struct keyword *schema_keyword(const char *name)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords); i++)
		if (strcmp(keywords[i].name, name) == 0)
			return &keywords[i];
	return NULL;
}

/* A value of the wrong type has that one fault; what else is wrong with it means nothing. */
static bool check_words(struct check *check, const struct json *schema, const struct json *value)
{
	const struct json *type = json_get(schema, "type");
	bool good = !type || schema_check_type(check, schema, type, value);

	if (!good)
		return false;
	for (size_t i = 0; i < json_count(schema) && (good || check->err); i++) {
		const struct json *word = json_at(schema, i);
		const struct keyword *keyword = schema_keyword(json_key_at(schema, i));

		assert(keyword);
		if (keyword->check && word != type)
			good = keyword->check(check, schema, word, value) && good;
	}
	return good;
}

static bool check_value(struct check *check, const struct json *schema, const struct json *value)
{
	bool good;

	if (json_kind(schema) == JSON_BOOLEAN)
		return json_boolean(schema) || schema_say(check, value, "is not allowed here");
	if (check->depth == DEPTH_MAX)
		return schema_say(check, value, "leads the schema round in circles");
	check->depth++;
	good = check_words(check, schema, value);
	check->depth--;
	return good;
}

static int check_all(const struct json *schema, const struct json *document,
	struct schema_faults *faults, struct err *err)
{
	struct check check = { .schema = schema, .err = err, .faults = faults };
	bool good = check_value(&check, schema, document);

	for (unsigned i = 0; i < check.patterns_count; i++)
		regfree(&check.patterns[i].compiled);
	return good ? 0 : -1;
}

int schema_check_with(const struct json *schema, const struct json *document, struct err *err)
{
	return check_all(schema, document, NULL, err);
}

int schema_check_noting(
	const struct json *document, struct schema_faults *faults, struct err *err)
{
	struct json *schema = json_parse(
		"the program's schema", schema_text, (size_t)(schema_text_end - schema_text), err);
	int result;

	if (!schema)
		return -1;
	result = check_all(schema, document, faults, err);
	json_destroy(schema);
	return result;
}

int schema_check(const struct json *document, struct err *err)
{
	return schema_check_noting(document, NULL, err);
}

void schema_faults_finish(struct schema_faults *faults)
{
	free(faults->places);
	*faults = (struct schema_faults){ 0 };
}

/* A fault is that of the innermost node around it, or of what isn't in a node. */
bool schema_is_sound(const struct schema_faults *faults, const struct json *object)
{
	for (unsigned i = 0; i < faults->count; i++) {
		const struct json *at = faults->places[i];

		while (at && at != object &&
			!(json_kind(at) == JSON_OBJECT && json_get(at, "type")))
			at = json_parent(at);
		if (at == object)
			return false;
	}
	return true;
}
