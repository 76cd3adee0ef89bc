/* SPDX-License-Identifier: MIT */
/*
 * A queue: one ring, an engine, its own or all queues' (engine.h), and the buffers of its tags, as every
 * front-end needs them.
 *
 * Opened, run and closed by one thread, as the ring belongs to it. The front-end gives the commit;
 * sub-I/Os go to backing_file.c, the engine's clock and timer are queue_time.c's. Fixed file 0 is
 * the front-end's (the char device), 1 + place are the leaves.
 */
#ifndef COMPOSER_QUEUE_H
#define COMPOSER_QUEUE_H

#include "engine.h"
#include "tree.h"
#include "uring.h"

#include <pthread.h>

#define QUEUE_FILE_FRONTEND 0
#define QUEUE_FILE_LEAVES 1

/* Something that another thread wants done with the engine, in the queue's own thread. */
typedef void queue_function(struct engine *engine, void *argument);

struct queue {
	struct uring uring;
	struct engine *engine;
	unsigned number;
	bool has_joined; /* the engine, which queue_close() is to close */
	char *buffers; /* one of max_io_size for each tag, side by side, page-aligned */
	size_t buffers_length;
	bool is_registered; /* the buffers are the ring's fixed buffer 0 */
	struct engine_backend backend;
	struct queue_timer {
		struct event event, moved;
		struct __kernel_timespec when;
		bool is_set;
	} timer;
	struct queue_calls {
		struct event event;
		pthread_mutex_t mutex;
		pthread_cond_t changed;
		int fd; /* an eventfd that wakes the queue's thread */
		uint64_t count; /* what is read from it */
		bool is_listening; /* all this is there */
		queue_function *function; /* to be called; NULL: none */
		void *argument;
		bool has_ended; /* nobody will answer any more */
		bool is_staying; /* the queue's thread does nothing but wait for queue_go_on() */
	} calls;
};

struct queue_config {
	struct tree *tree;
	unsigned depth;
	unsigned number; /* of the device's queues */
	unsigned queues; /* so many; 0: 1 */
	struct engine *engine; /* the first queue's, where all share it; NULL: it is to be opened */
	int frontend_fd; /* -1: none */
	bool trace;
	/* See engine.h; `submit`, `now`, `timer` and `wake` are set by queue_open(), and the queue is their
	 * context. */
	struct engine_backend backend;
	/*
	 * The ring's table of registered buffers is the front-end's, and it wants to see each
	 * commit: what it doesn't pass is gathered.
	 */
	bool lends_pages;
	bool gathers; /* a commit can't be linked */
};

/*
 * 0, or -1 with a message; queue_close() is fine after either. The queue is the first member of the
 * front-end's own struct: its address is what commit() gets as context.
 */
int queue_open(struct queue *queue, const struct queue_config *config, struct err *err);
void queue_close(struct queue *queue);

/* Submits, waits for events, and ends all that are there, in the engine. 0, or -errno. */
int queue_run(struct queue *queue);
/* engine_is_over() and engine_part(). */
bool queue_is_over(struct queue *queue);
void queue_part(struct queue *queue);

static inline void *queue_buffer(const struct queue *queue, unsigned tag, uint32_t max_io)
{
	return queue->buffers + (size_t)tag * max_io;
}

/*
 * Calls from the main thread (queue_call.c). From queue_listen(), which the queue's thread calls once
 * the queue is open, until its queue_deafen(), queue_call() has the function called in that thread,
 * between requests, and waits for it; and other queues that share the engine can wake it. False: nobody
 * listens (any more), and it isn't called. queue_forget() when the queue's thread is gone. All three are fine where there was no
 * queue_listen().
 *
 * A function that is called so may say queue_stay(): once queue_call() has returned, the thread touches nothing, has
 * no engine locked, and handles no event, until queue_go_on(), or the end of the process. It must not be called again before.
 */
int queue_listen(struct queue *queue, struct err *err);
void queue_deafen(struct queue *queue);
bool queue_call(struct queue *queue, queue_function *function, void *argument);
void queue_stay(struct queue *queue);
void queue_go_on(struct queue *queue);
void queue_wake(void *context); /* an engine_backend's wake() */
void queue_forget(struct queue *queue);

/* The engine's clock and timer (queue_time.c): an engine_backend's now() and timer(). */
uint64_t queue_now(void *context);
void queue_timer_set(void *context, uint64_t when);

/* The sub-I/Os' way to the kernel (backing_file.c): an engine_backend's submit(). */
void backing_file_submit(void *context, struct sub_io *sub);

#endif
