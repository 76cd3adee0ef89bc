// SPDX-License-Identifier: MIT
/*
 * linear: the children one after the other, or a window (offset, size) of a single child.
 * It knows where each child begins, nothing else.
 */
#include "target.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>

struct linear {
	uint64_t offset; /* in the single child */
	uint64_t size;	 /* 0: all that is there */
	uint64_t *start; /* where each child begins; one more entry ends the last */
};

static int linear_parse(struct node *node, struct err *err)
{
	struct linear *linear = node->state;
	const struct json *offset = json_get(node->json, "offset");
	const struct json *size = json_get(node->json, "size");

	linear->offset = json_get_size(node->json, "offset", 0);
	linear->size = json_get_size(node->json, "size", 0);
	if ((offset || size) && json_count(json_get(node->json, "children")) != 1)
		return json_err(offset ? offset : size, err,
			"linear: offset and size need exactly one child, there are %zu",
			json_count(json_get(node->json, "children")));
	if (size && linear->size == 0)
		return json_err(size, err, "linear: size 0, the least is one block");
	return 0;
}

/* The window of the single child, checked against it. */
static int linear_window(struct node *node, struct err *err)
{
	struct linear *linear = node->state;
	uint64_t there = node->children[0]->limits.size;
	uint32_t block = node->limits.logical_block_size;
	uint64_t size = linear->size;

	if (linear->offset >= there || size > there - linear->offset)
		return json_err(node->json, err,
			"linear: offset %" PRIu64 " with size %" PRIu64
			" ends after its child %s, which has %" PRIu64 " bytes",
			linear->offset, size, node->children[0]->id, there);
	if (linear->offset % block || size % block)
		return json_err(node->json, err,
			"linear: offset %" PRIu64 " and size %" PRIu64
			" must be multiples of the block size %" PRIu32,
			linear->offset, size, block);
	linear->start[1] = size ? size : (there - linear->offset) / block * block;
	node->limits.size = linear->start[1];
	return 0;
}

static int linear_open(struct node *node, struct err *err)
{
	struct linear *linear = node->state;
	uint64_t end = 0;
	unsigned i;

	linear->start = calloc(node->child_count + 1, sizeof(*linear->start));
	if (!linear->start)
		return json_err(node->json, err, "linear: out of memory");
	limits_join(node);
	node->needs = (struct needs){ .ops_fixed = node->child_count };
	if (linear->offset || linear->size)
		return linear_window(node, err);
	for (i = 0; i < node->child_count; i++) {
		uint64_t size = node->children[i]->limits.size;

		size -= size % node->limits.logical_block_size;
		if (end + size < end)
			return json_err(node->json, err,
				"linear: the children's sizes add up to over 2^64 bytes");
		end += size;
		linear->start[i + 1] = end;
	}
	node->limits.size = end;
	return 0;
}

static void linear_close(struct node *node)
{
	struct linear *linear = node->state;

	free(linear->start);
	linear->start = NULL;
}

static void linear_geometry(const struct node *node, FILE *out)
{
	const struct linear *linear = node->state;

	fprintf(out, "offset=%" PRIu64 ",size=%" PRIu64, linear->offset, linear->size);
}

/* The child that holds the byte at offset. */
static unsigned linear_child(const struct node *node, uint64_t offset)
{
	const struct linear *linear = node->state;
	unsigned low = 0, high = node->child_count;

	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;

		if (linear->start[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static struct node *linear_route(
	const struct node *node, const struct request *request, uint64_t *offset)
{
	const struct linear *linear = node->state;
	unsigned child = linear_child(node, request->offset);

	if (request->length == 0 ||
		request->length > linear->start[child + 1] - request->offset)
		return NULL;
	*offset = linear->offset + request->offset - linear->start[child];
	return node->children[child];
}

static void linear_map(struct node *node, const struct request *request, struct plan *plan)
{
	const struct linear *linear = node->state;
	uint64_t done = 0;
	unsigned i;

	if (request->kind == IO_FLUSH || request->kind == IO_RECORD) {
		plan_all(plan, node, request);
		return;
	}
	for (i = linear_child(node, request->offset); done < request->length; i++) {
		uint64_t inside = request->offset + done - linear->start[i];
		uint64_t length = linear->start[i + 1] - linear->start[i] - inside;

		if (length > request->length - done)
			length = request->length - done;
		if (length)
			plan_part(plan, request, done, length, i, linear->offset + inside);
		done += length;
	}
}

const struct target_type linear_target = {
	.name = "linear",
	.state_size = sizeof(struct linear),
	.appends = true,
	.parse = linear_parse,
	.open = linear_open,
	.close = linear_close,
	.geometry = linear_geometry,
	.route = linear_route,
	.map = linear_map,
};
