// SPDX-License-Identifier: MIT
/*
 * Plans without bytes, and plans in waves: what is refused, what comes back, in which order waves are
 * carried out, and which flush is believed. Legs: a disk, the same disk answering late, a file, a
 * disk without offloads, and one whose flushes somebody makes fail while this waits for a line.
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "batch_server.h"

enum { DISK, LATE, FILE_LEG, PLAIN, SICK, LEGS };
enum { SECTOR = 512, RANGE = 64 * 1024 };

static int legs[LEGS];

/* --- the disk's user: one operation, in a thread of its own */

struct job {
	pthread_t thread;
	int op; /* UBD_OP_* */
	int result; /* 0 or -errno */
	char data[2 * BLOCK] ALIGNED;
};

static struct job job;

static void *job_run(void *unused)
{
	uint64_t range[2] = { 0, RANGE };
	char path[32];
	long result;
	int fd;

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0)
		err(1, "%s", path);
	switch (job.op) {
	case UBD_OP_READ:
		result = pread(fd, job.data, sizeof(job.data), 0);
		break;
	case UBD_OP_WRITE:
		result = pwrite(fd, job.data, sizeof(job.data), 0);
		break;
	case UBD_OP_FLUSH:
		result = fdatasync(fd);
		break;
	case UBD_OP_DISCARD:
		result = ioctl(fd, BLKDISCARD, range);
		break;
	default:
		result = ioctl(fd, BLKZEROOUT, range);
	}
	job.result = result < 0 ? -errno : 0;
	close(fd);
	return NULL;
}

/* Sends the operation, and says which tag it has. */
static unsigned int request(const char *what, int op)
{
	job.op = op;
	if (pthread_create(&job.thread, NULL, job_run, NULL))
		errx(1, "thread");
	expect(what, 1, turn(30000));
	expect("it is that", op, ubd_desc_op(&queue.descs[events[0].tag]));
	return events[0].tag;
}

static void ended(const char *what, int result)
{
	expect(what, -ETIME, turn(300)); /* the plan goes down, and nothing comes up */
	pthread_join(job.thread, NULL);
	expect("it has ended", result, job.result);
}

static struct ubd_plan_entry on(int leg, int kind, uint32_t length, int wave)
{
	return (struct ubd_plan_entry){ .leg = leg, .kind = kind, .length = length, .wave = wave };
}

static void second(unsigned int tag, struct ubd_plan_entry entry)
{
	slots[tag].entries[1] = entry;
}

static void comes_back(const char *what, int notice)
{
	expect(what, 1, turn(30000));
	expect("with its notice", notice, events[0].notice);
}

static void refused(const char *what, unsigned int tag, struct ubd_plan_entry entry)
{
	plan(tag, 1, entry);
	comes_back(what, -EINVAL);
}

static void by_ourselves(unsigned int tag)
{
	const struct ubd_io_desc *desc = &queue.descs[tag];

	add_answer(tag, UBD_ANSWER_RESULT, desc->nr_sectors * SECTOR);
	ended("the request is answered", 0);
}

/* What the leg has at its begin. */
static int first_byte(int leg)
{
	static char block[BLOCK] ALIGNED;

	return pread(legs[leg], block, BLOCK, 0) == BLOCK ? (unsigned char)block[0] : -errno;
}

static void fill(int leg, int byte)
{
	static char bytes[RANGE] ALIGNED;

	memset(bytes, byte, RANGE);
	if (pwrite(legs[leg], bytes, RANGE, 0) != RANGE)
		err(1, "leg %d", leg);
}

