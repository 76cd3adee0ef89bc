// SPDX-License-Identifier: MIT
/*
 * Writes stamped blocks at random through full queues and keeps a record, beside the disk, of what
 * was issued and what was acknowledged. A block may hold any stamp from the last acknowledged to the
 * last issued; each read checks that, and at the end all blocks are read.
 *
 *   ackload [-e] [-j JOBS] [-d DEPTH] [-b BLOCKS] run RECORD DISK    until SIGTERM or an I/O error
 *   ackload [-b BLOCKS] verify RECORD DISK
 *
 * -e: an I/O error is a failure. Otherwise it is the disk's end, and status 0.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 4096, MAGIC = 0x55424421, STAMPS = BLOCK / 16, AT_ONCE = 64 };

struct stamp {
	uint32_t magic, block, sequence, zero;
};

/* In a file of its own, so that it outlives everybody. */
struct record {
	uint32_t issued, acked;
};

struct op {
	struct stamp *data;
	uint32_t block, sequence, acked; /* acked: when a read was issued */
	int is_write;
};

static struct record *records;
static uint32_t blocks = 4096;
static int jobs = 4, depth = 64, errors_matter, disk;
static volatile sig_atomic_t is_stopping;

static void stop(int signal_number)
{
	is_stopping = 1;
}

static void fill(struct op *op)
{
	int i;

	for (i = 0; i < STAMPS; i++)
		op->data[i] = (struct stamp){ MAGIC, op->block, op->sequence, 0 };
}

/* What is on a block that was read when so much had been acknowledged. */
static void check(const struct stamp *data, uint32_t block, uint32_t acked, const char *when)
{
	uint32_t issued = __atomic_load_n(&records[block].issued, __ATOMIC_ACQUIRE);
	const struct stamp zero = { 0 };
	int i;

	for (i = 0; i < STAMPS; i++) {
		const struct stamp *stamp = &data[i];

		if (!acked && !memcmp(stamp, &zero, sizeof(zero)))
			continue;
		if (stamp->magic != MAGIC || stamp->block != block || stamp->sequence < acked ||
			stamp->sequence > issued || (i && memcmp(stamp, data, sizeof(*stamp))))
			errx(3, "%s: block %u, byte %d: magic %x, block %u, sequence %u; acknowledged %u, "
				"issued %u", when, block, i * 16, stamp->magic, stamp->block,
				stamp->sequence, acked, issued);
	}
}

static void issue(struct io_uring *ring, struct op *op, char *in_flight, int job)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	do
		op->block = random() % (blocks / jobs) * jobs + job;
	while (in_flight[op->block]);
	in_flight[op->block] = 1;
	op->is_write = random() % 4 != 0;
	op->acked = records[op->block].acked;
	if (op->is_write) {
		op->sequence = records[op->block].issued + 1;
		fill(op);
		__atomic_store_n(&records[op->block].issued, op->sequence, __ATOMIC_RELEASE);
		io_uring_prep_write(sqe, disk, op->data, BLOCK, (uint64_t)op->block * BLOCK);
	} else {
		io_uring_prep_read(sqe, disk, op->data, BLOCK, (uint64_t)op->block * BLOCK);
	}
	io_uring_sqe_set_data(sqe, op);
}

/* Zero: the disk is gone, which may be. */
static int ended(const struct op *op, int result)
{
	if (result == BLOCK) {
		if (op->is_write)
			__atomic_store_n(&records[op->block].acked, op->sequence, __ATOMIC_RELEASE);
		else
			check(op->data, op->block, op->acked, "while it runs");
		return 1;
	}
	if (errors_matter)
		errx(4, "%s of block %u: %s", op->is_write ? "write" : "read", op->block,
			result < 0 ? strerror(-result) : "short");
	if (result < 0 && result != -EIO && result != -ENXIO && result != -ENODEV && result != -ENOSPC)
		errx(4, "a disk that went said %s", strerror(-result));
	return 0;
}

