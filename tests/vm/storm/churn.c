// SPDX-License-Identifier: MIT
/*
 * Devices come and go, the module with them or not, while others open whatever disk turns up, as udev
 * does.
 *
 *   churn [-n CYCLES] [-m MODULE.ko]     -m: each cycle loads the module and unloads it
 *   churn -o                             those others alone, until SIGTERM
 *
 * Each device has a server, a process of its own. In turn it is stopped, deleted under its server,
 * killed and deleted at once, or (with -m) left to the module's unloading.
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <linux/module.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "session.h"

enum { DEPTH = 8, OPENERS = 3, NUMBERS = 2, LIMIT_S = 60, WAYS = 4 };
enum { ONLY_OPEN = -1 }; /* in the place of the cycles */

static const char *module;
static int cycles = 100;
static struct device device;

static void must(const char *what, int cycle, int result)
{
	if (result)
		errx(1, "cycle %d: %s: %s", cycle, what, strerror(result < 0 ? -result : result));
}

/* --- the module */

static void module_load(int cycle)
{
	int fd = open(module, O_RDONLY | O_CLOEXEC);

	must("finit_module", cycle, fd < 0 || syscall(SYS_finit_module, fd, "", 0) ? errno : 0);
	close(fd);
}

/* Openers may have a disk for a moment yet. */
static void module_unload(int cycle)
{
	time_t end = time(NULL) + LIMIT_S;

	while (syscall(SYS_delete_module, "ubd", O_NONBLOCK)) {
		if ((errno != EAGAIN && errno != EWOULDBLOCK && errno != EBUSY) || time(NULL) > end)
			must("delete_module", cycle, errno);
		usleep(1000);
	}
}

/* --- servers */

static int answer(const struct ubd_io_desc *desc, char *buffer)
{
	if (ubd_desc_op(desc) == UBD_OP_READ)
		memset(buffer, 0x5a, desc->nr_sectors * 512);
	return desc->nr_sectors * 512;
}

static void serve(void)
{
	struct io_uring_cqe *cqe;
	struct queue queue;
	int gone = 0;

	if (device_open(&device))
		_exit(1);
	queue_open(&queue, &device, 0);
	queue_fetch_all(&queue);
	while (gone < DEPTH) {
		int tag;

		if (io_uring_submit_and_wait(queue.ring, 1) < 0 || io_uring_peek_cqe(queue.ring, &cqe))
			continue;
		tag = cqe->user_data;
		gone += cqe->res == UBD_IO_RES_ABORT;
		if (cqe->res && cqe->res != UBD_IO_RES_ABORT)
			_exit(2);
		if (!cqe->res)
			queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag,
				      answer(&queue.descs[tag], queue_buffer(&queue, tag)));
		io_uring_cqe_seen(queue.ring, cqe);
	}
	_exit(0);
}

/* Whatever disk there is: read, and its partitions read again. Its end at any time is no error. */
static void use_disks(int number)
{
	static char block[4096] __attribute__((aligned(4096)));
	char path[32];
	unsigned int turn;

	for (turn = number;; turn++) {
		int fd;

		snprintf(path, sizeof(path), "/dev/ubdb%u", turn % NUMBERS);
		fd = open(path, turn & 4 ? O_RDONLY | O_DIRECT : O_RDWR);
		if (fd < 0) {
			usleep(500);
			continue;
		}
		(void)!pread(fd, block, sizeof(block), turn % 64 * 4096);
		if (turn % 8 == 0)
			(void)ioctl(fd, BLKRRPART, 0);
		close(fd);
		if (cycles == ONLY_OPEN) /* `delete` refuses what is open each time that it looks */
			usleep(turn * 7919 % 20000);
	}
}

static void cycle_run(int cycle)
{
	int way = cycle % (module ? WAYS : WAYS - 1), status;
	pid_t server;

	if (module)
		module_load(cycle);
	device_init(&device, 1, DEPTH);
	must("ADD_DEV", cycle, device_add(&device));
	server = fork();
	if (!server)
		serve();
	must("START_DEV", cycle, control(&device, UBD_CMD_START_DEV, NULL, 0, server));
	usleep(cycle * 7919 % 3000);
	if (way == 2 || way == 3)
		(void)kill(server, SIGKILL);
	if (way == 0)
		must("STOP_DEV", cycle, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	if (way != 3)
		must("DEL_DEV", cycle, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	if (waitpid(server, &status, 0) != server || (way < 2 && status))
		errx(1, "cycle %d: the server ended with status %x", cycle, status);
	io_uring_queue_exit(device.control);
	free(device.control);
	close(device.control_fd);
	if (module)
		module_unload(cycle);
}

int main(int argc, char **argv)
{
	pid_t openers[OPENERS];
	sigset_t ends;
	int option, i;

	while ((option = getopt(argc, argv, "n:m:o")) != -1) {
		switch (option) {
		case 'n': cycles = atoi(optarg); break;
		case 'm': module = optarg; break;
		case 'o': cycles = ONLY_OPEN; break;
		default: errx(2, "see the head of churn.c");
		}
	}
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	if (cycles == ONLY_OPEN)
		sigprocmask(SIG_BLOCK, &ends, NULL);
	for (i = 0; i < OPENERS; i++) {
		openers[i] = fork();
		if (!openers[i])
			use_disks(i);
	}
	if (cycles == ONLY_OPEN)
		sigwait(&ends, &option);
	for (i = 0; i < cycles; i++)
		cycle_run(i);
	for (i = 0; i < OPENERS; i++) {
		(void)kill(openers[i], SIGKILL);
		if (waitpid(openers[i], NULL, 0) != openers[i])
			err(1, "an opener");
	}
	if (cycles == ONLY_OPEN)
		return 0;
	printf("%d devices came and went%s\n", cycles, module ? ", each with the module" : "");
	return 0;
}
