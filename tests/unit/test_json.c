// SPDX-License-Identifier: MIT
/* The JSON reader: what it takes, and what it refuses with which words. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

struct refusal {
	const char *text, *message;
};

static const struct refusal refusals[] = {
	{ "", "the document is empty (t:1:1)" },
	{ " \n ", "the document is empty (t:2:2)" },
	{ "\xef\xbb\xbf{}",
		"the document begins with a byte order mark, which JSON forbids (t:1:1)" },
	{ "{", "expected a key in double quotes or '}', found the end of the document (t:1:2)" },
	{ "[", "expected a value, found the end of the document (t:1:2, /0)" },
	{ "[1,", "expected a value, found the end of the document (t:1:4, /1)" },
	{ "[1,\n]", "expected a value after the comma, found ']' (t:2:1)" },
	{ "[1 2]", "expected ',' or ']', found '2' (t:1:4)" },
	{ "[,]", "expected a value, found ',' (t:1:2, /0)" },
	{ "{\"a\":1,}", "expected a key in double quotes after the comma, found '}' (t:1:8)" },
	{ "{\"a\" 1}", "expected ':' after the key, found '1' (t:1:6)" },
	{ "{\"a\":}", "expected a value, found '}' (t:1:6, /a)" },
	{ "{\"a\":1 \"b\":2}", "expected ',' or '}', found a string (t:1:8)" },
	{ "{a:1}", "expected a key in double quotes or '}', found 'a' (t:1:2)" },
	{ "{}x", "expected the end of the document, found 'x' (t:1:3)" },
	{ "{}\n{}", "expected the end of the document, found '{' (t:2:1)" },
	{ "{\"a\":{\"b/~\":[0,\n  /* no */ 1]}}",
		"expected a value (JSON has no comments), found '/' (t:2:3, /a/b~1~0/1)" },
	{ "['a']", "expected a value (strings stand in double quotes), found ''' (t:1:2, /0)" },
	{ "[True]", "expected a value, found the word True (t:1:2, /0)" },
	{ "nul", "expected a value, found the word nul (t:1:1)" },
	{ "NaN", "expected a value, found the word NaN (t:1:1)" },
	{ "[-Infinity]", "expected a digit, found 'I' (t:1:3, /0)" },
	{ "01", "a number must not begin with 0 (t:1:1)" },
	{ "-01", "a number must not begin with 0 (t:1:2)" },
	{ "+1", "expected a value, found '+' (t:1:1)" },
	{ ".5", "expected a value, found '.' (t:1:1)" },
	{ "1.", "expected a digit, found the end of the document (t:1:3)" },
	{ "1.e5", "expected a digit, found 'e' (t:1:3)" },
	{ "1e+", "expected a digit, found the end of the document (t:1:4)" },
	{ "0x10", "expected the end of the document, found 'x' (t:1:2)" },
	{ "\"a", "expected '\"' at the end of the string, found the end of the document (t:1:3)" },
	{ "\"a\nb\"", "expected '\"' at the end of the string, found the end of the line (t:1:3)" },
	{ "\"\tb\"", "a string must not hold the control character 0x09; write \\u0009 (t:1:2)" },
	{ "\"\\x41\"",
		"expected one of \" \\ / b f n r t u after the backslash, found 'x' (t:1:2)" },
	{ "\"\\", "expected one of \" \\ / b f n r t u after the backslash, "
		  "found the end of the document (t:1:2)" },
	{ "\"\\u12g4\"", "expected four hexadecimal digits after \\u (t:1:2)" },
	{ "\"\\u0000\"", "a string must not hold the character NUL (\\u0000) (t:1:2)" },
	{ "\"\\ud800\"", "\\ud800 is the first half of a pair, the second is missing (t:1:2)" },
	{ "\"\\ud800\\u0041\"",
		"\\ud800 is the first half of a pair, the second is missing (t:1:2)" },
	{ "\"\\udc00\"", "\\udc00 is the second half of a pair, the first is missing (t:1:2)" },
	{ "\"\xc3\xa4\xff\"", "byte 0xff is not valid UTF-8 (t:1:3)" },
	{ "\"\xc0\x80\"", "byte 0xc0 is not valid UTF-8 (t:1:2)" },
	{ "\"\xe0\x9f\xbf\"", "byte 0xe0 is not valid UTF-8 (t:1:2)" },
	{ "\"\xed\xa0\x80\"", "byte 0xed is not valid UTF-8 (t:1:2)" },
	{ "\"\xf0\x8f\xbf\xbf\"", "byte 0xf0 is not valid UTF-8 (t:1:2)" },
	{ "\"\xf4\x90\x80\x80\"", "byte 0xf4 is not valid UTF-8 (t:1:2)" },
	{ "\"\xe2\x82", "byte 0xe2 is not valid UTF-8 (t:1:2)" },
	{ "{\"a\":1,\"b\":2,\n\"a\":3}", "duplicate key \"a\", given before on line 1 (t:2, /a)" },
	{ "{\"a\":1,\"\\u0061\":2}", "duplicate key \"a\", given before on line 1 (t:1, /a)" },
	{ "{\"a\":1,\n\"a\":{\"b\":1,\n\"b\":2},\n\"a\":3}",
		"duplicate key \"a\", given before on line 1 (t:2, /a)\n"
		"duplicate key \"a\", given before on line 1 (t:4, /a)\n"
		"duplicate key \"b\", given before on line 2 (t:3, /a/b)" },
	{ "{\"\xc2\x9b\x7f\":[}", "expected a value, found '}' (t:1:8, /\\u009b\\u007f/0)" },
	{ "{\"\\u001b[2J\":1,\"\\u001b[2J\":2}",
		"duplicate key \"\\u001b[2J\", given before on line 1 (t:1, /\\u001b[2J)" },
};

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

