// SPDX-License-Identifier: MIT
/* Sub-I/Os on memory, one at a time. */
#include "memory.h"

#include "leaf_io.h"

#include <inttypes.h>

static void memory_submit(void *context, struct sub_io *sub)
{
	struct memory *memory = context;

	fprintf(memory->out, "submit %u %s%s", sub->leaf->place, io_kind_name(sub->kind),
		sub->flags & IO_FUA ? " fua" : "");
	if (sub->kind != IO_FLUSH)
		fprintf(memory->out, " %" PRIu64 " %" PRIu64, sub->offset - sub->leaf->data_offset,
			sub->length);
	if (sub->vector_count > 1)
		fprintf(memory->out, " in %u", sub->vector_count);
	fprintf(memory->out, "%s\n", sub->linked ? " linked" : "");
	assert_true(sub->offset + sub->length <= sub->leaf->bytes + sub->leaf->data_offset);
	assert_true(memory->pending_count < MEMORY_PENDING_MAX);
	memory->pending[memory->pending_count++] = (struct memory_pending){ .sub = sub };
	if (memory->pending_count > memory->pending_most)
		memory->pending_most = memory->pending_count;
}

static void commit_now(struct memory *memory, unsigned tag, int result)
{
	fprintf(memory->out, "commit %u %d\n", tag, result);
	memory->commits[tag]++;
	memory->results[tag] = result;
}

static void memory_commit(void *context, unsigned tag, int result, bool linked)
{
	struct memory *memory = context;
	struct memory_pending *last;

	assert_true(tag < MEMORY_TAGS);
	if (!linked) {
		commit_now(memory, tag, result);
		return;
	}
	assert_true(memory->pending_count > 0);
	last = &memory->pending[memory->pending_count - 1];
	assert_true(last->sub->linked && !last->has_commit);
	last->has_commit = true;
	last->tag = tag;
	last->result = result;
}

static bool memory_pass(void *context, unsigned tag, const struct sub_io *subs)
{
	struct memory *memory = context;
	unsigned count = 0;

	memory->passed_to[tag] = subs ? subs->leaf : NULL;
	for (; subs; subs = subs->next)
		count++;
	memory->ended[tag] = false;
	if (count)
		fprintf(memory->out, "pass %u in %u\n", tag, count);
	else
		fprintf(memory->out, "fetch %u\n", tag);
	return true;
}

static bool memory_ended(void *context, unsigned tag)
{
	struct memory *memory = context;

	return memory->ended[tag];
}

static void memory_poll(void *context)
{
	struct memory *memory = context;

	fprintf(memory->out, "poll\n");
}

static uint64_t memory_now(void *context)
{
	struct memory *memory = context;

	return memory->now;
}

static void memory_timer(void *context, uint64_t when)
{
	struct memory *memory = context;

	fprintf(memory->out, "timer %" PRIu64 "\n", when);
}

static const struct engine_backend memory_backend = {
	.submit = memory_submit,
	.commit = memory_commit,
	.now = memory_now,
	.timer = memory_timer,
};

static const struct engine_backend passing_backend = {
	.submit = memory_submit,
	.commit = memory_commit,
	.pass = memory_pass,
	.ended = memory_ended,
	.poll = memory_poll,
	.now = memory_now,
	.timer = memory_timer,
};

static void label_make(struct leaf *leaf, const struct tree *tree)
{
	leaf->labelled = true;
	leaf->data_offset = LABEL_FRONT;
	leaf->label_memory = leaf_io_memory(LABEL_UPDATE_MAX);
	leaf->label = (struct label){
		.place = leaf->place,
		.leaf_count = tree->leaf_count,
		.data_offset = LABEL_FRONT,
		.data_length = leaf->bytes,
		.generation = 2,
		.peers = calloc(tree->leaf_count, sizeof(struct label_peer)),
		.document = strdup("{}"),
		.geometry = strdup("none"),
	};
	memset(leaf->label.tree_uuid, 1, sizeof(uuid_t));
	memset(leaf->label.leaf_uuid, 2 + (int)leaf->place, sizeof(uuid_t));
}

