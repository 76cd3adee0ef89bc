// SPDX-License-Identifier: MIT
/*
 * Sessions of a device that end in awkward moments, one case per name. Each prints what was wrong,
 * or nothing, and returns 0 if nothing was.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "v2.h"

enum { DEPTH = 64, BUFFER = 1 << 16, MIB = 16 };

struct server {
	struct io_uring ring;
	int char_fd;
	const struct v2_desc *descs;
	char *buffers;
};

static unsigned int device;
static pid_t *sharer; /* not NULL: a server has a process share its memory, and outlive it */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void add_device(void)
{
	struct v2_info info = { .nr_hw_queues = 1,
		.queue_depth = DEPTH,
		.block_size = 512,
		.rq_max_blocks = BUFFER / 512,
		.dev_id = -1u,
		.dev_blocks = MIB << 11 };
	int result;

	result = v2_control_once(-1u, V2_ADD_DEV, &info, sizeof(info));
	if (result)
		errx(1, "ADD_DEV: %s", strerror(-result));
	device = info.dev_id;
}

static void send_io(struct server *server, uint32_t code, unsigned int tag, int result)
{
	struct v2_io io = {
		.tag = tag, .result = result, .addr = (uintptr_t)(server->buffers + tag * BUFFER)
	};

	memcpy(v2_prepare(&server->ring, server->char_fd, code, 0, tag), &io, sizeof(io));
}

/* Opens the device and fetches all. */
static void begin(struct server *server)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	char path[32];
	unsigned int tag;
	int tries;

	snprintf(path, sizeof(path), "/dev/ubdc%u", device);
	/* EBUSY as long as the last server's exit is under way, which goes on after its process. */
	for (tries = 0; (server->char_fd = open(path, O_RDWR)) < 0; tries++) {
		if (errno != EBUSY || tries == 200)
			err(1, "%s", path);
		usleep(20000);
	}
	if (io_uring_queue_init_params(DEPTH, &server->ring, &params))
		err(1, "ring");
	server->descs = mmap(NULL, (DEPTH * sizeof(*server->descs) + 4095) & ~4095, PROT_READ,
		MAP_SHARED, server->char_fd, 0);
	server->buffers = mmap(
		NULL, DEPTH * BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (server->descs == MAP_FAILED || server->buffers == MAP_FAILED)
		err(1, "mmap");
	for (tag = 0; tag < DEPTH; tag++)
		send_io(server, V2_FETCH, tag, 0);
	io_uring_submit(&server->ring);
}

/* Answers all but the last so many of the device's requests in flight, until a command fails. */
static int serve(struct server *server, int hold)
{
	struct io_uring_cqe *cqe;
	int result, held = 0;

	for (;;) {
		result = io_uring_submit_and_wait(&server->ring, 1);
		if (result == -EINTR)
			continue;
		if (result < 0 || io_uring_peek_cqe(&server->ring, &cqe))
			return result;
		result = cqe->res;
		if (result)
			return result;
		if (held < hold)
			held++;
		else
			send_io(server, V2_COMMIT_AND_FETCH, cqe->user_data,
				server->descs[cqe->user_data].nr_sectors * 512);
		io_uring_cqe_seen(&server->ring, cqe);
	}
}

static int sleep_on(void *unused)
{
	for (;;)
		pause();
	return 0;
}

