// SPDX-License-Identifier: MIT
/* Verbs for nodes: from a frame to a reply, over an engine of memory. */
#include "memory.h"
#include "node_command.h"

#include <json-c/json_object.h>

static unsigned asked;
static const struct target_type *type_before;
static struct memory memory;

static int speak(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	if (strcmp(verb, "start") != 0) {
		err_add(err, "%s: verb %s is unknown", node->id, verb);
		return err_add(err, "there is only start");
	}
	json_object_object_add(answer, "rate",
		json_object_new_uint64(json_get_unsigned(arguments, "rate", 7)));
	return 0;
}

static bool work(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	asked++;
	return false;
}

static void no_map(struct node *node, const struct request *request, struct plan *plan)
{
}

static const struct target_type speaker = {
	.name = "speaker",
	.stateful = true,
	.map = no_map,
	.work = work,
	.command = speak,
};

static int setup(void **state)
{
	struct tree *tree = fixture_tree("{'id':'s','type':'linear','children':[@65536]}");

	type_before = tree->root->type;
	tree->root->type = &speaker;
	tree->root->needs = (struct needs){ .work_max = 1 };
	memory_open_tree(&memory, tree);
	engine_begin(memory.engine);
	asked = 0;
	return 0;
}

static int teardown(void **state)
{
	memory.tree->root->type = type_before;
	memory_close(&memory);
	return 0;
}

static void assert_reply(const char *frame, const char *expected)
{
	struct control_request request;
	struct node_command command = { .tree = memory.tree, .request = &request };

	assert_null(control_parse(frame, strlen(frame), &request));
	node_command_run(memory.engine, &command);
	assert_string_equal(
		json_object_to_json_string_ext(command.reply, JSON_C_TO_STRING_PLAIN), expected);
	json_object_put(command.reply);
	control_request_finish(&request);
}

static void a_verb_reaches_its_node_and_wakes_it(void **state)
{
	assert_reply("{\"command\":\"node\",\"node\":\"s\",\"verb\":\"start\"}",
		"{\"answer\":{\"rate\":7}}");
	assert_int_equal(asked, 1);
	assert_reply("{\"command\":\"node\",\"node\":\"s\",\"verb\":\"start\","
		     "\"arguments\":{\"rate\":9}}",
		"{\"answer\":{\"rate\":9}}");
}

static void a_refusal_has_the_nodes_own_words(void **state)
{
	assert_reply("{\"command\":\"node\",\"node\":\"s\",\"verb\":\"x\"}",
		"{\"error\":\"refused\",\"messages\":[\"s: verb x is unknown\","
		"\"there is only start\"]}");
}

static void nodes_without_verbs_and_names_without_nodes_are_told_apart(void **state)
{
	assert_reply("{\"command\":\"node\",\"node\":\"t\",\"verb\":\"start\"}",
		"{\"error\":\"unknown_node\"}");
	assert_reply("{\"command\":\"node\",\"node\":\"file1\",\"verb\":\"start\"}",
		"{\"error\":\"no_commands\"}");
}

#define VERB_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		VERB_TEST(a_verb_reaches_its_node_and_wakes_it),
		VERB_TEST(a_refusal_has_the_nodes_own_words),
		VERB_TEST(nodes_without_verbs_and_names_without_nodes_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
