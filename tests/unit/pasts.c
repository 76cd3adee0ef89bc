// SPDX-License-Identifier: MIT
#include "pasts.h"

#include <fcntl.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <unistd.h>

void pasts_load_keys(const char *keys)
{
	char root[512];

	snprintf(root, sizeof(root), "{'id':'t','type':'thin',%s,'discard':'ignore',"
		"'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}", keys);
	live_load(root);
}

void pasts_load(void)
{
	pasts_load_keys("'size':'4MiB','cluster_size':4096");
}

struct thin *pasts_thin(void)
{
	return thin_of(scene_assembled()->root);
}

bool pasts_command(const char *verb, const char *name, struct json_object *answer, char *said)
{
	struct node *node = scene_assembled()->root;
	struct json_object *made = answer ? answer : json_object_new_object();
	struct err err = { 0 };
	char text[512];
	struct json *arguments;
	int result;

	snprintf(text, sizeof(text), "{\"name\":\"%s\"}", name);
	arguments = json_parse("arguments", text, strlen(text), &err);
	assert_non_null(arguments);
	result = node->type->command(node, verb, arguments, made, &err);
	if (said)
		snprintf(said, 512, "%s", err.text ? err.text : "");
	err_finish(&err);
	json_destroy(arguments);
	if (!answer)
		json_object_put(made);
	if (live_engine)
		engine_wake(live_engine, node);
	return result == 0;
}

void pasts_do(const char *verb, const char *name)
{
	assert_true(pasts_command(verb, name, NULL, NULL));
	live_end_all();
	assert_null(pasts_thin()->next);
	assert_int_equal(pasts_thin()->made.result, 0);
}

static void read_file(void *context, uint64_t offset, void *bytes, uint64_t length)
{
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);

	memset(bytes, 0, length);
	assert_true(pread(fd, bytes, length, (off_t)offset) >= 0);
	close(fd);
}

const struct past pasts_image = { .read = read_file };

char pasts_at(uint32_t index, uint64_t offset)
{
	uint64_t size, l1 = past_table(&pasts_image, index, &size);
	char sector[512];

	assert_true(offset < size);
	(void)past_sector(&pasts_image, l1, offset, sector);
	return sector[0];
}
