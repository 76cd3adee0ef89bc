// SPDX-License-Identifier: MIT
/* The ring and its loop. It knows no request, no leaf and no driver. */
#include "uring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u
#define ENTRIES_MAX 32768u /* the kernel's own limit */

/*
 * A newer library's io_uring_queue_init() leaves out the array that says which SQE stands where; so
 * the ring is made by hand.
 */
static int ring_make(struct uring *uring, unsigned entries, unsigned completions)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER |
			IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
			IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
		.cq_entries = completions,
	};
	int fd = io_uring_setup(entries, &params);
	int result;

	if (fd < 0)
		return fd;
	result = io_uring_queue_mmap(fd, &params, &uring->ring);
	if (result < 0) {
		(void)close(fd); /* nothing was done with it */
		return result;
	}
	uring->ring.features = params.features;
	uring->shared = params.sq_entries - uring->kept;
	uring->is_open = true;
	return 0;
}

int uring_open(struct uring *uring, const struct uring_config *config, struct err *err)
{
	unsigned entries = config->entries + config->kept;
	unsigned completions;
	int result;

	if (entries > ENTRIES_MAX)
		entries = ENTRIES_MAX;
	completions = config->completions > 2 * ENTRIES_MAX ? 2 * ENTRIES_MAX
							    : (unsigned)config->completions;
	if (completions < entries)
		completions = entries;
	uring->kept = config->kept;
	result = ring_make(uring, entries, completions);
	if (result < 0)
		return err_add(err, "io_uring: a ring of %u entries can't be made: %s", entries,
			strerror(-result));
	(void)io_uring_register_ring_fd(&uring->ring); /* only saves a look-up per system call */
	if (config->fd_count == 0)
		return 0;
	result = io_uring_register_files(&uring->ring, config->fds, config->fd_count);
	if (result < 0) {
		uring_close(uring);
		return err_add(err, "io_uring: %u files can't be registered: %s", config->fd_count,
			strerror(-result));
	}
	return 0;
}

void uring_close(struct uring *uring)
{
	if (uring->is_open) {
		/*
		 * The kernel takes a ring apart some time after its end, and the ring holds its fixed
		 * files: their locks would outlive us, and the next daemon be refused.
		 */
		(void)io_uring_unregister_files(&uring->ring); /* there may be none */
		io_uring_queue_exit(&uring->ring);
	}
	uring->is_open = false;
}

int uring_register_buffer(struct uring *uring, void *memory, size_t length)
{
	struct iovec area = { memory, length };

	return io_uring_register_buffers(&uring->ring, &area, 1);
}

int uring_register_places(struct uring *uring, unsigned count)
{
	return io_uring_register_buffers_sparse(&uring->ring, count);
}

int uring_buffers_open(
	struct uring *uring, struct uring_buffers *buffers, unsigned count, unsigned length)
{
	struct io_uring_buf_reg reg = { .bgid = 0 };
	unsigned i;

	buffers->length = length;
	for (buffers->count = 1; buffers->count < count; buffers->count *= 2)
		;
	buffers->memory = calloc(buffers->count, length);
	if (!buffers->memory ||
		posix_memalign((void **)&buffers->ring, PAGE,
			buffers->count * sizeof(struct io_uring_buf)) != 0)
		return -ENOMEM;
	io_uring_buf_ring_init(buffers->ring);
	for (i = 0; i < buffers->count; i++)
		uring_buffers_give(buffers, buffers->memory + (size_t)i * length);
	reg.ring_addr = (uintptr_t)buffers->ring;
	reg.ring_entries = buffers->count;
	return io_uring_register_buf_ring(&uring->ring, &reg, 0);
}

void uring_buffers_close(struct uring_buffers *buffers)
{
	free(buffers->memory);
	free(buffers->ring);
	*buffers = (struct uring_buffers){ 0 };
}

const void *uring_buffers_taken(const struct uring *uring, const struct uring_buffers *buffers)
{
	if (!(uring->flags & IORING_CQE_F_BUFFER))
		return NULL;
	return buffers->memory +
	       (size_t)(uring->flags >> IORING_CQE_BUFFER_SHIFT) * buffers->length;
}

void uring_buffers_give(struct uring_buffers *buffers, const void *buffer)
{
	size_t place = (size_t)((const char *)buffer - buffers->memory) / buffers->length;

	io_uring_buf_ring_add(buffers->ring, (void *)buffer, buffers->length,
		(unsigned short)place, io_uring_buf_ring_mask(buffers->count), 0);
	io_uring_buf_ring_advance(buffers->ring, 1);
}

bool uring_goes_on(const struct uring *uring)
{
	return uring->flags & IORING_CQE_F_MORE;
}

int uring_submit(struct uring *uring)
{
	int result;

	do
		result = io_uring_submit(&uring->ring);
	while (result == -EINTR || result == -EAGAIN || result == -EBUSY);
	return result < 0 ? result : 0;
}

void uring_make_room(struct uring *uring)
{
	while (io_uring_sq_ready(&uring->ring) > 0) /* a refused SQE ends a submit */
		if (uring_submit(uring) < 0)
			abort(); /* the ring itself is broken: no request could ever be answered */
}

int uring_wait(struct uring *uring)
{
	int result = io_uring_submit_and_wait(&uring->ring, 1);

	/* What commands name may be reused by whoever is told now: all are to be with the kernel. */
	while (__builtin_expect(io_uring_sq_ready(&uring->ring) > 0, 0))
		if (uring_submit(uring) < 0)
			break;
	return result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY ? result : 0;
}

void uring_end(struct uring *uring)
{
	struct io_uring_cqe *cqe;
	unsigned head, count;

	do {
		count = 0;
		io_uring_for_each_cqe(&uring->ring, head, cqe) {
			struct event *event = (struct event *)(uintptr_t)cqe->user_data;

			uring->flags = cqe->flags;
			event->end(event, cqe->res);
			count++;
		}
		io_uring_cq_advance(&uring->ring, count);
	} while (count && io_uring_cq_ready(&uring->ring));
}

int uring_run(struct uring *uring)
{
	int result = uring_wait(uring);

	if (result == 0)
		uring_end(uring);
	return result;
}
