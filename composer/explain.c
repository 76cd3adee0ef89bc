// SPDX-License-Identifier: MIT
/* What a tree would do with a request: plans within plans, indented. It knows no target. */
#include "explain.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_OPS_MAX UINT16_MAX

static const enum io_kind kinds[] = { IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD, IO_FLUSH };
#define KINDS (sizeof(kinds) / sizeof(*kinds))

bool explain_kind(const char *word, enum io_kind *kind)
{
	unsigned i;

	for (i = 0; i < KINDS; i++)
		if (!strcmp(io_kind_name(kinds[i]), word)) {
			*kind = kinds[i];
			return true;
		}
	return false;
}

static bool has_range(enum io_kind kind)
{
	return kind != IO_FLUSH && kind != IO_RECORD;
}

static void print_request(const struct request *request, FILE *out)
{
	fprintf(out, "%s%s%s", io_kind_name(request->kind), request->flags & IO_FUA ? " fua" : "",
		request->flags & IO_NOUNMAP ? " nounmap" : "");
	if (has_range(request->kind))
		fprintf(out, " %" PRIu64 " %" PRIu64, request->offset, request->length);
	if (request->data.home != DATA_NONE)
		fprintf(out, " from %s%" PRIu32,
			request->data.home == DATA_SCRATCH ? "scratch " : "", request->data.offset);
}

static void indent(unsigned depth, FILE *out)
{
	fprintf(out, "%*s", (int)depth * 2, "");
}

static void explain_leaf(const struct node *node, const struct request *request, FILE *out)
{
	const struct leaf *leaf = node->leaf;

	if (request->kind == IO_RECORD)
		fprintf(out, leaf->labelled ? ": write the label of %s" : ": no label on %s",
			leaf->path);
	else if (has_range(request->kind))
		fprintf(out, ": %s at %" PRIu64, leaf->path, leaf->data_offset + request->offset);
	else
		fprintf(out, ": %s", leaf->path);
}

static void explain_node(struct node *node, const struct request *request, unsigned depth,
	uint32_t max_io, FILE *out);

/* What asks no child. Self ops are named, not planned: what they do depends on the live state. */
static void print_own(const struct op *op, FILE *out)
{
	const struct request *request = &op->request;

	if (request->kind == IO_SELF)
		fprintf(out, "self %u %" PRIu64 " %" PRIu64 "\n", request->flags, request->offset,
			request->length);
	else
		fprintf(out, "clear %" PRIu64 " from %s%" PRIu32 "\n", request->length,
			request->data.home == DATA_SCRATCH ? "scratch " : "", request->data.offset);
}

static void explain_plan(
	struct node *node, const struct plan *plan, unsigned depth, uint32_t max_io, FILE *out)
{
	unsigned i;

	for (i = 0; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];

		indent(depth, out);
		fprintf(out, "wave %u: ", op->wave);
		if (op->request.kind == IO_CLEAR || op->request.kind == IO_COPY || op->request.kind == IO_SELF) {
			print_own(op, out);
			continue;
		}
		explain_node(node->children[op->child], &op->request, depth + 1, max_io, out);
	}
	if (plan->result < 0) {
		indent(depth, out);
		fprintf(out, "ends with %s\n", strerrorname_np(-plan->result));
	} else if (plan->count == 0) {
		indent(depth, out);
		fprintf(out, "nothing to do\n");
	}
	if (plan->ask) {
		indent(depth, out);
		fprintf(out, "then %s is asked again\n", node->id);
	}
}

/* The line for a node, after its indent, and below it what it asks of its children. */
static void explain_node(struct node *node, const struct request *request, unsigned depth,
	uint32_t max_io, FILE *out)
{
	uint64_t length = request->length < max_io ? request->length : max_io;
	struct plan plan = { .result = PLAN_RUNNING };
	uint64_t room = node->needs.ops_fixed + node->needs.self_fixed;

	fprintf(out, "%s %s ", node->type->name, node->id);
	print_request(request, out);
	if (node->leaf) {
		explain_leaf(node, request, out);
		fprintf(out, "\n");
		return;
	}
	fprintf(out, "\n");
	if (node->needs.ops_per)
		room += length / node->needs.ops_per;
	plan.capacity = (uint16_t)(room < PLAN_OPS_MAX ? room : PLAN_OPS_MAX);
	plan.ops = calloc(room + 1, sizeof(*plan.ops));
	plan.io_state = calloc(1, node->type->io_state_size + 1);
	plan.selfs_left = (uint16_t)node->needs.self_fixed;
	plan.scratch_size = node->needs.scratch;
	plan.scratch = calloc(1, node->needs.scratch + 1);
	if (!plan.ops || !plan.io_state || !plan.scratch)
		abort();
	node->type->map(node, request, &plan);
	explain_plan(node, &plan, depth, max_io, out);
	free(plan.scratch);
	free(plan.io_state);
	free(plan.ops);
}

/* What the kernel would never send. */
static int check(const struct tree *tree, const struct request *request, struct err *err)
{
	const struct limits *limits = &tree->root->limits;
	const char *kind = io_kind_name(request->kind);
	uint32_t block = limits->logical_block_size;
	bool has_data = request->data.home != DATA_NONE;

	if (limits->read_only && request->kind != IO_READ)
		return err_add(err, "%s: the device is read-only", kind);
	if (request->kind == IO_DISCARD && limits->discard_granularity == 0)
		return err_add(
			err, "%s: a leaf of the tree can't, so the device doesn't offer it", kind);
	if (request->kind == IO_WRITE_ZEROES && limits->zeroes_granularity == 0)
		return err_add(
			err, "%s: a leaf of the tree can't, so the device doesn't offer it", kind);
	if (!has_range(request->kind))
		return 0;
	if (request->length == 0 || request->offset % block || request->length % block)
		return err_add(err,
			"%s %" PRIu64 " %" PRIu64
			": offset and length must be multiples of the block size %" PRIu32 "%s",
			kind, request->offset, request->length, block,
			request->length ? "" : ", and length not 0");
	if (request->offset > limits->size || request->length > limits->size - request->offset)
		return err_add(err,
			"%s %" PRIu64 " %" PRIu64 ": ends after the device, which has %" PRIu64
			" bytes",
			kind, request->offset, request->length, limits->size);
	if (has_data && request->length > tree->device.max_io_size)
		return err_add(err,
			"%s: length %" PRIu64 " is over max_io_size %" PRIu32
			"; the kernel would split it",
			kind, request->length, tree->device.max_io_size);
	return 0;
}

int explain_request(
	const struct tree *tree, const struct request *request, struct err *err, FILE *out)
{
	if (check(tree, request, err) < 0)
		return -1;
	explain_node(tree->root, request, 1, tree->device.max_io_size, out);
	return 0;
}
