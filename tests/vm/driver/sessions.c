// SPDX-License-Identifier: MIT
/*
 * One device, many servers after another, each of which ends in another way and leaves the device
 * live. The disk must go and the next server must find the device ready, within the limit.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "session.h"

enum { DEPTH = 16, QUEUES = 2, LIMIT_MS = 4000 };

static struct device device;
static struct queue queues[QUEUES];
static int held_requests, ready_pipe[2];

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Serves one queue: all requests at first, none any more once held_requests is set. */
static void *serve(void *argument)
{
	struct queue *queue = argument;
	uint64_t tag = 0;
	int result;

	queue_open(queue, &device, queue - queues);
	queue_fetch_all(queue);
	for (;;) {
		result = next_result(queue->ring, &tag, 50);
		if (result == -ETIME) {
			if (held_requests)
				pause();
			continue;
		}
		if (result < 0)
			pause();
		if (held_requests)
			continue;
		queue_command(queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, queue->descs[tag].nr_sectors * 512);
		io_uring_submit(queue->ring);
	}
	return NULL;
}

/* A server process up to the point where the disk is live; then it does what its ending says. */
static void server(int ending, int hold)
{
	struct io_uring *ring = ring_open(4, IORING_SETUP_SQE128);
	pthread_t threads[QUEUES];
	int i, error;

	device.control = ring;
	error = device_open(&device);
	if (error)
		errx(1, "open: %s", strerror(-error));
	for (i = 0; i < QUEUES; i++) {
		if (pthread_create(&threads[i], NULL, serve, &queues[i]))
			errx(1, "thread");
	}
	error = control(&device, UBD_CMD_START_DEV, NULL, 0, getpid());
	if (error)
		errx(1, "START: %s", strerror(-error));
	held_requests = hold;
	if (write(ready_pipe[1], "", 1) != 1)
		err(1, "pipe");
	usleep(100000);
	switch (ending) {
	case 0: /* it returns from main */
		exit(0);
	case 1: /* it crashes */
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
		break;
	case 2: /* it loses its mappings, and lives on until the disk is gone */
		for (i = 0; i < QUEUES; i++)
			munmap((void *)queues[i].descs, ubd_desc_length(DEPTH, getpagesize()));
		pause();
		break;
	case 3: /* it has a child that holds all its files, and is killed */
		if (fork() == 0) {
			sleep(3);
			_exit(0);
		}
		kill(getpid(), SIGKILL);
		break;
	case 4: /* it closes the file first, and is killed with the ring and the mappings left */
		close(device.fd);
		usleep(50000);
		kill(getpid(), SIGKILL);
		break;
	case 5: /* it closes its rings and exits */
		for (i = 0; i < QUEUES; i++)
			close(queues[i].ring->ring_fd);
		usleep(50000);
		exit(0);
	case 6: /* it deletes the device's mappings and files in the order of a careless exit */
		close(device.fd);
		for (i = 0; i < QUEUES; i++)
			munmap((void *)queues[i].descs, ubd_desc_length(DEPTH, getpagesize()));
		for (i = 0; i < QUEUES; i++)
			close(queues[i].ring->ring_fd);
		exit(0);
	case 7: /* it is stopped from outside */
		control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0);
		exit(0);
	}
	pause();
}

static void wait_until_gone(const char *disk, const char *what, long since)
{
	char line[300];

	while (!access(disk, F_OK) && now_ms() - since < LIMIT_MS)
		usleep(1000);
	snprintf(line, sizeof(line), "%s: the disk goes (%ld ms)", what, now_ms() - since);
	expect(line, -1, access(disk, F_OK));
}

static void run(int ending, const char *what, int hold)
{
	static const char *const handed[] = { "", ", with requests in its hands" };
	char disk[32], name[32], line[200], byte;
	int i, fd, status, readers = hold ? 6 : 0;
	pid_t child, reader[6];
	long since;

	snprintf(line, sizeof(line), "it %s%s", what, handed[hold]);
	snprintf(disk, sizeof(disk), "/dev/ubdb%u", device.info.dev_id);
	snprintf(name, sizeof(name), "/dev/ubdc%u", device.info.dev_id);
	if (pipe(ready_pipe))
		err(1, "pipe");
	child = fork();
	if (child == 0)
		server(ending, hold);
	close(ready_pipe[1]); /* so that a server that cannot start ends the read */
	if (read(ready_pipe[0], &byte, 1) != 1)
		err(1, "pipe");
	for (i = 0; i < readers; i++) {
		reader[i] = fork();
		if (reader[i] == 0) {
			fd = open(disk, O_RDONLY | O_DIRECT);
			_exit(pread(fd, aligned_alloc(4096, 4096), 4096, 65536 * i) == 4096);
		}
	}
	close(ready_pipe[0]);
	since = now_ms() + 150;
	usleep(150000);
	wait_until_gone(disk, line, since);
	for (i = 0; i < readers; i++) {
		waitpid(reader[i], &status, 0);
		if (status)
			expect("a read of its fails", 0, status);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	/* a forked child may hold the file still: that is its good right, and told as busy */
	while ((fd = open(name, O_RDWR)) < 0 && errno == EBUSY && now_ms() - since < 5000)
		usleep(1000);
	expect("the device is free for the next server", 1, fd >= 0);
	close(fd);
}

int main(int argc, char **argv)
{
	static const char *const endings[] = {
		"returns from main", "crashes", "loses its mappings", "is killed and a child holds its files",
		"is killed after it closed the file", "closes its rings and exits", "closes everything and exits",
		"sends STOP and exits",
	};
	unsigned int i, hold;

	setvbuf(stdout, NULL, _IOLBF, 0);
	device_init(&device, QUEUES, DEPTH);
	expect("ADD", 0, device_add(&device));
	for (hold = 0; hold < 2; hold++) {
		for (i = 0; i < sizeof(endings) / sizeof(*endings) - hold; i++) /* STOP would wait for the held ones */
			run(i, endings[i], hold);
	}
	device.control = ring_open(4, IORING_SETUP_SQE128);
	expect("DEL", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return failures != 0;
}
