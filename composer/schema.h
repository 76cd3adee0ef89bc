/* SPDX-License-Identifier: MIT */
/*
 * Checks a document against schemas/ubd-compose.schema.json, by interpreting that very file, which
 * the program carries within. So what the schema says and what the program accepts are one.
 *
 * Interpreted (JSON Schema, draft 2020-12): type, enum, const, minimum, maximum, minLength,
 * maxLength, pattern (a POSIX extended expression), items, minItems, maxItems, properties,
 * required, additionalProperties, $ref within the file, allOf, anyOf, if, then, else. Annotations
 * are ignored, but for `title`, which messages use as a noun. Other than the draft, 1.0 is not an
 * integer.
 *
 * Who calls: main, once per document. It does not block. Errors: one message per independent fault,
 * with its place.
 */
#ifndef COMPOSER_SCHEMA_H
#define COMPOSER_SCHEMA_H

#include "err.h"
#include "json.h"

/* Returns 0, or -1 with messages. */
int schema_check(const struct json *document, struct err *err);

/*
 * The same, and notes where the faults are, so that what is sound can be looked at further in the
 * same run. `faults` begins as zeroes; schema_faults_finish() frees it.
 */
struct schema_faults {
	const struct json **places;
	unsigned count;
};
int schema_check_noting(
	const struct json *document, struct schema_faults *faults, struct err *err);
void schema_faults_finish(struct schema_faults *faults);
/* Whether an object has no fault, those of the nodes within it aside. */
bool schema_is_sound(const struct schema_faults *faults, const struct json *object);

/* The same against any schema that schema_supported() accepts. */
int schema_check_with(const struct json *schema, const struct json *document, struct err *err);

/* Whether the interpreter knows every keyword of a schema, and each has the right form. 0 or -1. */
int schema_supported(const struct json *schema, struct err *err);

/* The embedded file. */
extern const char schema_text[], schema_text_end[];

#endif
