/* SPDX-License-Identifier: MIT */
/*
 * The V2 protocol as a server of that time had it, written down from the protocol's description and
 * not from the driver's header: if that ever drifts, a server built on this one notices.
 */
#ifndef V2_H
#define V2_H

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { V2_GET_QUEUE_AFFINITY = 1, V2_GET_DEV_INFO = 2, V2_ADD_DEV = 4, V2_DEL_DEV, V2_START_DEV, V2_STOP_DEV };
enum { V2_FETCH = 0x20, V2_COMMIT_AND_FETCH, V2_COMMIT };
enum { V2_READ, V2_WRITE, V2_FLUSH, V2_DISCARD, V2_WRITE_SAME, V2_WRITE_ZEROES };
#define V2_FUA (1u << 13)
#define V2_QUEUE_STRIDE (4096 * 24)

struct v2_control {
	uint32_t dev_id;
	uint16_t queue_id, len;
	uint64_t addr, data[2];
};

struct v2_info {
	uint16_t nr_hw_queues, queue_depth, block_size, state;
	uint32_t rq_max_blocks, dev_id;
	uint64_t dev_blocks;
	int32_t pid, reserved0;
	uint64_t flags[2], reserved1[10];
};

struct v2_io {
	uint16_t q_id, tag;
	int32_t result;
	uint64_t addr;
};

struct v2_desc {
	uint32_t op_flags, nr_sectors;
	uint64_t start_sector, addr;
};

static_assert(sizeof(struct v2_control) == 32 && sizeof(struct v2_info) == 128, "control");
static_assert(sizeof(struct v2_io) == 16 && sizeof(struct v2_desc) == 24, "I/O");

/* One URING_CMD; the caller has room in the submission queue. */
static inline void *v2_prepare(struct io_uring *ring, int fd, uint32_t code, unsigned int flags,
			       uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	assert(sqe);
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = flags;
	sqe->fd = fd;
	sqe->off = code; /* cmd_op */
	sqe->user_data = user_data;
	return (char *)sqe + 48;
}

/* One control command and its answer. */
static inline int v2_control(struct io_uring *ring, int fd, uint32_t code, const struct v2_control *payload)
{
	struct io_uring_cqe *cqe;
	int result;

	memcpy(v2_prepare(ring, fd, code, 0, 0), payload, sizeof(*payload));
	result = io_uring_submit(ring);
	while (result >= 0 && (result = io_uring_wait_cqe(ring, &cqe)) == -EINTR)
		;
	if (result < 0)
		return result;
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

/* The same on a ring of its own, about a device as a whole; START_DEV is for the calling process. */
static inline int v2_control_once(uint32_t device, uint32_t code, void *buffer, unsigned int length)
{
	struct v2_control payload = { .dev_id = device,
		.queue_id = 0xffff,
		.len = length,
		.addr = (uintptr_t)buffer,
		.data = { getpid() } };
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	struct io_uring ring;
	int fd = open("/dev/ubd-control", O_RDWR), result;

	if (fd < 0 || io_uring_queue_init_params(4, &ring, &params))
		err(1, "/dev/ubd-control");
	result = v2_control(&ring, fd, code, &payload);
	io_uring_queue_exit(&ring);
	close(fd);
	return result;
}

#endif
