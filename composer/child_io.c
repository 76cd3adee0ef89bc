// SPDX-License-Identifier: MIT
/*
 * Child I/O: an engine of one request over the child's subtree, whose sub-I/Os are carried out one
 * after the other by leaf_io.c. It knows no target.
 */
#include "child_io.h"

#include "engine.h"
#include "leaf_io.h"
#include "tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (UINT32_C(1) << 20) /* the longest request with bytes */
#define RANGE_PIECE (UINT64_C(1) << 30) /* the longest without */

struct child_io {
	struct engine *engine;
	bool is_probe, is_done;
	int result;
	struct sub_io **waiting; /* a ring of as many as one request can have */
	unsigned room, first, count;
};

static void child_submit(void *context, struct sub_io *sub)
{
	struct child_io *io = context;

	assert(io->count < io->room);
	io->waiting[(io->first + io->count++) % io->room] = sub;
}

static void child_commit(void *context, unsigned tag, int result, bool linked)
{
	struct child_io *io = context;

	(void)tag; /* there is one */
	(void)linked; /* never: it is gathered */
	io->is_done = true;
	io->result = result;
}

static const struct engine_backend child_backend = {
	.submit = child_submit,
	.commit = child_commit,
};

/* Still to be made or formatted: nothing in it counts. */
static bool leaf_is_blank(const struct leaf *leaf)
{
	return leaf->todo >= LEAF_FORMAT || (leaf->fd < 0 && !leaf->exists);
}

/* A READ's or WRITE's bytes. 0 or -errno. */
static int move(const struct sub_io *sub, bool is_blank)
{
	uint64_t offset = sub->offset;
	unsigned i;
	int result = 0;

	for (i = 0; i < sub->vector_count && result == 0; i++) {
		const struct iovec *piece = &sub->vectors[i];

		if (is_blank)
			memset(piece->iov_base, 0, piece->iov_len);
		else if (sub->kind == IO_READ && sub->leaf->is_bare)
			result = leaf_io_read_end(
				sub->leaf->fd, piece->iov_base, piece->iov_len, offset);
		else if (sub->kind == IO_READ)
			result = leaf_io_read(sub->leaf->fd, piece->iov_base, piece->iov_len, offset);
		else
			result = leaf_io_write(sub->leaf->fd, piece->iov_base, piece->iov_len, offset);
		offset += piece->iov_len;
	}
	if (result == 0 && sub->kind == IO_WRITE && sub->flags & IO_FUA)
		result = leaf_io_flush(sub->leaf->fd);
	return result;
}

static int perform(const struct child_io *io, const struct sub_io *sub)
{
	const struct leaf *leaf = sub->leaf;
	bool is_blank = io->is_probe && leaf_is_blank(leaf);
	int result;

	if (io->is_probe && sub->kind == IO_WRITE)
		return (int)sub->length; /* a repair, which can wait: failing it would fail the leg */
	if (io->is_probe && sub->kind != IO_READ)
		return 0;
	if (leaf->fd < 0 && !is_blank)
		return -EIO; /* it is missing, and who asks for it doesn't know that */
	if (leaf_is_hung(leaf))
		return -ETIMEDOUT; /* it might block for ever */
	switch (sub->kind) {
	case IO_READ:
	case IO_WRITE:
		result = move(sub, is_blank);
		return result < 0 ? result : (int)sub->length;
	case IO_WRITE_ZEROES:
	case IO_DISCARD:
		return leaf_io_punch(leaf->fd, sub->length, sub->offset);
	default:
		assert(sub->kind == IO_FLUSH);
		return leaf_io_flush(leaf->fd);
	}
}

/* One request, to its end. `memory` is aligned, as the leaves may need it. */
static int carry_out(struct child_io *io, const struct request *request, void *memory)
{
	engine_start(io->engine, 0, request, memory);
	while (io->count > 0) {
		struct sub_io *sub = io->waiting[io->first];

		io->first = (io->first + 1) % io->room;
		io->count--;
		sub->event.end(&sub->event, perform(io, sub));
	}
	assert(io->is_done);
	return io->result < 0 ? io->result : 0;
}

static int child_request(struct node *child, const struct request *request, void *memory)
{
	struct child_io io = { .is_probe = child->tree->child_io == CHILD_IO_PROBE };
	struct engine_config config = {
		.tree = child->tree,
		.root = child,
		.backend = &child_backend,
		.context = &io,
		.depth = 1,
		.max_io = PIECE,
		.fan_out = FAN_OUT_GATHERED,
	};
	struct err err = { 0 };
	int result = -ENOMEM;

	assert(child->tree->child_io != CHILD_IO_NONE);
	if (io.is_probe && request->kind != IO_READ)
		return -EROFS;
	if (request->data.home == DATA_REQUEST)
		config.max_io = (uint32_t)request->length;
	if (engine_open(&io.engine, &config, &err) < 0) {
		err_finish(&err); /* the caller says what it couldn't do for want of memory */
		return result;
	}
	io.room = engine_fan_out_max(io.engine) + 1;
	io.waiting = calloc(io.room, sizeof(struct sub_io *));
	if (io.waiting)
		result = carry_out(&io, request, memory);
	free(io.waiting);
	engine_close(io.engine);
	return result;
}

/* In pieces, by way of aligned memory. A WRITE's bytes are there before, a READ's are taken after. */
static int child_bytes(
	struct node *child, enum io_kind kind, uint64_t offset, char *bytes, uint64_t length)
{
	void *memory = leaf_io_memory(length < PIECE ? length : PIECE);
	int result = memory ? 0 : -ENOMEM;

	while (length && result == 0) {
		struct request request = {
			.kind = kind,
			.offset = offset,
			.length = length < PIECE ? length : PIECE,
			.data.home = DATA_REQUEST,
		};

		if (kind == IO_WRITE && bytes)
			memcpy(memory, bytes, request.length);
		result = child_request(child, &request, memory);
		if (kind == IO_READ && result == 0)
			memcpy(bytes, memory, request.length);
		bytes += bytes ? request.length : 0;
		offset += request.length;
		length -= request.length;
	}
	free(memory);
	return result;
}

static int child_range(struct node *child, enum io_kind kind, uint64_t offset, uint64_t length)
{
	int result = 0;

	while (length && result == 0) {
		struct request request = {
			.kind = kind,
			.offset = offset,
			.length = length < RANGE_PIECE ? length : RANGE_PIECE,
		};

		result = child_request(child, &request, NULL);
		offset += request.length;
		length -= request.length;
	}
	return result;
}

int child_read(struct node *child, uint64_t offset, void *memory, uint32_t length)
{
	return child_bytes(child, IO_READ, offset, memory, length);
}

int child_write(struct node *child, uint64_t offset, const void *memory, uint32_t length)
{
	return child_bytes(child, IO_WRITE, offset, (char *)memory, length);
}

int child_zero(struct node *child, uint64_t offset, uint64_t length)
{
	if (child->limits.zeroes_granularity)
		return child_range(child, IO_WRITE_ZEROES, offset, length);
	return child_bytes(child, IO_WRITE, offset, NULL, length);
}

int child_discard(struct node *child, uint64_t offset, uint64_t length)
{
	if (!child->limits.discard_granularity)
		return 0;
	return child_range(child, IO_DISCARD, offset, length);
}

int child_flush(struct node *child)
{
	return child_request(child, &(struct request){ .kind = IO_FLUSH }, NULL);
}
