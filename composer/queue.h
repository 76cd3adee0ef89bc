/* SPDX-License-Identifier: MIT */
/*
 * A queue: one ring, one engine and the buffers of its tags, as every front-end needs them.
 *
 * Opened, run and closed by one thread, as the ring belongs to it. The front-end gives the commit;
 * sub-I/Os go to backing_file.c. Fixed file 0 is the front-end's (the char device), 1 + place are
 * the leaves.
 */
#ifndef COMPOSER_QUEUE_H
#define COMPOSER_QUEUE_H

#include "engine.h"
#include "tree.h"
#include "uring.h"

#define QUEUE_FILE_FRONTEND 0
#define QUEUE_FILE_LEAVES 1

struct queue {
	struct uring uring;
	struct engine *engine;
	char *buffers; /* one of max_io_size for each tag, side by side, page-aligned */
	size_t buffers_length;
	bool is_registered; /* the buffers are the ring's fixed buffer 0 */
	struct engine_backend backend;
};

struct queue_config {
	struct tree *tree;
	unsigned depth;
	int frontend_fd; /* -1: none */
	bool trace;
	/* See engine.h; `submit` is set by queue_open(), and the queue is their context. */
	struct engine_backend backend;
};

/*
 * 0, or -1 with a message; queue_close() is fine after either. The queue is the first member of the
 * front-end's own struct: its address is what commit() gets as context.
 */
int queue_open(struct queue *queue, const struct queue_config *config, struct err *err);
void queue_close(struct queue *queue);

void *queue_buffer(const struct queue *queue, unsigned tag, uint32_t max_io);

/* The sub-I/Os' way to the kernel (backing_file.c): an engine_backend's submit(). */
void backing_file_submit(void *context, struct sub_io *sub);

#endif
