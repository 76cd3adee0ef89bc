// SPDX-License-Identifier: MIT
/*
 * Fuzzes map() and resume() of each target (libFuzzer; `make fuzz T=plan`): the input is a tree of
 * one target over leaves, then requests, each with the results of its ops.
 *
 * What must hold: ops stay within their children; linear and stripe ask for every byte of the
 * request exactly once, from its own place in the buffer; a mirror asks for the whole on each leg, behind
 * what it keeps there; a plan stays within the node's needs (an assert in plan_add()) and ends.
 */
#include "engine_internal.h"
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 64
#define REQUESTS_MAX 16
#define MAX_IO 65536u

static const uint8_t *input, *input_end;

static uint32_t take(uint32_t limit)
{
	uint32_t value = 0;
	unsigned i;

	for (i = 0; i < 2 && input < input_end; i++)
		value = value << 8 | *input++;
	return limit ? value % limit : value;
}

static void must(bool what)
{
	if (!what)
		abort();
}

static const char *const types[] = { "linear", "stripe", "mirror" };

/* The node's JSON alone: the whole document's way, schema and all, would cost most of the time. */
static struct json *make_json(struct err *err)
{
	static const char *const policies[] = { "least_pending", "round_robin", "first" };
	unsigned type = take(3), children = 1 + take(6), i;
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	struct json *json;

	fprintf(out, "{\"type\":\"%s\"", types[type]);
	if (type == 0 && take(3) == 0) {
		children = 1;
		fprintf(out, ",\"offset\":%u,\"size\":%u", take(64) * 512, take(0));
	}
	if (type == 1)
		fprintf(out, ",\"chunk_size\":%u", 4096u << take(6));
	if (type == 2)
		fprintf(out, ",\"read_policy\":\"%s\"", policies[take(3)]);
	fprintf(out, ",\"children\":[");
	for (i = 0; i < children; i++)
		fprintf(out, "%s{\"size\":%llu,\"write_mostly\":%s,\"block\":%u}", i ? "," : "",
			(unsigned long long)(type == 2 ? MIRROR_FRONT : 0) + 1 +
				take(0) * (1 + take(64)), take(2) ? "true" : "false", 512u << take(4));
	fprintf(out, "]}");
	fclose(out);
	json = json_parse("fuzz.json", text, length, err);
	free(text);
	must(json != NULL);
	return json;
}

static const struct target_type fuzz_leaf = { .name = "file", .leaf = true };

static struct node *make_node(const struct json *json, struct node *parent, unsigned place)
{
	const char *name = json_get_string(json, "type", "file");
	uint32_t block = (uint32_t)json_get_unsigned(json, "block", 512);
	struct node *node = calloc(1, sizeof(*node));
	unsigned i;

	*node = (struct node){ .type = &fuzz_leaf, .id = name, .json = json, .parent = parent };
	for (i = 0; target_types[i]; i++)
		if (!strcmp(target_types[i]->name, name) && !target_types[i]->leaf)
			node->type = target_types[i];
	node->place = place;
	node->child_count = (unsigned)json_count(json_get(json, "children"));
	node->children = calloc(node->child_count + 1, sizeof(*node->children));
	node->state = calloc(1, node->type->state_size + 1);
	node->limits = (struct limits){
		.size = json_get_size(json, "size", 0) / block * block,
		.logical_block_size = block,
		.physical_block_size = block,
		.io_min = block,
		.discard_granularity = block,
		.zeroes_granularity = block,
	};
	for (i = 0; i < node->child_count; i++)
		node->children[i] = make_node(json_at(json_get(json, "children"), i), node, i);
	return node;
}

static void free_node(struct node *node)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		free_node(node->children[i]);
	if (node->type->close)
		node->type->close(node);
	free(node->children);
	free(node->state);
	free(node);
}

static bool open_node(struct node *node, struct err *err)
{
	bool is_open = (!node->type->parse || node->type->parse(node, err) == 0) &&
		       node->type->open(node, err) == 0;

	must(is_open || err->count > 0);
	return is_open && node->limits.size > 0;
}

