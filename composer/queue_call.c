// SPDX-License-Identifier: MIT
/*
 * Calls into a queue's thread by the main thread, and by other queues, announced by an eventfd that the
 * ring reads. It knows no request and no target.
 */
#include "queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void listen_again(struct queue *queue)
{
	struct io_uring_sqe *sqe = uring_sqe(&queue->uring, &queue->calls.event, 1);

	io_uring_prep_read(sqe, queue->calls.fd, &queue->calls.count, sizeof(queue->calls.count), 0);
	sqe->user_data = (uintptr_t)&queue->calls.event;
}

/* Calls who waits, if somebody does. With `really` false he only learns that nobody will. */
static void answer(struct queue *queue, bool really)
{
	struct queue_calls *calls = &queue->calls;

	(void)pthread_mutex_lock(&calls->mutex); /* fails for wrong use only, as all of these */
	if (calls->function && really) {
		calls->function(queue->engine, calls->argument);
		calls->function = NULL;
	}
	calls->has_ended |= !really;
	(void)pthread_cond_broadcast(&calls->changed);
	(void)pthread_mutex_unlock(&calls->mutex);
}

/* Others who share the engine are to come to the same. */
static void stay(struct queue *queue)
{
	struct queue_calls *calls = &queue->calls;

	engine_unlock(queue->engine);
	(void)pthread_mutex_lock(&calls->mutex);
	while (calls->is_staying)
		(void)pthread_cond_wait(&calls->changed, &calls->mutex);
	(void)pthread_mutex_unlock(&calls->mutex);
	engine_lock(queue->engine, queue->number);
}

static void call_announced(struct event *event, int result)
{
	struct queue *queue = container_of(event, struct queue, calls.event);

	if (result == -ECANCELED)
		return; /* the ring ends */
	answer(queue, true);
	if (__atomic_load_n(&queue->calls.is_staying, __ATOMIC_RELAXED))
		stay(queue);
	listen_again(queue);
	engine_look(queue->engine);
}

int queue_listen(struct queue *queue, struct err *err)
{
	struct queue_calls *calls = &queue->calls;

	calls->event.end = call_announced;
	calls->fd = eventfd(0, EFD_CLOEXEC);
	if (calls->fd < 0)
		return err_add(err, "queue: an eventfd can't be made: %s", strerror(errno));
	(void)pthread_mutex_init(&calls->mutex, NULL); /* these can't fail on Linux */
	(void)pthread_cond_init(&calls->changed, NULL);
	calls->is_listening = true;
	listen_again(queue);
	if (!queue->has_joined)
		engine_join(queue->engine, queue->number, queue);
	queue->has_joined = true;
	return 0;
}

void queue_wake(void *context)
{
	struct queue *queue = context;
	uint64_t one = 1;

	if (write(queue->calls.fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd that nobody overfills */
}

void queue_deafen(struct queue *queue)
{
	if (queue->calls.is_listening)
		answer(queue, false);
}

bool queue_call(struct queue *queue, queue_function *function, void *argument)
{
	struct queue_calls *calls = &queue->calls;
	uint64_t one = 1;
	bool is_done;

	if (!calls->is_listening)
		return false;
	(void)pthread_mutex_lock(&calls->mutex);
	calls->function = function;
	calls->argument = argument;
	if (write(calls->fd, &one, sizeof(one)) < 0)
		calls->has_ended = true; /* can't be: nobody overfills it */
	while (calls->function && !calls->has_ended)
		(void)pthread_cond_wait(&calls->changed, &calls->mutex);
	is_done = calls->function == NULL;
	calls->function = NULL;
	(void)pthread_mutex_unlock(&calls->mutex);
	return is_done;
}

/* In its thread, which has the mutex. */
void queue_stay(struct queue *queue)
{
	__atomic_store_n(&queue->calls.is_staying, true, __ATOMIC_RELAXED);
}

void queue_go_on(struct queue *queue)
{
	struct queue_calls *calls = &queue->calls;

	(void)pthread_mutex_lock(&calls->mutex);
	__atomic_store_n(&calls->is_staying, false, __ATOMIC_RELAXED);
	(void)pthread_cond_broadcast(&calls->changed);
	(void)pthread_mutex_unlock(&calls->mutex);
}

void queue_forget(struct queue *queue)
{
	struct queue_calls *calls = &queue->calls;

	if (!calls->is_listening)
		return;
	calls->is_listening = false;
	(void)pthread_cond_destroy(&calls->changed);
	(void)pthread_mutex_destroy(&calls->mutex);
	(void)close(calls->fd); /* no data of ours in it */
}