static void what_is_refused(void)
{
	struct ubd_plan_entry entry;
	unsigned int tag = request("a FLUSH", UBD_OP_FLUSH);

	refused("a WRITE for it", tag, on(DISK, UBD_OP_WRITE, 0, 0));
	refused("a FLUSH with a length", tag, on(DISK, UBD_OP_FLUSH, BLOCK, 0));
	entry = on(DISK, UBD_OP_FLUSH, 0, 0);
	entry.flags = UBD_PLAN_FUA;
	refused("a FLUSH with FUA", tag, entry);
	plan(tag, 2, on(DISK, UBD_OP_FLUSH, 0, 1));
	second(tag, on(FILE_LEG, UBD_OP_FLUSH, 0, 0));
	comes_back("waves that go down", -EINVAL);
	by_ourselves(tag);

	tag = request("a READ", UBD_OP_READ);
	refused("a FLUSH for it", tag, on(DISK, UBD_OP_FLUSH, 0, 0));
	refused("a WRITE_ZEROES for it", tag, on(DISK, UBD_OP_WRITE_ZEROES, BLOCK, 0));
	by_ourselves(tag);

	tag = request("a WRITE_ZEROES", UBD_OP_WRITE_ZEROES);
	refused("a DISCARD for it", tag, on(DISK, UBD_OP_DISCARD, BLOCK, 0));
	refused("more than it asks for", tag, on(DISK, UBD_OP_WRITE_ZEROES, RANGE + SECTOR, 0));
	refused("part of a sector", tag, on(DISK, UBD_OP_WRITE_ZEROES, SECTOR / 2, 0));
	refused("nothing", tag, on(DISK, UBD_OP_WRITE_ZEROES, 0, 0));
	entry = on(DISK, UBD_OP_WRITE_ZEROES, BLOCK, 0);
	entry.offset = BLOCK;
	refused("an offset in bytes that it hasn't", tag, entry);
	by_ourselves(tag);
}

static void without_bytes(void)
{
	unsigned int tag;

	fill(DISK, 1);
	fill(FILE_LEG, 1);
	tag = request("a FLUSH", UBD_OP_FLUSH);
	plan(tag, 2, on(DISK, UBD_OP_FLUSH, 0, 0));
	second(tag, on(FILE_LEG, UBD_OP_FLUSH, 0, 0));
	ended("it is passed to both legs", 0);

	tag = request("a DISCARD", UBD_OP_DISCARD);
	plan(tag, 2, on(DISK, UBD_OP_WRITE_ZEROES, RANGE, 0));
	second(tag, on(FILE_LEG, UBD_OP_DISCARD, RANGE, 0));
	ended("it is passed to both legs", 0);
	expect("the disk reads as zeroes", 0, first_byte(DISK));
	expect("so does the file", 0, first_byte(FILE_LEG));

	fill(DISK, 2);
	fill(FILE_LEG, 2);
	tag = request("a WRITE_ZEROES", UBD_OP_WRITE_ZEROES);
	plan(tag, 2, on(DISK, UBD_OP_WRITE_ZEROES, RANGE, 0));
	second(tag, on(FILE_LEG, UBD_OP_WRITE_ZEROES, RANGE, 0));
	slots[tag].entries[1].flags = UBD_PLAN_NOUNMAP;
	ended("it is passed to both legs", 0);
	expect("the disk reads as zeroes", 0, first_byte(DISK));
	expect("so does the file", 0, first_byte(FILE_LEG));

	tag = request("a WRITE_ZEROES", UBD_OP_WRITE_ZEROES);
	plan(tag, 1, on(PLAIN, UBD_OP_WRITE_ZEROES, RANGE, 0));
	comes_back("a disk has no such operation", UBD_IO_RES_BACK);
	expect("it says so", -EOPNOTSUPP, slots[tag].entries[0].result);
	by_ourselves(tag);
}

