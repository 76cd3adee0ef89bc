/* SPDX-License-Identifier: MIT */
/*
 * canary's servers: right in all, but for the fault that is set. Over V2's commands, over batches, or
 * with plans.
 */
#ifndef CANARY_SERVER_H
#define CANARY_SERVER_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "canary.h"

enum protocol { V2, BATCHES, PLANS };
enum { LEG_DISK, LEG_FILE, LEG_DISK_SIZE = 16 << 20, LEG_FILE_SIZE = 40960 - 512 };

struct server {
	struct queue queue;
	enum protocol protocol;
	struct ubd_plan_slot *slots;
	struct ubd_batch_answer *answers;
	char *missing; /* half a buffer that nobody fills in */
};

/* Says when somebody waits for the memory that nobody fills in. */
static void *watch_missing(void *argument)
{
	struct uffd_msg message;

	if (read((int)(intptr_t)argument, &message, sizeof(message)) == sizeof(message))
		atomic_store(&shared->stuck, 1);
	return NULL;
}

/* A buffer of which the second half is missing, or NULL: this kernel has no userfaultfd. */
static char *half_missing(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	pthread_t watcher;

	if (fd < 0)
		return NULL;
	range.range.start = (uintptr_t)memory + REGION / 2;
	range.range.len = REGION / 2;
	if (memory == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range) ||
	    pthread_create(&watcher, NULL, watch_missing, (void *)(intptr_t)fd))
		err(1, "userfaultfd");
	return memory;
}

/* A WRITE's bytes, and behind them what the server had there itself. */
static int write_is_right(const uint64_t *buffer, uint64_t offset, size_t length)
{
	size_t i;

	for (i = 0; i < WORDS; i++) {
		uint64_t owner = buffer[i] >> 48;

		if (i < length / 8 ? buffer[i] != word(WRITER, offset + i * 8)
				   : buffer[i] && owner != SERVER && owner != DISK)
			return 0;
	}
	return 1;
}

/* The result, and in *address where a READ's bytes are said to be. */
static int answer_read(struct server *server, char *buffer, uint64_t offset, int length, uint64_t *address)
{
	int fault = atomic_load(&shared->fault), half = length / 2 & ~511;

	fill(buffer, length, DISK, offset);
	switch (fault) {
	case SHORT_ALWAYS: return length > 1000 ? 1000 : length; /* of which a block counts */
	case SHORT_THEN_ERROR: return length > 4096 ? half : -EIO;
	case AGAIN: return -EAGAIN;
	case NONE_DONE: return 0;
	case TOO_MUCH: return length + 512;
	case FAR_TOO_MUCH: return INT32_MAX;
	case MOST_NEGATIVE: return INT32_MIN;
	case BUFFER_GONE: mprotect(buffer, REGION, PROT_NONE); break;
	case TAIL_GONE: mprotect(buffer + (half & ~4095), REGION - (half & ~4095), PROT_NONE); break;
	case ADDRESS_ZERO_PAGE: *address = 4096; break;
	case ADDRESS_OF_KERNEL: *address = 0xffff888000000000 + (16 << 20); break;
	case ADDRESS_INTO_KERNEL: *address = 0x7ffffffff000 - 4096; break;
	case NO_DATA:
	case PLAN_THEN_NO_DATA: fill(buffer, REGION, SERVER, 0); break;
	case NEVER_TOUCHED: madvise(buffer, REGION, MADV_DONTNEED); break;
	case STUCK:
		if (length < REGION)
			break;
		fill(server->missing, REGION / 2, DISK, offset);
		*address = (uintptr_t)server->missing;
		break;
	case NOTHING: break;
	default: return -EIO;
	}
	return length;
}

static int answer(struct server *server, int tag, uint64_t *address)
{
	const struct ubd_io_desc *desc = &server->queue.descs[tag];
	char *buffer = queue_buffer(&server->queue, tag);
	int length = desc->nr_sectors * 512, op = ubd_desc_op(desc), result = 0;

	*address = (uintptr_t)buffer;
	if (op == UBD_OP_WRITE) {
		result = length;
		atomic_fetch_add(&shared->wrong_writes, !write_is_right((uint64_t *)buffer, desc->start_sector * 512, length));
	}
	if (op == UBD_OP_WRITE || op == UBD_OP_READ)
		atomic_fetch_add(&shared->served, 1);
	fill(buffer, REGION, SERVER, 0); /* what it holds while it waits */
	return op == UBD_OP_READ ? answer_read(server, buffer, desc->start_sector * 512, length, address) : result;
}

/* The plan for a READ: right, but for the fault. */
static void make_plan(struct server *server, int tag)
{
	const struct ubd_io_desc *desc = &server->queue.descs[tag];
	struct ubd_plan_slot *slot = &server->slots[tag];
	uint32_t length = desc->nr_sectors * 512, half = length / 2;
	uint64_t offset = desc->start_sector * 512;
	struct ubd_plan_entry *first = &slot->entries[0], *second = &slot->entries[1];

	slot->life++;
	slot->count = 2;
	*first = (struct ubd_plan_entry){ .leg = LEG_DISK, .length = half, .leg_offset = offset };
	*second = *first;
	second->offset = half;
	second->length = length - half;
	second->leg_offset = offset + half;
	switch (atomic_load(&shared->fault)) {
	case PLAN_SHORT_FILE:
		second->leg = LEG_FILE;
		second->leg_offset = LEG_FILE_SIZE - 512;
		break;
	case PLAN_PAST_END: first->leg_offset = LEG_DISK_SIZE - 512; break;
	case PLAN_HALF: slot->count = 1; break;
	case PLAN_TWICE: second->offset = 0; break;
	case PLAN_ONE_FAILS:
	case PLAN_THEN_NO_DATA: second->leg_offset = LEG_DISK_SIZE; break;
	}
}

