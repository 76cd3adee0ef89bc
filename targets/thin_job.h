/* SPDX-License-Identifier: MIT */
/*
 * What a thin does in the background from one end of the device to the other, a piece at a time, when it is
 * asked to: flatten (thin_flatten.c) takes backing in, commit (thin_merge.c) writes into it. One of them runs
 * at a time.
 */
#ifndef TARGETS_THIN_JOB_H
#define TARGETS_THIN_JOB_H

#include <stdbool.h>
#include <stdint.h>

struct json_object;
struct node;
struct plan;
struct request;
struct thin;

enum thin_job_state { JOB_NEVER, JOB_RUNNING, JOB_STOPPED, JOB_FAILED, JOB_DONE };

struct thin_job {
	enum thin_job_state state;
	bool is_busy; /* a request of it is under way */
	uint64_t cursor, end; /* of the device: what is before the cursor is done */
	uint64_t copied; /* bytes */
	uint64_t rate, next; /* bytes a second at most, 0: no bound; when the next may begin */
	int error; /* FAILED */
};

/* It runs, or has something under way. */
static inline bool thin_job_is_on(const struct thin_job *job)
{
	return job->state == JOB_RUNNING || job->is_busy;
}

/* For work(): the next piece, of no more than `most` bytes; length 0 when the end has been reached. */
bool thin_job_next(struct thin_job *job, uint64_t most, uint64_t now, struct request *request, uint64_t *again);
/* So much has been moved, or looked at: the next may begin when the rate says. */
void thin_job_paced(struct thin_job *job, uint64_t length, uint64_t now);
void thin_job_copied(struct thin_job *job, uint64_t length);
/* The piece's request has ended: what is before `cursor` is done, or that has failed, which `event` tells. */
void thin_job_end(struct node *node, struct thin_job *job, struct plan *plan, uint64_t cursor, int result,
	const char *event);
void thin_job_stop(struct thin_job *job);
/* Its state under `name`, what it has copied under copied_key, and so on. Any thread. */
struct thin_job_names {
	const char *name, *copied, *error;
};
void thin_job_status(const struct thin_job *job, enum thin_job_state state, const struct thin_job_names *names,
	struct json_object *out);

/* Whole clusters, or a power of two of one: no piece is longer than a request may be. */
uint32_t thin_piece_max(const struct node *node);
/* A piece's place in scratch: behind what thin_fill.c has there. */
uint32_t thin_piece_at(const struct thin *thin);
uint32_t thin_piece_scratch(const struct node *node); /* with that */
bool thin_is_zero(const uint8_t *bytes, uint64_t length); /* 1 byte at least */

#endif
