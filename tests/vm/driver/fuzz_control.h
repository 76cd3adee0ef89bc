/* SPDX-License-Identifier: MIT */
/*
 * What uring_cmd_fuzz's servers have in common, and the control commands that they send.
 */
#ifndef FUZZ_CONTROL_H
#define FUZZ_CONTROL_H

#include "fuzz.h"

enum { LEGS = 9, ENOUGH = 200 };

struct server {
	struct chance chance;
	int control_fd, char_fd;
	unsigned int device, wildness; /* one in so many steps is wild */
	int threads;
	struct ubd_dev_info info;
	char *buffer;
	size_t buffer_size;
	atomic_uint refused; /* how often a session has been told that it is over, or might be */
	atomic_uint live; /* its disk is there */
	int legs[LEGS]; /* disks and a file, -1 where there is none */
};

static int wild(struct server *server, struct chance *chance)
{
	return one_in(chance, server->wildness);
}

static void random_info(struct chance *chance, struct ubd_dev_info *info)
{
	static const uint16_t depths[] = { 1, 1, 2, 3, 8, 8, 32, 32, 64, 64, 128, 128 };

	memset(info, 0, sizeof(*info));
	info->nr_hw_queues = 1 + below(chance, QUEUES);
	info->queue_depth = one_in(chance, 64) ? UBD_MAX_QUEUE_DEPTH : /* takes long to make */
				depths[below(chance, sizeof(depths) / sizeof(*depths))];
	info->block_size = 512 << below(chance, 4);
	info->rq_max_blocks = (4096 << below(chance, 8)) / info->block_size;
	info->dev_blocks = one_in(chance, 8) ? odd_number(chance) : 1 + below(chance, 1 << 15);
	info->flags[0] = draw(chance) &
		(UBD_F_PARAMS | UBD_F_PLANS | UBD_F_RECOVERY | UBD_F_RESIZE |
			UBD_F_BATCHES);
	if (one_in(chance, 2))
		info->flags[0] |= UBD_F_PLANS;
}

static void random_params(struct chance *chance, struct ubd_params *params)
{
	memset(params, 0, sizeof(*params));
	params->flags = below(chance, UBD_PARAM_ALL_FLAGS + 1);
	if (one_in(chance, 2))
		params->logical_block_size = 512 << below(chance, 4);
	if (one_in(chance, 2))
		params->physical_block_size = 512 << below(chance, 12);
	if (one_in(chance, 2))
		params->max_discard = params->max_write_zeroes = 4096ull << below(chance, 24);
	if (one_in(chance, 4))
		params->discard_granularity = 512 << below(chance, 22);
	if (one_in(chance, 4))
		params->chunk_size = 4096 << below(chance, 18);
	if (one_in(chance, 4))
		params->io_opt = 4096 << below(chance, 18);
	if (one_in(chance, 2))
		params->timeout_ms = 1000;
	if (one_in(chance, 2))
		params->recovery_ms = 100 << below(chance, 6);
	else
		params->flags &= ~UBD_PARAM_REISSUE;
	if (one_in(chance, 8))
		((uint32_t *)params)[below(chance, sizeof(*params) / 4)] = odd_number(chance);
}

/* A control command: right, or wrong in a field or two. The buffer is static: its content may be
 * anything. */
static void control_send(
	struct server *server, struct chance *chance, struct ring *ring, uint32_t code)
{
	static union {
		struct ubd_dev_info info;
		struct ubd_params params;
		uint64_t words[64];
	} buffers[64];
	unsigned int slot = below(chance, 64), i;
	struct ubd_ctrl_cmd command = { .dev_id = server->device,
		.queue_id = UBD_NO_QUEUE,
		.addr = (uintptr_t)&buffers[slot] };

