/* SPDX-License-Identifier: MIT */
/*
 * One io_uring, and the loop that runs it. The only door to liburing: queue.c, backing_file.c and
 * the drivers' files (driver_*.c, ubd_*.c) include it, nobody else.
 *
 * A ring belongs to the thread that opened it (SINGLE_ISSUER, DEFER_TASKRUN, COOP_TASKRUN). SQEs
 * are 128 bytes, as URING_CMDs need. Each SQE's user_data is a struct event; its end() is called by
 * uring_run() with the CQE's result.
 */
#ifndef COMPOSER_URING_H
#define COMPOSER_URING_H

#include "err.h"
#include "event.h"

#include <liburing.h>
#include <stdbool.h>
#include <string.h>

/*
 * Linux 6.10 to 6.13 read a command's payload where it lies in the ring when the command is begun;
 * one that is linked begins when the sub-I/O before it has ended, which a slow disk may have last for
 * minutes. Until then nobody may write there. So which SQE stands at a position of the queue is said
 * anew each time: some SQEs are kept for a sender each, the others go round among all.
 */
struct uring {
	struct io_uring ring;
	bool is_open;
	unsigned kept; /* SQEs 0 to kept - 1 */
	unsigned shared; /* how many there are behind them */
	unsigned next; /* of the shared ones */
	unsigned flags; /* IORING_CQE_F_*, of the CQE whose event is being ended */
};

/* Buffers that the kernel picks from for a command that ends many times; see uring_buffers_open(). */
struct uring_buffers {
	struct io_uring_buf_ring *ring;
	char *memory;
	unsigned count; /* power of two */
	unsigned length; /* of each, in bytes */
};

struct uring_config {
	unsigned entries; /* SQEs that can be prepared before a submit */
	unsigned kept; /* places of uring_sqe_kept() */
	uint64_t completions; /* CQEs */
	const int *fds; /* the ring's fixed files; a negative one leaves its place empty */
	unsigned fd_count;
};

/*
 * Opens a ring. Its sizes are rounded up, and bounded by the kernel's limits: what overflows is kept
 * by the kernel, only slower. 0, or -1 with a message.
 */
int uring_open(struct uring *uring, const struct uring_config *config, struct err *err);
void uring_close(struct uring *uring);

/* Registers one memory area as fixed buffer 0. 0, or -errno: then go on without. */
int uring_register_buffer(struct uring *uring, void *memory, size_t length);

/* Makes an empty table of registered buffers, for the kernel to fill. 0, or -errno. */
int uring_register_places(struct uring *uring, unsigned count);

/* uring_sqe()'s own: submits what is prepared. */
void uring_make_room(struct uring *uring);

/* The same: the SQE of that place, as the next one of the queue. */
static inline struct io_uring_sqe *uring_place(
	struct uring *uring, struct event *event, unsigned chain, unsigned place)
{
	struct io_uring_sq *sq = &uring->ring.sq;
	struct io_uring_sqe *sqe = &sq->sqes[2 * (size_t)place];

	if (__builtin_expect(io_uring_sq_ready(&uring->ring) + chain > uring->shared, 0))
		uring_make_room(uring);
	sq->array[sq->sqe_tail++ & sq->ring_mask] = place;
	/* The second half is looked at by commands only, whose senders fill what they use of it. */
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t)event;
	return sqe;
}

/*
 * The next SQE, its first 64 bytes zero but for user_data. If there is no room for `chain` SQEs in
 * a row, what is prepared is submitted first, so that a chain never straddles two submits. Never
 * NULL. Inline, since every sub-I/O pays for it. Not for a command at the end of a chain.
 */
static inline struct io_uring_sqe *uring_sqe(
	struct uring *uring, struct event *event, unsigned chain)
{
	unsigned place = uring->kept + uring->next;

	uring->next = uring->next + 1 == uring->shared ? 0 : uring->next + 1;
	return uring_place(uring, event, chain, place);
}

/*
 * The same, for a command that may be linked to what is before it: its SQE is the one kept for this
 * sender (below `kept`), who sends no other until this one has ended.
 */
static inline struct io_uring_sqe *uring_sqe_kept(
	struct uring *uring, struct event *event, unsigned sender)
{
	return uring_place(uring, event, 1, sender);
}

/*
 * Registers at least `count` buffers of `length` bytes each as the ring's group 0, from Linux 5.19.
 * 0, or -errno; uring_buffers_close() is fine after either, once the ring is closed.
 */
int uring_buffers_open(
	struct uring *uring, struct uring_buffers *buffers, unsigned count, unsigned length);
void uring_buffers_close(struct uring_buffers *buffers);

/*
 * In an event's end(): the buffer that the kernel has filled, ours until it is given back; NULL:
 * none. uring_goes_on() says whether the same command will end again.
 */
const void *uring_buffers_taken(const struct uring *uring, const struct uring_buffers *buffers);
void uring_buffers_give(struct uring_buffers *buffers, const void *buffer);
bool uring_goes_on(const struct uring *uring);

/* Submits, and waits for at least one CQE. 0, or -errno. */
int uring_wait(struct uring *uring);
/* Ends all that are there. */
void uring_end(struct uring *uring);
/* Both. 0, or -errno. */
int uring_run(struct uring *uring);

/* Submits what is prepared, without waiting. 0, or -errno. */
int uring_submit(struct uring *uring);

#endif
