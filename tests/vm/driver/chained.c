// SPDX-License-Identifier: MIT
/*
 * A server's FETCH with a link behind it that goes to the ring itself. io_uring counts such a link as
 * what a dying task has to wait for; the FETCH ends when the driver hears that the server is gone, and
 * its files are closed later than that. Killed, the server has to go all the same. Returns 0 then.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "v2.h"

enum { BUFFER = 1 << 16, LIMIT_MS = 60000 };

static unsigned int device;

/* Never returns; says in `ready` that the commands are under way. */
static void serve(int ready)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	struct v2_io io = { .tag = 0 };
	struct io_uring ring;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/ubdc%u", device);
	fd = open(path, O_RDWR);
	io.addr = (uintptr_t)mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || io_uring_queue_init_params(4, &ring, &params))
		err(1, "%s", path);
	memcpy(v2_prepare(&ring, fd, V2_FETCH, IOSQE_IO_LINK, 0), &io, sizeof(io));
	(void)v2_prepare(&ring, ring.ring_fd, V2_FETCH, 0, 1);
	if (io_uring_submit(&ring) != 2)
		err(1, "submit");
	(void)!write(ready, "", 1);
	for (;;)
		pause();
}

int main(void)
{
	struct v2_info info = {
		.nr_hw_queues = 1, .queue_depth = 2, .block_size = 512, .rq_max_blocks = BUFFER / 512, .dev_id = -1u, .dev_blocks = 2048,
	};
	struct pollfd gone = { .events = POLLIN };
	int ready[2], result = v2_control_once(-1u, V2_ADD_DEV, &info, sizeof(info));
	pid_t server;

	if (result || pipe(ready))
		errx(1, "ADD_DEV: %s", strerror(-result));
	device = info.dev_id;
	server = fork();
	if (server == 0)
		serve(ready[1]);
	close(ready[1]);
	if (server < 0 || read(ready[0], &(char){ 0 }, 1) != 1)
		errx(1, "no server");
	gone.fd = (int)syscall(SYS_pidfd_open, server, 0);
	kill(server, SIGKILL);
	if (gone.fd < 0 || poll(&gone, 1, LIMIT_MS) != 1) {
		printf("the server is not gone within %d s of its SIGKILL\n", LIMIT_MS / 1000);
		return 1;
	}
	(void)waitpid(server, NULL, 0);
	result = v2_control_once(device, V2_DEL_DEV, NULL, 0);
	if (result)
		errx(1, "DEL_DEV: %s", strerror(-result));
	return 0;
}
