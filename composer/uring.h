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

struct uring {
	struct io_uring ring;
	bool is_open;
};

/*
 * Opens a ring with room for `entries` SQEs and `completions` CQEs (rounded up, and bounded by the
 * kernel's limits: what overflows is kept by the kernel, only slower), with `fds` as its fixed
 * files. A negative fd leaves its place empty. 0, or -1 with a message.
 */
int uring_open(struct uring *uring, unsigned entries, uint64_t completions, const int *fds,
	unsigned fd_count, struct err *err);
void uring_close(struct uring *uring);

/* Registers one memory area as fixed buffer 0. 0, or -errno: then go on without. */
int uring_register_buffer(struct uring *uring, void *memory, size_t length);

/* Makes an empty table of registered buffers, for the kernel to fill. 0, or -errno. */
int uring_register_places(struct uring *uring, unsigned count);

/*
 * The next SQE, its first 64 bytes zero but for user_data. If there is no room for `chain` SQEs in
 * a row, what is prepared is submitted first, so that a chain never straddles two submits. Never
 * NULL.
 */
struct io_uring_sqe *uring_sqe(struct uring *uring, struct event *event, unsigned chain);

/* Submits, waits for at least one CQE, and ends all that are there. 0, or -errno. */
int uring_run(struct uring *uring);

/* Submits what is prepared, without waiting. 0, or -errno. */
int uring_submit(struct uring *uring);

#endif
