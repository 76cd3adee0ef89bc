/* SPDX-License-Identifier: MIT */
/*
 * What canary's reader and its servers share: words that say whose they are, and how to look for
 * those that are nobody's business.
 */
#ifndef CANARY_H
#define CANARY_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "session.h"

enum { REGION = 65536, WORDS = REGION / 8, DEPTH = 8, REGIONS = 64, SOME = 8 << 20 };

/* A word's upper 16 bits. The lower ones are where it belongs. */
enum owner { DISK = 0xd15c, CANARY = 0xca4a, SERVER = 0x5e4e, READER = 0x4ead, WRITER = 0x3417 };

static inline uint64_t word(enum owner owner, uint64_t offset)
{
	return (uint64_t)owner << 48 | offset;
}

static inline void fill(void *at, size_t size, enum owner owner, uint64_t offset)
{
	uint64_t *words = at;
	size_t i;

	for (i = 0; i < size / 8; i++)
		words[i] = word(owner, offset + i * 8);
}

/* What the server does to the READs that come. */
enum fault {
	NOTHING,
	SHORT_ALWAYS, /* 512 bytes of each, until all is done */
	SHORT_THEN_ERROR, /* half, and half of the rest; then EIO */
	ERROR,
	AGAIN,
	NONE_DONE,
	TOO_MUCH,
	FAR_TOO_MUCH,
	MOST_NEGATIVE,
	BUFFER_GONE, /* no byte can be copied */
	TAIL_GONE, /* half can */
	ADDRESS_ZERO_PAGE, /* these three: V2 gives an address with each answer */
	ADDRESS_OF_KERNEL,
	ADDRESS_INTO_KERNEL,
	NO_DATA, /* success, but the buffer still holds what it held */
	NEVER_TOUCHED, /* likewise, and it never held anything */
	STUCK, /* the copy waits in its middle until the server is killed */
	PLAN_NOTHING,
	PLAN_SHORT_FILE,
	PLAN_PAST_END,
	PLAN_HALF, /* covers half of the request */
	PLAN_TWICE, /* one half, twice */
	PLAN_ONE_FAILS,
	PLAN_THEN_NO_DATA, /* one sub-I/O fails, then success is claimed */
};

/* Between the processes. */
struct shared {
	_Atomic int fault, stuck, is_open;
	atomic_ulong served; /* READs and WRITEs since the fault was set */
	atomic_ulong wrong_writes, dirty_areas, refused_plans, plans_back;
};

static struct shared *shared;

static inline int is_fault_of_plans(int fault) { return fault >= PLAN_NOTHING; }
static inline int is_fault_of_v2(int fault) { return fault >= ADDRESS_ZERO_PAGE && fault <= ADDRESS_INTO_KERNEL; }

/* Whether all of the read comes to a good end. */
static inline int is_harmless(int fault)
{
	return fault == NOTHING || fault == SHORT_ALWAYS || fault == NO_DATA || fault == NEVER_TOUCHED ||
	       fault == PLAN_NOTHING || fault == PLAN_THEN_NO_DATA;
}

/* Whether a reader may find the word there: the disk's own, or what the server claims to be that. */
static inline int may_be_read(int fault, uint64_t found, uint64_t offset)
{
	if (found == word(DISK, offset))
		return 1;
	if (fault == NO_DATA || fault == PLAN_THEN_NO_DATA)
		return found >> 48 == SERVER;
	return fault == NEVER_TOUCHED && !found;
}

/*
 * Leaves canaries of a process of the past in free memory: so much, or nearly all. What was freed last
 * is given away first.
 */
static inline void poison(size_t size)
{
	struct sysinfo info;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char *memory;

		sysinfo(&info);
		if (!size)
			size = (info.freeram - info.freeram / 8) & ~4095ul;
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			_exit(1);
		fill(memory, size, CANARY, 0);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		errx(1, "no canaries: status %x", status);
}

#endif
