// SPDX-License-Identifier: MIT
/* The status as people read it: progress, and the screen that is drawn again. */
#include "fixture.h"
#include "status.h"

/* What `print` writes of a JSON text, single quotes for double ones. */
static char *printed(const char *text, void (*print)(const struct json *, FILE *))
{
	struct err err = { 0 };
	char *json_text = strdup(text), *out_text = NULL, *at;
	struct json *json;
	size_t length;
	FILE *out = open_memstream(&out_text, &length);

	for (at = json_text; *at; at++)
		if (*at == '\'')
			*at = '"';
	json = json_parse("status", json_text, strlen(json_text), &err);
	assert_non_null(json);
	print(json, out);
	fclose(out);
	json_destroy(json);
	free(json_text);
	return out_text;
}

static void progress_is_a_bar_with_its_rate_and_its_end(void **state)
{
	static const struct {
		const char *progress, *line;
	} cases[] = {
		{ "{'what':'resync','done':0,'total':1073741824,'rate':0}",
			"resync [..............................] 0.0 %, 0 B of 1 GiB\n" },
		{ "{'what':'resync','done':536870912,'total':1073741824,'rate':67108864}",
			"resync [###############...............] 50.0 %, 512 MiB of 1 GiB, 64 MiB/s, 8 s "
			"left\n" },
		{ "{'what':'scrub','done':1073741823,'total':1073741824,'rate':1}",
			"scrub [#############################.] 99.9 %, 1023.9 MiB of 1 GiB, 1 B/s, 1 s "
			"left\n" },
		{ "{'what':'scrub','done':1073741824,'total':1073741824,'rate':1000}",
			"scrub [##############################] 100.0 %, 1 GiB of 1 GiB, 1000 B/s, 0 s "
			"left\n" },
		{ "{'what':'flatten','done':5,'total':4}",
			"flatten [##############################] 100.0 %, 4 B of 4 B\n" },
		{ "{'what':'flatten','done':0,'total':0}",
			"flatten [##############################] 100.0 %, 0 B of 0 B\n" },
		{ "{'what':'resync','done':1,'total':18446744073709551615,'rate':1}",
			"resync [..............................] 0.0 %, 1 B of 15.9 EiB, 1 B/s, "
			"213503982334 days left\n" },
		{ "{'what':'resync','done':0,'total':1099511627776,'rate':104857600}",
			"resync [..............................] 0.0 %, 0 B of 1 TiB, 100 MiB/s, 2 h 54 "
			"min left\n" },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = printed(cases[i].progress, status_print_progress);

		assert_string_equal(text, cases[i].line);
		free(text);
	}
}

static void a_node_with_progress_has_it_below_its_line(void **state)
{
	char *text = printed(
		"{'name':'vol0','size':8192,'root':{'id':'m0','type':'mirror','size':8192,"
		"'progress':{'what':'resync','done':4096,'total':8192,'rate':1024},'children':["
		"{'id':'d0','type':'file','size':8192,'progress':{'what':'copy','done':1,'total':2}},"
		"{'id':'d1','type':'file','size':8192}]}}",
		status_print);

	(void)state;
	assert_non_null(strstr(text,
		"m0  mirror  8 KiB\n"
		"|  resync [###############...............] 50.0 %, 4 KiB of 8 KiB, 1 KiB/s, 4 s left\n"
		"|- d0  file  8 KiB\n"
		"|     copy [###############...............] 50.0 %, 1 B of 2 B\n"
		"`- d1  file  8 KiB\n"));
	free(text);
}

static void what_a_node_says_of_its_children_stands_with_them(void **state)
{
	char *text = printed(
		"{'name':'vol0','size':8192,'root':{'id':'m0','type':'mirror','size':8192,'legs':2,"
		"'read_errors':[0,12],'leg_states':['in_sync','failed'],'children':["
		"{'id':'d0','type':'file','size':8192},{'id':'d1','type':'file','size':8192,'failed':true}]}}",
		status_print);

	(void)state;
	assert_non_null(strstr(text,
		"m0  mirror  8 KiB  legs=2\n"
		"|- d0  file  8 KiB  in sync\n"
		"`- d1  file  8 KiB  FAILED  read_errors=12\n"));
	free(text);
}

static void what_a_node_has_beside_is_told_in_words(void **state)
{
	char *text = printed(
		"{'name':'vol0','size':8192,'root':{'id':'m0','type':'mirror','size':8192,'hosts':[0,2],"
		"'scrub':{'state':'done','done':8192,'ranges':[{'offset':0},{'offset':4096}]},'children':["
		"{'id':'d0','type':'file','size':8192}]}}",
		status_print);

	(void)state;
	assert_non_null(strstr(text,
		"m0  mirror  8 KiB  hosts=[0,2]\n"
		"|  scrub:  state=done done=8192 ranges=2\n"
		"`- d0  file  8 KiB\n"));
	free(text);
}

static void a_leg_that_is_replaced_says_by_whom(void **state)
{
	char *text = printed(
		"{'name':'vol0','size':8192,'root':{'id':'m0','type':'mirror','size':8192,"
		"'replacing':[{'leg':'d1','by':'s0'}],'children':[{'id':'d0','type':'file','size':8192},"
		"{'id':'d1','type':'file','size':8192},{'id':'s0','type':'file','size':8192,'spare':true}]}}",
		status_print);

	(void)state;
	assert_non_null(strstr(text,
		"m0  mirror  8 KiB\n"
		"|- d0  file  8 KiB\n"
		"|- d1  file  8 KiB  being replaced by s0\n"
		"`- s0  file  8 KiB  spare\n"));
	free(text);
}

static void a_screen_is_drawn_over_the_last_one(void **state)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	(void)state;
	status_print_screen("one\ntwo\n", 0, out);
	fputs("|", out);
	status_print_screen("one\ntwo\nthree\n", 3, out); /* the cursor needs the last row */
	fclose(out);
	assert_string_equal(text,
		"\033[H\033[?7lone\033[K\ntwo\033[K\n\033[J\033[?7h|"
		"\033[H\033[?7lone\033[K\ntwo\033[K\n\033[J\033[?7h");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(progress_is_a_bar_with_its_rate_and_its_end),
		cmocka_unit_test(a_node_with_progress_has_it_below_its_line),
		cmocka_unit_test(what_a_node_says_of_its_children_stands_with_them),
		cmocka_unit_test(what_a_node_has_beside_is_told_in_words),
		cmocka_unit_test(a_leg_that_is_replaced_says_by_whom),
		cmocka_unit_test(a_screen_is_drawn_over_the_last_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
