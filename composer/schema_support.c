// SPDX-License-Identifier: MIT
/*
 * Which schemas the interpreter can follow: each keyword known, each of the right form, each $ref
 * leading somewhere. The unit tests ask this of the embedded schema, so that the interpreter itself
 * need not.
 */
#include "schema_keyword.h"

#include <regex.h>
#include <string.h>

#define SEGMENT_MAX 128

static bool supported(const struct json *root, const struct json *schema, struct err *err);

/* One segment of a JSON Pointer, unescaped; returns what follows it. */
static const char *take_segment(const char *pointer, char segment[SEGMENT_MAX])
{
	size_t length = 0;

	for (pointer++; *pointer && *pointer != '/'; pointer++) {
		char c = *pointer;

		if (c == '~' && (pointer[1] == '0' || pointer[1] == '1'))
			c = *++pointer == '0' ? '~' : '/';
		if (length < SEGMENT_MAX - 1)
			segment[length++] = c;
	}
	segment[length] = '\0';
	return pointer;
}

const struct json *schema_resolve(const struct json *root, const char *reference)
{
	char segment[SEGMENT_MAX];

	if (*reference++ != '#')
		return NULL;
	while (root && *reference == '/') {
		reference = take_segment(reference, segment);
		root = json_kind(root) == JSON_OBJECT ? json_get(root, segment) : NULL;
	}
	return *reference ? NULL : root;
}

static bool is_type_name(const struct json *name)
{
	static const char *const names[] = { "null", "boolean", "integer", "number", "string",
		"array", "object" };

	if (json_kind(name) != JSON_STRING)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(json_string(name), names[i]) == 0)
			return true;
	return false;
}

static bool compiles(const struct json *word)
{
	regex_t compiled;

	if (json_kind(word) != JSON_STRING ||
		regcomp(&compiled, json_string(word), REG_EXTENDED | REG_NOSUB))
		return false;
	regfree(&compiled);
	return true;
}

static bool are_strings(const struct json *list)
{
	if (json_kind(list) != JSON_ARRAY)
		return false;
	for (size_t i = 0; i < json_count(list); i++)
		if (json_kind(json_at(list, i)) != JSON_STRING)
			return false;
	return true;
}

static bool are_types(const struct json *word)
{
	if (!are_strings(word))
		return false;
	for (size_t i = 0; i < json_count(word); i++)
		if (!is_type_name(json_at(word, i)))
			return false;
	return true;
}

static bool are_supported(const struct json *root, const struct json *schemas, struct err *err)
{
	bool good = true;

	for (size_t i = 0; i < json_count(schemas); i++)
		good = supported(root, json_at(schemas, i), err) && good;
	return good;
}

/* Whether a keyword's value has the form that the interpreter counts on; adds no message. */
static bool has_form(const struct json *root, enum keyword_form form, const struct json *word)
{
	enum json_kind kind = json_kind(word);
	uint64_t count;

	switch (form) {
	case FORM_ANY:
	case FORM_SCHEMA: /* supported() says */
		return true;
	case FORM_TYPE:
		return is_type_name(word) || are_types(word);
	case FORM_LIST:
	case FORM_SCHEMAS:
		return kind == JSON_ARRAY;
	case FORM_NAMED_SCHEMAS:
		return kind == JSON_OBJECT;
	case FORM_TITLE:
		return kind == JSON_STRING;
	case FORM_NUMBER:
		return kind == JSON_INTEGER || kind == JSON_REAL;
	case FORM_COUNT:
		return kind == JSON_INTEGER && json_unsigned(word, &count);
	case FORM_PATTERN:
		return compiles(word);
	case FORM_REF:
		return kind == JSON_STRING && schema_resolve(root, json_string(word));
	case FORM_STRINGS:
		return are_strings(word);
	}
	return false;
}

static bool word_supported(
	const struct json *root, const char *name, const struct json *word, struct err *err)
{
	const struct keyword *keyword = schema_keyword(name);

	if (!keyword) {
		json_err(word, err, "the schema's keyword \"%s\" is unknown", name);
		return false;
	}
	if (!has_form(root, keyword->form, word)) {
		json_err(word, err, "the schema's keyword \"%s\" cannot be %s", name,
			schema_show(word).text);
		return false;
	}
	if (keyword->form == FORM_SCHEMA)
		return supported(root, word, err);
	if (keyword->form == FORM_SCHEMAS || keyword->form == FORM_NAMED_SCHEMAS)
		return are_supported(root, word, err);
	return true;
}

static bool supported(const struct json *root, const struct json *schema, struct err *err)
{
	bool good = true;

	if (json_kind(schema) == JSON_BOOLEAN)
		return true;
	if (json_kind(schema) != JSON_OBJECT) {
		json_err(schema, err, "a schema must be an object or a boolean, not %s",
			schema_show(schema).text);
		return false;
	}
	for (size_t i = 0; i < json_count(schema); i++)
		good = word_supported(root, json_key_at(schema, i), json_at(schema, i), err) &&
		       good;
	return good;
}

int schema_supported(const struct json *schema, struct err *err)
{
	return supported(schema, schema, err) ? 0 : -1;
}
