// SPDX-License-Identifier: MIT
/*
 * A bounded queue of many writers and one reader, without locks. It knows no notice's meaning.
 *
 * Each slot has a turn. Slot i is free for the notice of number n (n % NOTICES_MAX == i) when its
 * turn is n, and holds it when its turn is n + 1; the reader then gives it the turn n +
 * NOTICES_MAX. A writer takes a number by compare-and-swap, fills the slot and sets its turn; a
 * writer that is held up in between keeps the reader at that slot, and nobody else.
 */
#include "notice.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct slot {
	uint64_t turn;
	struct notice notice;
};

static struct slot slots[NOTICES_MAX];
static uint64_t next_number, read_number, lost;
static int wake_fd = -1;

_Static_assert((NOTICES_MAX & (NOTICES_MAX - 1)) == 0, "numbers may wrap");

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* can't fail with this clock */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void notice_raise(const struct node *node, const char *what, const char *key, uint64_t number)
{
	uint64_t mine = __atomic_load_n(&next_number, __ATOMIC_RELAXED), one = 1;
	int fd = __atomic_load_n(&wake_fd, __ATOMIC_ACQUIRE);
	struct slot *slot;

	if (fd < 0)
		return;
	for (;;) {
		uint64_t turn;

		slot = &slots[mine % NOTICES_MAX];
		turn = __atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE);
		if (turn == mine) {
			if (__atomic_compare_exchange_n(&next_number, &mine, mine + 1, true,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
				break;
		} else if ((int64_t)(turn - mine) < 0) { /* it still holds the last round's */
			__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
			return;
		} else {
			mine = __atomic_load_n(&next_number, __ATOMIC_RELAXED);
		}
	}
	slot->notice = (struct notice){
		.time_ms = now_ms(),
		.what = what,
		.node = node,
		.key = key,
		.number = number,
	};
	__atomic_store_n(&slot->turn, mine + 1, __ATOMIC_RELEASE);
	(void)!write(fd, &one, sizeof(one)); /* fails only when it is readable anyway */
}

int notice_open(void)
{
	unsigned i;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	for (i = 0; i < NOTICES_MAX; i++)
		slots[i].turn = i;
	next_number = read_number = lost = 0;
	__atomic_store_n(&wake_fd, fd, __ATOMIC_RELEASE);
	return fd;
}

void notice_close(void)
{
	int fd = wake_fd;

	__atomic_store_n(&wake_fd, -1, __ATOMIC_RELEASE); /* no other thread is left that raises */
	if (fd >= 0)
		close(fd);
}

bool notice_next(struct notice *notice)
{
	struct slot *slot = &slots[read_number % NOTICES_MAX];
	uint64_t wakes;

	if (wake_fd < 0)
		return false;
	(void)!read(wake_fd, &wakes, sizeof(wakes)); /* before looking: a later write wakes again */
	if (__atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE) != read_number + 1)
		return false;
	*notice = slot->notice;
	__atomic_store_n(&slot->turn, read_number + NOTICES_MAX, __ATOMIC_RELEASE);
	read_number++;
	return true;
}

uint64_t notice_lost(void)
{
	return __atomic_exchange_n(&lost, 0, __ATOMIC_RELAXED);
}
