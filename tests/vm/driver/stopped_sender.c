// SPDX-License-Identifier: MIT
/*
 * A START_DEV that waits for its server's FETCHes, sent as the daemon sends it, from a process that is
 * stopped and goes on meanwhile, again and again: that delays it, and nothing else.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include "driver_control.h"
#include "session.h"

enum { DEPTH = 4, STOPS = 10, LIMIT_S = 100 };

static struct device device;

static void send_start(void)
{
	struct driver_control control;
	struct err error = { 0 };

	if (driver_control_open(&control, "/dev/ubd-control", "ubd", &error) < 0)
		_exit(255);
	_exit(-driver_control_command_within(
		&control, UBD_CMD_START_DEV, device.info.dev_id, NULL, 0, getpid(), 0));
}

/* The command is a worker's by now: a thread of the sender's. */
static int has_worker(pid_t pid)
{
	struct dirent *entry;
	char path[32];
	int count = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		count += entry->d_name[0] != '.';
	if (tasks)
		closedir(tasks);
	return count > 1;
}

static void stop_and_go_on(pid_t pid)
{
	int status;

	if (kill(pid, SIGSTOP) || waitpid(pid, &status, WUNTRACED) != pid)
		err(1, "SIGSTOP");
	if (!WIFSTOPPED(status))
		errx(1, "the sender ended with %d before there was a server", WEXITSTATUS(status));
	kill(pid, SIGCONT);
}

static void serve(void)
{
	struct io_uring_cqe *cqe;
	struct queue queue;

	if (device_open(&device))
		_exit(1);
	queue_open(&queue, &device, 0);
	queue_fetch_all(&queue);
	while (io_uring_submit_and_wait(queue.ring, 1) >= 0 && !io_uring_peek_cqe(queue.ring, &cqe)) {
		int tag = cqe->user_data;

		if (cqe->res)
			_exit(2);
		io_uring_cqe_seen(queue.ring, cqe);
		queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, queue.descs[tag].nr_sectors * 512);
	}
	_exit(3);
}

int main(void)
{
	int status, stops = 0, tries;
	pid_t sender, server;

	device_init(&device, 1, DEPTH);
	if (device_add(&device))
		errx(1, "ADD_DEV");
	sender = fork();
	if (!sender)
		send_start();
	for (tries = 0; stops < STOPS && tries < LIMIT_S * 100; tries++) {
		usleep(10000);
		if (!has_worker(sender))
			continue;
		stop_and_go_on(sender);
		stops++;
	}
	expect("it was stopped so often", STOPS, stops);
	server = fork();
	if (!server)
		serve();
	if (waitpid(sender, &status, 0) != sender)
		err(1, "waitpid");
	expect("START_DEV's answer", 0, WIFEXITED(status) ? WEXITSTATUS(status) : 256);
	expect("STOP_DEV", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	expect("DEL_DEV", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return failures != 0;
}
