// SPDX-License-Identifier: MIT
/*
 * schema-check FILE...: reads each document and checks it against the program's schema.
 * schema-check --suite FILE...: runs files in the form of the JSON Schema test suite.
 * Prints "FILE: good" or the messages; exit 1 if any was bad. For tests/schema_agrees.
 */
#include "schema.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const struct json *object, const char *key)
{
	return json_get_string(object, key, "");
}

/* One line per case: group, test and our verdict, separated by tabs. */
static void run_group(const struct json *group)
{
	const struct json *schema = json_get(group, "schema");
	const struct json *tests = json_get(group, "tests");
	struct err err = { 0 };
	bool supported = schema_supported(schema, &err) == 0;

	for (size_t i = 0; i < json_count(tests); i++) {
		const struct json *test = json_at(tests, i);
		struct err faults = { 0 };
		const char *verdict = "unsupported";

		if (supported)
			verdict = schema_check_with(schema, json_get(test, "data"), &faults)
					  ? "invalid"
					  : "valid";
		printf("%s\t%s\t%s\n", text_of(group, "description"), text_of(test, "description"),
			verdict);
		err_finish(&faults);
	}
	err_finish(&err);
}

static int run_suite(const char *path)
{
	struct err err = { 0 };
	struct json *suite = json_read_file(path, &err);

	for (size_t i = 0; suite && i < json_count(suite); i++)
		run_group(json_at(suite, i));
	if (err.text)
		fputs(err.text, stderr);
	json_destroy(suite);
	err_finish(&err);
	return suite ? 0 : 1;
}

static int check_file(const char *path)
{
	struct err err = { 0 };
	struct json *document = json_read_file(path, &err);
	int result = document ? schema_check(document, &err) : -1;

	if (result == 0)
		printf("%s: good\n", path);
	if (err.text)
		fputs(err.text, stdout);
	json_destroy(document);
	err_finish(&err);
	return result ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool suite = argc > 1 && strcmp(argv[1], "--suite") == 0;
	int result = 0;

	for (int i = suite ? 2 : 1; i < argc; i++)
		result |= suite ? run_suite(argv[i]) : check_file(argv[i]);
	return result;
}
