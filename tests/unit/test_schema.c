// SPDX-License-Identifier: MIT
/*
 * The schema and its interpreter. The messages for whole documents are in tests/json/bad, which
 * tests/schema_agrees runs; here is what they cannot show.
 */
#include "schema.h"
#include "target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

static struct json *parsed(const char *name, const char *text, size_t length)
{
	struct err err = { 0 };
	struct json *root = json_parse(name, text, length, &err);

	if (err.text)
		print_error("%s", err.text);
	assert_non_null(root);
	return root;
}

static struct json *embedded(void)
{
	return parsed("schema", schema_text, (size_t)(schema_text_end - schema_text));
}

static void the_embedded_schema_uses_only_what_is_interpreted(void **state)
{
	struct json *schema = embedded();
	struct err err = { 0 };
	int result = schema_supported(schema, &err);

	if (err.text)
		print_error("%s", err.text);
	assert_int_equal(result, 0);
	json_destroy(schema);
}

static void every_target_has_a_definition_and_every_type_a_target(void **state)
{
	struct json *schema = embedded();
	const struct json *definitions = json_get(schema, "$defs");
	const struct json *types = json_get(json_get(definitions, "type"), "enum");
	size_t count = 0;

	for (; target_types[count]; count++) {
		const char *name = target_types[count]->name;
		size_t i = 0;

		assert_non_null(json_get(definitions, name));
		while (i < json_count(types) && strcmp(json_string(json_at(types, i)), name) != 0)
			i++;
		assert_true(i < json_count(types));
	}
	assert_int_equal(json_count(types), count);
	json_destroy(schema);
}

struct judged {
	const char *schema, *document;
	const char *messages; /* "": it is good */
};

static const struct judged judged[] = {
	{ "true", "1", "" },
	{ "false", "1", "the document is not allowed here (d:1)\n" },
	{ "{\"properties\":{\"a\":false}}", "{\"a\":1}", "a is not allowed here (d:1, /a)\n" },
	{ "{\"type\":[\"string\",\"null\"]}", "1",
		"the document is 1, which its type does not allow (d:1)\n" },
	{ "{\"type\":\"integer\"}", "99999999999999999999",
		"the document 99999999999999999999 is too large (d:1)\n" },
	{ "{\"type\":\"integer\"}", "1e2", "the document must be an integer, not 1e2 (d:1)\n" },
	{ "{\"items\":{\"pattern\":\"^a\"}}", "[\"a\",\"b\",1]",
		"the document \"b\" does not match ^a (d:1, /1)\n" },
	{ "{\"items\":{\"pattern\":\"^a\",\"title\":\"an a\"}}", "[\"b\"]",
		"the document \"b\" is not an a (d:1, /0)\n" },
	{ "{\"minLength\":2}", "\"\xc3\xa4\"",
		"the document \"\xc3\xa4\" has 1 characters, the minimum is 2 (d:1)\n" },
	{ "{\"maxLength\":2}", "\"\xc3\xa4\xc3\xa4\"", "" },
	{ "{\"anyOf\":[{\"minimum\":2},{\"const\":0}]}", "1",
		"the document 1 fits none of what is allowed here (d:1)\n" },
	{ "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":2},{\"type\":\"string\"}]}", "1",
		"the document 1 is below the minimum 2 (d:1)\n" },
	{ "{\"enum\":[\"one\",2,null,[3]]}", "\"onw\"",
		"the document \"onw\" is not one of \"one\", 2, null, […]; did you mean \"one\"? "
		"(d:1)\n" },
	{ "{\"enum\":[{\"a\":[1,{}]}]}", "{\"a\":[1.0,{}]}", "" },
	{ "{\"enum\":[{\"a\":[1,{}]}]}", "{\"b\":[1,{}]}",
		"the document {…} is not one of {…} (d:1)\n" },
	{ "{\"additionalProperties\":false}", "{\"a\":1}", "unknown key \"a\" (d:1, /a)\n" },
	{ "{\"additionalProperties\":{\"type\":\"null\"}}", "{\"a\":1}",
		"a must be a null, not 1 (d:1, /a)\n" },
	{ "{\"minimum\":9007199254740993}", "9007199254740992",
		"the document 9007199254740992 is below the minimum 9007199254740993 (d:1)\n" },
	{ "{\"maximum\":-5}", "-4", "the document -4 is above the maximum -5 (d:1)\n" },
	{ "{\"const\":\"\\u001b\"}", "\"\x7f\"",
		"the document must be \"\\u001b\", not \"\\u007f\" (d:1)\n" },
	{ "{\"if\":{\"type\":\"string\"},\"then\":{\"minLength\":1},\"else\":{\"minimum\":1}}", "0",
		"the document 0 is below the minimum 1 (d:1)\n" },
	{ "{\"$ref\":\"#\"}", "1", "the document leads the schema round in circles (d:1)\n" },
	{ "{\"properties\":{\"a\":{\"items\":{\"maximum\":1}}}}", "{\"type\":\"x\",\"a\":[1,\n3]}",
		"x: a[1] 3 is above the maximum 1 (d:2, /a/1)\n" },
};

static void a_document_is_judged_with_these_words(void **state)
{
	for (size_t i = 0; i < LENGTH_OF(judged); i++) {
		struct json *schema = parsed("schema", judged[i].schema, strlen(judged[i].schema));
		struct json *document = parsed("d", judged[i].document, strlen(judged[i].document));
		struct err err = { 0 };

		assert_int_equal(schema_supported(schema, &err), 0);
		assert_int_equal(
			schema_check_with(schema, document, &err), *judged[i].messages ? -1 : 0);
		assert_string_equal(err.text ? err.text : "", judged[i].messages);
		err_finish(&err);
		json_destroy(document);
		json_destroy(schema);
	}
}

