// SPDX-License-Identifier: MIT
/* Trees without files, and plans carried out by hand. */
#include "fixture.h"

#include "engine_internal.h"

#include <errno.h>
#include <inttypes.h>

#define TEXT_MAX 65536
#define ROUNDS_MAX 100

static int leaf_open(struct node *node, struct err *err)
{
	const struct json *notes = json_get(node->json, "annotations");
	uint32_t block = (uint32_t)json_get_unsigned(notes, "block", 512);

	(void)err;
	node->limits = (struct limits){
		.size = json_get_size(node->json, "size", 0),
		.logical_block_size = block,
		.physical_block_size = block,
		.io_min = block,
		.discard_granularity = (uint32_t)json_get_unsigned(notes, "discard", block),
		.zeroes_granularity = (uint32_t)json_get_unsigned(notes, "zeroes", block),
		.read_only = json_get_boolean(notes, "read_only", false),
	};
	node->leaf->bytes = node->limits.size;
	return 0;
}

static void leaf_close(struct node *node)
{
	free(node->leaf->path);
	free(node->leaf->problem);
	node->leaf->path = node->leaf->problem = NULL;
}

/* Takes the place of the file leaf's type once the document has been read. */
static const struct target_type fixture_leaf = {
	.name = "file",
	.leaf = true,
	.open = leaf_open,
	.close = leaf_close,
};

char *fixture_document(const char *device, const char *root)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	const char *from;

	assert_non_null(out);
	fprintf(out, "{\"format\":1,\"name\":\"t\",\"device\":{%s},\"root\":", device);
	for (from = root; *from; from++) {
		unsigned long long size, more;

		if (*from != '@') {
			fputc(*from, out);
			continue;
		}
		more = from[1] == '+' ? 1 << 20 : 0;
		size = more + strtoull(from + 1, (char **)&from, 10);
		from--;
		if (size)
			fprintf(out, "{\"type\":\"file\",\"path\":\"x\",\"size\":%llu}", size);
		else
			fputs("{\"type\":\"zero\",\"size\":0}", out); /* a file has no size 0 */
	}
	fputc('}', out);
	assert_int_equal(fclose(out), 0);
	for (char *quote = strchr(text, '\''); quote; quote = strchr(quote, '\''))
		*quote = '"';
	return text;
}

struct tree *fixture_try(const char *device, const char *root, struct err *err)
{
	char *text = fixture_document(device, root);
	struct tree *tree = tree_parse("t.json", text, strlen(text), err);
	unsigned i;

	free(text);
	if (!tree)
		return NULL;
	for (i = 0; i < tree->leaf_count; i++)
		tree->leaves[i]->node->type = &fixture_leaf;
	if (tree_open(tree, err) == 0)
		return tree;
	tree_destroy(tree);
	return NULL;
}

struct tree *fixture_tree(const char *root)
{
	struct err err = { 0 };
	struct tree *tree = fixture_try("", root, &err);

	if (!tree)
		fail_msg("%s: %s", root, err.text);
	err_finish(&err);
	return tree;
}

char *fixture_messages(const char *device, const char *root)
{
	struct err err = { 0 };
	char *text;

	tree_destroy(fixture_try(device, root, &err));
	text = strdup(err.text ? err.text : "");
	err_finish(&err);
	return text;
}

struct request fixture_request(enum io_kind kind, unsigned flags, uint64_t offset, uint64_t length)
{
	bool has_bytes = kind == IO_READ || kind == IO_WRITE;

	return (struct request){
		.kind = kind,
		.flags = flags,
		.offset = offset,
		.length = length,
		.data = { has_bytes ? DATA_REQUEST : DATA_NONE, 0 },
	};
}

void fixture_map(struct fixture_plan *course, struct node *node, struct request request)
{
	struct frame_need need = frame_need(node, request.kind == IO_SELF ? FRAME_SELF : FRAME_REQUEST,
		request.data.home != DATA_NONE ? (uint32_t)request.length : 0);

	*course = (struct fixture_plan){ .node = node, .request = request };
	course->plan = (struct plan){
		.capacity = (uint16_t)need.ops,
		.selfs_left = (uint16_t)need.selfs,
		.result = PLAN_RUNNING,
		.scratch = calloc(1, need.scratch + 1),
		.scratch_size = need.scratch,
	};
	course->plan.ops = calloc(need.ops + 1, sizeof(struct op));
	course->plan.io_state = calloc(1, node->type->io_state_size + 1);
	node->type->map(node, &course->request, &course->plan);
}

void fixture_finish(struct fixture_plan *course)
{
	free(course->plan.ops);
	free(course->plan.io_state);
	free(course->plan.scratch);
}

/* Ends the next wave's ops; true if one has failed. */
static bool end_wave(struct fixture_plan *course, const char **results, FILE *out)
{
	struct plan *plan = &course->plan;
	uint16_t wave = plan->ops[course->begun].wave;
	bool failed = false;

	fputc('=', out);
	for (; course->begun < plan->count && plan->ops[course->begun].wave == wave;
		course->begun++) {
		struct op *op = &plan->ops[course->begun];

		op->result = (int)strtol(*results, (char **)results, 10);
		failed |= op->result < 0;
		fprintf(out, " %d", op->result);
	}
	fputc('\n', out);
	if (failed)
		for (; course->begun < plan->count; course->begun++)
			plan->ops[course->begun].result = -ECANCELED;
	return failed;
}

static void print_from(const struct fixture_plan *course, uint16_t from, FILE *out)
{
	char text[8192];
	struct plan rest = course->plan;

	rest.ops += from;
	rest.count = (uint16_t)(rest.count - from);
	rest.result = PLAN_RUNNING;
	assert_true(plan_print(&rest, text, sizeof(text)) < sizeof(text));
	fputs(text, out);
}

static int first_error(const struct plan *plan)
{
	unsigned i;

	for (i = 0; i < plan->count; i++)
		if (plan->ops[i].result < 0)
			return plan->ops[i].result;
	return 0;
}

const char *fixture_story(struct node *node, struct request request, const char *results)
{
	static char story[TEXT_MAX];
	FILE *out = fmemopen(story, sizeof(story), "w");
	struct fixture_plan course;
	struct plan *plan = &course.plan;
	unsigned round;

	fixture_map(&course, node, request);
	print_from(&course, 0, out);
	for (round = 0; round < ROUNDS_MAX && plan->result == PLAN_RUNNING; round++) {
		uint16_t from = plan->count;
		bool failed = false;

		while (course.begun < plan->count && !failed)
			failed = end_wave(&course, &results, out);
		if (!node->type->resume || !(failed || plan->ask))
			break;
		plan->ask = false;
		plan_then(plan);
		node->type->resume(node, &course.request, plan);
		print_from(&course, from, out);
		if (plan->result == PLAN_RUNNING && plan->count == from)
			break;
	}
	assert_true(round < ROUNDS_MAX);
	fprintf(out, "result %d\n",
		plan->result == PLAN_RUNNING ? first_error(plan) : plan->result);
	fclose(out);
	if (plan->tell)
		node->type->ended(node, &course.request, plan);
	fixture_finish(&course);
	return story;
}
