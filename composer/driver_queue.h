/* SPDX-License-Identifier: MIT */
/*
 * One queue of a kernel driver's device, in a thread of its own: FETCHes its tags, starts what
 * comes, commits. ubd and ublk are alike in all of that: they share the descriptors' layout, the
 * I/O command and its results. What they don't share is a driver_queue_type's.
 *
 * The main thread starts and joins it; the counters may be read meanwhile.
 */
#ifndef COMPOSER_DRIVER_QUEUE_H
#define COMPOSER_DRIVER_QUEUE_H

#include "queue.h"

#include <pthread.h>
#include <semaphore.h>

struct driver_queue;

struct driver_tag {
	struct event event;
	struct driver_queue *queue;
	uint16_t number;
};

struct driver_queue_type {
	size_t size; /* of the type's own struct, which begins with a driver_queue */
	uint32_t fetch, commit; /* the I/O commands' codes */
	bool lends_pages; /* ublk: requests' pages in the ring's table, by tag; see ublk_cmd.h */
	/*
	 * In the queue's thread, before and after its ring is opened. prepare() may change the
	 * configuration; open() maps what the driver shares besides the descriptors. 0, or -1 with
	 * a message in queue->err. Both optional.
	 */
	int (*prepare)(struct driver_queue *queue, struct queue_config *config);
	int (*open)(struct driver_queue *queue);
	/* In the main thread, also after a failed open. Optional. */
	void (*close)(struct driver_queue *queue);
	/*
	 * For a driver that needs no command for each tag, in the queue's thread, before it waits:
	 * sends what the events of the last wake-up have gathered, and the first time fetches all
	 * tags. live_tags is the type's own then, from 1 on. NULL: tags are sent one by one.
	 */
	void (*send)(struct driver_queue *queue);
};

struct driver_queue {
	struct queue queue; /* first: see queue.h */
	const struct driver_queue_type *type;
	struct tree *tree;
	struct driver_queue *first; /* the device's */
	bool trace;
	uint16_t number, count, depth; /* `count` of queues */
	int char_fd;
	int ended_fd; /* an eventfd; written when a queue gets no requests any more */
	const struct driver_descriptor *descriptors;
	struct driver_tag *tags;
	unsigned live_tags; /* the queue's thread serves while it is not 0 */
	pthread_t thread;
	bool is_running; /* the thread is to be joined */
	bool is_ready; /* its tags are fetched */
	bool has_told; /* ended_fd that it gets no requests any more */
	bool is_over; /* the thread serves no more, and goes; atomic */
	sem_t ready;
	struct event poll;
	bool is_polling;
	struct err err; /* the thread's until `ready` is posted */
};

/* What a request is: `struct ubd_io_desc`, and ublk's, which is the same. */
struct driver_descriptor {
	uint32_t op_flags;
	uint32_t nr_sectors;
	uint64_t start_sector;
	uint64_t addr;
};

/* Sends a command about the tag, with its buffer's address. */
void driver_tag_send(struct driver_tag *tag, uint32_t code, int result);

/* A fresh request of this tag waits in its descriptor. */
void driver_tag_start(struct driver_queue *queue, unsigned tag);

/* An engine_backend's poll(). */
void driver_queue_poll(void *context);

/* Starts the thread and waits until all tags are fetched. 0, or -1 with messages. */
int driver_queue_start(struct driver_queue *queue, struct err *err);

/* Waits a while for the thread's end; whether it has come. */
bool driver_queue_ends_within(struct driver_queue *queue, unsigned ms);

/*
 * Waits for the thread, which ends when the driver gives its tags back, and frees all within. False: the
 * kernel doesn't let it go, as I/O of a leaf hangs: nothing is freed, the queue itself neither.
 */
bool driver_queue_join(struct driver_queue *queue);

#endif