static const struct {
	const char *schema, *message;
} unsupported[] = {
	{ "{\"multipleOf\":2}",
		"the schema's keyword \"multipleOf\" is unknown (s:1, /multipleOf)\n" },
	{ "{\"properties\":{\"a\":{\"oneOf\":[]}}}",
		"the schema's keyword \"oneOf\" is unknown (s:1, /properties/a/oneOf)\n" },
	{ "{\"if\":{\"x\":1},\"then\":{\"y\":1},\"else\":{\"z\":1}}",
		"the schema's keyword \"x\" is unknown (s:1, /if/x)\n"
		"the schema's keyword \"y\" is unknown (s:1, /then/y)\n"
		"the schema's keyword \"z\" is unknown (s:1, /else/z)\n" },
	{ "{\"$defs\":{\"a\":{\"x\":1}}}",
		"the schema's keyword \"x\" is unknown (s:1, /$defs/a/x)\n" },
	{ "{\"allOf\":[true,{\"x\":1}]}",
		"the schema's keyword \"x\" is unknown (s:1, /allOf/1/x)\n" },
	{ "{\"items\":[true]}",
		"a schema must be an object or a boolean, not […] (s:1, /items)\n" },
	{ "{\"type\":\"int\"}", "the schema's keyword \"type\" cannot be \"int\" (s:1, /type)\n" },
	{ "{\"type\":[1]}", "the schema's keyword \"type\" cannot be […] (s:1, /type)\n" },
	{ "{\"minimum\":\"1\"}",
		"the schema's keyword \"minimum\" cannot be \"1\" (s:1, /minimum)\n" },
	{ "{\"minItems\":-1}",
		"the schema's keyword \"minItems\" cannot be -1 (s:1, /minItems)\n" },
	{ "{\"maxItems\":1.5}",
		"the schema's keyword \"maxItems\" cannot be 1.5 (s:1, /maxItems)\n" },
	{ "{\"pattern\":\"(\"}",
		"the schema's keyword \"pattern\" cannot be \"(\" (s:1, /pattern)\n" },
	{ "{\"$ref\":\"#/$defs/a\"}",
		"the schema's keyword \"$ref\" cannot be \"#/$defs/a\" (s:1, /$ref)\n" },
	{ "{\"$ref\":\"other.json\"}",
		"the schema's keyword \"$ref\" cannot be \"other.json\" (s:1, /$ref)\n" },
	{ "{\"required\":[1]}",
		"the schema's keyword \"required\" cannot be […] (s:1, /required)\n" },
	{ "{\"properties\":[]}",
		"the schema's keyword \"properties\" cannot be […] (s:1, /properties)\n" },
	{ "{\"anyOf\":{}}", "the schema's keyword \"anyOf\" cannot be {…} (s:1, /anyOf)\n" },
	{ "{\"enum\":1}", "the schema's keyword \"enum\" cannot be 1 (s:1, /enum)\n" },
	{ "{\"title\":1}", "the schema's keyword \"title\" cannot be 1 (s:1, /title)\n" },
	{ "3", "a schema must be an object or a boolean, not 3 (s:1)\n" },
};

static void a_schema_that_cannot_be_interpreted_is_refused(void **state)
{
	for (size_t i = 0; i < LENGTH_OF(unsupported); i++) {
		struct json *schema =
			parsed("s", unsupported[i].schema, strlen(unsupported[i].schema));
		struct err err = { 0 };

		assert_int_equal(schema_supported(schema, &err), -1);
		assert_string_equal(err.text, unsupported[i].message);
		err_finish(&err);
		json_destroy(schema);
	}
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

/* A quadratic step somewhere would take minutes: the limit is generous, for slow machines. */
static void hostile_documents_of_full_length_are_judged_in_linear_time(void **state)
{
	static const struct {
		const char *head, *text, *tail;
	} cases[] = {
		{ "{\"root\":{\"type\":\"linear\",\"children\":[1", ",1", "]}}" },
		{ "{\"root\":{\"type\":\"linear\",\"children\":[{}", ",{\"type\":\"\"}", "]}}" },
		{ "{\"root\":{\"type\":\"linear\",\"children\":[{}",
			",{\"type\":\"zero\",\"size\":\"x\"}", "]}}" },
		{ "{\"root\":{\"type\":\"x\",\"children\":[", "{\"type\":\"x\",\"children\":[",
			"" },
		{ "{\"name\":\"", "x", "\"}" },
		{ "{\"root\":{\"type\":\"file\",\"path\":\"", "x", "\"}}" },
		{ "{\"root\":{\"type\":\"zero\",\"size\":\"", "9", "\"}}" },
		{ "{\"root\":{\"type\":\"zero\",\"size\":", "9", "}}" },
		{ "{\"", "device", "\":1}" },
	};

	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		size_t times = (JSON_BYTES_MAX - 128) / strlen(cases[i].text);
		char *text = repeated(cases[i].head, cases[i].text, times, cases[i].tail);
		struct err err = { 0 };
		clock_t start = clock();
		struct json *document = json_parse("d", text, strlen(text), &err);

		if (document)
			assert_int_equal(schema_check(document, &err), -1);
		assert_true(err.count > 0 && err.count <= 101);
		assert_true(err.length < 101 * 1024);
		assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
		err_finish(&err);
		json_destroy(document);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_embedded_schema_uses_only_what_is_interpreted),
		cmocka_unit_test(every_target_has_a_definition_and_every_type_a_target),
		cmocka_unit_test(a_document_is_judged_with_these_words),
		cmocka_unit_test(a_schema_that_cannot_be_interpreted_is_refused),
		cmocka_unit_test(hostile_documents_of_full_length_are_judged_in_linear_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
