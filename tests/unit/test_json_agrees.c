// SPDX-License-Identifier: MIT
/* The JSON reader beside json-c, on mutated documents: what ours takes, json-c reads the same. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

/* Whether our value and json-c's are the same. */
static bool same(const struct json *ours, struct json_object *theirs)
{
	uint64_t number;

	switch (json_kind(ours)) {
	case JSON_NULL:
		return theirs == NULL;
	case JSON_BOOLEAN:
		return json_object_is_type(theirs, json_type_boolean) &&
		       json_boolean(ours) == json_object_get_boolean(theirs);
	case JSON_INTEGER:
		if (!json_object_is_type(theirs, json_type_int))
			return false;
		return json_unsigned(ours, &number)
			       ? number == json_object_get_uint64(theirs)
			       : 0 - number == (uint64_t)json_object_get_int64(theirs);
	case JSON_REAL:
		return json_object_is_type(theirs, json_type_double) &&
		       json_real(ours) == json_object_get_double(theirs);
	case JSON_STRING:
		return json_object_is_type(theirs, json_type_string) &&
		       strcmp(json_string(ours), json_object_get_string(theirs)) == 0;
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	if (json_kind(ours) == JSON_ARRAY
			? !json_object_is_type(theirs, json_type_array) ||
				  json_count(ours) != json_object_array_length(theirs)
			: !json_object_is_type(theirs, json_type_object) ||
				  (int)json_count(ours) != json_object_object_length(theirs))
		return false;
	for (size_t i = 0; i < json_count(ours); i++) {
		struct json_object *other =
			json_kind(ours) == JSON_ARRAY
				? json_object_array_get_idx(theirs, i)
				: json_object_object_get(theirs, json_key_at(ours, i));

		if (!same(json_at(ours, i), other))
			return false;
	}
	return true;
}

/* Integers over 64 bits: json-c takes the nearest it has for a positive one, and refuses a negative
 * one. */
static bool holds_a_huge_integer(const struct json *value)
{
	size_t length;
	const char *text = json_text(value, &length);

	if (json_kind(value) == JSON_REAL)
		return strspn(text, "-0123456789") >= length;
	for (size_t i = 0; i < json_count(value); i++)
		if (holds_a_huge_integer(json_at(value, i)))
			return true;
	return false;
}

static struct json_object *read_by_json_c(const char *text, size_t length)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 1);
	struct json_object *value;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	value = json_tokener_parse_ex(tokener, text, (int)length + 1);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
		json_tokener_get_parse_end(tokener) < length) {
		json_object_put(value);
		value = NULL;
	}
	json_tokener_free(tokener);
	return value;
}

/* What we take, json-c takes too and reads the same; json-c alone may be the more lenient one. */
static void compare_with_json_c(const char *text, size_t length, unsigned *taken)
{
	struct err err = { 0 };
	struct json *ours = json_parse("t", text, length, &err);
	struct json_object *theirs;

	err_finish(&err);
	if (!ours)
		return;
	(*taken)++;
	theirs = read_by_json_c(text, length);
	if (!holds_a_huge_integer(ours) && !same(ours, theirs))
		fail_msg("json-c reads this otherwise: %.*s", (int)length, text);
	json_object_put(theirs);
	json_destroy(ours);
}

static const char *const corpus[] = {
	"{\"a\":[1,2.5,-3e2,\"x\\n\\u00e4\",true,false,null],\"b\":{\"c\":{}}}",
	"[ \"\\ud83d\\ude00\", \"\xe2\x82\xac\", \"\\\\\\\"\\/\" , -0, 0.0, 1E5, 10e-2 ]",
	"{ \"format\": 1, \"name\": \"vol0\", \"root\": { \"type\": \"zero\", \"size\": \"1MiB\" } "
	"}",
	"[[[[]]],{},[{}],9223372036854775807,-9223372036854775808,18446744073709551615]",
	"\"plain\"",
	" 12 ",
};

static uint32_t next_random(uint32_t *random) /* xorshift: the same on every machine */
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

static size_t mutate(char *text, size_t length, uint32_t *random)
{
	static const char bytes[] = "{}[]\",:\\/ \n0123456789-+.eEtrufalsn\xc3\xa4\x01";
	size_t at = next_random(random) % length;
	char byte = bytes[next_random(random) % (sizeof(bytes) - 1)];

	switch (next_random(random) % 3) {
	case 0:
		text[at] = byte;
		return length;
	case 1:
		memmove(text + at + 1, text + at, length - at);
		text[at] = byte;
		return length + 1;
	default:
		memmove(text + at, text + at + 1, length - at - 1);
		return length > 1 ? length - 1 : length;
	}
}

static void json_c_reads_the_same_in_all_that_is_taken(void **state)
{
	const char *given = getenv("TEST_SEED");
	uint32_t seed = given ? (uint32_t)strtoul(given, NULL, 0) : 20220509;
	uint32_t random = seed ? seed : 1;
	unsigned taken = 0;
	char text[256];

	(void)state;
	print_message("to repeat: TEST_SEED=%u\n", seed);
	for (unsigned i = 0; i < 60000; i++) {
		const char *source = corpus[i % LENGTH_OF(corpus)];
		size_t length = strlen(source);
		unsigned mutations = next_random(&random) % 4;

		memcpy(text, source, length);
		while (mutations--)
			length = mutate(text, length, &random);
		text[length] = '\0';
		compare_with_json_c(text, length, &taken);
	}
	assert_true(taken > 60000 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_c_reads_the_same_in_all_that_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