static int run(int job)
{
	struct op *ops = calloc(depth, sizeof(*ops));
	char *in_flight = calloc(blocks, 1);
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	cpu_set_t cpus;
	int i, under_way, good = 1;

	CPU_ZERO(&cpus);
	CPU_SET(job % sysconf(_SC_NPROCESSORS_CONF), &cpus);
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
	srandom(getpid());
	if (io_uring_queue_init(depth, &ring, 0))
		errx(1, "ring");
	for (i = 0; i < depth; i++) {
		ops[i].data = aligned_alloc(BLOCK, BLOCK);
		issue(&ring, &ops[i], in_flight, job);
	}
	for (under_way = depth; under_way;) {
		if (io_uring_submit_and_wait(&ring, 1) < 0)
			continue;
		while (!io_uring_peek_cqe(&ring, &cqe)) {
			struct op *op = io_uring_cqe_get_data(cqe);
			int result = cqe->res;

			io_uring_cqe_seen(&ring, cqe);
			in_flight[op->block] = 0;
			under_way--;
			good &= ended(op, result);
			if (good && !is_stopping) {
				issue(&ring, op, in_flight, job);
				under_way++;
			}
		}
	}
	return 0;
}

static int run_all(void)
{
	const struct sigaction on_stop = { .sa_handler = stop }; /* it interrupts wait() */
	int job, status, worst = 0;

	for (job = 0; job < jobs; job++) {
		if (!fork()) {
			sigaction(SIGTERM, &on_stop, NULL);
			_exit(run(job));
		}
	}
	sigaction(SIGTERM, &on_stop, NULL);
	for (job = 0; job < jobs;) {
		if (wait(&status) < 0) {
			if (is_stopping == 1) {
				signal(SIGTERM, SIG_IGN);
				kill(0, SIGTERM);
				is_stopping = 2;
			}
			continue;
		}
		job++;
		if (status && !worst)
			worst = WIFEXITED(status) ? WEXITSTATUS(status) : 9;
	}
	return worst;
}

static int verify(void)
{
	char *data = aligned_alloc(BLOCK, AT_ONCE * BLOCK);
	uint64_t issued = 0, acked = 0;
	uint32_t block;

	for (block = 0; block < blocks; block++) {
		uint32_t place = block % AT_ONCE;

		if (!place && pread(disk, data, AT_ONCE * BLOCK, (off_t)block * BLOCK) != AT_ONCE * BLOCK)
			err(4, "block %u", block);
		check((struct stamp *)(data + place * BLOCK), block, records[block].acked, "at the end");
		issued += records[block].issued;
		acked += records[block].acked;
	}
	printf("%llu writes issued, all acknowledged ones are there\n", (unsigned long long)issued);
	return acked ? 0 : 5; /* nothing was ever acknowledged: nothing was tested */
}

int main(int argc, char **argv)
{
	int option, fd;

	setpgid(0, 0);
	while ((option = getopt(argc, argv, "ej:d:b:")) != -1) {
		switch (option) {
		case 'e': errors_matter = 1; break;
		case 'j': jobs = atoi(optarg); break;
		case 'd': depth = atoi(optarg); break;
		case 'b': blocks = atoi(optarg); break;
		default: errx(2, "see the head of ackload.c");
		}
	}
	if (argc - optind != 3 || blocks / jobs <= (uint32_t)depth || blocks % AT_ONCE)
		errx(2, "see the head of ackload.c");
	fd = open(argv[optind + 1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, blocks * sizeof(*records)))
		err(1, "%s", argv[optind + 1]);
	records = mmap(NULL, blocks * sizeof(*records), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	disk = open(argv[optind + 2], O_RDWR | O_DIRECT);
	if (disk < 0)
		err(1, "%s", argv[optind + 2]);
	return !strcmp(argv[optind], "verify") ? verify() : run_all();
}
