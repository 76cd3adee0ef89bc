// SPDX-License-Identifier: MIT
/*
 * A disk in memory, served over the V2 protocol and nothing newer: what must go on working whatever
 * the driver learns. It can be told to be slow, short, silent or wrong, as tests of the driver need.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "v2.h"

static struct {
	int queues, depth, block_size, request_kib;
	long size_mib;
	unsigned int ring_flags;
	int hold, short_bytes, answer, registered;
	const char *log;
} options = { 1, 32, 512, 512, 64, 0, 0, 0, 0, 1, NULL };

static int char_fd, log_fd = -1;
static char *disk;
static pthread_barrier_t fetched;
static volatile int stopped;

struct queue {
	pthread_t thread;
	int id;
	struct io_uring ring;
	const struct v2_desc *descs;
	char *buffers;
	int answered;
};

static size_t buffer_size(void)
{
	return options.request_kib * 1024ul;
}

static void send_io(struct queue *queue, uint32_t code, int tag, int result)
{
	struct v2_io io = { .q_id = queue->id, .tag = tag, .result = result };

	io.addr = (uintptr_t)(queue->buffers + tag * buffer_size());
	memcpy(v2_prepare(&queue->ring, options.registered ? 0 : char_fd, code,
			  options.registered ? IOSQE_FIXED_FILE : 0, tag), &io, sizeof(io));
}

static void log_request(const struct v2_desc *desc)
{
	static const char *const names[] = { "read", "write", "flush", "discard", "write_same", "write_zeroes" };
	unsigned int op = desc->op_flags & 0xff;
	char line[128];
	int length;

	if (log_fd < 0 || op > V2_WRITE_ZEROES)
		return;
	length = snprintf(line, sizeof(line), "%s%s %llu %u\n", names[op],
			  desc->op_flags & V2_FUA ? "+fua" : "",
			  (unsigned long long)desc->start_sector, desc->nr_sectors);
	if (write(log_fd, line, length) != length)
		err(1, "%s", options.log);
}

static int answer(struct queue *queue, int tag)
{
	const struct v2_desc *desc = &queue->descs[tag];
	size_t offset = desc->start_sector * 512, length = desc->nr_sectors * 512ul;
	char *buffer = queue->buffers + tag * buffer_size();

	log_request(desc);
	if (options.answer)
		return options.answer;
	switch (desc->op_flags & 0xff) {
	case V2_READ:
		if (options.short_bytes && length > (size_t)options.short_bytes)
			length = options.short_bytes;
		memcpy(buffer, disk + offset, length);
		return length;
	case V2_WRITE:
		if (options.short_bytes && length > (size_t)options.short_bytes)
			length = options.short_bytes;
		memcpy(disk + offset, buffer, length);
		return length;
	case V2_FLUSH:
		return 0;
	case V2_DISCARD:
	case V2_WRITE_ZEROES:
		memset(disk + offset, 0, length);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static void open_queue(struct queue *queue)
{
	size_t length = (options.depth * sizeof(*queue->descs) + 4095) & ~4095ul;
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | options.ring_flags };
	int error = io_uring_queue_init_params(options.depth, &queue->ring, &params);

	if (error)
		errx(1, "ring: %s", strerror(-error));
	if (options.registered && (error = io_uring_register_files(&queue->ring, &char_fd, 1)))
		errx(1, "register: %s", strerror(-error));
	queue->descs = mmap(NULL, length, PROT_READ, MAP_SHARED | MAP_POPULATE, char_fd,
			    (off_t)queue->id * V2_QUEUE_STRIDE);
	queue->buffers = mmap(NULL, options.depth * buffer_size(), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (queue->descs == MAP_FAILED || queue->buffers == MAP_FAILED)
		err(1, "mmap");
}

static void *serve(void *argument)
{
	struct queue *queue = argument;
	int gone = 0, started = 0, tag, result;

	open_queue(queue);
	for (tag = 0; tag < options.depth; tag++)
		send_io(queue, V2_FETCH, tag, 0);
	while (gone < options.depth) {
		struct io_uring_cqe *cqe;
		unsigned int head, seen = 0;
		int submitted = started ? io_uring_submit_and_wait(&queue->ring, 1) : io_uring_submit(&queue->ring);

		if (submitted < 0 && submitted != -EINTR)
			errx(1, "submit: %s", strerror(-submitted));
		if (!started) {
			started = 1;
			pthread_barrier_wait(&fetched);
			continue;
		}
		io_uring_for_each_cqe(&queue->ring, head, cqe) {
			seen++;
			tag = cqe->user_data;
			if (cqe->res) { /* stopped, or a command that the driver found wrong */
				if (cqe->res != -ENODEV)
					errx(1, "queue %d tag %d: %s", queue->id, tag, strerror(-cqe->res));
				gone++;
				continue;
			}
			if (options.hold && ++queue->answered >= options.hold) {
				log_request(&queue->descs[tag]);
				gone++;
				continue;
			}
			result = answer(queue, tag);
			send_io(queue, V2_COMMIT_AND_FETCH, tag, result);
		}
		io_uring_cq_advance(&queue->ring, seen);
	}
	while (!stopped) /* all tags are held: stay, as one who hangs would */
		usleep(10000);
	io_uring_queue_exit(&queue->ring);
	return NULL;
}

