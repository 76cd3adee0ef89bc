// SPDX-License-Identifier: MIT
/*
 * A request's end drops the last reference to its file, whose release writes what is dirty to this very
 * disk: the server, whose answer that was, must not be the one to wait for it.
 *
 * The file is the disk itself, open for one write only that goes on after close(), as AIO's do.
 */
#define _GNU_SOURCE
#include <linux/aio_abi.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "session.h"

enum { DEPTH = 8, BLOCK = 4096, HELD_SECTOR = 1024, DIRTY_AT = 1 << 20, DIRTY = 16 * BLOCK, LIMIT_MS = 60000 };

static struct device device;

/* Answers all but the write to HELD_SECTOR, until something comes through the pipe. */
static void serve(int release)
{
	struct __kernel_timespec moment = { .tv_nsec = 10000000 };
	struct pollfd told = { .fd = release, .events = POLLIN };
	struct io_uring_cqe *cqe;
	struct queue queue;
	int held = -1;

	if (device_open(&device))
		_exit(1);
	queue_open(&queue, &device, 0);
	queue_fetch_all(&queue);
	for (;;) {
		(void)io_uring_submit_and_wait_timeout(queue.ring, &cqe, 1, &moment, NULL);
		while (!io_uring_peek_cqe(queue.ring, &cqe)) {
			const struct ubd_io_desc *desc = &queue.descs[cqe->user_data];
			int tag = cqe->user_data;

			if (cqe->res)
				_exit(2);
			io_uring_cqe_seen(queue.ring, cqe);
			if (held < 0 && ubd_desc_op(desc) == UBD_OP_WRITE && desc->start_sector == HELD_SECTOR)
				held = tag;
			else
				queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, desc->nr_sectors * 512);
		}
		if (held >= 0 && poll(&told, 1, 0) == 1) {
			queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, held, BLOCK);
			held = -1;
			told.fd = -1;
		}
	}
}

static int disk_open(int flags)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	fd = open(path, O_RDWR | flags);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* A write whose file is closed before it ends. */
static void write_and_close(aio_context_t *context, void *block)
{
	int fd = disk_open(O_DIRECT);
	struct iocb write = { .aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (uintptr_t)block,
		.aio_nbytes = BLOCK, .aio_offset = HELD_SECTOR * 512 };
	struct iocb *writes[] = { &write };

	if (syscall(SYS_io_setup, 1, context) || syscall(SYS_io_submit, *context, 1, writes) != 1)
		err(1, "AIO");
	close(fd);
}

/* Whether the disk is still served, asked by a process that may wait for ever. */
static int is_served(void *block)
{
	int waited, status;
	pid_t pid = fork();

	if (!pid)
		_exit(pread(disk_open(O_DIRECT), block, BLOCK, 0) != BLOCK);
	for (waited = 0; !waitpid(pid, &status, WNOHANG); waited += 10) {
		if (waited > LIMIT_MS)
			return 0;
		usleep(10000);
	}
	return status == 0;
}

int main(void)
{
	static char dirty[DIRTY];
	struct io_event event;
	aio_context_t context = 0;
	int release[2], fd;
	pid_t server;
	void *block;

	device_init(&device, 1, DEPTH);
	if (device_add(&device) || pipe(release) || posix_memalign(&block, BLOCK, BLOCK))
		errx(1, "a device");
	server = fork();
	if (!server)
		serve(release[0]);
	expect("START_DEV", 0, control(&device, UBD_CMD_START_DEV, NULL, 0, server));
	memset(block, 0x5a, BLOCK);
	fd = disk_open(0);
	write_and_close(&context, block);
	expect("what is dirty", DIRTY, pwrite(fd, dirty, DIRTY, DIRTY_AT));
	close(fd); /* not the last */
	expect("the server is told", 1, write(release[1], "", 1));
	expect("the write ends", 1, syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
	expect("well", BLOCK, event.res);
	expect("and the server serves on", 1, is_served(block));
	if (failures)
		return 1; /* STOP_DEV might wait for ever */
	expect("STOP_DEV", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	expect("DEL_DEV", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return failures != 0;
}
