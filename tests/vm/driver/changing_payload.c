// SPDX-License-Identifier: MIT
/*
 * Commands whose tag another thread changes while the driver looks at them, to and fro between one that
 * is in range and those that aren't: each is answered for the one or the other. A driver that checked
 * what it then reads again would go by a tag that nobody has checked, and find any memory there; as a
 * FETCH it would be pending on it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "session.h"

enum { DEPTH = 8, AT_ONCE = 8, COMMANDS = 100000, LIMIT_S = 6, LATE_MS = 5000 };
enum { PAYLOAD = 48, TAG = PAYLOAD + offsetof(struct ubd_io_cmd, tag), SQE = 128 };

static struct queue queue;
static atomic_int is_over;

static void *scribble(void *unused)
{
	unsigned int entries = *queue.ring->sq.kring_entries, i, turn;

	for (turn = 0; !is_over; turn++)
		for (i = 0; i < entries; i++)
			*(volatile uint16_t *)((char *)queue.ring->sq.sqes + i * SQE + TAG) =
				turn & 1 ? 0 : DEPTH + turn / 2 % 4096;
	return NULL;
}

/* Tag 0 has been fetched, and the others are none. */
static void send_some(void)
{
	uint64_t unused;
	int i;

	for (i = 0; i < AT_ONCE; i++)
		queue_command(&queue, UBD_IO_FETCH_REQ, 0, 0);
	io_uring_submit(queue.ring);
	for (i = 0; i < AT_ONCE; i++) {
		int result = next_result(queue.ring, &unused, LATE_MS);

		if (result == -ETIME)
			errx(1, "a command is pending on a tag that is none");
		if (result != -EBUSY && result != -EINVAL)
			errx(1, "a command was answered with %d", result);
	}
}

int main(void)
{
	struct device device;
	pthread_t scribbler;
	time_t end;
	int tag, i;

	device_init(&device, 1, DEPTH);
	if (device_add(&device) || device_open(&device))
		errx(1, "a device");
	queue_open(&queue, &device, 0);
	for (tag = 0; tag < DEPTH - 1; tag++) /* a queue that is not complete takes FETCHes */
		queue_command(&queue, UBD_IO_FETCH_REQ, tag, 0);
	io_uring_submit(queue.ring);
	if (pthread_create(&scribbler, NULL, scribble, NULL))
		errx(1, "thread");
	end = time(NULL) + LIMIT_S;
	for (i = 0; i < COMMANDS && time(NULL) < end; i += AT_ONCE)
		send_some();
	is_over = 1;
	pthread_join(scribbler, NULL);
	printf("ok - %d commands were changed under way\n", i);
	expect("DEL_DEV", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return failures != 0;
}
