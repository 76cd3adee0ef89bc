// SPDX-License-Identifier: MIT
/*
 * A disk in a file's memory that outlives its servers: each serves it for a while, then dies or
 * hands over, and the next one takes over the device and the file.
 *
 * SIGTERM: hand over and exit with 0, or with the errno that the driver gave, then still serving
 * until SIGKILL. SIGUSR1: stop and delete the device, exit with 0.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "session.h"

static struct {
	int queues, depth, hold, resume, stays, anew;
	uint32_t recovery_ms, hand_over_ms, flags;
	long size_mib;
	const char *file;
} options = { 1, 32, 0, -1, 0, 0, 10000, 5000, UBD_PARAM_REISSUE, 32, "disk.bytes" };

static struct device device;
static char *disk;
static pthread_barrier_t fetched;
static volatile int is_live;

static int answer(struct queue *queue, int tag)
{
	const struct ubd_io_desc *desc = &queue->descs[tag];
	size_t offset = desc->start_sector * 512, length = desc->nr_sectors * 512ul;

	switch (ubd_desc_op(desc)) {
	case UBD_OP_READ:
		memcpy(queue_buffer(queue, tag), disk + offset, length);
		return length;
	case UBD_OP_WRITE:
		memcpy(disk + offset, queue_buffer(queue, tag), length);
		return length;
	case UBD_OP_DISCARD:
	case UBD_OP_WRITE_ZEROES:
		memset(disk + offset, 0, length);
		return 0;
	case UBD_OP_FLUSH:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Once live, answers so many requests of its queue as it may, and keeps the rest in its hands. */
static void *serve(void *argument)
{
	int id = (int)(intptr_t)argument, gone = 0, answered = 0;
	struct io_uring_cqe *cqe;
	struct queue queue;

	queue_open(&queue, &device, id);
	queue_fetch_all(&queue);
	pthread_barrier_wait(&fetched);
	while (gone < device.info.queue_depth) {
		int result = io_uring_submit_and_wait(queue.ring, 1);

		if (result < 0 && result != -EINTR)
			errx(1, "submit: %s", strerror(-result));
		while (!io_uring_peek_cqe(queue.ring, &cqe)) {
			int tag = cqe->user_data;

			result = cqe->res;
			io_uring_cqe_seen(queue.ring, cqe);
			if (result == UBD_IO_RES_ABORT)
				gone++;
			else if (result)
				errx(1, "tag %d: %s", tag, strerror(-result));
			else if (!options.hold || !is_live || ++answered < options.hold)
				queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, answer(&queue, tag));
		}
	}
	return NULL;
}

static void must(const char *what, int result)
{
	if (result)
		errx(1, "%s: %s", what, strerror(-result));
}

static void device_make(void)
{
	struct ubd_params params = { .flags = UBD_PARAM_DEFAULT_FLAGS | options.flags,
		.recovery_ms = options.recovery_ms,
		.max_discard = 1 << 20,
		.max_write_zeroes = 1 << 20 };

	device_init(&device, options.queues, options.depth);
	device.info.dev_blocks = options.size_mib << 11;
	device.info.flags[0] = UBD_F_PARAMS | UBD_F_RECOVERY | UBD_F_RESIZE;
	must("ADD_DEV", device_add(&device));
	must("SET_PARAMS", control(&device, UBD_CMD_SET_PARAMS, &params, sizeof(params), 0));
	must("open", device_open(&device));
}

/* The last server's exit may go on after its process. */
static void device_take(void)
{
	int tries, result;

	device_init(&device, 1, 1);
	device.info.dev_id = options.resume;
	must("GET_DEV_INFO", control(&device, UBD_CMD_GET_DEV_INFO, &device.info, sizeof(device.info), 0));
	for (tries = 0; (result = device_open(&device)) == -EBUSY && tries < 12000; tries++)
		usleep(5000);
	must("open", result);
}

static void go_live(void)
{
	uint32_t code = options.resume < 0 || options.anew ? UBD_CMD_START_DEV : UBD_CMD_RESUME_DEV;

	must(code == UBD_CMD_START_DEV ? "START_DEV" : "RESUME_DEV", control(&device, code, NULL, 0, getpid()));
	is_live = 1;
	printf("/dev/ubdb%u\n", device.info.dev_id);
	fflush(stdout);
}

static void read_options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "q:d:M:H:fr:R:h:m:s:S")) != -1) {
		switch (option) {
		case 'q': options.queues = atoi(optarg); break;
		case 'd': options.depth = atoi(optarg); break;
		case 'M': options.recovery_ms = atoi(optarg); break;
		case 'H': options.hand_over_ms = atoi(optarg); break;
		case 'f': options.flags = 0; break;
		case 'r': options.resume = atoi(optarg); break;
		case 'R': options.resume = atoi(optarg), options.anew = 1; break;
		case 'h': options.hold = atoi(optarg); break;
		case 'm': options.file = optarg; break;
		case 's': options.size_mib = atol(optarg); break;
		case 'S': options.stays = 1; break;
		default:
			errx(2, "usage: recovery_server [-q QUEUES] [-d DEPTH] [-M RECOVERY_MS] [-H HAND_OVER_MS] "
				"[-f: fail what is in flight] [-r DEVICE: resume it] [-R DEVICE: start it again] [-h ANSWERS: then no more] "
				"[-m FILE] [-s MIB] [-S: fetches, and never says RESUME_DEV]");
		}
	}
}

int main(int argc, char **argv)
{
	sigset_t signals;
	pthread_t *threads;
	int i, fd, got;
	size_t size;

	read_options(argc, argv);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (options.resume < 0)
		device_make();
	else
		device_take();
	size = device.info.dev_blocks * device.info.block_size;
	fd = open(options.file, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, size))
		err(1, "%s", options.file);
	disk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (disk == MAP_FAILED)
		err(1, "%s", options.file);
	options.queues = device.info.nr_hw_queues;
	pthread_barrier_init(&fetched, NULL, options.queues + 1);
	threads = calloc(options.queues, sizeof(*threads));
	for (i = 0; i < options.queues; i++)
		if (pthread_create(&threads[i], NULL, serve, (void *)(intptr_t)i))
			errx(1, "thread");
	pthread_barrier_wait(&fetched);
	if (!options.stays)
		go_live();
	for (;;) {
		sigwait(&signals, &got);
		if (got == SIGUSR1)
			break;
		i = control(&device, UBD_CMD_HAND_OVER_DEV, NULL, 0, options.hand_over_ms);
		printf("hand over: %d\n", i);
		fflush(stdout);
		if (!i)
			break;
	}
	if (got == SIGUSR1)
		must("STOP_DEV", control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	for (i = 0; i < options.queues; i++)
		pthread_join(threads[i], NULL);
	close(device.fd);
	if (got == SIGUSR1)
		must("DEL_DEV", control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return 0;
}