static void open_with(
	struct memory *memory, struct tree *tree, const struct engine_backend *backend)
{
	struct err err = { 0 };
	struct engine_config config = {
		.tree = tree,
		.backend = backend,
		.context = memory,
		.depth = MEMORY_TAGS,
		.max_io = tree->device.max_io_size,
		.fan_out = tree->device.fan_out,
		.slots = MEMORY_SLOTS,
		.memory_max = UINT64_C(1) << 30, /* small chunks need more than devices do */
	};
	unsigned i;

	*memory = (struct memory){ .tree = tree };
	memory->leaves = calloc(tree->leaf_count + 1, sizeof(*memory->leaves));
	for (i = 0; i < tree->leaf_count; i++) {
		label_make(tree->leaves[i], tree);
		memory->leaves[i] = calloc(1, LABEL_FRONT + tree->leaves[i]->bytes);
	}
	memory->out = open_memstream(&memory->log, &memory->log_length);
	if (engine_open(&memory->engine, &config, &err) < 0)
		fail_msg("%s", err.text);
}

void memory_open_tree(struct memory *memory, struct tree *tree)
{
	open_with(memory, tree, &memory_backend);
}

void memory_open_passing_tree(struct memory *memory, struct tree *tree)
{
	open_with(memory, tree, &passing_backend);
}

void memory_open_passing(struct memory *memory, const char *root)
{
	memory_open_passing_tree(memory, fixture_tree(root));
}

void memory_open(struct memory *memory, const char *device, const char *root)
{
	struct err err = { 0 };
	struct tree *tree = fixture_try(device, root, &err);

	if (!tree)
		fail_msg("%s: %s", root, err.text);
	memory_open_tree(memory, tree);
}

void memory_close(struct memory *memory)
{
	unsigned i;

	assert_int_equal(memory->pending_count, 0);
	engine_close(memory->engine);
	for (i = 0; i < memory->tree->leaf_count; i++)
		free(memory->leaves[i]);
	free(memory->leaves);
	tree_destroy(memory->tree);
	fclose(memory->out);
	free(memory->log);
}

void memory_start(struct memory *memory, unsigned tag, struct request request, void *data)
{
	engine_start(memory->engine, tag, &request, data);
}

/* Carries out `length` bytes of the sub-I/O. */
static void move(struct memory *memory, const struct sub_io *sub, uint64_t length)
{
	char *at = memory->leaves[sub->leaf->place] + sub->offset;
	unsigned i;

	if (sub->kind == IO_WRITE_ZEROES || sub->kind == IO_DISCARD)
		memset(at, 0, sub->length);
	for (i = 0; i < sub->vector_count && length > 0; i++) {
		size_t part = sub->vectors[i].iov_len < length ? sub->vectors[i].iov_len : length;

		if (sub->kind == IO_READ)
			memcpy(sub->vectors[i].iov_base, at, part);
		else if (sub->kind == IO_WRITE)
			memcpy(at, sub->vectors[i].iov_base, part);
		at += part;
		length -= part;
	}
}

void memory_end(struct memory *memory, unsigned n, int result)
{
	struct memory_pending pending = memory->pending[n];
	struct sub_io *sub = pending.sub;
	bool has_bytes = sub->kind == IO_READ || sub->kind == IO_WRITE;
	int full = has_bytes ? (int)sub->length : 0;

	assert_true(n < memory->pending_count);
	memory->pending_count--;
	memmove(&memory->pending[n], &memory->pending[n + 1],
		(memory->pending_count - n) * sizeof(pending));
	if (result == MEMORY_FULL)
		result = full;
	if (result >= 0)
		move(memory, sub, has_bytes ? (uint64_t)result : 0);
	if (pending.has_commit && result == full)
		commit_now(memory, pending.tag, pending.result);
	else
		sub->event.end(&sub->event, result);
}

void memory_end_all(struct memory *memory)
{
	while (memory->pending_count)
		memory_end(memory, 0, MEMORY_FULL);
}

const char *memory_log(struct memory *memory)
{
	const char *text;

	fflush(memory->out);
	text = memory->log + memory->log_seen;
	memory->log_seen = memory->log_length;
	return text;
}
