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

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Of images a last part of a block isn't served, so that it could not be copied; others would see it. */
static bool has_remnant(const struct node *node)
{
	const struct node *backing = thin_backing(node);
	uint64_t size = backing->limits.size;
	uint64_t there = backing->type == node->type ? thin_of(backing)->header.size : size;

	return smaller(thin_of(node)->header.size, there) > smaller(node->limits.size, size);
}

int thin_flatten_begin(struct node *node, const struct json *arguments, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct qcow2_header header = thin->header;
	struct thin_job *flatten = &thin->flatten;
	uint8_t page[THIN_PAGE_MAX];

	memcpy(page, thin->header_page, sizeof(page));
	if (!thin_may_flatten(node))
		return err_add(err, "thin %s: %s", node->id,
			thin->can_write ? "its image stands on no backing file" : "its image is served read-only");
	if (thin->next)
		return err_add(err, "thin %s: a snapshot is being made, deleted or gone back to; flatten it afterwards", node->id);
	if (thin_job_is_on(&thin->merge.job))
		return err_add(err, "thin %s is being committed; flatten it afterwards, or stop that first (commit --stop)", node->id);
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
	if (flatten->state == JOB_RUNNING)
		return 0;
	flatten->state = JOB_RUNNING; /* from where it was */
	flatten->end = smaller(node->limits.size, thin_backing(node)->limits.size);
	return 0;
}

void thin_flatten_stop(struct node *node)
{
	thin_job_stop(&thin_of(node)->flatten);
}

/* Any thread, so that a number may be of a moment ago. */
void thin_flatten_status(const struct node *node, struct json_object *out)
{
	static const struct thin_job_names names = { "flatten", "flatten_copied", "flatten_error" };
	const struct thin_job *flatten = &thin_of(node)->flatten;
	enum thin_job_state state = __atomic_load_n(&flatten->state, __ATOMIC_RELAXED);

	if (!thin_of(node)->can_write || !thin_backing(node))
		return;
	if (thin_of(node)->header.is_flattened) /* by this daemon, or an earlier one */
		state = JOB_DONE;
	thin_job_status(flatten, state, &names, out);
}
