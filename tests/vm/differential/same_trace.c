// SPDX-License-Identifier: MIT
/*
 * same_trace OURS THEIRS SEED COUNT: gives two devices the same COUNT random requests, many in
 * flight, and compares every result and every byte read; at the end, all bytes of both. Exit status
 * 1 and a line when they differ. Each request goes to both at the same time; what overlaps a write in
 * flight waits, so that what is read is defined.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEPTH = 16, SECTOR = 512, SECTORS_MAX = 512, BUFFER = SECTORS_MAX * SECTOR };
enum kind { READ, WRITE, ZEROES, FLUSH };

struct slot {
	enum kind kind;
	uint64_t number, first, count; /* sectors */
	bool fua;
	unsigned pending; /* of the two devices */
	int results[2];
	char *buffers[2];
};

static struct io_uring ring;
static struct slot slots[DEPTH];
static int fds[2];
static uint64_t state, sectors;
static const char *const kind_names[] = { "read", "write", "zeroes", "flush" };

static void __attribute__((noreturn)) die(const char *what, int error)
{
	fprintf(stderr, "same_trace: %s: %s\n", what, strerror(error));
	exit(2);
}

static uint64_t random_below(uint64_t bound)
{
	uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % bound;
}

static void compare(const struct slot *slot)
{
	uint64_t at = 0;

	if (slot->results[0] != slot->results[1]) {
		printf("request %llu, %s of %llu sectors at %llu: ours gives %d, theirs %d\n",
			(unsigned long long)slot->number, kind_names[slot->kind],
			(unsigned long long)slot->count, (unsigned long long)slot->first,
			slot->results[0], slot->results[1]);
		exit(1);
	}
	if (slot->results[0] < 0)
		die(kind_names[slot->kind], -slot->results[0]);
	if (slot->kind != READ || !memcmp(slot->buffers[0], slot->buffers[1], slot->count * SECTOR))
		return;
	while (slot->buffers[0][at] == slot->buffers[1][at])
		at++;
	printf("request %llu, read of %llu sectors at %llu: bytes differ at device byte %llu\n",
		(unsigned long long)slot->number, (unsigned long long)slot->count,
		(unsigned long long)slot->first, (unsigned long long)(slot->first * SECTOR + at));
	exit(1);
}

/* Low bit of the user data: which device. Slots are aligned. */
static void end_one(void)
{
	struct io_uring_cqe *cqe;
	struct slot *slot;
	uint64_t which;
	int result = io_uring_wait_cqe(&ring, &cqe);

	if (result < 0)
		die("io_uring_wait_cqe", -result);
	which = cqe->user_data & 1;
	slot = (struct slot *)(uintptr_t)(cqe->user_data & ~UINT64_C(1));
	slot->results[which] = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	if (--slot->pending == 0)
		compare(slot);
}

static bool has_to_wait(const struct slot *next)
{
	unsigned i;

	for (i = 0; i < DEPTH; i++) {
		const struct slot *slot = &slots[i];

		if (!slot->pending || slot->kind == FLUSH || next->kind == FLUSH)
			continue;
		if ((slot->kind != READ || next->kind != READ) &&
			next->first < slot->first + slot->count &&
			slot->first < next->first + next->count)
			return true;
	}
	return false;
}

static void choose(struct slot *slot, uint64_t number)
{
	static const enum kind kinds[] = { READ, READ, READ, READ, READ, WRITE, WRITE, WRITE, WRITE,
		WRITE, WRITE, WRITE, WRITE, WRITE, ZEROES, FLUSH };
	uint64_t longest = random_below(16) ? 64 : SECTORS_MAX;

	slot->number = number;
	slot->kind = kinds[random_below(sizeof(kinds) / sizeof(*kinds))];
	slot->count = 1 + random_below(longest);
	slot->first = random_below(sectors - slot->count);
	slot->fua = slot->kind == WRITE && random_below(8) == 0;
}

static void fill(struct slot *slot)
{
	uint64_t *words = (uint64_t *)slot->buffers[0], i;

	for (i = 0; i < slot->count * SECTOR / sizeof(*words); i++)
		words[i] = (slot->number << 32) ^ (slot->first * SECTOR + i) * UINT64_C(0x9e3779b1);
	memcpy(slot->buffers[1], slot->buffers[0], slot->count * SECTOR);
}

static void start(struct slot *slot, unsigned which)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	unsigned bytes = (unsigned)(slot->count * SECTOR);
	uint64_t offset = slot->first * SECTOR;

	switch (slot->kind) {
	case READ:
		io_uring_prep_read(sqe, fds[which], slot->buffers[which], bytes, offset);
		break;
	case WRITE:
		io_uring_prep_write(sqe, fds[which], slot->buffers[which], bytes, offset);
		sqe->rw_flags = slot->fua ? RWF_DSYNC : 0;
		break;
	case ZEROES:
		io_uring_prep_fallocate(sqe, fds[which], FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			(off_t)offset, (off_t)bytes);
		break;
	default:
		io_uring_prep_fsync(sqe, fds[which], 0);
	}
	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)slot | which);
	slot->pending++;
}

static void run(uint64_t count)
{
	uint64_t number;

	for (number = 1; number <= count; number++) {
		unsigned i = 0;

		while (i < DEPTH && slots[i].pending)
			i++;
		while (i == DEPTH) {
			end_one();
			for (i = 0; i < DEPTH && slots[i].pending; i++)
				;
		}
		choose(&slots[i], number);
		while (has_to_wait(&slots[i]))
			end_one();
		if (slots[i].kind == WRITE)
			fill(&slots[i]);
		start(&slots[i], 0);
		start(&slots[i], 1);
		if (io_uring_submit(&ring) < 0)
			die("io_uring_submit", EIO);
	}
}

static void drain(void)
{
	unsigned i;

	for (i = 0; i < DEPTH; i++)
		while (slots[i].pending)
			end_one();
}

static void compare_all(void)
{
	struct slot *slot = &slots[0];

	slot->kind = READ;
	slot->number = 0;
	for (slot->first = 0; slot->first < sectors; slot->first += slot->count) {
		slot->count = sectors - slot->first;
		if (slot->count > SECTORS_MAX)
			slot->count = SECTORS_MAX;
		start(slot, 0);
		start(slot, 1);
		io_uring_submit(&ring);
		while (slot->pending)
			end_one();
	}
}

int main(int count, char **words)
{
	uint64_t size, least = UINT64_MAX;
	unsigned i;

	if (count != 5) {
		fputs("usage: same_trace OURS THEIRS SEED COUNT\n", stderr);
		return 2;
	}
	for (i = 0; i < 2; i++) {
		fds[i] = open(words[1 + i], O_RDWR | O_DIRECT | O_EXCL);
		if (fds[i] < 0 || ioctl(fds[i], BLKGETSIZE64, &size) < 0)
			die(words[1 + i], errno);
		least = size < least ? size : least;
	}
	sectors = least / SECTOR;
	state = strtoull(words[3], NULL, 0);
	for (i = 0; i < 2 * DEPTH; i++) {
		slots[i / 2].buffers[i % 2] = aligned_alloc(4096, BUFFER);
		if (!slots[i / 2].buffers[i % 2])
			die("memory", ENOMEM);
		memset(slots[i / 2].buffers[i % 2], 0, BUFFER);
	}
	if (io_uring_queue_init(4 * DEPTH, &ring, 0) < 0)
		die("io_uring", errno);
	run(strtoull(words[4], NULL, 0));
	drain();
	compare_all();
	printf("%s requests, %llu sectors: the same\n", words[4], (unsigned long long)sectors);
	return 0;
}