static void parse(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "q:d:b:k:s:CDh:S:a:nl:")) != -1) {
		switch (option) {
		case 'q': options.queues = atoi(optarg); break;
		case 'd': options.depth = atoi(optarg); break;
		case 'b': options.block_size = atoi(optarg); break;
		case 'k': options.request_kib = atoi(optarg); break;
		case 's': options.size_mib = atol(optarg); break;
		case 'C': options.ring_flags |= IORING_SETUP_COOP_TASKRUN; break;
		case 'D': options.ring_flags |= 1u << 12 | 1u << 13; break; /* SINGLE_ISSUER, DEFER_TASKRUN */
		case 'h': options.hold = atoi(optarg); break;
		case 'S': options.short_bytes = atoi(optarg); break;
		case 'a': options.answer = atoi(optarg); break;
		case 'n': options.registered = 0; break;
		case 'l': options.log = optarg; break;
		default:
			errx(2, "usage: v2_server [-q QUEUES] [-d DEPTH] [-b BLOCK] [-k REQUEST_KIB] [-s MIB] [-C] [-D]\n"
			     "	[-h N: answer no more from the Nth request on] [-S BYTES: short answers]\n"
			     "	[-a RESULT: always this answer] [-n: no registered file] [-l LOG]");
		}
	}
}

int main(int argc, char **argv)
{
	struct v2_info info = { .dev_id = -1u };
	struct v2_control control = { .dev_id = -1u, .queue_id = 0xffff, .len = sizeof(info), .addr = (uintptr_t)&info };
	struct queue *queues;
	struct io_uring ring;
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	char path[32];
	sigset_t signals;
	int control_fd, i, got;

	parse(argc, argv);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (options.log && (log_fd = open(options.log, O_WRONLY | O_CREAT | O_APPEND, 0644)) < 0)
		err(1, "%s", options.log);
	disk = mmap(NULL, options.size_mib << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	control_fd = open("/dev/ubd-control", O_RDWR);
	if (control_fd < 0 || disk == MAP_FAILED || io_uring_queue_init_params(4, &ring, &params))
		err(1, "/dev/ubd-control");
	info.nr_hw_queues = options.queues;
	info.queue_depth = options.depth;
	info.block_size = options.block_size;
	info.rq_max_blocks = buffer_size() / options.block_size;
	info.dev_blocks = (options.size_mib << 20) / options.block_size;
	got = v2_control(&ring, control_fd, V2_ADD_DEV, &control);
	if (got)
		errx(1, "ADD_DEV: %s", strerror(-got));
	control.dev_id = info.dev_id;
	options.queues = info.nr_hw_queues;
	options.depth = info.queue_depth;
	snprintf(path, sizeof(path), "/dev/ubdc%u", info.dev_id);
	char_fd = open(path, O_RDWR);
	if (char_fd < 0)
		err(1, "%s", path);

	pthread_barrier_init(&fetched, NULL, options.queues + 1);
	queues = calloc(options.queues, sizeof(*queues));
	for (i = 0; i < options.queues; i++) {
		queues[i].id = i;
		if (pthread_create(&queues[i].thread, NULL, serve, &queues[i]))
			errx(1, "thread");
	}
	pthread_barrier_wait(&fetched);
	control.len = 0;
	control.addr = 0;
	control.data[0] = getpid();
	got = v2_control(&ring, control_fd, V2_START_DEV, &control);
	if (got)
		errx(1, "START_DEV: %s", strerror(-got));
	printf("/dev/ubdb%u\n", info.dev_id);
	fflush(stdout);

	sigwait(&signals, &got);
	control.data[0] = 0;
	got = v2_control(&ring, control_fd, V2_STOP_DEV, &control);
	if (got)
		errx(1, "STOP_DEV: %s", strerror(-got));
	stopped = 1;
	for (i = 0; i < options.queues; i++)
		pthread_join(queues[i].thread, NULL);
	close(char_fd);
	got = v2_control(&ring, control_fd, V2_DEL_DEV, &control);
	if (got)
		errx(1, "DEL_DEV: %s", strerror(-got));
	return 0;
}