/* A request has come, or its plan has come back. */
static void serve_tag(struct server *server, int tag, int notice)
{
	uint64_t address = (uintptr_t)queue_buffer(&server->queue, tag);
	struct ubd_io_cmd payload = { .tag = tag };
	uint32_t code = UBD_IO_COMMIT_AND_FETCH_REQ;

	atomic_fetch_add(&shared->refused_plans, notice == -EINVAL);
	atomic_fetch_add(&shared->plans_back, notice == UBD_IO_RES_BACK);
	if (server->protocol == PLANS && !notice && ubd_desc_op(&server->queue.descs[tag]) == UBD_OP_READ &&
	    is_fault_of_plans(atomic_load(&shared->fault))) {
		make_plan(server, tag);
		code = UBD_IO_COMMIT_PLAN_AND_FETCH;
		atomic_fetch_add(&shared->served, 1);
	} else {
		payload.result = answer(server, tag, &address);
	}
	payload.addr = address;
	command(server->queue.ring, server->queue.device->fd, code, &payload, sizeof(payload), tag);
}

static void serve_batch(struct server *server, int count)
{
	const struct ubd_batch_event *events = (struct ubd_batch_event *)(server->answers + DEPTH);
	struct ubd_io_cmd payload = { .result = count };
	uint64_t unused;
	int i;

	for (i = 0; i < count; i++)
		server->answers[i] = (struct ubd_batch_answer){ .tag = events[i].tag,
			.result = answer(server, events[i].tag, &unused) };
	command(server->queue.ring, server->queue.device->fd, UBD_IO_ANSWER_AND_WAIT, &payload, sizeof(payload), 0);
}

/* What the driver shares with a new server holds nothing of anybody's past. */
static void *map_area(struct server *server, uint64_t offset, uint64_t length, int protection)
{
	const char *area = mmap(NULL, length, protection, MAP_SHARED, server->queue.device->fd, offset);
	uint64_t i;

	if (area == MAP_FAILED)
		err(1, "mmap");
	for (i = 0; i < length && !area[i]; i++)
		;
	atomic_fetch_add(&shared->dirty_areas, i < length);
	return (void *)area;
}

static void fetch_all(struct server *server)
{
	struct queue *queue = &server->queue;
	struct ubd_io_cmd payload = { .addr = (uintptr_t)queue->buffers };

	int tag;

	for (tag = 0; tag < DEPTH; tag++)
		fill(queue_buffer(queue, tag), REGION, SERVER, 0);
	if (server->protocol == BATCHES) {
		command(queue->ring, queue->device->fd, UBD_IO_ANSWER_AND_WAIT, &payload, sizeof(payload), 0);
		io_uring_submit(queue->ring);
	} else {
		queue_fetch_all(queue);
	}
}

static void server_run(struct device *device, enum protocol protocol)
{
	struct server server = { .protocol = protocol, .missing = protocol == V2 ? half_missing() : NULL };
	int protection = PROT_READ | PROT_WRITE, tries, error;

	for (tries = 0; (error = device_open(device)) == -EBUSY && tries < 4000; tries++)
		usleep(5000); /* the last one's exit */
	if (error)
		errx(1, "open: %s", strerror(-error));
	atomic_store(&shared->is_open, 1);
	queue_open(&server.queue, device, 0);
	(void)map_area(&server, ubd_desc_offset(0, 4096), ubd_desc_length(DEPTH, 4096), PROT_READ);
	if (protocol == PLANS)
		server.slots = map_area(&server, ubd_plan_offset(0), ubd_plan_length(DEPTH, 4096), protection);
	if (protocol == BATCHES)
		server.answers = map_area(&server, ubd_batch_offset(0), ubd_batch_length(DEPTH, 4096), protection);
	fetch_all(&server);
	for (;;) {
		struct io_uring_cqe *cqe;
		int tag, result;

		/* What an answer took away is back for the tag's next request, which may be a WRITE. */
		io_uring_submit(server.queue.ring);
		mprotect(server.queue.buffers, DEPTH * REGION, PROT_READ | PROT_WRITE);
		if (io_uring_submit_and_wait(server.queue.ring, 1) < 0 || io_uring_peek_cqe(server.queue.ring, &cqe))
			continue;
		tag = cqe->user_data;
		result = cqe->res;
		io_uring_cqe_seen(server.queue.ring, cqe);
		if (result == UBD_IO_RES_ABORT)
			_exit(0);
		if (protocol == BATCHES)
			serve_batch(&server, result);
		else
			serve_tag(&server, tag, result);
	}
}

#endif
