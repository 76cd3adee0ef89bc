/* SPDX-License-Identifier: MIT */
/*
 * A server of one queue with batches, for tests: answers are listed by add_answer() and plan(),
 * turn() sends them and brings events. What is not passed to a leg is served from memory.
 */
#ifndef BATCH_SERVER_H
#define BATCH_SERVER_H

#include <pthread.h>

#include "session.h"

enum { DEPTH = 8, BLOCK = 4096 };
#define ALIGNED __attribute__((aligned(4096)))

static struct device device;
static struct queue queue;
static struct ubd_batch_answer *answers;
static const struct ubd_batch_event *events;
static struct ubd_plan_slot *slots;
static unsigned int answer_count;

static inline void post(uint32_t code, int first, int count)
{
	struct ubd_io_cmd payload = {
		.tag = first, .result = count, .addr = (uintptr_t)queue.buffers
	};

	command(queue.ring, device.fd, code, &payload, sizeof(payload), code);
	io_uring_submit(queue.ring);
}

static int is_waiting; /* an ANSWER_AND_WAIT is under way, by our own count */
static int came = -ETIME; /* its result, if that came while another one's was awaited */

/* The result of the command of this code that was sent last. */
static inline int result_of(uint32_t code, int timeout_ms)
{
	uint64_t which;
	int result;

	if (code == UBD_IO_ANSWER_AND_WAIT && came != -ETIME) {
		result = came;
		came = -ETIME;
		return result;
	}
	for (;;) {
		result = next_result(queue.ring, &which, timeout_ms);
		if (result == -ETIME || which == code)
			return result;
		if (which == UBD_IO_ANSWER_AND_WAIT)
			came = result;
	}
}

static inline int ask(uint32_t code, int first, int count)
{
	post(code, first, count);
	return result_of(code, 5000);
}

static inline void add_answer(int tag, int kind, int result)
{
	answers[answer_count++] = (struct ubd_batch_answer){ tag, kind, result };
}

/* Answers go down and events come up. */
static inline int turn(int timeout_ms)
{
	int result;

	if (!is_waiting)
		post(UBD_IO_ANSWER_AND_WAIT, 0, answer_count);
	else if (answer_count)
		expect("answers", 0, ask(UBD_IO_ANSWER, 0, answer_count));
	answer_count = 0;
	is_waiting = true;
	result = result_of(UBD_IO_ANSWER_AND_WAIT, timeout_ms);
	if (result != -ETIME)
		is_waiting = false;
	return result;
}

static char disk[8192 * 512];

static inline void do_request(unsigned int tag)
{
	const struct ubd_io_desc *desc = &queue.descs[tag];
	size_t length = desc->nr_sectors * 512ul;
	char *place = disk + desc->start_sector * 512;

	if (ubd_desc_op(desc) == UBD_OP_WRITE)
		memcpy(place, queue_buffer(&queue, tag), length);
	else if (ubd_desc_op(desc) == UBD_OP_READ)
		memcpy(queue_buffer(&queue, tag), place, length);
	add_answer(tag, UBD_ANSWER_RESULT, length);
}

/* A memory disk for so many requests. */
static inline void serve(int count)
{
	int result, i;

	for (; count > 0; count -= result) {
		result = turn(10000);
		if (result < 0)
			errx(1, "serving: %s", strerror(-result));
		for (i = 0; i < result; i++)
			do_request(events[i].tag);
	}
	(void)turn(10); /* the last answers go down */
}

static inline void *map(uint64_t offset, uint64_t length)
{
	void *memory =
		mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd, offset);

	return memory == MAP_FAILED ? NULL : memory;
}

static inline void begin(uint64_t features)
{
	device_init(&device, 1, DEPTH);
	device.info.flags[0] = features;
	if (device_add(&device) || device_open(&device))
		errx(1, "no device");
	queue_open(&queue, &device, 0);
	answers = map(ubd_batch_offset(0), ubd_batch_length(DEPTH, getpagesize()));
	events = (void *)(answers + DEPTH);
	slots = map(ubd_plan_offset(0), ubd_plan_length(DEPTH, getpagesize()));
	answer_count = 0;
	is_waiting = false;
}

static inline void end(void)
{
	io_uring_queue_exit(queue.ring);
	munmap((void *)queue.descs, ubd_desc_length(DEPTH, getpagesize()));
	if (answers)
		munmap(answers, ubd_batch_length(DEPTH, getpagesize()));
	if (slots)
		munmap(slots, ubd_plan_length(DEPTH, getpagesize()));
	close(device.fd);
	expect("DEL_DEV", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
}

static inline void *start_run(void *unused)
{
	return (void *)(long)control(&device, UBD_CMD_START_DEV, NULL, 0, getpid());
}

/* Serves START's partition scan. */
static inline void start(void)
{
	pthread_t starter;
	void *result;
	int count;

	pthread_create(&starter, NULL, start_run, NULL);
	while (pthread_tryjoin_np(starter, &result)) {
		count = turn(100);
		while (count-- > 0)
			do_request(events[count].tag);
	}
	expect("START", 0, (long)result);
}

static inline struct ubd_plan_entry entry(int op, int offset, int length)
{
	return (struct ubd_plan_entry){
		.kind = op, .offset = offset, .length = length, .leg_offset = offset
	};
}

static inline void plan(unsigned int tag, int count, struct ubd_plan_entry first)
{
	slots[tag].life++;
	slots[tag].count = count;
	slots[tag].entries[0] = first;
	add_answer(tag, UBD_ANSWER_PLAN, 0);
}

#endif