static void a_wrong_document_is_refused_with_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(refusals); i++)
		refused(refusals[i].text, strlen(refusals[i].text), refusals[i].message);
}

static void a_nul_byte_is_refused_inside_and_outside_of_strings(void **state)
{
	(void)state;
	refused("[1\0]", 4, "expected ',' or ']', found byte 0x00 (t:1:3)");
	refused("\"a\0b\"", 5,
		"a string must not hold the control character 0x00; write \\u0000 (t:1:3)");
	refused("{}\0", 3, "expected the end of the document, found byte 0x00 (t:1:3)");
	refused("\0", 1, "expected a value, found byte 0x00 (t:1:1)");
}

static void each_kind_is_told_and_read(void **state)
{
	struct json *root =
		parsed("[null, true, 12, -0.5e1, \"a\\u00e4\\ud83d\\ude00\\n\", [], {}]");
	static const char *const names[] = { "null", "boolean", "integer", "number", "string",
		"array", "object" };

	(void)state;
	assert_int_equal(json_count(root), LENGTH_OF(names));
	for (size_t i = 0; i < LENGTH_OF(names); i++)
		assert_string_equal(json_kind_name(json_kind(json_at(root, i))), names[i]);
	assert_true(json_boolean(json_at(root, 1)));
	assert_true(json_real(json_at(root, 3)) == -5.0);
	assert_string_equal(json_string(json_at(root, 4)), "a\xc3\xa4\xf0\x9f\x98\x80\n");
	json_destroy(root);
}