/* A process with our mappings, and copies of our files. */
static void share_memory(void)
{
	static char stack[1 << 16] __attribute__((aligned(16)));

	*sharer = clone(sleep_on, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	if (*sharer < 0)
		_exit(5);
}

/* Returns when it has fetched all, or has failed. */
static pid_t start_server(int hold)
{
	struct server server;
	int ready[2];
	pid_t pid;

	if (pipe(ready) || (pid = fork()) < 0)
		err(1, "fork");
	if (pid) {
		close(ready[1]);
		(void)!read(ready[0], &(char){ 0 }, 1);
		close(ready[0]);
		return pid;
	}
	begin(&server);
	if (sharer)
		share_memory(); /* it has the pipe, too */
	(void)!write(ready[1], "", 1);
	close(ready[1]);
	_exit(serve(&server, hold) == -ENODEV ? 3 : 4);
}

static int wait_for(pid_t pid, double limit)
{
	double end = seconds() + limit;
	int status;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (seconds() > end)
			return -1;
		usleep(1000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* A control command in a child; its result, or 1 if it takes longer. The child is then left alone.
 */
static int control_within(uint32_t code, double limit)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		err(1, "fork");
	if (!pid)
		_exit(-v2_control_once(device, code, NULL, 0));
	status = wait_for(pid, limit);
	return status < 0 ? 1 : -status;
}

/* A new server can take the device as soon as it can open it, however the last one ended. */
static int next_session(void)
{
	int round, result, bad = 0;

	add_device();
	for (round = 0; round < 50; round++) {
		pid_t pid = start_server(0);

		result = control_within(V2_START_DEV, 20);
		if (result) {
			printf("round %d: START_DEV says %s; the server ended with %d\n", round,
				result == 1 ? "nothing" : strerror(-result), wait_for(pid, 2));
			bad++;
		}
		kill(pid, SIGKILL);
		(void)wait_for(pid, 20);
	}
	return bad;
}

static void on_alarm(int number)
{
}

/* Who waits in open() for the last server's exit goes on waiting after a signal that is handled. io_uring's own wake-ups look
 * like signals there too. */
static int interrupted_open(void)
{
	const struct sigaction restarts = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	const struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { 0 };
	int round, interrupted = 0;
	char path[32];

	add_device();
	snprintf(path, sizeof(path), "/dev/ubdc%u", device);
	sigaction(SIGALRM, &restarts, NULL);
	for (round = 0; round < 12; round++) {
		pid_t pid = start_server(0);
		double end = seconds() + 60;
		int fd;

		if (control_within(V2_START_DEV, 60))
			errx(1, "START_DEV");
		kill(pid, SIGKILL);
		setitimer(ITIMER_REAL, &often, NULL);
		do {
			fd = open(path, O_RDWR);
			interrupted += fd < 0 && errno == EINTR;
		} while (fd < 0 && seconds() < end);
		setitimer(ITIMER_REAL, &never, NULL);
		if (fd < 0)
			errx(1, "open: %s", strerror(errno));
		close(fd);
		(void)wait_for(pid, 20);
	}
	if (interrupted)
		printf("open() said EINTR %d times\n", interrupted);
	return interrupted;
}

/* A server that answers nothing: START waits for its partition table, and STOP must not wait for
 * START. */
static int stop_during_start(uint32_t code)
{
	pid_t server, starter;
	double begun;
	int result;

	add_device();
	server = start_server(1 << 30);
	starter = fork();
	if (!starter)
		_exit(-v2_control_once(device, V2_START_DEV, NULL, 0));
	sleep(2);
	begun = seconds();
	result = control_within(code, 25);
	if (result == 1)
		printf("STOP or DEL does not end while START waits\n");
	else
		printf("ended with %d after %.1f s\n", result, seconds() - begun);
	kill(server, SIGKILL);
	kill(starter, SIGKILL);
	return result;
}

/* Requests of a scheduler's wait for a stopped server; they and the disk go; the server goes on. */
static int late_notification(void)
{
	char command[256];
	pid_t server;
	int result, i;

	add_device();
	server = start_server(0);
	if (control_within(V2_START_DEV, 20))
		errx(1, "START_DEV");
	snprintf(command, sizeof(command), "echo mq-deadline >/sys/block/ubdb%u/queue/scheduler",
		device);
	if (system(command))
		errx(1, "scheduler");
	kill(server, SIGSTOP);
	for (i = 0; i < DEPTH; i++) {
		if (fork())
			continue;
		snprintf(command, sizeof(command), "/dev/ubdb%u", device);
		_exit(pread(open(command, O_RDONLY | O_DIRECT),
			      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				      -1, 0),
			      4096, i * 65536) != -1);
	}
	sleep(3);
	result = control_within(V2_STOP_DEV, 25);
	sleep(1);
	kill(server, SIGCONT);
	result = result ? result : wait_for(server, 10) != 3;
	sleep(1);
	return result;
}

/* The number is free when DEL_DEV says so, to each of two who ask at once. */
static int delete_twice(void)
{
	int round, i, bad = 0;

	for (round = 0; round < 30; round++) {
		pid_t server, deleters[2];

		add_device();
		server = start_server(0);
		if (control_within(V2_START_DEV, 20))
			errx(1, "START_DEV");
		for (i = 0; i < 2; i++) {
			deleters[i] = fork();
			if (!deleters[i]) {
				struct v2_info info = { .dev_id = device };

				if (!v2_control_once(device, V2_DEL_DEV, NULL, 0))
					_exit(v2_control_once(device, V2_GET_DEV_INFO, &info, sizeof(info)) == 0);
				_exit(0);
			}
		}
		for (i = 0; i < 2; i++)
			bad += wait_for(deleters[i], 20) != 0;
		kill(server, SIGKILL);
		(void)wait_for(server, 20);
	}
	if (bad)
		printf("%d times DEL_DEV said 0 and the device was there\n", bad);
	return bad;
}

/* A server is killed, and all that it had is another process's too: the disk goes, asked or not. */
static int shared_memory(void)
{
	double end = seconds() + 60;
	char path[32];
	pid_t server;
	int is_left;

	sharer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sharer == MAP_FAILED)
		err(1, "mmap");
	add_device();
	server = start_server(0);
	if (control_within(V2_START_DEV, 60) || *sharer <= 0)
		errx(1, "START_DEV");
	kill(server, SIGKILL);
	snprintf(path, sizeof(path), "/sys/block/ubdb%u", device);
	while ((is_left = !access(path, F_OK)) && seconds() < end)
		usleep(10000);
	if (is_left)
		printf("nobody has noticed that the server is gone\n");
	kill(*sharer, SIGKILL);
	(void)wait_for(server, 20);
	return is_left;
}

int main(int argc, char **argv)
{
	const char *name = argc == 2 ? argv[1] : "";

	setlinebuf(stdout);
	if (!strcmp(name, "next_session"))
		return next_session() != 0;
	if (!strcmp(name, "interrupted_open"))
		return interrupted_open() != 0;
	if (!strcmp(name, "stop_during_start"))
		return stop_during_start(V2_STOP_DEV) != 0;
	if (!strcmp(name, "delete_during_start"))
		return stop_during_start(V2_DEL_DEV) != 0;
	if (!strcmp(name, "late_notification"))
		return late_notification() != 0;
	if (!strcmp(name, "delete_twice"))
		return delete_twice() != 0;
	if (!strcmp(name, "shared_memory"))
		return shared_memory() != 0;
	errx(2, "usage: session_cases CASE");
}
