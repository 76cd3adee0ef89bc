/* SPDX-License-Identifier: MIT */
/*
 * What the driver's test programs share: control commands and one queue's session over ubd_cmd.h,
 * each step by itself so that a test can leave one out or do it wrongly.
 */
#ifndef SESSION_H
#define SESSION_H

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ubd_cmd.h"

static int failures;

/* One behaviour: seen to be right or not. */
static inline void expect(const char *what, long wanted, long got)
{
	printf("%sok - %s", wanted == got ? "" : "not ", what);
	if (wanted != got)
		printf(": wanted %ld, got %ld", wanted, got);
	printf("\n");
	failures += wanted != got;
}

static inline struct io_uring *ring_open(unsigned int entries, unsigned int flags)
{
	struct io_uring_params params = { .flags = flags };
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int error = io_uring_queue_init_params(entries, ring, &params);

	if (error)
		errx(1, "ring: %s", strerror(-error));
	return ring;
}

/* A command with its payload; not submitted. */
static inline void command(struct io_uring *ring, int fd, uint32_t code, const void *payload, size_t size,
			   uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	size_t room = ring->flags & IORING_SETUP_SQE128 ? 80 : 16;

	if (!sqe)
		errx(1, "no room for a command");
	memset(sqe, 0, ring->flags & IORING_SETUP_SQE128 ? 128 : 64);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->off = code;
	sqe->user_data = user_data;
	memcpy((char *)sqe + 48, payload, size < room ? size : room);
}

/* The next completion's result, whichever command's it is; -ETIME if none comes in time. */
static inline int next_result(struct io_uring *ring, uint64_t *user_data, int timeout_ms)
{
	struct __kernel_timespec limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000000ll };
	struct io_uring_cqe *cqe;
	int result = io_uring_wait_cqe_timeout(ring, &cqe, &limit);

	if (result)
		return result;
	result = cqe->res;
	if (user_data)
		*user_data = cqe->user_data;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

struct device {
	int control_fd, fd;
	struct io_uring *control;
	struct ubd_dev_info info;
};

static inline int control(struct device *device, uint32_t code, void *buffer, uint16_t size, uint64_t data)
{
	struct ubd_ctrl_cmd payload = {
		.dev_id = device->info.dev_id,
		.queue_id = UBD_NO_QUEUE,
		.len = size,
		.addr = (uintptr_t)buffer,
		.data = { data },
	};

	command(device->control, device->control_fd, code, &payload, sizeof(payload), 0);
	io_uring_submit(device->control);
	return next_result(device->control, NULL, 30000);
}

/* A device as ADD_DEV wants it: change device->info before device_add(). */
static inline void device_init(struct device *device, int queues, int depth)
{
	memset(device, 0, sizeof(*device));
	device->fd = -1;
	device->control = ring_open(4, IORING_SETUP_SQE128);
	device->control_fd = open("/dev/ubd-control", O_RDWR);
	if (device->control_fd < 0)
		err(1, "/dev/ubd-control");
	device->info = (struct ubd_dev_info){
		.nr_hw_queues = queues,
		.queue_depth = depth,
		.block_size = 512,
		.rq_max_blocks = 128,
		.dev_id = -1u,
		.dev_blocks = 8192,
	};
}

static inline int device_add(struct device *device)
{
	return control(device, UBD_CMD_ADD_DEV, &device->info, sizeof(device->info), 0);
}

static inline int device_open(struct device *device)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ubdc%u", device->info.dev_id);
	device->fd = open(path, O_RDWR);
	return device->fd < 0 ? -errno : 0;
}

struct queue {
	struct device *device;
	struct io_uring *ring;
	int id;
	const struct ubd_io_desc *descs;
	char *buffers;
};

static inline size_t queue_buffer_size(const struct queue *queue)
{
	return queue->device->info.rq_max_blocks * (size_t)queue->device->info.block_size;
}

static inline char *queue_buffer(const struct queue *queue, int tag)
{
	return queue->buffers + tag * queue_buffer_size(queue);
}

static inline void queue_open(struct queue *queue, struct device *device, int id)
{
	int depth = device->info.queue_depth;

	*queue = (struct queue){ .device = device, .id = id };
	queue->ring = ring_open(depth + 4, IORING_SETUP_SQE128);
	queue->descs = mmap(NULL, ubd_desc_length(depth, getpagesize()), PROT_READ, MAP_SHARED, device->fd,
			    ubd_desc_offset(id, getpagesize()));
	queue->buffers = mmap(NULL, depth * queue_buffer_size(queue), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (queue->descs == MAP_FAILED || queue->buffers == MAP_FAILED)
		err(1, "mmap");
}

/* An I/O command as it should be; not submitted. */
static inline void queue_command(struct queue *queue, uint32_t code, int tag, int result)
{
	struct ubd_io_cmd payload = {
		.q_id = queue->id,
		.tag = tag,
		.result = result,
		.addr = (uintptr_t)queue_buffer(queue, tag),
	};

	command(queue->ring, queue->device->fd, code, &payload, sizeof(payload), tag);
}

static inline void queue_fetch_all(struct queue *queue)
{
	int tag;

	for (tag = 0; tag < queue->device->info.queue_depth; tag++)
		queue_command(queue, UBD_IO_FETCH_REQ, tag, 0);
	io_uring_submit(queue->ring);
}

#endif
