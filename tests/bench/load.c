// SPDX-License-Identifier: MIT
/*
 * A load that costs next to nothing itself: keeps a number of direct I/Os in flight on a device and
 * prints how many nanoseconds of this machine's clock each took. In the test VM's instruction-count
 * mode those are instructions. It verifies nothing, allocates nothing while the clock runs, and
 * visits the same offsets at each run.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 1024, BLOCK_MAX = 4 << 20, HUGE_PAGE = 2 << 20, WARM_UP_DIVISOR = 8 };

struct load {
	struct io_uring ring;
	int fd; /* 0 when the file is registered: its index */
	bool write, random, mixed, fixed_file, fixed_buffers;
	bool one_by_one; /* each I/O by a system call of its own, as programs with many threads do */
	unsigned depth;
	uint64_t block, blocks; /* bytes of one I/O, and how many fit the device */
	uint64_t next, seed;
	char *buffers;
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The next block to visit: one after the other, or by xorshift64. */
static uint64_t load_next(struct load *load)
{
	if (!load->random)
		return load->next++ % load->blocks;
	load->seed ^= load->seed << 13;
	load->seed ^= load->seed >> 7;
	load->seed ^= load->seed << 17;
	return load->seed % load->blocks;
}

static void load_prepare(struct load *load, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&load->ring);
	char *buffer = load->buffers + slot * load->block;
	uint64_t offset = load_next(load) * load->block;
	bool write = load->mixed ? load->seed >> 32 & 1 : load->write;

	if (load->fixed_buffers && write)
		io_uring_prep_write_fixed(sqe, load->fd, buffer, load->block, offset, 0);
	else if (load->fixed_buffers)
		io_uring_prep_read_fixed(sqe, load->fd, buffer, load->block, offset, 0);
	else if (write)
		io_uring_prep_write(sqe, load->fd, buffer, load->block, offset);
	else
		io_uring_prep_read(sqe, load->fd, buffer, load->block, offset);
	if (load->fixed_file)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, slot);
	if (load->one_by_one && io_uring_submit(&load->ring) < 0)
		die("submit");
}

/* Carries out this many I/Os, never more than depth at once. */
static void load_run(struct load *load, uint64_t count)
{
	uint64_t started = 0, ended = 0;

	for (; started < load->depth && started < count; started++)
		load_prepare(load, started);
	while (ended < count) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		int err = io_uring_submit_and_wait(&load->ring, 1);

		if (err < 0)
			die("submit: %s", strerror(-err));
		io_uring_for_each_cqe (&load->ring, head, cqe) {
			seen++;
			if (cqe->res != (int)load->block)
				die("an I/O of %llu bytes returned %d (%s)",
					(unsigned long long)load->block, cqe->res,
					cqe->res < 0 ? strerror(-cqe->res) : "short");
			if (started < count) {
				load_prepare(load, cqe->user_data);
				started++;
			}
		}
		io_uring_cq_advance(&load->ring, seen);
		ended += seen;
	}
}

static void load_open(struct load *load, const char *path)
{
	off_t size;
	size_t bytes = (load->block * load->depth + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	int err;

	load->fd = open(path, (load->write ? O_RDWR : O_RDONLY) | O_DIRECT);
	if (load->fd < 0)
		die("%s: %s", path, strerror(errno));
	size = lseek(load->fd, 0, SEEK_END);
	load->blocks = (uint64_t)size / load->block;
	if (!load->blocks)
		die("%s holds no block of %llu bytes", path, (unsigned long long)load->block);
	/* Huge pages or not is a third of what 128 KiB cost: leave nothing to chance. */
	if (posix_memalign((void **)&load->buffers, HUGE_PAGE, bytes))
		die("no memory");
	madvise(load->buffers, bytes, MADV_HUGEPAGE);
	memset(load->buffers, 0x5a, bytes);

	err = io_uring_queue_init(load->depth, &load->ring, 0);
	if (err)
		die("io_uring: %s", strerror(-err));
	if (load->fixed_file) {
		err = io_uring_register_files(&load->ring, &load->fd, 1);
		load->fd = 0;
	}
	if (!err && load->fixed_buffers) {
		struct iovec all = { load->buffers, bytes };

		err = io_uring_register_buffers(&load->ring, &all, 1);
	}
	if (err)
		die("register: %s", strerror(-err));
}

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end == 'k')
		value *= 1024, end++;
	if (*end || !value || value > max)
		die("%s is not a number from 1 to %llu", text, (unsigned long long)max);
	return value;
}

int main(int argc, char **argv)
{
	struct load load = { .seed = 0x9e3779b97f4a7c15 };
	const char *kind;
	uint64_t count, started;
	int option;

	while ((option = getopt(argc, argv, "fb1")) != -1) {
		if (option == 'f')
			load.fixed_file = true;
		else if (option == 'b')
			load.fixed_buffers = true;
		else if (option == '1')
			load.one_by_one = true;
		else
			return 2;
	}
	argv += optind;
	if (argc - optind != 5) {
		fputs("usage: load [-f] [-b] [-1] DEVICE randread|randwrite|randrw|read|write BLOCK "
		      "DEPTH COUNT\n"
		      "Prints nanoseconds per I/O. -f registers the file, -b the buffers; -1 submits "
		      "each I/O by itself.\n",
			stderr);
		return 2;
	}
	kind = argv[1];
	load.random = !strncmp(kind, "rand", 4);
	kind += load.random ? 4 : 0;
	load.mixed = load.random && !strcmp(kind, "rw");
	load.write = load.mixed || !strcmp(kind, "write");
	if (!load.write && strcmp(kind, "read"))
		die("%s is none of randread, randwrite, randrw, read, write", argv[1]);
	load.block = number(argv[2], BLOCK_MAX);
	load.depth = number(argv[3], DEPTH_MAX);
	count = number(argv[4], UINT32_MAX);
	load_open(&load, argv[0]);

	load_run(&load, count / WARM_UP_DIVISOR + load.depth);
	started = now_ns();
	load_run(&load, count);
	printf("%.0f\n", (double)(now_ns() - started) / (double)count);
	return 0;
}
