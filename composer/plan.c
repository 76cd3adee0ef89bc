// SPDX-License-Identifier: MIT
/* Plans: filling and printing them. It knows no target and carries nothing out. */
#include "plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static const char *const kind_names[IO_KINDS] = {
	[IO_READ] = "read",
	[IO_WRITE] = "write",
	[IO_WRITE_ZEROES] = "write-zeroes",
	[IO_DISCARD] = "discard",
	[IO_FLUSH] = "flush",
	[IO_CLEAR] = "clear",
	[IO_COPY] = "copy",
	[IO_RECORD] = "record",
	[IO_SELF] = "self",
};

const char *io_kind_name(enum io_kind kind)
{
	return kind_names[kind];
}

struct op *plan_add(struct plan *plan, unsigned child, struct request request)
{
	struct op *op;

	assert(plan->count < plan->capacity);
	op = &plan->ops[plan->count++];
	op->request = request;
	op->child = (uint16_t)child;
	op->wave = plan->wave;
	op->result = OP_WAITING;
	return op;
}

struct op *plan_pass(struct plan *plan, const struct request *request, unsigned child,
	uint64_t offset)
{
	struct op *op = plan_add(plan, child, *request);

	op->request.offset = offset;
	return op;
}

struct op *plan_part(struct plan *plan, const struct request *request, uint64_t skip,
	uint64_t length, unsigned child, uint64_t offset)
{
	struct op *op = plan_add(plan, child, *request);

	op->request.offset = offset;
	op->request.length = length;
	if (op->request.data.home != DATA_NONE)
		op->request.data.offset += (uint32_t)skip;
	return op;
}

struct op *plan_clear(struct plan *plan, const struct request *request, uint64_t skip,
	uint64_t length)
{
	struct op *op = plan_part(plan, request, skip, length, 0, 0);

	op->request.kind = IO_CLEAR;
	op->request.flags = 0;
	return op;
}

struct op *plan_scratch(struct plan *plan, enum io_kind kind, unsigned flags, unsigned child,
	uint64_t offset, uint32_t skip, uint32_t length)
{
	assert(skip <= plan->scratch_size && length <= plan->scratch_size - skip);
	return plan_add(plan, child, (struct request){
		.kind = kind,
		.flags = flags,
		.offset = offset,
		.length = length,
		.data = { DATA_SCRATCH, plan->scratch_offset + skip },
	});
}

struct op *plan_from_scratch(struct plan *plan, const struct request *request, uint64_t skip,
	uint64_t length, uint32_t from)
{
	struct op *op = plan_part(plan, request, skip, length, 0, plan->scratch_offset + from);

	assert(from <= plan->scratch_size && length <= plan->scratch_size - from);
	op->request.kind = IO_COPY;
	op->request.flags = 0;
	return op;
}

struct op *plan_self(struct plan *plan, uint64_t offset, uint64_t length, uint32_t word)
{
	assert(plan->selfs_left > 0);
	plan->selfs_left--;
	return plan_add(plan, 0, (struct request){
		.kind = IO_SELF,
		.flags = word,
		.offset = offset,
		.length = length,
	});
}

void plan_wake(struct plan *plan)
{
	plan->wake = true;
}

void plan_then(struct plan *plan)
{
	if (plan->count > 0 && plan->ops[plan->count - 1].wave == plan->wave)
		plan->wave++;
}

void plan_ask(struct plan *plan)
{
	plan->ask = true;
}

void plan_tell(struct plan *plan)
{
	plan->tell = true;
}

void plan_end(struct plan *plan, int result)
{
	assert(result <= 0);
	plan->result = result;
}

void plan_wait(struct plan *plan, int result)
{
	assert(result < 0);
	plan->result = result;
	plan->waits = true;
}

void plan_go_on(struct plan *plan)
{
	plan->goes_on = true;
}

/* One op's line, without its wave. */
static int op_print(const struct op *op, char *text, size_t size)
{
	const struct request *request = &op->request;
	const char *fua = request->flags & IO_FUA ? " fua" : "";
	const char *nounmap = request->flags & IO_NOUNMAP ? " nounmap" : "";
	const char *kind = io_kind_name(request->kind);
	const char *from = request->data.home == DATA_SCRATCH ? "scratch " : "";

	switch (request->kind) {
	case IO_FLUSH:
	case IO_RECORD:
		return snprintf(text, size, "child %u %s", op->child, kind);
	case IO_CLEAR:
		return snprintf(text, size, "clear %" PRIu64 " from %s%" PRIu32, request->length,
			from, request->data.offset);
	case IO_COPY:
		return snprintf(text, size, "copy %" PRIu64 " from scratch %" PRIu64 " to %s%" PRIu32,
			request->length, request->offset, from, request->data.offset);
	case IO_SELF:
		return snprintf(text, size, "self %u %" PRIu64 " %" PRIu64, request->flags,
			request->offset, request->length);
	case IO_READ:
	case IO_WRITE:
		return snprintf(text, size, "child %u %s%s %" PRIu64 " %" PRIu64 " from %s%" PRIu32,
			op->child, kind, fua, request->offset, request->length, from,
			request->data.offset);
	default:
		return snprintf(text, size, "child %u %s%s%s %" PRIu64 " %" PRIu64, op->child, kind,
			fua, nounmap, request->offset, request->length);
	}
}

size_t plan_print(const struct plan *plan, char *text, size_t size)
{
	char line[160];
	size_t length = 0;
	unsigned i;

	if (size > 0)
		text[0] = '\0';
	for (i = 0; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];
		size_t room = length < size ? size - length : 0;

		(void)op_print(op, line, sizeof(line)); /* every line is shorter than that */
		length += (size_t)snprintf(room ? text + length : NULL, room, "wave %u: %s\n",
			op->wave, line);
	}
	if (plan->result != PLAN_RUNNING)
		length += (size_t)snprintf(length < size ? text + length : NULL,
			length < size ? size - length : 0, "end %d\n", plan->result);
	return length;
}
