/* SPDX-License-Identifier: MIT */
/* A sub-I/O under way (backend.c), what becomes of it (perform.c), and requests of which the driver has all (pass.c). */
#ifndef TESTS_SIM_PERFORM_H
#define TESTS_SIM_PERFORM_H

#include "sim.h"

struct pending {
	struct sub_io *sub; /* NULL: a WRITE's bytes are on their way to its buffer */
	bool has_commit, is_passed, is_hung;
	unsigned tag, queue; /* `queue` in whose ring it is */
	bool has_landed; /* it is done, and the engine hasn't heard of it */
	int landed; /* what it will hear */
	int result; /* of the commit behind it */
	uint64_t writes; /* FLUSH: what it covers */
	uint64_t begun; /* time */
};

static inline bool has_bytes(const struct sub_io *sub)
{
	return sub->kind == IO_READ || sub->kind == IO_WRITE;
}

/* Its leaf does it, or not. Bytes, 0 or -errno. */
int perform(const struct pending *each);
/* Some whole sectors of it are done, perhaps none, perhaps all. */
void perform_some(const struct pending *each);

/* These are the driver's from here on; none: the request's bytes are to be fetched. False: it refuses. */
bool pass_begin(unsigned tag, const struct sub_io *subs);
/* One of them has. With the last one the request ends, or goes back to the engine. */
void pass_part_ended(const struct pending *each, int result);
void pass_fetched(unsigned tag);
bool pass_has_ended(unsigned tag); /* well, and the engine hasn't been told */
void pass_reset(void);

#endif
