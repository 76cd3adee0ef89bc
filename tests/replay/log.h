/* SPDX-License-Identifier: MIT */
/*
 * The write log of a virtual machine's disks: what nbd_log.c writes and judge.c reads.
 *
 * One file for all disks, in the order in which the requests came, each appended before it was
 * answered: a prefix of the log is what a power cut at that moment may leave, up to what had not
 * been flushed. Host byte order: the log never leaves the machine.
 *
 *	offset	bytes
 *	0	4	disk: its place in the list of exports
 *	4	4	kind, enum log_kind
 *	8	8	offset in the disk
 *	16	8	length
 *	24	4	flags: LOG_FUA
 *	28	4	zero
 *	32	length	the bytes (LOG_WRITE only)
 *
 * A flush makes durable what was answered before it came. Requests are served one at a time, so
 * that is all that stands before it.
 *
 * The last disk is the notebook: the load in the guest writes a struct notebook there whenever it
 * knows something to be durable, so that the log itself says what had been promised when.
 */
#ifndef TESTS_REPLAY_LOG_H
#define TESTS_REPLAY_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_kind { LOG_WRITE, LOG_ZERO, LOG_TRIM, LOG_FLUSH };

#define LOG_FUA 1u
#define SECTOR 512u
#define NOTEBOOK_MAGIC UINT64_C(0x6b6f6f6265746f6e)
#define STAMP_MAGIC UINT64_C(0x706d617473646275)

struct log_entry {
	uint32_t disk, kind;
	uint64_t offset, length;
	uint32_t flags, zero;
};

/* One sector of the notebook: versions go up by one with every write of the load. */
struct notebook {
	uint64_t magic;
	uint64_t submitted; /* versions up to this may be on the device, in part */
	uint64_t durable;   /* versions up to this have ended, and a flush after them too */
	uint64_t alone;     /* this one has ended with FUA; 0: none */
};

/* What the load writes: a version covers sectors [first, first + count). */
struct version {
	uint64_t first, count;
	bool zeroes; /* by WRITE_ZEROES, not stamped */
	bool fua;
};

/* One sector of the device as the load writes it; the rest of it follows from these by stamp(). */
struct stamp {
	uint64_t magic, sector, version, check;
};

static inline uint64_t mixed(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Version 0 is zeroes: never written. */
static inline void stamp(void *memory, uint64_t sector, uint64_t version)
{
	uint64_t *words = memory;
	unsigned i;

	words[0] = version ? STAMP_MAGIC : 0;
	words[1] = version ? sector : 0;
	words[2] = version;
	for (i = 3; i < SECTOR / sizeof(uint64_t); i++)
		words[i] = version ? mixed(sector * 64 + i + version * UINT64_C(0x9e3779b97f4a7c15)) : 0;
}

/* The load's writes are the same wherever they are asked for: the judge knows them by their version. */
static inline struct version version_of(uint64_t seed, uint64_t number, uint64_t sectors)
{
	uint64_t x = mixed(seed * UINT64_C(0x9e3779b97f4a7c15) + number);
	struct version version = { .count = 1 + (x >> 40) % 48 };

	version.first = (x & UINT64_C(0xffffffff)) % (sectors - version.count);
	version.zeroes = (x >> 56) % 16 == 0;
	version.fua = !version.zeroes && (x >> 52) % 8 == 0;
	return version;
}

#endif
