// SPDX-License-Identifier: MIT
/* A live thin's jobs, for tests. */
#include "jobs.h"

#include <json-c/json_object.h>

static struct json_object *status(void)
{
	static struct json_object *out;
	const struct node *node = scene_assembled()->root;

	json_object_put(out);
	out = json_object_new_object();
	node->type->status(node, out);
	return out;
}

const char *jobs_state(const char *key)
{
	return json_object_get_string(json_object_object_get(status(), key));
}

uint64_t jobs_told(const char *key)
{
	return json_object_get_uint64(json_object_object_get(status(), key));
}

uint64_t jobs_done(void)
{
	return json_object_get_uint64(json_object_object_get(json_object_object_get(status(), "progress"), "done"));
}

void jobs_ask(const char *verb, const char *arguments, const char *message)
{
	struct node *node = scene_assembled()->root;
	struct json_object *answer = json_object_new_object();
	struct err err = { 0 };
	struct json *json = json_parse("arguments", arguments, strlen(arguments), &err);
	int result = node->type->command(node, verb, json, answer, &err);

	assert_string_equal(err.text ? err.text : "", message ? message : "");
	assert_int_equal(result, message ? -1 : 0);
	json_object_put(answer);
	json_destroy(json);
	err_finish(&err);
	engine_wake(live_engine, node);
}