/* The same block by two ways: the late one would come last, were it not waited for. */
static void in_waves(void)
{
	unsigned int tag;

	memset(job.data, 3, BLOCK);
	memset(job.data + BLOCK, 4, BLOCK);
	tag = request("a WRITE", UBD_OP_WRITE);
	plan(tag, 2, on(LATE, UBD_OP_WRITE, BLOCK, 0));
	second(tag, on(DISK, UBD_OP_WRITE, BLOCK, 1));
	slots[tag].entries[1].offset = BLOCK;
	ended("the second wave comes behind the first", 0);
	expect("the last wave's bytes are there", 4, first_byte(DISK));

	tag = request("a WRITE", UBD_OP_WRITE);
	plan(tag, 3, on(DISK, UBD_OP_WRITE, BLOCK, 0));
	second(tag, on(DISK, UBD_OP_FLUSH, 0, 2));
	slots[tag].entries[2] = on(FILE_LEG, UBD_OP_FLUSH, 0, 7);
	ended("waves may leave numbers out", 0);

	fill(DISK, 5);
	tag = request("a WRITE", UBD_OP_WRITE);
	plan(tag, 2, on(LATE, UBD_OP_WRITE, BLOCK, 0));
	slots[tag].entries[0].leg_offset = 1ull << 50;
	second(tag, on(DISK, UBD_OP_WRITE, BLOCK, 1));
	comes_back("a first wave that fails", UBD_IO_RES_BACK);
	expect("its result", 1, slots[tag].entries[0].result < 0);
	expect("the second one's: not begun", -ECANCELED, slots[tag].entries[1].result);
	expect("its bytes are not there", 5, first_byte(DISK));
	by_ourselves(tag);
}

/* A leg's flush fails once and never again: none is believed after that. */
static void the_flush_that_failed(void)
{
	unsigned int tag = request("a FLUSH", UBD_OP_FLUSH);
	char line[16];

	plan(tag, 2, on(DISK, UBD_OP_FLUSH, 0, 0));
	second(tag, on(SICK, UBD_OP_FLUSH, 0, 0));
	comes_back("a flush that fails", UBD_IO_RES_BACK);
	expect("the good leg's result", 0, slots[tag].entries[0].result);
	expect("the sick leg's", -EIO, slots[tag].entries[1].result);
	printf("heal\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		errx(1, "nobody heals");
	expect("the leg flushes again", 0, fdatasync(legs[SICK]));
	plan(tag, 2, on(DISK, UBD_OP_FLUSH, 0, 0));
	second(tag, on(SICK, UBD_OP_FLUSH, 0, 0));
	comes_back("nobody believes it", UBD_IO_RES_BACK);
	expect("the good leg's result", 0, slots[tag].entries[0].result);
	expect("the sick leg's", -EIO, slots[tag].entries[1].result);
	by_ourselves(tag);
}

/* Legs are a session's: there are none without one, and one that never starts a disk lets them go too. */
static void legs_need_a_session(const char *path)
{
	int leg = open(path, O_RDWR | O_DIRECT), other = open(path, O_RDWR | O_DIRECT), tries;

	if (leg < 0 || other < 0 || flock(leg, LOCK_EX))
		err(1, "%s", path);
	device_init(&device, 1, DEPTH);
	device.info.flags[0] = UBD_F_PLANS;
	expect("ADD_DEV", 0, device_add(&device));
	expect("legs without a session", -ENOTCONN,
		control(&device, UBD_CMD_SET_LEGS, &leg, sizeof(leg), 0));
	expect("open", 0, device_open(&device));
	expect("legs of a session that never starts", 0,
		control(&device, UBD_CMD_SET_LEGS, &leg, sizeof(leg), 0));
	close(leg); /* the lock stays as long as the driver has the file */
	expect("the driver has the leg", 1, flock(other, LOCK_EX | LOCK_NB) != 0);
	close(device.fd);
	for (tries = 0; flock(other, LOCK_EX | LOCK_NB) && tries < 30000; tries++)
		usleep(1000);
	expect("it goes with the session", 1, tries < 30000);
	close(other);
	expect("DEL_DEV", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
}

int main(int argc, char **argv)
{
	int i;

	if (argc != LEGS + 1)
		errx(2, "usage: plans DISK LATE FILE PLAIN SICK");
	for (i = 0; i < LEGS; i++) {
		legs[i] = open(argv[1 + i], O_RDWR | O_DIRECT);
		if (legs[i] < 0)
			err(1, "%s", argv[1 + i]);
	}
	legs_need_a_session(argv[1 + PLAIN]);
	begin(UBD_F_BATCHES | UBD_F_PLANS);
	expect("SET_LEGS", 0, control(&device, UBD_CMD_SET_LEGS, legs, sizeof(legs), 0));
	start();
	what_is_refused();
	without_bytes();
	in_waves();
	the_flush_that_failed();
	expect("STOP_DEV", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	end();
	return failures != 0;
}
