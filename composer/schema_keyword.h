/* SPDX-License-Identifier: MIT */
/* What the files of the schema interpreter share: its keywords and its words. schema.h is the
 * interface. */
#ifndef COMPOSER_SCHEMA_KEYWORD_H
#define COMPOSER_SCHEMA_KEYWORD_H

#include "schema.h"

#include <regex.h>

#define PATTERNS_MAX 16

struct check { /* one run over one document */
	const struct json *schema;
	struct err *err; /* NULL: only the verdict is wanted */
	struct schema_faults *faults; /* NULL: nobody asks */
	unsigned depth; /* schemas within each other: a $ref may lead round in circles */
	struct {
		const struct json *source;
		regex_t compiled;
	} patterns[PATTERNS_MAX];
	unsigned patterns_count;
};

enum keyword_form { /* what a keyword's value must be */
	FORM_ANY,
	FORM_TYPE, /* a type's name or a list of them */
	FORM_LIST,
	FORM_TITLE,
	FORM_NUMBER,
	FORM_COUNT,
	FORM_PATTERN,
	FORM_REF,
	FORM_STRINGS,
	FORM_SCHEMA,
	FORM_SCHEMAS, /* a list of schemas */
	FORM_NAMED_SCHEMAS, /* an object of schemas */
};

/* `word` is the value of the keyword in `schema`; true if `value` is as it says. */
typedef bool keyword_check(struct check *check, const struct json *schema, const struct json *word,
	const struct json *value);

struct keyword {
	const char *name;
	enum keyword_form form;
	keyword_check *check; /* NULL: an annotation, or another keyword looks at it */
};

keyword_check schema_check_type, schema_check_enum, schema_check_const;
keyword_check schema_check_minimum, schema_check_maximum;
keyword_check schema_check_min_length, schema_check_max_length, schema_check_pattern;
keyword_check schema_check_min_items, schema_check_max_items;

const struct keyword *schema_keyword(const char *name);

/* The subschema that "#/$defs/x" or another pointer within root names; NULL: there is none. */
const struct json *schema_resolve(const struct json *root, const char *reference);

/* types: the value of the keyword "type" */
bool schema_types_admit(const struct json *types, const struct json *value);

/*
 * Adds a message about value, which gives both the subject ("stripe: chunk_size ") and the place.
 * Does nothing while only the verdict is wanted. Returns false.
 */
bool schema_say(struct check *check, const struct json *value, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same about an object itself ("stripe: "), or what stands in it at place. */
bool schema_say_of(struct check *check, const struct json *object, const struct json *place,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* A value as a message shows it: its text, cut if it is long. */
struct shown {
	char text[96];
};
struct shown schema_show(const struct json *value);

/* Names are an object's keys or an array's elements. The one that `given` may have meant, or NULL.
 */
const char *schema_nearest(const struct json *names, const char *given);
/* All of them, quoted as JSON does: `"x", "y"`. The caller frees. */
char *schema_list(const struct json *names);

#endif
