// SPDX-License-Identifier: MIT
/*
 * thin's trim: gives back to the child, as DISCARDs, what is free in the image and may still take room there.
 * What requests free is given back by itself (thin_punch.c); but a clean stop leaves a reserve, which is free
 * afterwards, a crash leaves one too, a life with "discard": "ignore" gives nothing back, nor may QEMU. Verbs:
 *
 *	trim {}		begins; where one is running already, it is that one
 *	trimmed {}	{"running": BOOL, "free": BYTES, "discarded": BYTES}: of what was begun last; where that has
 *			failed, its message
 *
 * One step after the other, from the image's first cluster to the last that its child had when the image was
 * opened: what is behind that has been used in this life alone. The first step flushes; each other one looks at
 * some clusters, and discards the first run of free ones.
 *
 * Crash story: what is discarded is named by nothing that a crash could bring back.
 * - Refcount 0 in memory: since the start nobody has had it, or who took it never came to use it (its count
 *   could not be made durable, or a snapshot that didn't come to be had it). At the start all that the image
 *   names was counted, and nothing that is named has the count 0; the first step's flush makes durable what
 *   was read then, so that no older map comes back either. Where a flush has failed nobody knows that.
 * - The reserve: it came from there, or by way of thin_space.c's four stations.
 * - What no refcount block counts in memory is left alone: a refcount table that could not be written may name
 *   such a cluster on disk, as the block that was to count it.
 * Whatever part of a DISCARD a crash leaves, it lies in what the next start finds free. Metadata isn't written.
 *
 * Race story: until the child has answered nobody may come to have what it is taking. Who takes a cluster of
 *   refcount 0   reserve (pick() and make_block(), thin_space.c): one hold is SELF_RESERVE's and SELF_TRIM's
 *                the next generation's rows (thin_next_room.c): neither begins while the other one is there
 *                a longer refcount table or L1 table (thin_grow.c, thin_resize.c): before anything is served
 *   the reserve  thin_take(), for first writes, new L2 tables and the next generation: what isn't promised to
 *                anybody is taken out, into `punching`, and put back when the child has answered
 * A first write that finds too little in the reserve waits for one DISCARD at most. `punching` is one's at a
 * time: SELF_PUNCH and this take turns.
 */
#include "thin.h"

#include <errno.h>
#include <json-c/json_object.h>

#define LOOKS_MAX 65536u /* clusters that one step looks at */

bool thin_is_trimming(const struct thin *thin)
{
	return thin->trim.state == TRIM_RUNNING;
}

bool thin_trim_next(struct thin *thin, struct request *request)
{
	struct thin_trim *trim = &thin->trim;

	if (!thin_is_trimming(thin) || trim->is_busy || thin->punching.count)
		return false;
	if (thin->freed.count && !thin->failed && !trim->gave_way) {
		trim->gave_way = true;
		return false;
	}
	trim->gave_way = false;
	trim->is_busy = true;
	request->flags = SELF_TRIM;
	return true;
}

/* The step has ended. */
static void end(struct thin *thin, struct plan *plan, int result)
{
	struct thin_trim *trim = &thin->trim;
	enum thin_trim_state state = TRIM_RUNNING;

	if (result < 0)
		state = TRIM_FAILED;
	else if (trim->cursor >= trim->end)
		state = TRIM_DONE;
	trim->error = result;
	trim->is_busy = false;
	__atomic_store_n(&trim->state, state, __ATOMIC_RELAXED);
	plan_end(plan, 0); /* nobody waits for it */
}

/* The cluster is free; where it was reserve it is so no more. */
static bool take(struct thin *thin, uint64_t cluster)
{
	if (!qcow2_read64(thin->refcount_table + cluster / qcow2_block_entries(&thin->header) * 8))
		return false;
	if (thin_count_of(thin, cluster) == 0)
		return true;
	if (thin->reserve.count <= thin->claimed || !thin_set_take(&thin->reserve, cluster))
		return false;
	thin_set_put(&thin->punching, cluster);
	return true;
}

static void look(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	struct thin_trim *trim = &thin->trim;
	uint64_t most = thin_punch_max(node), cursor = trim->cursor, run = 0;
	uint32_t looks;

	for (looks = 0; looks < LOOKS_MAX && cursor < trim->end && run < most; looks++, cursor++)
		if (take(thin, cursor))
			run++;
		else if (run)
			break;
	trim->run = run;
	__atomic_store_n(&trim->cursor, cursor, __ATOMIC_RELAXED);
	__atomic_store_n(&trim->free, trim->free + run, __ATOMIC_RELAXED);
	if (!run) {
		end(thin, plan, 0);
		return;
	}
	plan_add(plan, THIN_DATA,
		(struct request){
			.kind = IO_DISCARD,
			.offset = (cursor - run) << thin->cluster_bits,
			.length = run << thin->cluster_bits,
		});
	plan_ask(plan);
	io->step = STEP_PUNCHED;
}

