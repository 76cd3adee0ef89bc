/* SPDX-License-Identifier: MIT */
/*
 * A ublk device's queue: the driver copies, or requests are handed down without a copy
 * (ublk_pass.c); each tag has a command of its own, or there is one for all (ublk_batch.c).
 */
#ifndef COMPOSER_UBLK_QUEUE_H
#define COMPOSER_UBLK_QUEUE_H

#include "driver_queue.h"

#include <sys/uio.h>

#define UBLK_PARTS_MAX 64 /* a request in more pieces is copied */

/* A tag's request that was handed down as sub-I/Os on its own pages. */
struct ublk_pass {
	struct event event; /* of each of them */
	struct ublk_queue *queue;
	uint16_t tag;
	bool is_linked; /* the commit is behind the only one: its event tells of failure only */
	bool is_fetching; /* a WRITE's bytes are on their way to the buffer */
	bool has_ended;
	unsigned waiting; /* sub-I/Os that have not ended */
	int error;
	uint32_t left; /* bytes that have not been moved */
	struct iovec vectors[UBLK_PARTS_MAX]; /* of all sub-I/Os: offsets in the request's pages */
};

/* What a queue without a command for each tag has instead. */
struct ublk_batch {
	struct event prepare, fetch, commit;
	struct uring_buffers buffers; /* lists of tags that the driver has filled */
	char *elements; /* struct ublk_element, or without its addr, for all tags */
	unsigned element_bytes;
	unsigned count; /* results to be sent */
	unsigned sent; /* of whose arrival we are still to hear */
	bool is_prepared, is_fetching;
	bool is_live; /* one of live_tags */
};

struct ublk_queue {
	struct driver_queue queue; /* first */
	struct ublk_pass *passes; /* by tag */
	struct ublk_batch batch;
};

/* The tag's result, by whatever command the queue has for it. */
void ublk_answer(struct driver_queue *queue, unsigned tag, int result);

/* A driver_queue_type's functions for requests handed down without a copy. */
int ublk_pass_prepare(struct driver_queue *queue, struct queue_config *config);
int ublk_pass_open(struct driver_queue *queue);
void ublk_pass_close(struct driver_queue *queue);

/*
 * The driver copies: with today's codes, and with those of before 6.4. And without a copy, from
 * 6.16. Both in batches, from 7.0.
 */
extern const struct driver_queue_type ublk_queue_type, ublk_queue_type_bare, ublk_queue_type_pass;
extern const struct driver_queue_type ublk_queue_type_batch, ublk_queue_type_batch_pass;

#endif
