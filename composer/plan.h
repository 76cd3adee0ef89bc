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
 *
 * Scratch is memory for bytes that are not the request's: a node whose `needs.scratch` (for self
 * ops `self_scratch`, for work `work_scratch`) isn't 0 finds that many bytes at plan->scratch, for
 * this plan alone and until the request ends, aligned to 4096 and not zeroed. Ops name them by
 * plan_scratch(). A node never hands out its own memory: it copies what is to be written into
 * scratch, in map() or resume(), and may go on changing the original while the write is under way.
 *
 * A self op is a request that the node makes of itself: hold(), map() and resume() are asked as for
 * any request, with kind IO_SELF, and with flags, offset and length as plan_self() was given them.
 * Their meaning is the target's. With a hold this is serialisation and group commit in one: "make
 * page p durable" holds page p alone; once it is granted, map() looks whether somebody else has
 * done it meanwhile, and plans nothing, or writes the page as it is by then. A self op's
 * io_state is its own; plan->asker is that of who planned it. It moves scratch only. Self
 * ops may make self ops (needs.self_nested), and those none.
 *
 * A request that waits for its self op goes on holding its own range. So that no two wait for each
 * other, ranges are ordered: requests hold ranges of the device; self ops of the first level others,
 * out of a place where no request's can be ((1<<62) + page * 4096); nested ones others again; and
 * nobody waits for a range that stands before one that it holds.
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
	bool wake; /* work() is wanted */
	bool tell; /* ended() is wanted */
	bool waits; /* plan_wait(): the device's request is put off */
	bool goes_on; /* what was put off is to be begun again */
	uint16_t selfs_left; /* self ops that may still be planned */
	int result; /* PLAN_RUNNING, or what plan_end() set: 0 or -errno */
	void *io_state; /* the type's io_state_size bytes, zeroed before map() */
	void *asker; /* self ops: io_state of the plan that they are part of; else NULL */
	void *scratch; /* NULL: none */
	uint32_t scratch_offset, scratch_size; /* its place among all of the request's; its bytes */
	uint64_t now; /* monotonic, in ns; only for types with work(), and in requests from above only if
			 type->timed: else 0 */
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

/*
 * A READ, WRITE or CLEAR of `length` bytes of the plan's own scratch, `skip` bytes into it, at
 * `offset` of the child. IO_CLEAR zeroes them; child and offset are 0 then.
 */
struct op *plan_scratch(struct plan *plan, enum io_kind kind, unsigned flags, unsigned child,
	uint64_t offset, uint32_t skip, uint32_t length);

/*
 * The request's bytes [skip, skip + length) are to be what the plan's own scratch holds `from` bytes
 * into it when the op's turn comes.
 */
struct op *plan_from_scratch(struct plan *plan, const struct request *request, uint64_t skip,
	uint64_t length, uint32_t from);

/* A request of kind IO_SELF on the same node; `word` becomes its flags. */
struct op *plan_self(struct plan *plan, uint64_t offset, uint64_t length, uint32_t word);

/* work() of the node, and of those below, is to be asked soon: its state gives it something to do. */
void plan_wake(struct plan *plan);

/* What follows waits for all that was planned before. */
void plan_then(struct plan *plan);

/* resume() is to be asked when all ops so far have ended, also if all succeeded. */
void plan_ask(struct plan *plan);

/*
 * For map() only: the node's ended() is to be called when the request has ended. Unlike plan_ask()
 * this lets the driver end it by itself.
 */
void plan_tell(struct plan *plan);

/* The request's result, 0 or -errno, whatever the ops gave. Ops already running are awaited. */
void plan_end(struct plan *plan, int result);

/*
 * As plan_end() with an error, but for now: where that becomes the result of the device's request it is
 * not answered but put off. It holds nothing then, and is begun again, from the root, after a
 * plan_go_on(); what it had done is done anew. Who plans this sees to it that plan_go_on() follows in
 * time. What can't wait (the device is being stopped, or not live yet; a parent has made something else
 * of the error) ends with that error.
 */
void plan_wait(struct plan *plan, int result);

/* All requests of the device that were put off are begun again soon, in order of arrival. */
void plan_go_on(struct plan *plan);

/*
 * The plan as text, one line per op: "wave 0: child 1 write 65536 4096 from 0". Writes at most size
 * bytes with the NUL, returns the length that the whole text has.
 */
size_t plan_print(const struct plan *plan, char *text, size_t size);

#endif