void thin_trim_map(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	if (thin->failed || thin->has_lost) {
		end(thin, plan, -EIO);
	} else if (!thin->punches) { /* it has turned out that the child can't */
		end(thin, plan, -EOPNOTSUPP);
	} else if (thin->trim.is_flushed) {
		look(node, plan, io);
	} else {
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_FLUSHED;
	}
}

void thin_trim_resume(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);
	struct thin_trim *trim = &thin->trim;
	int result = thin_failure(plan);

	if (io->step == STEP_FLUSHED) {
		thin_flushed(thin, plan, io, result);
		trim->is_flushed = result == 0;
		end(thin, plan, result);
		return;
	}
	if (result == 0)
		__atomic_store_n(&trim->given, trim->given + trim->run, __ATOMIC_RELAXED);
	thin_punched(thin, result);
	end(thin, plan, result);
}

/* What stands in the way. */
static int check(const struct node *node, struct err *err)
{
	const struct thin *thin = thin_of(node);

	if (!thin->can_write)
		return err_add(err, "thin %s is only read", node->id);
	if (!node->loaded)
		return err_add(err, "thin %s is not being served", node->id);
	if (!strcmp(json_get_string(node->json, "discard", "unmap"), "ignore"))
		return err_add(err, "thin %s: its \"discard\" is \"ignore\": it gives nothing back to what it is on", node->id);
	if (!thin->punches)
		return err_add(err, "thin %s: %s %s, which its image is on, can't discard: nothing can be given back to it",
			node->id, node->children[THIN_DATA]->type->name, node->children[THIN_DATA]->id);
	if (thin->failed)
		return err_add(err, "thin %s: its metadata has failed (status: metadata_failed)", node->id);
	if (thin->has_lost)
		return err_add(err, "thin %s: a flush has failed since the start: what is free here may not be so on disk; "
			"stop and create the device first", node->id);
	if (thin->next)
		return err_add(err, "thin %s: a snapshot is being made, deleted or gone back to; trim it afterwards", node->id);
	if (thin_job_is_on(&thin->merge.job))
		return err_add(err, "thin %s is being committed; trim it afterwards, or stop that first (commit --stop)", node->id);
	if (thin_job_is_on(&thin->flatten))
		return err_add(err, "thin %s is being flattened; trim it afterwards, or stop that first (flatten --stop)",
			node->id);
	return 0;
}

int thin_trim_begin(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	uint64_t present = thin->present >> thin->cluster_bits;

	if (check(node, err) < 0)
		return -1;
	if (thin_is_trimming(thin))
		return 0;
	thin->trim = (struct thin_trim){
		.state = TRIM_RUNNING,
		.end = present < thin->clusters ? present : thin->clusters,
	};
	return 0;
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

static uint64_t bytes_of(const struct thin *thin, const uint64_t *clusters)
{
	return __atomic_load_n(clusters, __ATOMIC_RELAXED) << thin->cluster_bits;
}

int thin_trim_tell(const struct node *node, struct json_object *answer, struct err *err)
{
	const struct thin *thin = thin_of(node);
	const struct thin_trim *trim = &thin->trim;

	if (trim->state == TRIM_FAILED)
		return err_add(err, "thin %s: %s: error %d; %llu bytes had been given back by then", node->id,
			trim->is_flushed ? "giving back to what it is on" : "flushing what it is on", -trim->error,
			(unsigned long long)bytes_of(thin, &trim->given));
	json_object_object_add(answer, "running", json_object_new_boolean(thin_is_trimming(thin)));
	add_number(answer, "free", bytes_of(thin, &trim->free));
	add_number(answer, "discarded", bytes_of(thin, &trim->given));
	return 0;
}

/* Any thread, so that a number may be of a moment ago. */
void thin_trim_status(const struct node *node, struct json_object *out)
{
	const struct thin *thin = thin_of(node);
	const struct thin_trim *trim = &thin->trim;
	enum thin_trim_state state = __atomic_load_n(&trim->state, __ATOMIC_RELAXED);
	struct json_object *progress;

	if (state == TRIM_NEVER)
		return;
	add_number(out, "trim_free", bytes_of(thin, &trim->free));
	add_number(out, "trim_discarded", bytes_of(thin, &trim->given));
	if (state != TRIM_RUNNING)
		return;
	progress = json_object_new_object();
	json_object_object_add(progress, "what", json_object_new_string("trim"));
	add_number(progress, "done", bytes_of(thin, &trim->cursor));
	add_number(progress, "total", bytes_of(thin, &trim->end));
	json_object_object_add(out, "progress", progress);
}
