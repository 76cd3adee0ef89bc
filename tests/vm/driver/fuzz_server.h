/* SPDX-License-Identifier: MIT */
/*
 * The life of one of uring_cmd_fuzz's servers: a process, a device, one session after another.
 */
#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

#include "fuzz_io.h"

/* One control command with its answer, or -ETIME: who waits longer may wait for himself. */
static int control_wait(struct server *server, struct ring *ring, uint32_t code, void *buffer,
	unsigned int length, unsigned int ms)
{
	static unsigned int number;
	struct ubd_ctrl_cmd command = { .dev_id = server->device,
		.queue_id = UBD_NO_QUEUE,
		.len = length,
		.addr = (uintptr_t)buffer,
		.data = { getpid() } };
	struct __kernel_timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	struct io_uring_cqe *cqe;
	int result;

	(void)ring_send(ring, server->control_fd, code, 0, ++number, &command, sizeof(command));
	(void)io_uring_submit(&ring->uring);
	while (!(result = io_uring_wait_cqe_timeout(&ring->uring, &cqe, &time))) {
		int mine = (unsigned int)cqe->user_data == number;

		result = cqe->res;
		ring_count(cqe);
		io_uring_cqe_seen(&ring->uring, cqe);
		if (mine)
			break;
	}
	return result;
}

static void fail_allocations(void)
{
	int fd = open("/proc/self/make-it-fail", O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		err(1, "make-it-fail");
	close(fd);
}

/* A server's whole life, from another number of sessions; only signals and its own whims end it. */
static void server_main(struct chance chance, unsigned int number)
{
	static const unsigned int wildnesses[] = { 1000000, 1000000, 1000, 200, 50, 10, 3 };
	static const char *const legs[LEGS] = { "/dev/ram0", "/dev/ram1", "/dev/nullb0",
		"/dev/nullb1", "/dev/mapper/flakey", "/dev/mapper/delay", "/dev/loop0",
		"/dev/ubdb0", "/mnt/leg/file" };
	static struct server server;
	static struct thread threads[THREADS];
	struct ring *ring = &rings[2 * THREADS + 1];
	unsigned int i, queue;
	int ms;
	pthread_t scribbler;
	char path[32];

	server.chance = chance;
	server.wildness = wildnesses[below(&chance, sizeof(wildnesses) / sizeof(*wildnesses))];
	server.device = one_in(&chance, 8) ? below(&chance, DEVICES) : number % DEVICES;
	server.control_fd = open("/dev/ubd-control", O_RDWR);
	server.buffer_size = 1 << 20;
	server.buffer = mmap(NULL, server.buffer_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < sizeof(rings) / sizeof(*rings); i++)
		pthread_mutex_init(&rings[i].lock, NULL);
	for (i = 0; i < QUEUES; i++) {
		pthread_mutex_init(&slots[i].lock, NULL);
		pthread_mutex_init(&lists[i].lock, NULL);
	}
	for (i = 0; i < LEGS; i++)
		server.legs[i] = open(legs[i], O_RDWR | O_DIRECT);
	if (server.control_fd < 0 || server.buffer == MAP_FAILED ||
		ring_open(ring, 16, IORING_SETUP_SQE128))
		err(1, "a server");
	if (faults && one_in(&chance, 2))
		fail_allocations();
	if (one_in(&chance, 2) &&
		!pthread_create(&scribbler, NULL, scribble, (void *)draw(&chance)))
		pthread_detach(scribbler);
	if (one_in(&chance, 3) && !pthread_create(&scribbler, NULL, control_wildly, &server))
		pthread_detach(scribbler);
	snprintf(path, sizeof(path), "/dev/ubdc%u", server.device);
	if (one_in(&chance, 2)) /* else what a dead one has left is taken over as it is */
		(void)control_wait(&server, ring, UBD_CMD_DEL_DEV, NULL, 0, 2000);
	for (;;) {
		random_info(&chance, &server.info);
		server.info.dev_id = server.device;
		(void)control_wait(
			&server, ring, UBD_CMD_ADD_DEV, &server.info, sizeof(server.info), 1000);
		(void)control_wait(&server, ring, UBD_CMD_GET_DEV_INFO, &server.info,
			sizeof(server.info), 1000);
		if (!server.info.queue_depth)
			continue;
		if (one_in(&chance, 2)) {
			struct ubd_params params;

			random_params(&chance, &params);
			(void)control_wait(
				&server, ring, UBD_CMD_SET_PARAMS, &params, sizeof(params), 1000);
		}
		control_send(&server, &chance, ring, UBD_CMD_SET_LEGS);
		(void)io_uring_submit(&ring->uring);
		server.char_fd =
			open(path, O_RDWR | O_CLOEXEC | (one_in(&chance, 2) ? O_NONBLOCK : 0));
		if (server.char_fd < 0) {
			usleep(2000);
			continue;
		}
		server.refused = server.live = 0;
		server.threads = 1 + below(&chance, THREADS);
		if (server.threads > server.info.nr_hw_queues && !wild(&server, &chance))
			server.threads = server.info.nr_hw_queues;
		for (i = 0; i < (unsigned int)server.threads; i++) {
			threads[i] = (struct thread){ .server = &server,
				.chance = { draw(&chance) },
				.number = i,
				.ring = &rings[i] };
			if (pthread_create(&threads[i].id, NULL, serve, &threads[i]))
				_exit(1);
		}
		server.live = !control_wait(&server, ring,
			server.info.state == UBD_DEV_WAITING ? UBD_CMD_RESUME_DEV : UBD_CMD_START_DEV,
			NULL, 0, 10000);
		for (ms = below(&chance, life_ms); ms > 0 && server.refused < ENOUGH; ms -= 10) {
			usleep(10000);
			if (wild(&server, &chance))
				control_send(&server, &chance, ring, UBD_CMD_GET_DEV_INFO);
		}
		if (one_in(&chance, 4))
			(void)control_wait(&server, ring, UBD_CMD_HAND_OVER_DEV, NULL, 0, 20000);
		if (one_in(&chance, 4))
			_exit(0);
		if (one_in(&chance, 2))
			(void)control_wait(&server, ring, UBD_CMD_STOP_DEV, NULL, 0, 20000);
		if (one_in(&chance, 4))
			(void)control_wait(&server, ring, UBD_CMD_DEL_DEV, NULL, 0, 20000);
		if (one_in(&chance, 4))
			_exit(0);
		server.refused = ENOUGH;
		for (i = 0; i < (unsigned int)server.threads; i++) {
			(void)pthread_join(threads[i].id, NULL);
			ring_close(&rings[i]);
			for (queue = 0; queue < QUEUES; queue++) {
				if (threads[i].descs[queue])
					(void)munmap(threads[i].descs[queue],
						ubd_desc_length(server.info.queue_depth, 4096));
				if (threads[i].plans[queue]) {
					slots_set(&slots[queue], NULL, 0, 0);
					(void)munmap(threads[i].plans[queue],
						ubd_plan_length(server.info.queue_depth, 4096));
				}
				if (threads[i].lists[queue]) {
					slots_set(&lists[queue], NULL, 0, 0);
					(void)munmap(threads[i].lists[queue],
						ubd_batch_length(server.info.queue_depth, 4096));
				}
			}
		}
		(void)mprotect(server.buffer, server.buffer_size, PROT_READ | PROT_WRITE);
		close(server.char_fd);
	}
}

#endif
