/* SPDX-License-Identifier: MIT */
/*
 * A ublk device's queue: the driver copies, or requests are handed down without a copy
 * (ublk_pass.c).
 */
#ifndef COMPOSER_UBLK_QUEUE_H
#define COMPOSER_UBLK_QUEUE_H

#include "driver_queue.h"

/* A request that was handed down as sub-I/Os on its own pages. */
struct ublk_pass {
	struct event event; /* of each of them */
	struct ublk_queue *queue;
	uint16_t tag;
	bool is_linked; /* the commit is behind the only one: its event tells of failure only */
	bool is_fetching; /* a WRITE's bytes are on their way to the buffer */
	bool has_ended;
	unsigned waiting; /* sub-I/Os that have not ended */
	int error;
	uint64_t wanted, done; /* bytes */
};

struct ublk_queue {
	struct driver_queue queue; /* first */
	struct ublk_pass *passes; /* by tag */
};

/*
 * The driver copies: with today's codes, and with those of before 6.4. And without a copy, from
 * 6.16.
 */
extern const struct driver_queue_type ublk_queue_type, ublk_queue_type_bare, ublk_queue_type_pass;

#endif
