/* SPDX-License-Identifier: MIT */
/*
 * A plan: a target's answer to a request, as ops on its children, in waves.
 *
 * The engine makes an empty plan, the target's map() fills it, the engine carries it out. Ops of
 * one wave run side by side; a wave starts once all lower waves have succeeded. When an op has
 * failed, the rest of its wave is awaited, later waves are given up (-ECANCELED) and the target's
 * resume() is asked; without one the first error, in op order, is the request's result.
 *
 * Who calls: map() and resume() only, in the engine's thread. Nothing here blocks, allocates or
 * fails: room for the node's `needs` exists beforehand, and more than that is a programmer's error
 * (assert). A plan only grows. Pointers to ops stay valid until the request ends.
 */
#ifndef COMPOSER_PLAN_H
#define COMPOSER_PLAN_H

#include "request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OP_WAITING 1 /* op.result until it has ended */
#define PLAN_RUNNING 1 /* plan.result until plan_end() */

struct op {
	struct request request;
	uint16_t child, wave;
	int result; /* OP_WAITING, 0, or -errno */
};

struct plan {
	struct op *ops;
	uint16_t count, capacity, wave;
	bool ask; /* resume() is wanted after success too */
	int result; /* PLAN_RUNNING, or what plan_end() set: 0 or -errno */
	void *io_state; /* the type's io_state_size bytes, zeroed before map() */
};

/* One op in the current wave. */
struct op *plan_add(struct plan *plan, unsigned child, struct request request);

/* The whole request, moved to `offset` of the child. */
struct op *plan_pass(
	struct plan *plan, const struct request *request, unsigned child, uint64_t offset);

/* The request's bytes [skip, skip + length), at `offset` of the child. */
struct op *plan_part(struct plan *plan, const struct request *request, uint64_t skip,
	uint64_t length, unsigned child, uint64_t offset);

/* The request's bytes [skip, skip + length) are to be zeroed in its own buffer. */
struct op *plan_clear(
	struct plan *plan, const struct request *request, uint64_t skip, uint64_t length);

/* What follows waits for all that was planned before. */
void plan_then(struct plan *plan);

/* resume() is to be asked when all ops so far have ended, also if all succeeded. */
void plan_ask(struct plan *plan);

/* The request's result, 0 or -errno, whatever the ops gave. Ops already running are awaited. */
void plan_end(struct plan *plan, int result);

/*
 * The plan as text, one line per op: "wave 0: child 1 write 65536 4096 from 0". Writes at most size
 * bytes with the NUL, returns the length that the whole text has.
 */
size_t plan_print(const struct plan *plan, char *text, size_t size);

#endif
