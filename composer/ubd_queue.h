/* SPDX-License-Identifier: MIT */
/*
 * One queue of a ubd device, in a thread of its own: FETCHes its tags, starts what comes, commits.
 *
 * The main thread starts and joins it; the counters may be read meanwhile.
 */
#ifndef COMPOSER_UBD_QUEUE_H
#define COMPOSER_UBD_QUEUE_H

#include "queue.h"

#include <pthread.h>
#include <semaphore.h>
#include <ubd_cmd.h>

struct ubd_tag {
	struct event event;
	struct ubd_queue *queue;
	uint16_t number;
	uint32_t life; /* of the last plan handed down */
};

struct ubd_queue {
	struct queue queue; /* first: see queue.h */
	struct tree *tree;
	bool trace;
	uint16_t number, depth;
	int char_fd;
	int ended_fd; /* an eventfd; written when a queue ends */
	bool has_plans; /* the driver runs plans on the leaves */
	const struct ubd_io_desc *descriptors;
	struct ubd_plan_slot *slots; /* by tag; with has_plans only */
	struct ubd_tag *tags;
	struct event poll;
	bool is_polling;
	unsigned live_tags;
	pthread_t thread;
	bool is_running; /* the thread is to be joined */
	bool is_ready; /* its tags are fetched */
	sem_t ready;
	struct err err; /* the thread's until `ready` is posted */
};

/* The backend's half that hands requests down as plans (ubd_plan.c); the context is a ubd_queue. */
bool ubd_plan_pass(void *context, unsigned tag, const struct sub_io *subs);
bool ubd_plan_ended(void *context, unsigned tag);
void ubd_plan_poll(void *context);
void ubd_tag_send(struct ubd_tag *tag, uint32_t code, int result);

/* Starts the thread and waits until all tags are fetched. 0, or -1 with messages. */
int ubd_queue_start(struct ubd_queue *queue, struct err *err);

/* Waits for the thread, which ends when the driver gives its tags back, and frees all. */
void ubd_queue_join(struct ubd_queue *queue);

#endif
