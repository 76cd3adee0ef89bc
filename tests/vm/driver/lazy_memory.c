// SPDX-License-Identifier: MIT
/*
 * A server whose buffers lie in memory that it never fills (userfaultfd, which nobody answers): what
 * the driver copies there waits for ever, and STOP_DEV must not.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "session.h"

enum { DEPTH = 2, LIMIT_S = 20 };

static struct device device;
static struct queue queue;
static char *missing;
static volatile int is_lazy;

static char *missing_memory(size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		err(77, "userfaultfd");
	range.range.start = (uintptr_t)memory;
	range.range.len = size;
	if (memory == MAP_FAILED || ioctl(fd, UFFDIO_REGISTER, &range))
		err(1, "userfaultfd");
	return memory;
}

/* Answers all; once lazy, with buffers that are not there. */
static void *serve(void *unused)
{
	struct io_uring_cqe *cqe;

	queue_fetch_all(&queue);
	for (;;) {
		if (io_uring_submit_and_wait(queue.ring, 1) < 0 || io_uring_peek_cqe(queue.ring, &cqe) || cqe->res)
			return unused;
		struct ubd_io_cmd payload = {
			.tag = cqe->user_data,
			.result = queue.descs[cqe->user_data].nr_sectors * 512,
			.addr = (uintptr_t)(is_lazy ? missing + cqe->user_data * queue_buffer_size(&queue) :
						      queue_buffer(&queue, cqe->user_data)),
		};
		io_uring_cqe_seen(queue.ring, cqe);
		command(queue.ring, device.fd, UBD_IO_COMMIT_AND_FETCH_REQ, &payload, sizeof(payload), payload.tag);
	}
}

static void *use_disk(void *is_write)
{
	void *buffer = aligned_alloc(4096, 4096);
	char path[32];
	ssize_t got = 0;
	int fd, i;

	memset(buffer, 0, 4096);
	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	fd = open(path, O_RDWR | O_DIRECT);
	for (i = 0; i < 4 * DEPTH && got >= 0; i++)
		got = is_write ? pwrite(fd, buffer, 4096, 0) : pread(fd, buffer, 4096, 0);
	return (void *)(intptr_t)(got < 0 ? errno : 0);
}

int main(int argc, char **argv)
{
	int is_write = argc > 1 && !strcmp(argv[1], "write");
	pthread_t server, user;
	time_t started;
	void *got;

	device_init(&device, 1, DEPTH);
	expect("ADD", 0, device_add(&device));
	expect("open", 0, device_open(&device));
	queue_open(&queue, &device, 0);
	missing = missing_memory(DEPTH * queue_buffer_size(&queue));
	pthread_create(&server, NULL, serve, NULL);
	expect("START", 0, control(&device, UBD_CMD_START_DEV, NULL, 0, getpid()));
	is_lazy = 1;
	pthread_create(&user, NULL, use_disk, is_write ? &device : NULL);
	sleep(1);
	started = time(NULL);
	expect("STOP", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	expect("comes back in time", 1, time(NULL) - started < LIMIT_S);
	pthread_join(user, &got);
	expect("the I/O has failed", EIO, (intptr_t)got);
	expect("DEL", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return failures != 0;
}