	if (wild(server, chance))
		command.dev_id = one_in(chance, 2) ? below(chance, DEVICES) : odd_number(chance);
	switch (code) {
	case UBD_CMD_ADD_DEV:
		random_info(chance, &buffers[slot].info);
		buffers[slot].info.dev_id = command.dev_id;
		if (wild(server, chance))
			((uint16_t *)&buffers[slot].info)[below(chance, 64)] = odd_number(chance);
		/* fall through */
	case UBD_CMD_GET_DEV_INFO:
		command.len = sizeof(struct ubd_dev_info);
		break;
	case UBD_CMD_SET_PARAMS:
		random_params(chance, &buffers[slot].params);
		/* fall through */
	case UBD_CMD_GET_PARAMS:
		command.len = sizeof(struct ubd_params);
		break;
	case UBD_CMD_GET_QUEUE_AFFINITY:
		command.len = 8 * (1 + below(chance, 8));
		command.data[0] = below(chance, QUEUES);
		break;
	case UBD_CMD_GET_FEATURES:
		command.len = 8;
		break;
	case UBD_CMD_SET_LEGS:
		for (i = 0; i < LEGS; i++)
			((int *)&buffers[slot])[i] =
				wild(server, chance) ? (int)below(chance, 64) : server->legs[i];
		command.len = 4 * (1 + below(chance, LEGS));
		break;
	case UBD_CMD_START_DEV:
	case UBD_CMD_RESUME_DEV:
		command.data[0] = getpid();
		break;
	case UBD_CMD_HAND_OVER_DEV:
		command.data[0] = 1 + below(chance, 500);
		break;
	case UBD_CMD_UPDATE_SIZE:
		command.data[0] = 1 + below(chance, 1 << 15);
		break;
	}
	if (wild(server, chance)) {
		uint64_t value = odd_number(chance);
		unsigned int offset = below(chance, sizeof(command));

		memcpy((char *)&command + offset, &value,
			1 + below(chance,
				    sizeof(command) - offset < 8 ? sizeof(command) - offset : 8));
		if (command.addr != (uintptr_t)&buffers[slot] && command.addr < 1ull << 47 &&
			one_in(chance, 2))
			command.addr = (uintptr_t)server->buffer;
	}
	(void)ring_send(ring, server->control_fd, code, one_in(chance, 4) ? IOSQE_ASYNC : 0, 0,
		&command, sizeof(command));
}

static void ring_drain(struct ring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned int head, seen = 0;

	io_uring_for_each_cqe (&ring->uring, head, cqe) {
		ring_count(cqe);
		seen++;
	}
	io_uring_cq_advance(&ring->uring, seen);
}

/* Any command to any device, several at a time; the ring goes away under them now and then. */
static void *control_wildly(void *argument)
{
	static const uint32_t codes[] = { 1, 1, 2, 2, 2, 4, 4, 5, 6, 7, 0x10, 0x11, 0x12, 0x12,
		0x13, 0x13, 0x14, 0x15, 0x15, 0x16, 0x17, 0, 0x20 };
	struct server *server = argument;
	struct chance chance = { server->chance.state ^ 0xc0 };
	struct ring *ring = &rings[2 * THREADS];
	struct __kernel_timespec moment = { .tv_nsec = 2000000 };
	struct io_uring_cqe *cqe;

	for (;;) {
		int i, rounds = 1 + below(&chance, 200);

		if (ring_open(ring, 16, one_in(&chance, 32) ? 0 : IORING_SETUP_SQE128))
			return NULL;
		while (rounds--) {
			for (i = below(&chance, 6); i >= 0; i--) {
				uint32_t code =
					codes[below(&chance, sizeof(codes) / sizeof(*codes))];

				/* What ends a session is rare, or none would ever get far. */
				if ((code == UBD_CMD_DEL_DEV || code == UBD_CMD_STOP_DEV ||
					    code == UBD_CMD_HAND_OVER_DEV) &&
					!one_in(&chance, 200))
					code = UBD_CMD_GET_DEV_INFO;
				control_send(server, &chance, ring, code);
			}
			(void)io_uring_submit(&ring->uring);
			(void)io_uring_wait_cqe_timeout(&ring->uring, &cqe, &moment);
			ring_drain(ring);
		}
		ring_close(ring);
	}
}

#endif