static void integers_are_exact_to_64_bits_and_real_beyond(void **state)
{
	static const struct {
		const char *text;
		enum json_kind kind;
		bool positive;
		uint64_t magnitude;
	} cases[] = {
		{ "0", JSON_INTEGER, true, 0 },
		{ "-0", JSON_INTEGER, true, 0 },
		{ "9223372036854775807", JSON_INTEGER, true, INT64_MAX },
		{ "9223372036854775808", JSON_INTEGER, true, (uint64_t)1 << 63 },
		{ "18446744073709551615", JSON_INTEGER, true, UINT64_MAX },
		{ "-9223372036854775808", JSON_INTEGER, false, (uint64_t)1 << 63 },
		{ "18446744073709551616", JSON_REAL, true, 0 },
		{ "-9223372036854775809", JSON_REAL, true, 0 },
		{ "99999999999999999999", JSON_REAL, true, 0 },
		{ "1.0", JSON_REAL, true, 0 },
		{ "1e3", JSON_REAL, true, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct json *root = parsed(cases[i].text);
		uint64_t number;

		assert_int_equal(json_kind(root), cases[i].kind);
		if (cases[i].kind == JSON_INTEGER) {
			assert_int_equal(json_unsigned(root, &number), cases[i].positive);
			assert_true(number == cases[i].magnitude);
		}
		assert_true(json_real(root) == strtod(cases[i].text, NULL));
		json_destroy(root);
	}
}

static void every_value_knows_its_line_pointer_and_text(void **state)
{
	struct json *root =
		parsed("{ \"a/b\": [ 1,\n [ 2, \"x\" ] ],\r\n\n \"m~n\": {\"\": null} }");
	const struct json *list = json_get(root, "a/b");
	const struct json *x = json_at(json_at(list, 1), 1);
	const struct json *empty = json_get(json_get(root, "m~n"), "");
	char pointer[16];
	size_t length;

	(void)state;
	assert_int_equal(json_line(root), 1);
	assert_int_equal(json_line(x), 2);
	assert_int_equal(json_line(empty), 4);
	assert_int_equal(json_pointer(root, pointer, sizeof(pointer)), 0);
	assert_string_equal(pointer, "");
	assert_int_equal(json_pointer(x, pointer, sizeof(pointer)), 9);
	assert_string_equal(pointer, "/a~1b/1/1");
	assert_int_equal(json_pointer(x, pointer, 5), 9);
	assert_string_equal(pointer, "/a~1");
	json_pointer(empty, pointer, sizeof(pointer));
	assert_string_equal(pointer, "/m~0n/");
	assert_memory_equal(json_text(json_at(list, 1), &length), "[ 2, \"x\" ]", 10);
	assert_int_equal(length, 10);
	assert_string_equal(json_key_at(root, 1), "m~n");
	assert_string_equal(json_key(list), "a/b");
	assert_ptr_equal(json_parent(x), json_at(list, 1));
	assert_int_equal(json_index(x), 1);
	assert_null(json_get(root, "a"));
	json_destroy(root);
}

static void sizes_are_integers_or_have_a_unit(void **state)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t bytes;
	} cases[] = {
		{ "0", true, 0 },
		{ "512", true, 512 },
		{ "512B", true, 512 },
		{ "64KiB", true, 65536 },
		{ "3MiB", true, 3145728 },
		{ "1GiB", true, 1 << 30 },
		{ "2TiB", true, (uint64_t)2 << 40 },
		{ "1PiB", true, (uint64_t)1 << 50 },
		{ "15EiB", true, (uint64_t)15 << 60 },
		{ "16EiB", false, 0 },
		{ "18446744073709551615", true, UINT64_MAX },
		{ "18446744073709551616", false, 0 },
		{ "184467440737095516150", false, 0 },
		{ "18014398509481983KiB", true, UINT64_MAX - 1023 },
		{ "18014398509481984KiB", false, 0 },
		{ "", false, 0 },
		{ "KiB", false, 0 },
		{ "-1", false, 0 },
		{ "+1", false, 0 },
		{ " 1", false, 0 },
		{ "1 KiB", false, 0 },
		{ "1KiBx", false, 0 },
		{ "1kib", false, 0 },
		{ "96K", true, 98304 },
		{ "15E", true, (uint64_t)15 << 60 },
		{ "1k", false, 0 },
		{ "1Ki", false, 0 },
		{ "1MB", false, 0 },
		{ "1.5MiB", false, 0 },
		{ "0x10", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		uint64_t bytes = 0;

		assert_int_equal(json_parse_size(cases[i].text, &bytes), cases[i].good);
		assert_true(bytes == cases[i].bytes);
	}
}

static void absent_members_take_their_preset(void **state)
{
	struct json *root = parsed("{\"s\":\"4KiB\",\"n\":7,\"b\":false,\"t\":\"x\"}");

	(void)state;
	assert_int_equal(json_get_size(root, "s", 1), 4096);
	assert_int_equal(json_get_size(root, "n", 1), 7);
	assert_int_equal(json_get_size(root, "absent", 1), 1);
	assert_int_equal(json_get_unsigned(root, "n", 1), 7);
	assert_int_equal(json_get_unsigned(root, "absent", 1), 1);
	assert_false(json_get_boolean(root, "b", true));
	assert_true(json_get_boolean(root, "absent", true));
	assert_string_equal(json_get_string(root, "t", NULL), "x");
	assert_null(json_get_string(root, "absent", NULL));
	json_destroy(root);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_null(json_read_file("/nonexistent/tree.json", &err));
	assert_string_equal(
		err.text, "cannot open /nonexistent/tree.json: No such file or directory\n");
	err_finish(&err);
	assert_null(json_read_file("/", &err));
	assert_string_equal(err.text, "cannot read /: Is a directory\n");
	err_finish(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_document_is_refused_with_its_place),
		cmocka_unit_test(a_nul_byte_is_refused_inside_and_outside_of_strings),
		cmocka_unit_test(each_kind_is_told_and_read),
		cmocka_unit_test(integers_are_exact_to_64_bits_and_real_beyond),
		cmocka_unit_test(every_value_knows_its_line_pointer_and_text),
		cmocka_unit_test(sizes_are_integers_or_have_a_unit),
		cmocka_unit_test(absent_members_take_their_preset),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
