// SPDX-License-Identifier: MIT
/* thin's jobs: how far one is, at which pace it goes on, and what is told of it. It knows neither of them. */
#include "thin.h"

#include "notice.h"

#include <json-c/json_object.h>

#define PIECE_MAX (256u << 10)
#define SECOND UINT64_C(1000000000)
#define SCRATCH_ALIGN 4096u

static const char *const state_names[] = {
	[JOB_NEVER] = "never",
	[JOB_RUNNING] = "running",
	[JOB_STOPPED] = "stopped",
	[JOB_FAILED] = "failed",
	[JOB_DONE] = "done",
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint32_t thin_piece_max(const struct node *node)
{
	uint32_t most = (uint32_t)smaller(PIECE_MAX, limits_max_io(node));

	return UINT32_C(1) << (31 - __builtin_clz(most));
}

static uint32_t aligned(uint32_t bytes)
{
	return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

uint32_t thin_piece_at(const struct thin *thin)
{
	return aligned(2 * thin->fill);
}

uint32_t thin_piece_scratch(const struct node *node)
{
	return thin_piece_at(thin_of(node)) + aligned(thin_piece_max(node));
}

bool thin_is_zero(const uint8_t *bytes, uint64_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

bool thin_job_next(struct thin_job *job, uint64_t most, uint64_t now, struct request *request, uint64_t *again)
{
	if (job->state != JOB_RUNNING || job->is_busy)
		return false;
	if (now < job->next) {
		*again = smaller(*again, job->next);
		return false;
	}
	job->is_busy = true;
	request->offset = job->cursor;
	request->length = smaller(job->end - job->cursor, most);
	return true;
}

void thin_job_paced(struct thin_job *job, uint64_t length, uint64_t now)
{
	if (job->rate)
		job->next = now + length * SECOND / job->rate;
}

void thin_job_copied(struct thin_job *job, uint64_t length)
{
	__atomic_store_n(&job->copied, job->copied + length, __ATOMIC_RELAXED);
}

void thin_job_end(struct node *node, struct thin_job *job, struct plan *plan, uint64_t cursor, int result,
	const char *event)
{
	job->is_busy = false;
	if (result < 0 && job->state == JOB_RUNNING) {
		job->state = JOB_FAILED;
		job->error = result;
		notice_raise(node, event, "done", job->cursor);
	} else if (result == 0) {
		__atomic_store_n(&job->cursor, cursor, __ATOMIC_RELAXED);
	}
	if (plan->result == PLAN_RUNNING)
		plan_end(plan, 0); /* nobody waits for it */
}

void thin_job_stop(struct thin_job *job)
{
	if (job->state == JOB_RUNNING)
		job->state = JOB_STOPPED;
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

/* A number may be of a moment ago. */
void thin_job_status(const struct thin_job *job, enum thin_job_state state, const struct thin_job_names *names,
	struct json_object *out)
{
	struct json_object *progress;

	json_object_object_add(out, names->name, json_object_new_string(state_names[state]));
	if (state != JOB_NEVER)
		add_number(out, names->copied, __atomic_load_n(&job->copied, __ATOMIC_RELAXED));
	if (state == JOB_FAILED)
		add_number(out, names->error, (uint64_t)-job->error);
	if (state != JOB_RUNNING)
		return;
	progress = json_object_new_object();
	json_object_object_add(progress, "what", json_object_new_string(names->name));
	add_number(progress, "done", __atomic_load_n(&job->cursor, __ATOMIC_RELAXED));
	add_number(progress, "total", job->end);
	json_object_object_add(out, "progress", progress);
}
