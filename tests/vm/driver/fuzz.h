/* SPDX-License-Identifier: MIT */
/*
 * What the parts of uring_cmd_fuzz share: chance, the count of what was done, and rings whose
 * submission entries somebody else scribbles on while the kernel reads them.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ubd_cmd.h"

enum { DEVICES = 3, THREADS = 3, QUEUES = 4, CODES = 0x40, ANSWERS = 136 };

struct totals {
	atomic_ulong commands;
	atomic_ulong to_live; /* I/O commands of those, to a disk that had started */
	atomic_ulong sent[CODES]; /* by code, 0 for unknown ones */
	atomic_ulong answers[CODES][ANSWERS]; /* by code, 0 for unknown ones, and errno; 135:
						 another number */
	atomic_ulong io[2]; /* users' I/O: done, failed */
};

static struct totals *totals;
static unsigned int life_ms = 4000;
static int faults;

struct chance {
	uint64_t state;
};

static uint64_t draw(struct chance *chance)
{
	uint64_t z = chance->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t below(struct chance *chance, uint64_t limit)
{
	return draw(chance) % limit;
}

static int one_in(struct chance *chance, uint64_t n)
{
	return !below(chance, n);
}

/* Numbers near which things break. */
static uint64_t odd_number(struct chance *chance)
{
	static const uint64_t numbers[] = { 0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 511, 512, 4095,
		4096, 4097, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32,
		1ull << 47, (1ull << 47) - 4096, ~0ull >> 1, ~0ull << 12, ~0ull };

	return one_in(chance, 4) ? draw(chance)
				 : numbers[below(chance, sizeof(numbers) / sizeof(*numbers))];
}

struct ring {
	struct io_uring uring;
	pthread_mutex_t lock; /* held by who scribbles, and around closing */
	int open;
};

static struct ring rings[2 * THREADS + 2];

/* Plans, and lists of answers and events, that are scribbled on likewise. */
static struct slots {
	uint8_t *at;
	unsigned int count;
	size_t size;
	pthread_mutex_t lock;
} slots[QUEUES], lists[QUEUES];

static void slots_set(struct slots *of, void *at, unsigned int count, size_t size)
{
	pthread_mutex_lock(&of->lock);
	of->at = at;
	of->size = size;
	of->count = count;
	pthread_mutex_unlock(&of->lock);
}

static int ring_open(struct ring *ring, unsigned int entries, unsigned int flags)
{
	struct io_uring_params params = { .flags = flags };
	int error;

	if (flags & IORING_SETUP_SQPOLL)
		params.sq_thread_idle = 1;
	pthread_mutex_lock(&ring->lock);
	error = io_uring_queue_init_params(entries, &ring->uring, &params);
	ring->open = !error;
	pthread_mutex_unlock(&ring->lock);
	return error;
}

static void ring_close(struct ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	if (ring->open)
		io_uring_queue_exit(&ring->uring);
	ring->open = 0;
	pthread_mutex_unlock(&ring->lock);
}

/* user_data: bit 63 for a control command, the code above the tag. Returns 0 if the ring is full.
 */
static int ring_send(struct ring *ring, int fd, uint32_t code, unsigned int sqe_flags, uint64_t tag,
	const void *payload, size_t length)
{
	int wide = ring->uring.flags & IORING_SETUP_SQE128;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	if (!sqe)
		return 0;
	memset(sqe, 0, wide ? 128 : 64);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = sqe_flags;
	sqe->fd = fd;
	sqe->off = code;
	sqe->user_data = (uint64_t)(code < CODES ? code : 0) << 32 | tag;
	memcpy((char *)sqe + 48, payload, wide || length <= 16 ? length : 16);
	atomic_fetch_add_explicit(&totals->commands, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&totals->sent[code < CODES ? code : 0], 1, memory_order_relaxed);
	return 1;
}

static void ring_count(const struct io_uring_cqe *cqe)
{
	unsigned int answer = cqe->res >= 0 ? 0 : cqe->res > -134 ? -cqe->res : 135;

	atomic_fetch_add_explicit(&totals->answers[cqe->user_data >> 32 & (CODES - 1)][answer], 1,
		memory_order_relaxed);
}

static uint8_t scrawl(struct chance *chance, uint8_t old)
{
	return one_in(chance, 2) ? (uint8_t)odd_number(chance) : old + 1;
}

/* The command's code and payload: anything else would make it another operation. */
static void scribble_on_ring(struct chance *chance, struct ring *ring)
{
	int i;

	pthread_mutex_lock(&ring->lock);
	for (i = 0; ring->open && i < 200; i++) {
		unsigned int size = ring->uring.flags & IORING_SETUP_SQE128 ? 128 : 64;
		volatile uint8_t *sqe = (uint8_t *)ring->uring.sq.sqes +
					below(chance, *ring->uring.sq.kring_entries) * size;
		unsigned int offset = one_in(chance, 8) ? 8 : 48 + below(chance, 32);

		if (offset < size)
			sqe[offset] = scrawl(chance, sqe[offset]);
	}
	pthread_mutex_unlock(&ring->lock);
}

static void scribble_on_slots(struct chance *chance, struct slots *of)
{
	int i;

	pthread_mutex_lock(&of->lock);
	for (i = 0; of->count && i < 200; i++) {
		volatile uint8_t *byte =
			of->at + below(chance, of->count) * of->size +
			below(chance, of->size < 96 ? of->size : 96);

		*byte = scrawl(chance, *byte);
	}
	pthread_mutex_unlock(&of->lock);
}

static void *scribble(void *argument)
{
	struct chance chance = { (uintptr_t)argument };

	for (;; usleep(below(&chance, 8000))) {
		scribble_on_ring(&chance, &rings[below(&chance, sizeof(rings) / sizeof(*rings))]);
		scribble_on_slots(&chance, &slots[below(&chance, QUEUES)]);
		scribble_on_slots(&chance, &lists[below(&chance, QUEUES)]);
	}
	return NULL;
}

#endif
