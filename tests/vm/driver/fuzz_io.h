/* SPDX-License-Identifier: MIT */
/*
 * The threads of uring_cmd_fuzz's servers that serve queues: they fetch, answer and plan, more or
 * less as they should.
 */
#ifndef FUZZ_IO_H
#define FUZZ_IO_H

#include "fuzz_control.h"

struct thread {
	struct server *server;
	struct chance chance;
	struct ring *ring;
	pthread_t id;
	unsigned int number;
	unsigned int useless; /* answers since the last that wasn't */
	void *descs[QUEUES];
	struct ubd_plan_slot *plans[QUEUES];
	struct ubd_batch_answer *lists[QUEUES];
};

enum { USELESS = 500 };
enum { WAITS = 0xffff }; /* in the place of the tag: a command for all of them */

static void io_send_as(struct thread *thread, unsigned int name, uint32_t code, unsigned int queue,
	unsigned int tag, int result)
{
	struct server *server = thread->server;
	struct chance *chance = &thread->chance;
	struct ubd_io_cmd command = {
		.q_id = queue, .tag = tag, .result = result, .addr = (uintptr_t)server->buffer
	};
	unsigned int flags = one_in(chance, 16) ? IOSQE_ASYNC : 0;
	int fd = server->char_fd;

	if (wild(server, chance)) {
		switch (below(chance, 8)) {
		case 0:
			command.q_id = odd_number(chance);
			break;
		case 1:
			command.tag = odd_number(chance);
			break;
		case 2:
			command.tag = below(chance, server->info.queue_depth);
			break;
		case 3:
			command.result = odd_number(chance);
			break;
		case 4:
			command.addr = odd_number(chance);
			break;
		case 5:
			code = 0x1f + below(chance, 9);
			break;
		case 6:
			flags = draw(chance) & (IOSQE_ASYNC | IOSQE_IO_LINK | IOSQE_IO_HARDLINK |
						       IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS);
			break;
		case 7:
			fd = one_in(chance, 2) ? server->control_fd : (int)below(chance, 16);
			break;
		}
	}
	while (!ring_send(thread->ring, fd, code, flags, 1ull << 31 | queue << 16 | name, &command,
		sizeof(command)))
		if (io_uring_submit(&thread->ring->uring) <= 0)
			return;
	if (server->live)
		atomic_fetch_add_explicit(&totals->to_live, 1, memory_order_relaxed);
}

static void io_send(
	struct thread *thread, uint32_t code, unsigned int queue, unsigned int tag, int result)
{
	io_send_as(thread, tag, code, queue, tag, result);
}

/* The tag's answer: mostly right, by the descriptor when it is mapped. */
static int io_result(struct thread *thread, unsigned int queue, unsigned int tag)
{
	const struct ubd_io_desc *descs = thread->descs[queue];
	static const int wrong[] = { 0, 1, 511, 512, 4096, -EIO, -EAGAIN, -EOPNOTSUPP, -ENOSPC,
		-EINTR, -512, -1, 1 << 30 };

	if (!descs || one_in(&thread->chance, 16))
		return wrong[below(&thread->chance, sizeof(wrong) / sizeof(*wrong))];
	return descs[tag].nr_sectors << 9;
}

/* A plan for what the descriptor says: one to four entries, whole or in parts; now and then
 * something is wrong with it. */
static void make_plan(struct thread *thread, unsigned int queue, unsigned int tag)
{
	struct server *server = thread->server;
	struct chance *chance = &thread->chance;
	const struct ubd_io_desc *desc = (const struct ubd_io_desc *)thread->descs[queue] + tag;
	struct ubd_plan_slot *slot = &thread->plans[queue][tag];
	unsigned int op = ubd_desc_op(desc), i, count = 1 + below(chance, 4),
		     length = desc->nr_sectors << 9;
	unsigned int part = op == UBD_OP_READ ? length / count & ~4095u : length;

	if (!part)
		count = 1, part = length;
	slot->life++;
	slot->count = one_in(chance, 16) ? 0 : count;
	slot->flags = 0;
	for (i = 0; i < count; i++) {
		unsigned int offset = op == UBD_OP_READ ? i * part : 0;

		slot->entries[i] = (struct ubd_plan_entry){
			.leg = below(chance, LEGS),
			.kind = op,
			.flags = op == UBD_OP_WRITE && one_in(chance, 8) ? UBD_PLAN_FUA : 0,
			.offset = offset,
			.length = i == count - 1 ? length - offset : part,
			.leg_offset = below(chance, 1 << 12) << 12,
		};
	}
	if (wild(server, chance))
		((uint32_t *)slot)[below(chance, 24)] = odd_number(chance);
}

static void answer(struct thread *thread, unsigned int queue, unsigned int tag, int result)
{
	struct chance *chance = &thread->chance;
	uint32_t code = one_in(chance, 64) ? UBD_IO_COMMIT_REQ : UBD_IO_COMMIT_AND_FETCH_REQ;

	if (queue >= QUEUES || tag >= thread->server->info.queue_depth)
		return;
	if (thread->plans[queue] && thread->descs[queue] && !one_in(chance, result ? 4 : 8)) {
		make_plan(thread, queue, tag);
		code = UBD_IO_COMMIT_PLAN_AND_FETCH;
	}
	io_send(thread, code, queue, tag, io_result(thread, queue, tag));
}

