// SPDX-License-Identifier: MIT
/* The JSON reader and hostile documents: limits, and no step whose cost grows faster than the text.
 */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

static struct json *parse(const char *text, struct err *err)
{
	return json_parse("t", text, strlen(text), err);
}

static struct json *parsed(const char *text)
{
	struct err err = { 0 };
	struct json *root = parse(text, &err);

	if (err.text)
		print_error("%s", err.text);
	assert_non_null(root);
	assert_int_equal(err.count, 0);
	return root;
}

static void refused(const char *text, size_t length, const char *message)
{
	struct err err = { 0 };
	char wanted[1024];

	assert_null(json_parse("t", text, length, &err));
	snprintf(wanted, sizeof(wanted), "%s\n", message);
	assert_string_equal(err.text, wanted);
	err_finish(&err);
}

static char *repeated(const char *head, const char *text, size_t times, const char *tail)
{
	size_t size = strlen(head) + strlen(text) * times + strlen(tail) + 1;
	char *all = malloc(size);
	char *end = stpcpy(all, head);

	while (times--)
		end = stpcpy(end, text);
	stpcpy(end, tail);
	return all;
}

static void nesting_is_limited(void **state)
{
	char *open = repeated("", "[", JSON_DEPTH_MAX, "");
	char *good = repeated(open, "]", JSON_DEPTH_MAX, "");
	char *bad = repeated(open, "[", 1, "");
	struct err err = { 0 };
	struct json *root = parsed(good);

	(void)state;
	assert_null(parse(open, &err));
	err_finish(&err);
	assert_null(parse(bad, &err));
	assert_non_null(strstr(err.text, "arrays and objects nest deeper than 80 (t:1:81, /0/0/0"));
	err_finish(&err);
	json_destroy(root);
	free(bad);
	free(good);
	free(open);
}

static void length_is_limited(void **state)
{
	char *good = repeated("[]", " ", JSON_BYTES_MAX - 2, "");
	char *bad = repeated(good, " ", 1, "");

	(void)state;
	json_destroy(parsed(good));
	refused(bad, JSON_BYTES_MAX + 1, "the document is larger than 1048576 bytes (t)");
	free(bad);
	free(good);
}

static void messages_of_one_document_are_limited(void **state)
{
	char *bad = repeated("{", "\"a\":1,", 500, "\"a\":1}");
	struct err err = { 0 };

	(void)state;
	assert_null(parse(bad, &err));
	assert_int_equal(err.count, 101);
	assert_non_null(strstr(err.text, "\nthere are more errors than 100 (t)\n"));
	err_finish(&err);
	free(bad);
}

static void long_names_are_cut_in_messages_between_characters(void **state)
{
	char *key = repeated("\"a", "\xc3\xa4", 5000, "\":1");
	char *members = repeated(key, ",", 1, key);
	char *bad = repeated("{", members, 1, "}");
	struct err err = { 0 };

	(void)state;
	assert_null(parse(bad, &err));
	assert_int_equal(err.count, 1);
	assert_true(err.length < 512);
	assert_null(strstr(err.text, "\xc3\""));
	assert_null(strstr(err.text, "\xc3)"));
	err_finish(&err);
	free(bad);
	free(members);
	free(key);
}

/* A quadratic step somewhere would take minutes: the limit is generous, for slow machines. */
static void hostile_documents_of_full_length_are_read_in_linear_time(void **state)
{
	static const struct {
		const char *head, *text, *tail;
	} cases[] = {
		{ "[1", ",1", "]" },
		{ "[\"\"", ",\"\"", "]" },
		{ "{\"a\":1", ",\"a\":1", "}" },
		{ "[{}", ",{\"\":{}}", "]" },
		{ "[", "\n", "]" },
		{ "[\"", "\\n", "\"]" },
		{ "", "[", "" },
		{ "", "{\"\":", "" },
		{ "", "\"", "" },
		{ "", "9", "" },
		{ "{\"", "k", "\":1}" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		size_t times = (JSON_BYTES_MAX - 32) / strlen(cases[i].text);
		char *text = repeated(cases[i].head, cases[i].text, times, cases[i].tail);
		struct err err = { 0 };
		clock_t start = clock();

		json_destroy(parse(text, &err));
		assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
		err_finish(&err);
		free(text);
	}
}

static void different_keys_in_one_large_object_are_not_compared_pairwise(void **state)
{
	size_t size = 0;
	char *text;
	FILE *out = open_memstream(&text, &size);
	clock_t start = clock();
	struct json *root;

	(void)state;
	fputc('{', out);
	for (unsigned i = 0; i < 90000; i++)
		fprintf(out, "%s\"%u\":%u", i ? "," : "", i * 7919 % 90000, i % 10);
	fputc('}', out);
	fclose(out);
	root = parsed(text);
	assert_int_equal(json_count(root), 90000);
	assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
	json_destroy(root);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(length_is_limited),
		cmocka_unit_test(messages_of_one_document_are_limited),
		cmocka_unit_test(long_names_are_cut_in_messages_between_characters),
		cmocka_unit_test(hostile_documents_of_full_length_are_read_in_linear_time),
		cmocka_unit_test(different_keys_in_one_large_object_are_not_compared_pairwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
