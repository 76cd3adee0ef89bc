// SPDX-License-Identifier: MIT
/*
 * Verbs for a thin's merge, which users call commit, and what its status says of it:
 *
 *	commit {"rate": BYTES, "keep": BOOL}	begins at the device's beginning; the rate is a second's, 0: no bound. Where
 *						one is running it is that one, and the rate is new
 *	stop-commit {}				what is in backing by then stays there
 */
#include "thin.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <string.h>

#define NS_PER_US 1000u

/* A part that takes writes and doesn't keep them: what is said to be there would be gone. */
static const struct node *find_forgetful(const struct node *node)
{
	const struct node *found = NULL;
	unsigned i;

	if (!strcmp(node->type->name, "zero"))
		return node;
	for (i = 0; i < node->child_count && !found; i++)
		found = find_forgetful(node->children[i]);
	return found;
}

int thin_merge_open(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	const struct json *json = json_get(node->json, "commit");
	const struct node *backing, *zero;

	thin->merge.is_allowed = json_get_boolean(node->json, "commit", false);
	if (!thin->merge.is_allowed)
		return 0;
	if (thin_data_file(node))
		return json_err(json, err, "thin %s: \"commit\" is not for one with a \"data_file\"; see qemu-img commit", node->id);
	if (node->child_count <= THIN_BACKING)
		return json_err(json, err, "thin %s: \"commit\" is for one with a \"backing\"", node->id);
	backing = node->children[THIN_BACKING];
	zero = find_forgetful(backing);
	if (zero)
		return json_err(json, err, "thin %s: \"commit\": zero %s in its backing forgets what is written to it",
			node->id, zero->id);
	if (thin->can_write && backing->limits.read_only)
		return json_err(json, err,
			"thin %s: \"commit\": its backing, %s %s, can't be written: a thin volume below another is only "
			"read, as a read-only disk is; see qemu-img commit",
			node->id, backing->type->name, backing->id);
	return 0;
}

/* Bytes that backing has. */
static uint64_t backing_bytes(const struct node *node)
{
	const struct limits *limits = &node->children[THIN_BACKING]->limits;

	return limits->present ? limits->present : limits->size;
}

static int check_size(const struct node *node, struct err *err)
{
	uint64_t size = thin_of(node)->header.size, there = backing_bytes(node);

	if (size > there)
		return err_add(err,
			"thin %s: its backing has %" PRIu64 " bytes and it has %" PRIu64 ": make the backing longer first, "
			"while neither is served", node->id, there, size);
	if (size > node->limits.size)
		return err_add(err,
			"thin %s: its image ends within a block of %" PRIu32
			" bytes, which can't be copied; see qemu-img commit", node->id, node->limits.logical_block_size);
	return 0;
}

static int check(const struct node *node, struct err *err)
{
	const struct thin *thin = thin_of(node);

	if (!thin->can_write || !thin_has_backing(node))
		return err_add(err, "thin %s: %s", node->id,
			thin->can_write ? "its image stands on no backing file" : "its image is served read-only");
	if (!thin->merge.is_allowed)
		return err_add(err,
			"thin %s: its backing is only read; with \"commit\": true in the document a create opens that "
			"for writing, and lets nobody else use it", node->id);
	if (thin->next)
		return err_add(err, "thin %s: a snapshot is being made, deleted or gone back to; commit it afterwards",
			node->id);
	if (thin->header.snapshot_count)
		return err_add(err,
			"thin %s: its %" PRIu32 " snapshots are based on the backing too, and would change with it; delete "
			"them first", node->id, thin->header.snapshot_count);
	if (thin_job_is_on(&thin->flatten))
		return err_add(err, "thin %s is being flattened; let that end, or stop it first (flatten --stop)", node->id);
	if (thin->may_be_flat)
		return err_add(err,
			"thin %s: a flatten failed at its end, and the header may name no backing by now: what is committed "
			"would be gone; flatten it again, or stop and serve it anew", node->id);
	if (thin_is_trimming(thin))
		return err_add(err, "thin %s is being trimmed; commit it afterwards", node->id);
	return check_size(node, err);
}

int thin_merge_begin(struct node *node, const struct json *arguments, struct err *err)
{
	struct thin_merge *merge = &thin_of(node)->merge;
	bool keeps = json_get_boolean(arguments, "keep", false);
	struct thin_job *job = &merge->job;

	if (check(node, err) < 0)
		return -1;
	if (job->state == JOB_RUNNING && keeps != merge->keeps)
		return err_add(err, "thin %s is being committed %s \"keep\"; let that end, or stop it first (commit --stop)",
			node->id, merge->keeps ? "with" : "without");
	if (job->state != JOB_RUNNING && job->is_busy)
		return err_add(err, "thin %s: its last commit has not ended yet; ask again", node->id);
	job->rate = json_get_size(arguments, "rate", 0);
	job->next = 0;
	if (job->state == JOB_RUNNING)
		return 0;
	merge->keeps = keeps;
	if (!keeps) /* what a flatten had taken in will be backing's again, and is to be taken in once more */
		__atomic_store_n(&thin_of(node)->flatten.cursor, 0, __ATOMIC_RELAXED);
	merge->pause = job->cursor = job->copied = 0;
	job->end = node->limits.size;
	job->state = JOB_RUNNING;
	return 0;
}

void thin_merge_stop(struct node *node)
{
	thin_job_stop(&thin_of(node)->merge.job);
}

/* Any thread, so that a number may be of a moment ago. */
void thin_merge_status(const struct node *node, struct json_object *out)
{
	static const struct thin_job_names names = { "commit", "commit_copied", "commit_error" };
	const struct thin_merge *merge = &thin_of(node)->merge;
	enum thin_job_state state = __atomic_load_n(&merge->job.state, __ATOMIC_RELAXED);

	if (!thin_of(node)->can_write || !thin_has_backing(node))
		return;
	thin_job_status(&merge->job, state, &names, out);
	if (state != JOB_NEVER)
		json_object_object_add(out, "commit_pause_us",
			json_object_new_uint64(__atomic_load_n(&merge->pause, __ATOMIC_RELAXED) / NS_PER_US));
}