/* Events have come: answers, by one command or by several. */
static void answer_all(struct thread *thread, unsigned int queue, int count)
{
	struct chance *chance = &thread->chance;
	unsigned int depth = thread->server->info.queue_depth, answers = 0;
	struct ubd_batch_answer *list = queue < QUEUES ? thread->lists[queue] : NULL;
	const struct ubd_batch_event *events = (const struct ubd_batch_event *)(list + depth);
	int i;

	if (!list)
		return;
	for (i = 0; i < count && i < (int)depth; i++) {
		unsigned int tag = events[i].tag;
		struct ubd_batch_answer answer = { .tag = tag };

		if (tag >= depth)
			continue;
		if (one_in(chance, 64)) {
			io_send(thread, UBD_IO_COMMIT_REQ, queue, tag,
				io_result(thread, queue, tag));
			continue;
		}
		if (thread->plans[queue] && thread->descs[queue] && !one_in(chance, 8)) {
			make_plan(thread, queue, tag);
			answer.kind = UBD_ANSWER_PLAN;
		} else {
			answer.result = io_result(thread, queue, tag);
		}
		if (wild(thread->server, chance))
			((uint16_t *)&answer)[below(chance, 4)] = odd_number(chance);
		list[answers++] = answer;
		if (one_in(chance, 32)) {
			io_send(thread, UBD_IO_ANSWER, queue, 0, answers);
			(void)io_uring_submit(&thread->ring->uring);
			answers = 0;
		}
	}
	io_send_as(thread, WAITS, UBD_IO_ANSWER_AND_WAIT, queue, 0, answers);
}

static void upset(struct thread *thread)
{
	struct server *server = thread->server;
	struct chance *chance = &thread->chance;
	size_t page = below(chance, server->buffer_size / 4096) * 4096;
	unsigned int queue = below(chance, QUEUES);
	size_t length = ubd_desc_length(server->info.queue_depth, 4096);

	switch (below(chance, 13)) {
	case 0:
		(void)mprotect(server->buffer + page, 4096, PROT_NONE);
		break;
	case 1:
		(void)mprotect(server->buffer + page, 4096, PROT_READ);
		break;
	case 2:
		(void)mprotect(server->buffer, server->buffer_size, PROT_READ | PROT_WRITE);
		break;
	case 3:
		(void)madvise(server->buffer, server->buffer_size, MADV_DONTNEED);
		break;
	case 4:
		if (thread->descs[queue])
			(void)munmap(thread->descs[queue], length);
		thread->descs[queue] = NULL;
		break;
	case 5: /* another mapping, perhaps not a valid one, that stays */
		(void)!mmap(NULL, one_in(chance, 2) ? length : below(chance, 1 << 18),
			PROT_READ | (one_in(chance, 4) ? PROT_WRITE : 0), MAP_SHARED,
			server->char_fd,
			one_in(chance, 2) ? ubd_desc_offset(queue, 4096)
					  : below(chance, 1 << 20) & ~4095ull);
		break;
	case 6:
		(void)close(dup(server->char_fd));
		break;
	case 7:
		if (one_in(chance, 8))
			(void)close(server->char_fd);
		break;
	case 8:
		usleep(below(chance, 100000));
		break;
	case 12:
		if (thread->plans[queue]) {
			slots_set(&slots[queue], NULL, 0, 0);
			(void)munmap(thread->plans[queue],
				ubd_plan_length(server->info.queue_depth, 4096));
			thread->plans[queue] = NULL;
		}
		break;
	case 9: /* a child with our files and our rings */
		if (one_in(chance, 4) && !fork()) {
			(void)io_uring_submit(&thread->ring->uring);
			usleep(below(chance, 200000));
			_exit(0);
		}
		break;
	case 10:
		if (one_in(chance, 16))
			pthread_exit(NULL);
		break;
	case 11:
		if (one_in(chance, 32))
			_exit(0);
		break;
	}
}

/* Commands that nobody waits for: most for a queue of this thread's, of the kind that its device takes. */
static void send_unasked(struct thread *thread)
{
	struct server *server = thread->server;
	struct chance *chance = &thread->chance;
	unsigned int queues = server->info.nr_hw_queues, code, queue, left;
	int result, in_batches = !!(server->info.flags[0] & UBD_F_BATCHES);

	for (left = below(chance, server->live || one_in(chance, 16) ? 256 : 8); left; left--) {
		code = UBD_IO_FETCH_REQ + below(chance, 6);
		queue = below(chance, QUEUES);
		if (!one_in(chance, 8)) {
			if (in_batches)
				code = UBD_IO_ANSWER - below(chance, 2) - (one_in(chance, 8) ? 2 : 0);
			else
				code = UBD_IO_FETCH_REQ + below(chance, thread->plans[thread->number] ? 4 : 3);
			queue = thread->number + below(chance, QUEUES) / server->threads * server->threads;
			queue = queue < queues ? queue : thread->number;
		}
		result = in_batches ? (int)below(chance, 4) : 512 << below(chance, 9);
		io_send(thread, code, queue, in_batches ? 0 : below(chance, server->info.queue_depth),
			one_in(chance, 8) ? (int)odd_number(chance) : result);
	}
}

