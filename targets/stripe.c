// SPDX-License-Identifier: MIT
/*
 * stripe: RAID 0. Chunks of chunk_size bytes go to the children in turn. All children count with
 * the size of the smallest, rounded down to whole chunks. It knows no redundancy.
 */
#include "target.h"

#include <inttypes.h>
#include <json-c/json_object.h>

#define CHUNK_DEFAULT 65536u
#define CHUNK_MIN 4096u
#define CHUNK_MAX (1u << 30)

struct stripe {
	uint64_t chunk;
	unsigned shift; /* chunk is 1 << shift */
};

static int stripe_parse(struct node *node, struct err *err)
{
	struct stripe *stripe = node->state;
	const struct json *place = json_get(node->json, "chunk_size");
	uint64_t chunk = json_get_size(node->json, "chunk_size", CHUNK_DEFAULT);

	if (chunk & (chunk - 1))
		return json_err(place, err, "stripe: chunk_size %" PRIu64 " is not a power of two",
			chunk);
	if (chunk < CHUNK_MIN || chunk > CHUNK_MAX)
		return json_err(place, err, "stripe: chunk_size %" PRIu64
			" is outside %u to %u", chunk, CHUNK_MIN, CHUNK_MAX);
	stripe->chunk = chunk;
	stripe->shift = (unsigned)__builtin_ctzll(chunk);
	return 0;
}

static int stripe_open(struct node *node, struct err *err)
{
	const struct stripe *stripe = node->state;
	uint64_t least = UINT64_MAX, each;
	unsigned i;

	limits_join(node);
	if (stripe->chunk < node->limits.logical_block_size)
		return json_err(node->json, err, "stripe: chunk_size %" PRIu64
			" is below the legs' block size %" PRIu32,
			stripe->chunk, node->limits.logical_block_size);
	for (i = 0; i < node->child_count; i++)
		if (node->children[i]->limits.size < least)
			least = node->children[i]->limits.size;
	each = least >> stripe->shift << stripe->shift;
	if (each == 0)
		return json_err(node->json, err, "stripe: the smallest leg has %" PRIu64
			" bytes, less than one chunk of %" PRIu64, least, stripe->chunk);
	if (__builtin_mul_overflow(each, node->child_count, &node->limits.size))
		return json_err(node->json, err, "stripe: %u legs of %" PRIu64
			" bytes are over 2^64 bytes", node->child_count, each);
	for (i = 0; i < node->child_count; i++)
		node->unused += node->children[i]->limits.size - each;
	node->limits.io_min = (uint32_t)stripe->chunk;
	if (__builtin_mul_overflow((uint32_t)stripe->chunk, node->child_count,
		    &node->limits.io_opt))
		node->limits.io_opt = 0;
	/* An unaligned request touches one chunk more than its length says, at both ends. */
	node->needs.ops_fixed = node->child_count > 2 ? node->child_count : 2;
	node->needs.ops_per = (uint32_t)stripe->chunk;
	return 0;
}

static void stripe_status(const struct node *node, struct json_object *out)
{
	const struct stripe *stripe = node->state;

	json_object_object_add(out, "chunk_size", json_object_new_uint64(stripe->chunk));
}

static void stripe_geometry(const struct node *node, FILE *out)
{
	const struct stripe *stripe = node->state;

	fprintf(out, "chunk_size=%" PRIu64, stripe->chunk);
}

/* What lies within one chunk is one leg's. */
static struct node *stripe_route(
	const struct node *node, const struct request *request, uint64_t *offset)
{
	const struct stripe *stripe = node->state;
	uint64_t inside = request->offset & (stripe->chunk - 1);
	uint64_t chunk = request->offset >> stripe->shift;

	if (request->length == 0 || request->length > stripe->chunk - inside)
		return NULL;
	*offset = (chunk / node->child_count << stripe->shift) + inside;
	return node->children[chunk % node->child_count];
}

/* READ and WRITE: an op for each chunk, as the bytes of one leg are not neighbours in the buffer. */
static void stripe_data(const struct node *node, const struct request *request, struct plan *plan)
{
	const struct stripe *stripe = node->state;
	uint64_t inside = request->offset & (stripe->chunk - 1);
	uint64_t chunk = request->offset >> stripe->shift;
	uint64_t row = chunk / node->child_count;
	unsigned leg = (unsigned)(chunk % node->child_count);
	uint64_t done = 0;

	while (done < request->length) {
		uint64_t length = stripe->chunk - inside;

		if (length > request->length - done)
			length = request->length - done;
		plan_part(plan, request, done, length, leg, (row << stripe->shift) + inside);
		done += length;
		inside = 0;
		if (++leg == node->child_count) {
			leg = 0;
			row++;
		}
	}
}

/* Requests without bytes: one op for each leg, since a range of the device is one range of each. */
static void stripe_ranges(const struct node *node, const struct request *request, struct plan *plan)
{
	const struct stripe *stripe = node->state;
	uint64_t legs = node->child_count, mask = stripe->chunk - 1;
	uint64_t last_byte = request->offset + request->length - 1;
	uint64_t first = request->offset >> stripe->shift, last = last_byte >> stripe->shift;
	uint64_t leg;

	for (leg = 0; leg < legs; leg++) {
		/* The leg's first and last chunk within [first, last]. */
		uint64_t head = first + (leg + legs - first % legs) % legs;
		uint64_t back = (last % legs + legs - leg) % legs;
		uint64_t begin, end;

		if (head > last)
			continue;
		begin = (head / legs << stripe->shift) + (head == first ? request->offset & mask : 0);
		end = ((last - back) / legs << stripe->shift) +
			(back == 0 ? (last_byte & mask) + 1 : stripe->chunk);
		plan_part(plan, request, 0, end - begin, (unsigned)leg, begin);
	}
}

static void stripe_map(struct node *node, const struct request *request, struct plan *plan)
{
	switch (request->kind) {
	case IO_READ:
	case IO_WRITE:
		stripe_data(node, request, plan);
		break;
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		stripe_ranges(node, request, plan);
		break;
	default:
		plan_all(plan, node, request);
	}
}

const struct target_type stripe_target = {
	.name = "stripe",
	.state_size = sizeof(struct stripe),
	.parse = stripe_parse,
	.open = stripe_open,
	.status = stripe_status,
	.geometry = stripe_geometry,
	.route = stripe_route,
	.map = stripe_map,
};
