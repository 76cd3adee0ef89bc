/* SPDX-License-Identifier: MIT */
/*
 * Writes stamped blocks at random through full queues and keeps a record, beside the disk, of what
 * was issued and what was acknowledged. A block may hold any stamp from the last acknowledged to the
 * last issued; each read checks that. (Where may_tear is set, also some of both: a server died while it
 * copied, or somebody else writes while we read. Both sides may copy by single bytes, as an emulated
 * processor does for `rep movsb`: each byte is then of one of these stamps, or as it was before the first.)
 */
#ifndef ACKLOAD_H
#define ACKLOAD_H

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 4096, MAGIC = 0x55424421, STAMPS = BLOCK / 16, AT_ONCE = 64 };

struct stamp {
	uint32_t magic, block, sequence, zero;
};

/* In a file of its own, or in memory of the host's, so that it outlives everybody. */
struct record {
	uint32_t issued, acked;
};

struct op {
	struct stamp *data;
	uint32_t block, sequence, acked; /* acked: when a read was issued */
	int is_write;
};

static struct record *records;
static atomic_ulong *acknowledged; /* writes, of all jobs */
static uint32_t blocks = 4096;
static int jobs = 4, depth = 64, errors_matter, may_tear, disk;
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

/* Whether each byte of the sequence, as it lies there, is that of one from `low` to `high`. */
static int is_mixed(uint32_t sequence, uint32_t low, uint32_t high)
{
	uint32_t one;
	int i;

	for (i = 0; i < 32; i += 8) {
		for (one = low; one < high && ((one ^ sequence) >> i & 0xff); one++)
			;
		if ((one ^ sequence) >> i & 0xff)
			return 0;
	}
	return 1;
}

/* Whether each byte is the wanted one, or zero where that may be. */
static int is_word(uint32_t word, uint32_t wanted, int may_be_zero)
{
	int i;

	for (i = 0; i < 32; i += 8)
		if ((word ^ wanted) >> i & 0xff && !(may_be_zero && !(word >> i & 0xff)))
			return 0;
	return 1;
}

static int is_good(const struct stamp *stamp, uint32_t block, uint32_t acked, uint32_t issued)
{
	int may_be_zero = may_tear && !acked;

	if (!is_word(stamp->magic, MAGIC, may_be_zero) || !is_word(stamp->block, block, may_be_zero) || stamp->zero)
		return 0;
	return may_tear ? is_mixed(stamp->sequence, acked, issued) : stamp->sequence >= acked && stamp->sequence <= issued;
}

/* What is on a block that was read when so much had been acknowledged. */
static void check(const struct stamp *data, uint32_t block, uint32_t acked, const char *when)
{
	uint32_t issued = __atomic_load_n(&records[block].issued, __ATOMIC_ACQUIRE);
	const struct stamp blank = { 0 };
	int i;

	for (i = 0; i < STAMPS; i++) {
		const struct stamp *stamp = &data[i];

		if (!acked && !memcmp(stamp, &blank, sizeof(blank)))
			continue;
		if (!is_good(stamp, block, acked, issued) || (!may_tear && memcmp(stamp, data, sizeof(*stamp))))
			errx(3, "%s: block %u, byte %d: magic %x, block %u, sequence %u, zero %x; acknowledged %u, "
				"issued %u", when, block, i * 16, stamp->magic, stamp->block,
				stamp->sequence, stamp->zero, acked, issued);
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
	if (result == BLOCK && op->is_write) {
		__atomic_store_n(&records[op->block].acked, op->sequence, __ATOMIC_RELEASE);
		atomic_fetch_add(acknowledged, 1);
		return 1;
	}
	if (result == BLOCK) {
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

/* Until SIGTERM or, if that may be, an I/O error. */
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

/* Reads every block, also while the load goes on. How many writes were ever issued. */
static uint64_t verify(const char *when)
{
	static char data[AT_ONCE * BLOCK] __attribute__((aligned(BLOCK)));
	uint32_t block, place, acked[AT_ONCE];
	uint64_t issued = 0;

	for (block = 0; block < blocks; block += AT_ONCE) {
		for (place = 0; place < AT_ONCE; place++)
			acked[place] = __atomic_load_n(&records[block + place].acked, __ATOMIC_ACQUIRE);
		if (pread(disk, data, sizeof(data), (off_t)block * BLOCK) != sizeof(data))
			err(4, "%s: block %u", when, block);
		for (place = 0; place < AT_ONCE; place++) {
			check((struct stamp *)(data + place * BLOCK), block + place, acked[place], when);
			issued += records[block + place].issued;
		}
	}
	return issued;
}

static void disk_open(const char *path)
{
	disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		err(1, "%s", path);
}

/* A file, made as large as need be; or a PCI device's memory, which is as large as it is. */
static void records_open(const char *path)
{
	size_t size = blocks * sizeof(*records);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) || ((size_t)stat.st_size < size && ftruncate(fd, size)))
		err(1, "%s", path);
	records = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	acknowledged = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (records == MAP_FAILED || acknowledged == MAP_FAILED)
		err(1, "%s", path);
}

#endif
