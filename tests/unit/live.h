/* SPDX-License-Identifier: MIT */
/*
 * A scene's device that is live: an engine over its real files, whose sub-I/Os end when the test says so,
 * fail, or never end; and whose clock stands still unless the test moves it. For cmocka tests.
 */
#ifndef TESTS_LIVE_H
#define TESTS_LIVE_H

#include "engine.h"
#include "scene.h"

#define LIVE_TAGS 8
#define LIVE_BYTES 4096u /* of each request that has some */
#define LIVE_REGIONS 16u /* of LIVE_BYTES, which live_write_all() writes */
#define LIVE_UNDER_WAY 1 /* no result of a request */
#define LIVE_PENDING_MAX 4096
#define LIVE_BEGUN UINT64_C(1000000000000) /* ns: the time of live_begin() */

extern struct engine *live_engine;
extern struct sub_io *live_pending[LIVE_PENDING_MAX];
extern unsigned live_pending_count;
extern int live_results[LIVE_TAGS];
extern char live_buffers[LIVE_TAGS][LIVE_BYTES];
extern uint64_t live_now, live_timer; /* ns; the timer UINT64_MAX: not set */

/* Starts the document whose root this is, up to its load(); requests go by child_io.h then. */
void live_load(const char *root);
/* From here on requests end by live_end_one() alone. */
void live_begin(void);
void live_killed(void);
/* The whole way to a clean stop; where it is live, all that is under way ends first. */
void live_stop(void);
/* The same, and who waits stays unanswered: for who serves next. */
void live_leave(void);

/* A request of LIVE_BYTES, which are all that byte. */
void live_ask(unsigned tag, enum io_kind kind, uint64_t offset, char byte);
/* The nth of what is pending: it is done, or with an error it is not. */
void live_end_one(unsigned n, int error);
void live_end_all(void);
/* The time of the timer has come. */
void live_tick(void);
/* The first of what is pending is done; nothing is: time passes. */
void live_step(void);
/* The first LIVE_REGIONS are written, each by itself. */
void live_write_all(char byte);
/* A write that this leaf fails, and the device doesn't. */
void live_write_failing(unsigned place, uint64_t offset, char byte);

/* Where the root is a mirror: its legs' states, a letter for each: in sync, joining, leaving, rebuilding, spare, failed. */
const char *live_states(void);
/* Ends what is under way, and lets time pass, until the legs are so; what goes to the leaf `bad` fails. */
void live_until(const char *states, int bad);
/* What the file has there, as a leaf that is a leg. */
char live_byte_of(const char *name, uint64_t offset);
/* A verb on a leg of the root, which agrees. */
void live_command(const char *verb, const char *leg);

/* By child_io.h, while it isn't live: LIVE_BYTES of one byte. 0 or -errno; and the byte of which all consists. */
int live_write(uint64_t offset, char byte);
char live_byte_at(uint64_t offset);

#endif