static unsigned int ring_flags(struct server *server, struct chance *chance)
{
	unsigned int flags = IORING_SETUP_SQE128;

	if (one_in(chance, 3))
		flags |= IORING_SETUP_COOP_TASKRUN;
	else if (one_in(chance, 2))
		flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	if (one_in(chance, 4))
		flags |= IORING_SETUP_CQE32;
	if (wild(server, chance) && one_in(chance, 4))
		flags ^= one_in(chance, 2)   ? IORING_SETUP_SQE128
			 : one_in(chance, 2) ? IORING_SETUP_IOPOLL
					     : IORING_SETUP_SQPOLL;
	return flags;
}

/*
 * Whether a command was of some use. Where hardly any is any more, as its file is closed or its queue another ring's, the session is
 * as good as over: the commands are better spent on a new one.
 */
static void see_use(struct thread *thread, int result)
{
	if (result >= 0 || result == UBD_IO_RES_BACK)
		thread->useless = 0;
	else if (result == UBD_IO_RES_ABORT || result == -EBADF || ++thread->useless > USELESS)
		thread->server->refused++;
}

static void serve_requests(struct thread *thread)
{
	struct server *server = thread->server;
	struct chance *chance = &thread->chance;
	struct __kernel_timespec moment = { .tv_nsec = 5000000 };
	unsigned int turns = 1 + below(chance, one_in(chance, 8) ? 200 : 1000000);

	while (turns-- && server->refused < ENOUGH) {
		struct io_uring *uring = &thread->ring->uring;
		struct io_uring_cqe *cqe;
		unsigned int head, seen = 0;

		(void)io_uring_submit_and_wait_timeout(uring, &cqe, 1, &moment, NULL);
		io_uring_for_each_cqe (uring, head, cqe) {
			unsigned int queue = cqe->user_data >> 16 & 3,
				     tag = cqe->user_data & 0xffff;

			ring_count(cqe);
			seen++;
			see_use(thread, cqe->res);
			if (tag == WAITS) {
				if (cqe->res != UBD_IO_RES_ABORT && cqe->res != -EBUSY)
					answer_all(thread, queue, cqe->res);
			} else if ((!cqe->res || cqe->res == UBD_IO_RES_BACK) &&
				!(server->info.flags[0] & UBD_F_BATCHES) && !wild(server, chance))
				answer(thread, queue, tag, cqe->res);
		}
		io_uring_cq_advance(uring, seen);
		if (one_in(chance, !server->live ? 16 : seen ? 16 : 2))
			send_unasked(thread);
		if (wild(server, chance))
			upset(thread);
	}
}

/* Each queue is one thread's, as it should be; and then another ring begins where the last was
 * closed. */
static void *serve(void *argument)
{
	struct thread *thread = argument;
	struct server *server = thread->server;
	unsigned int queue, tag;

	while (server->refused < ENOUGH && !ring_open(thread->ring, 16 << below(&thread->chance, 5),
						   ring_flags(server, &thread->chance))) {
		for (queue = thread->number; queue < server->info.nr_hw_queues && queue < QUEUES;
			queue += server->threads) {
			void *descs = mmap(NULL, ubd_desc_length(server->info.queue_depth, 4096),
				PROT_READ, MAP_SHARED, server->char_fd,
				ubd_desc_offset(queue, 4096));

			thread->descs[queue] = descs == MAP_FAILED ? NULL : descs;
			descs = mmap(NULL, ubd_plan_length(server->info.queue_depth, 4096),
				PROT_READ | PROT_WRITE, MAP_SHARED, server->char_fd,
				ubd_plan_offset(queue));
			thread->plans[queue] = descs == MAP_FAILED ? NULL : descs;
			slots_set(&slots[queue], thread->plans[queue],
				thread->plans[queue] ? server->info.queue_depth : 0,
				sizeof(struct ubd_plan_slot));
			descs = mmap(NULL, ubd_batch_length(server->info.queue_depth, 4096),
				PROT_READ | PROT_WRITE, MAP_SHARED, server->char_fd,
				ubd_batch_offset(queue));
			thread->lists[queue] = descs == MAP_FAILED ? NULL : descs;
			slots_set(&lists[queue], thread->lists[queue],
				thread->lists[queue] ? 2 * server->info.queue_depth : 0,
				sizeof(struct ubd_batch_answer));
			if (thread->lists[queue])
				io_send_as(thread, WAITS, UBD_IO_ANSWER_AND_WAIT, queue, 0, 0);
			for (tag = 0; !thread->lists[queue] && tag < server->info.queue_depth; tag++)
				io_send(thread, UBD_IO_FETCH_REQ, queue, tag, 0);
		}
		serve_requests(thread);
		ring_close(thread->ring);
	}
	return NULL;
}

#endif
