// SPDX-License-Identifier: MIT
/*
 * The load in the guest: load DEVICE NOTEBOOK SEED EPOCHS. Each epoch is a number of writes side by
 * side and a flush; what is known to be durable goes to the notebook (log.h) as soon as it is known.
 * Writes that overlap are never in flight together, so each sector's versions only go up.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEPTH = 8, EPOCH_WRITES = 24, BUFFER = 48 * SECTOR };

struct slot {
	struct version version;
	uint64_t number;
	bool is_busy;
};

static struct io_uring ring;
static struct slot slots[DEPTH];
static char *buffers;
static int device, notebook_fd;
static struct notebook *notebook;
static uint64_t seed, sectors;
static unsigned busy;

static void __attribute__((noreturn)) die(const char *what, int error)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(error));
	exit(1);
}

static void note(void)
{
	if (pwrite(notebook_fd, notebook, SECTOR, 0) != SECTOR)
		die("notebook", errno);
}

static void end_one(void)
{
	struct io_uring_cqe *cqe;
	struct slot *slot;
	int result = io_uring_wait_cqe(&ring, &cqe);

	if (result < 0)
		die("io_uring_wait_cqe", -result);
	slot = io_uring_cqe_get_data(cqe);
	result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	if (result < 0)
		die(slot->version.zeroes ? "zeroes" : "write", -result);
	if (!slot->version.zeroes && (uint64_t)result != slot->version.count * SECTOR)
		die("write", EIO);
	slot->is_busy = false;
	busy--;
	if (slot->version.fua) {
		notebook->alone = slot->number;
		note();
		notebook->alone = 0;
	}
}

static bool is_overlapping(const struct version *version)
{
	unsigned i;

	for (i = 0; i < DEPTH; i++)
		if (slots[i].is_busy &&
			version->first < slots[i].version.first + slots[i].version.count &&
			slots[i].version.first < version->first + version->count)
			return true;
	return false;
}

static void start(uint64_t number)
{
	struct version version = version_of(seed, number, sectors);
	struct io_uring_sqe *sqe;
	unsigned i = 0;
	uint64_t sector;

	while (busy == DEPTH || is_overlapping(&version))
		end_one();
	while (slots[i].is_busy)
		i++;
	slots[i] = (struct slot){ version, number, true };
	busy++;
	for (sector = 0; sector < version.count; sector++)
		stamp(buffers + i * BUFFER + sector * SECTOR, version.first + sector, number);
	sqe = io_uring_get_sqe(&ring);
	if (version.zeroes)
		io_uring_prep_fallocate(sqe, device, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			(off_t)(version.first * SECTOR), (off_t)(version.count * SECTOR));
	else
		io_uring_prep_write(sqe, device, buffers + i * BUFFER,
			(unsigned)(version.count * SECTOR), version.first * SECTOR);
	if (version.fua)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, &slots[i]);
	if (io_uring_submit(&ring) != 1)
		die("io_uring_submit", EIO);
}

int main(int count, char **words)
{
	uint64_t epochs, epoch, number = 0, size = 0;
	unsigned i;

	if (count != 5) {
		fputs("usage: load DEVICE NOTEBOOK SEED EPOCHS\n", stderr);
		return 2;
	}
	device = open(words[1], O_RDWR | O_DIRECT | O_EXCL);
	notebook_fd = open(words[2], O_WRONLY | O_DIRECT);
	seed = strtoull(words[3], NULL, 0);
	epochs = strtoull(words[4], NULL, 0);
	if (device < 0 || notebook_fd < 0 || ioctl(device, BLKGETSIZE64, &size) < 0)
		die("open", errno);
	sectors = size / SECTOR;
	buffers = aligned_alloc(4096, DEPTH * BUFFER);
	notebook = aligned_alloc(4096, SECTOR * 8);
	if (!buffers || !notebook || io_uring_queue_init(DEPTH, &ring, 0) < 0)
		die("memory", ENOMEM);
	memset(notebook, 0, SECTOR);
	notebook->magic = NOTEBOOK_MAGIC;
	for (epoch = 0; epoch < epochs; epoch++) {
		notebook->submitted = number + EPOCH_WRITES;
		note();
		for (i = 0; i < EPOCH_WRITES; i++)
			start(++number);
		while (busy)
			end_one();
		if (fsync(device) < 0)
			die("fsync", errno);
		notebook->durable = number;
	}
	note();
	printf("%llu writes\n", (unsigned long long)number);
	return 0;
}
