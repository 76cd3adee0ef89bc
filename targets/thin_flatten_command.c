// SPDX-License-Identifier: MIT
/*
 * Verbs for a thin's flatten, and what its status says of it:
 *
 *	flatten {"rate": BYTES}	begins, or goes on from where it was; the rate is a second's, 0: no bound
 *	stop-flatten {}		what is there by then stays
 */
#include "thin.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <string.h>

static const char *const state_names[] = {
	[FLATTEN_NEVER] = "never",
	[FLATTEN_RUNNING] = "running",
	[FLATTEN_STOPPED] = "stopped",
	[FLATTEN_FAILED] = "failed",
	[FLATTEN_DONE] = "done",
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Of images a last part of a block isn't served, so that it could not be copied; others would see it. */
static bool has_remnant(const struct node *node)
{
	const struct node *backing = node->children[THIN_BACKING];
	uint64_t size = backing->limits.size;
	uint64_t there = backing->type == node->type ? thin_of(backing)->header.size : size;

	return smaller(thin_of(node)->header.size, there) > smaller(node->limits.size, size);
}

int thin_flatten_begin(struct node *node, const struct json *arguments, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct qcow2_header header = thin->header;
	struct thin_flatten *flatten = &thin->flatten;
	uint8_t page[THIN_PAGE_MAX];

	memcpy(page, thin->header_page, sizeof(page));
	if (!thin_may_flatten(node))
		return err_add(err, "thin %s: %s", node->id,
			thin->can_write ? "its image stands on no backing file" : "its image is served read-only");
	if (thin->next)
		return err_add(err, "thin %s: a snapshot is being made, deleted or gone back to; flatten it afterwards", node->id);
	if (thin_is_trimming(thin))
		return err_add(err, "thin %s is being trimmed; flatten it afterwards", node->id);
	if (header.snapshot_count)
		return err_add(err,
			"thin %s: its %" PRIu32 " snapshots are based on the backing too; delete them first",
			node->id, header.snapshot_count);
	if (qcow2_header_flatten(page, &header) < 0)
		return err_add(err,
			"thin %s: its header doesn't say the backing's format in its first sector; see qemu-img "
			"rebase -u -F",
			node->id);
	if (has_remnant(node))
		return err_add(err,
			"thin %s: its image and its backing end within a block of %" PRIu32
			" bytes, which can't be copied; see qemu-img rebase",
			node->id, node->limits.logical_block_size);
	flatten->rate = json_get_size(arguments, "rate", 0);
	flatten->next = 0;
	if (flatten->state == FLATTEN_RUNNING)
		return 0;
	flatten->state = FLATTEN_RUNNING; /* from where it was */
	flatten->end = smaller(node->limits.size, node->children[THIN_BACKING]->limits.size);
	return 0;
}

void thin_flatten_stop(struct node *node)
{
	struct thin_flatten *flatten = &thin_of(node)->flatten;

	if (flatten->state == FLATTEN_RUNNING)
		flatten->state = FLATTEN_STOPPED;
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

/* Any thread, so that a number may be of a moment ago. */
void thin_flatten_status(const struct node *node, struct json_object *out)
{
	const struct thin_flatten *flatten = &thin_of(node)->flatten;
	enum thin_flatten_state state = __atomic_load_n(&flatten->state, __ATOMIC_RELAXED);
	struct json_object *progress;

	if (!thin_of(node)->can_write || node->child_count <= THIN_BACKING)
		return;
	if (thin_of(node)->header.is_flattened) /* by this daemon, or an earlier one */
		state = FLATTEN_DONE;
	json_object_object_add(out, "flatten", json_object_new_string(state_names[state]));
	if (state != FLATTEN_NEVER)
		add_number(out, "flatten_copied", __atomic_load_n(&flatten->copied, __ATOMIC_RELAXED));
	if (state == FLATTEN_FAILED)
		add_number(out, "flatten_error", (uint64_t)-flatten->error);
	if (state != FLATTEN_RUNNING)
		return;
	progress = json_object_new_object();
	json_object_object_add(progress, "what", json_object_new_string("flatten"));
	add_number(progress, "done", __atomic_load_n(&flatten->cursor, __ATOMIC_RELAXED));
	add_number(progress, "total", flatten->end);
	json_object_object_add(out, "progress", progress);
}
