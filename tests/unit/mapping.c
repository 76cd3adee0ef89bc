// SPDX-License-Identifier: MIT
/* Plans judged sector by sector. */
#include "mapping.h"

/* The request's sector that stands at this sector of the child, or UINT_MAX. */
static unsigned asked_for(
	const struct mapped *map, unsigned begin, unsigned end, unsigned child, uint64_t sector)
{
	unsigned i;

	for (i = begin; i < end; i++)
		if (map[i].child == child && map[i].sector == sector)
			return i;
	return UINT32_MAX;
}

static void check_op(const struct node *node, const struct mapped *map, unsigned begin,
	unsigned end, const struct op *op, unsigned char *seen)
{
	const struct request *request = &op->request;
	uint64_t sector;

	assert_true(op->child < node->child_count);
	assert_int_equal(op->wave, 0);
	assert_int_equal(request->offset % MAPPING_SECTOR, 0);
	assert_int_equal(request->length % MAPPING_SECTOR, 0);
	assert_true(request->length > 0);
	assert_true(request->offset + request->length <= node->children[op->child]->limits.size);
	for (sector = 0; sector < request->length / MAPPING_SECTOR; sector++) {
		unsigned i = asked_for(
			map, begin, end, op->child, request->offset / MAPPING_SECTOR + sector);

		assert_true(i != UINT32_MAX);
		assert_int_equal(seen[i], 0);
		seen[i] = 1;
		if (request->data.home == DATA_REQUEST)
			assert_int_equal(request->data.offset + sector * MAPPING_SECTOR,
				(i - begin) * MAPPING_SECTOR);
	}
}

/* route() says what the plan says where that is one op, at least if there are bytes; else nothing. */
static void check_route(struct node *node, const struct request *request, const struct plan *plan)
{
	uint64_t offset = UINT64_MAX;
	struct node *child = NULL;

	if (node->type->route)
		child = node->type->route(node, request, &offset);
	if (plan->count > 1 || !node->type->route) {
		assert_null(child);
		return;
	}
	if (!child && request->data.home == DATA_NONE)
		return;
	assert_ptr_equal(child, node->children[plan->ops[0].child]);
	assert_int_equal(offset, plan->ops[0].request.offset);
}

static void check_request(struct node *node, const struct mapped *map, unsigned begin, unsigned end,
	enum io_kind kind)
{
	unsigned flags = kind == IO_WRITE || kind == IO_WRITE_ZEROES ? IO_FUA : 0;
	unsigned char seen[MAPPING_SECTORS_MAX] = { 0 };
	struct fixture_plan course;
	unsigned i;

	fixture_map(&course, node,
		fixture_request(kind, flags, (uint64_t)begin * MAPPING_SECTOR,
			(uint64_t)(end - begin) * MAPPING_SECTOR));
	assert_int_equal(course.plan.result, PLAN_RUNNING);
	assert_false(course.plan.ask);
	for (i = 0; i < course.plan.count; i++) {
		assert_int_equal(course.plan.ops[i].request.kind, kind);
		assert_int_equal(course.plan.ops[i].request.flags, flags);
		check_op(node, map, begin, end, &course.plan.ops[i], seen);
	}
	check_route(node, &course.request, &course.plan);
	for (i = begin; i < end; i++)
		assert_int_equal(seen[i], 1);
	fixture_finish(&course);
}

void mapping_check(struct node *node, const struct mapped *map, unsigned count, enum io_kind kind)
{
	unsigned begin, end;

	assert_true(count <= MAPPING_SECTORS_MAX);
	assert_int_equal(node->limits.size, (uint64_t)count * MAPPING_SECTOR);
	for (begin = 0; begin < count; begin++)
		for (end = begin + 1; end <= count; end++)
			check_request(node, map, begin, end, kind);
}
