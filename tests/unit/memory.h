/* SPDX-License-Identifier: MIT */
/*
 * A backend of memory for tests of the engine: sub-I/Os pile up until the test ends them one by one
 * with the result it wants. Linked pairs behave as io_uring's do: the event ends only if the
 * sub-I/O failed or fell short, and the commit arrives only if not. The engine's timer is only
 * written down ("timer 5000"): the test sets the clock and calls engine_tick().
 */
#ifndef TESTS_MEMORY_H
#define TESTS_MEMORY_H

#include "engine.h"
#include "fixture.h"

#define MEMORY_PENDING_MAX 4096
#define MEMORY_TAGS 16
#define MEMORY_SLOTS 8u /* of a leaf with a timeout */
#define MEMORY_FULL INT32_MIN /* memory_end(): all that was asked for */

struct memory_pending {
	struct sub_io *sub;
	bool has_commit;
	unsigned tag;
	int result; /* of the commit behind it */
};

struct memory {
	struct tree *tree;
	struct engine *engine;
	char **leaves; /* each leaf's whole file */
	struct memory_pending pending[MEMORY_PENDING_MAX];
	unsigned pending_count, pending_most;
	unsigned commits[MEMORY_TAGS]; /* how often each tag has been committed */
	int results[MEMORY_TAGS]; /* the last commit's */
	bool ended[MEMORY_TAGS]; /* for the backend's ended() */
	const struct leaf *passed_to[MEMORY_TAGS]; /* the first sub-I/O's leaf */
	uint64_t now; /* the engine's clock */
	char *log;
	size_t log_length, log_seen;
	FILE *out;
};

/* Every leaf gets a label that says that all are in sync. */
void memory_open(struct memory *memory, const char *device, const char *root);
/* The same for a tree that the test has changed. */
void memory_open_tree(struct memory *memory, struct tree *tree);
/*
 * With a driver that takes requests down: "pass TAG in N" or "fetch TAG" is all that happens to
 * them until the test sets ended[] or calls engine_restart().
 */
void memory_open_passing(struct memory *memory, const char *root);
void memory_open_passing_tree(struct memory *memory, struct tree *tree);
/* Fails the test if something is pending still. */
void memory_close(struct memory *memory);

void memory_start(struct memory *memory, unsigned tag, struct request request, void *data);

/* Ends the nth of what is pending: bytes or 0 as the backend would, MEMORY_FULL, or -errno. */
void memory_end(struct memory *memory, unsigned n, int result);
void memory_end_all(struct memory *memory);

/* What has been submitted and committed since the last call, valid until more is: "submit 0 write
 * 4096 512 linked\n". */
const char *memory_log(struct memory *memory);

#endif
