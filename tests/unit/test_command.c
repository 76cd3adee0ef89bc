// SPDX-License-Identifier: MIT
/* Reading the command line: options, operands, sizes, and the word that was meant. */
#include "command.h"
#include "log.h"
#include "nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

enum { FORCE, DEBUG };

static const struct command_option options[] = {
	[FORCE] = { "force", 'f', NULL, "Overwrite." },
	[DEBUG] = { "debug", 0, "WORDS", "Trace." },
	{ 0 },
};

static char seen[256]; /* what run() was given */

static int run(const struct arguments *arguments)
{
	unsigned i;

	snprintf(seen, sizeof(seen), "force=%s debug=%s",
		arguments->options[FORCE] ? arguments->options[FORCE] : "-",
		arguments->options[DEBUG] ? arguments->options[DEBUG] : "-");
	for (i = 0; i < arguments->operand_count; i++)
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), " [%s]",
			arguments->operands[i]);
	return STATUS_DONE;
}

static const struct command command = {
	.name = "test",
	.operands = "A [B]",
	.summary = "s",
	.details = "d\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};

/* Runs with the words of `line`; stderr goes to `said`. */
static int run_line(const char *line, char *said, size_t size)
{
	char *copy = strdup(line), *words[16], *rest = copy;
	FILE *file = tmpfile();
	int kept = dup(STDERR_FILENO), status, count = 0;
	size_t length;

	while (rest)
		words[count++] = strsep(&rest, " ");
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	seen[0] = '\0';
	status = command_run(&command, count, words);
	fflush(stderr);
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(file);
	length = fread(said, 1, size - 1, file);
	said[length] = '\0';
	fclose(file);
	free(copy);
	return status;
}

static void options_stand_anywhere(void **state)
{
	static const struct {
		const char *line, *seen;
	} cases[] = {
		{ "test a", "force=- debug=- [a]" },
		{ "test a b", "force=- debug=- [a] [b]" },
		{ "test -f a", "force= debug=- [a]" },
		{ "test a --force", "force= debug=- [a]" },
		{ "test --debug=op a", "force=- debug=op [a]" },
		{ "test a --debug op b", "force=- debug=op [a] [b]" },
		{ "test --debug= a", "force=- debug= [a]" },
		{ "test -- --force", "force=- debug=- [--force]" },
		{ "test -", "force=- debug=- [-]" },
		{ "test -ff a -f b", "force= debug=- [a] [b]" },
	};
	char said[1024];
	unsigned i;

	(void)state;
	for (i = 0; i < LENGTH_OF(cases); i++) {
		assert_int_equal(run_line(cases[i].line, said, sizeof(said)), STATUS_DONE);
		assert_string_equal(seen, cases[i].seen);
		assert_string_equal(said, "");
	}
}

static void wrong_usage_is_told_with_status_2(void **state)
{
	static const struct {
		const char *line, *said;
	} cases[] = {
		{ "test", "something is missing: the operands are A [B]" },
		{ "test a b c", "\"c\" is one too many: the operands are A [B]" },
		{ "test --forse a", "there is no option --forse; did you mean --force?" },
		{ "test --xyzzy a", "there is no option --xyzzy\n" },
		{ "test --force=1 a", "--force takes no value" },
		{ "test a --debug", "--debug wants a value: WORDS" },
		{ "test -x a", "there is no option -x" },
		{ "test -fx a", "there is no option -x" },
	};
	char said[1024];
	unsigned i;

	(void)state;
	for (i = 0; i < LENGTH_OF(cases); i++) {
		assert_int_equal(run_line(cases[i].line, said, sizeof(said)), STATUS_USAGE);
		assert_string_equal(seen, "");
		if (!strstr(said, cases[i].said))
			fail_msg("\"%s\" said: %s", cases[i].line, said);
		assert_non_null(strstr(said, "Try: ubd-compose test --help"));
	}
}

static void the_nearest_word_is_found(void **state)
{
	static const char *const words[] = { "create", "delete", "list", "status", "--help", NULL };
	static const struct {
		const char *word, *nearest;
	} cases[] = {
		{ "craete", "create" },
		{ "create", "create" },
		{ "crate", "create" },
		{ "stat", "status" },
		{ "--hepl", "--help" },
		{ "ls", "list" },
		{ "x", NULL },
		{ "", NULL },
		{ "snapshot", NULL },
		{ "a-word-that-is-longer-than-any-that-we-know-of", NULL },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < LENGTH_OF(cases); i++) {
		const char *nearest = nearest_word(cases[i].word, words);

		if (cases[i].nearest && nearest)
			assert_string_equal(nearest, cases[i].nearest);
		else if (cases[i].nearest || nearest)
			fail_msg("\"%s\" gave %s", cases[i].word, nearest ? nearest : "nothing");
	}
}

static void sizes_are_read_as_people_type_them(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = { { "0", 0 }, { "4096", 4096 }, { "96K", 98304 }, { "64KiB", 65536 },
		{ "1M", 1048576 }, { "3G", UINT64_C(3) << 30 }, { "2T", UINT64_C(2) << 40 } };
	static const char *const bad[] = { "", "K", "-1", "1.5K", "1k", "1KB", "0x10", "1 K", "16E",
		"99999999999999999999", "1KK" };
	uint64_t bytes;
	unsigned i;

	(void)state;
	for (i = 0; i < LENGTH_OF(good); i++) {
		assert_true(command_size(good[i].text, &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (i = 0; i < LENGTH_OF(bad); i++)
		if (command_size(bad[i], &bytes))
			fail_msg("\"%s\" is taken for a size", bad[i]);
}

static void debug_words_make_a_mask(void **state)
{
	struct err err = { 0 };
	unsigned mask = 0;

	(void)state;
	assert_int_equal(debug_parse("request,op", &mask, &err), 0);
	assert_int_equal(mask, DEBUG_REQUEST | DEBUG_OP);
	assert_int_equal(debug_parse("requst,ops,control,xyzzy", &mask, &err), -1);
	assert_int_equal(err.count, 3);
	assert_string_equal(err.text,
		"--debug: there is no \"requst\"; did you mean \"request\"?\n"
		"--debug: there is no \"ops\"; did you mean \"op\"?\n"
		"--debug: there is no \"xyzzy\"; there are request, op and control\n");
	err_finish(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_anywhere),
		cmocka_unit_test(wrong_usage_is_told_with_status_2),
		cmocka_unit_test(the_nearest_word_is_found),
		cmocka_unit_test(sizes_are_read_as_people_type_them),
		cmocka_unit_test(debug_words_make_a_mask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