/* Data ops of one round, as a mapping of the request. */
static void check_ops(const struct node *node, const struct request *request,
	const struct plan *plan, unsigned from)
{
	uint64_t sum = 0, next = 0;
	unsigned i;

	for (i = from; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];
		bool has_range = op->request.kind != IO_FLUSH && op->request.kind != IO_RECORD;

		must(op->result == OP_WAITING);
		if (op->request.kind == IO_SELF)
			continue; /* its range is the target's own matter */
		must(op->child < node->child_count);
		if (!has_range)
			continue;
		if (op->request.data.home == DATA_SCRATCH) {
			must(op->request.data.offset <= plan->scratch_size &&
				op->request.length <=
					plan->scratch_size - op->request.data.offset);
			continue;
		}
		must(op->request.kind == request->kind && op->request.flags == request->flags);
		must(op->request.length > 0);
		must(op->request.offset <= node->children[op->child]->limits.size);
		must(op->request.length <=
			node->children[op->child]->limits.size - op->request.offset);
		must((op->request.offset | op->request.length) %
				node->children[op->child]->limits.logical_block_size ==
			0);
		sum += op->request.length;
		if (request->data.home == DATA_REQUEST && !node->type->redundant) {
			must(op->request.data.offset == next);
			next += op->request.length;
		}
		if (node->type->redundant)
			must(op->request.length == request->length &&
				op->request.offset == MIRROR_FRONT + request->offset &&
				!node->children[op->child]->failed);
	}
	if (from == 0 && !node->type->redundant && request->length)
		must(sum == request->length);
}

static bool give_results(struct plan *plan, unsigned from)
{
	bool failed = false;
	unsigned i;

	for (i = from; i < plan->count; i++) {
		static const int results[] = { 0, 0, 0, -EIO, 0, -EOPNOTSUPP, 0, -ENOSPC };

		plan->ops[i].result = results[take(8)];
		failed |= plan->ops[i].result < 0;
	}
	return failed;
}

static void run_request(struct node *node)
{
	static const enum io_kind kinds[] = { IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD,
		IO_FLUSH, IO_RECORD };
	uint32_t block = node->limits.logical_block_size;
	uint64_t blocks = node->limits.size / block, first = (take(0) << 8 | take(0)) % blocks;
	uint64_t count =
		1 + take(0) % (blocks - first < MAX_IO / block ? blocks - first : MAX_IO / block);
	struct request request = { .kind = kinds[take(6)] };
	uint32_t rounds, begun = 0;
	struct plan plan = { .result = PLAN_RUNNING };
	struct frame_need need;

	if (request.kind < IO_FLUSH) {
		request.offset = first * block;
		request.length = count * block;
	}
	if (request.kind == IO_READ || request.kind == IO_WRITE)
		request.data.home = DATA_REQUEST;
	need = frame_need(node, FRAME_REQUEST,
		request.data.home != DATA_NONE ? (uint32_t)request.length : 0);
	plan.capacity = (uint16_t)need.ops;
	plan.selfs_left = (uint16_t)need.selfs;
	plan.ops = calloc(need.ops + 1, sizeof(struct op));
	plan.scratch = calloc(1, need.scratch + 1);
	plan.scratch_size = need.scratch;
	plan.io_state = calloc(1, node->type->io_state_size + 1);
	node->type->map(node, &request, &plan);
	check_ops(node, &request, &plan, 0);
	for (rounds = 0; plan.result == PLAN_RUNNING; rounds++) {
		bool failed = give_results(&plan, begun);

		must(rounds < ROUNDS_MAX);
		begun = plan.count;
		if (!node->type->resume || !(failed || plan.ask))
			break;
		plan.ask = false;
		plan_then(&plan);
		node->type->resume(node, &request, &plan);
		check_ops(node, &request, &plan, begun);
		if (plan.result == PLAN_RUNNING && plan.count == begun)
			break;
	}
	free(plan.ops);
	free(plan.io_state);
	free(plan.scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = { 0 };
	struct json *json;
	struct node *node;
	unsigned i;

	input = data;
	input_end = data + size;
	json = make_json(&err);
	node = make_node(json, NULL, 0);
	if (open_node(node, &err))
		for (i = 0; i < REQUESTS_MAX && input < input_end; i++)
			run_request(node);
	free_node(node);
	json_destroy(json);
	err_finish(&err);
	return 0;
}
