// SPDX-License-Identifier: MIT
/*
 * Prints how many ticks this machine's time stamp counter makes in a millisecond, as an emulated one does
 * too: QEMU hands the host's on. Each look at both clocks is the quickest of several, so that a busy
 * host, which takes the processor away between the two, changes nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define LOOKS 1000
#define PAUSE_NS 50000000

struct moment {
	int64_t ns;
	uint64_t ticks;
};

static int64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &now); /* it exists */
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static struct moment look(void)
{
	struct moment best = { 0, 0 };
	int64_t best_span = INT64_MAX;
	int i;

	for (i = 0; i < LOOKS; i++) {
		int64_t before = clock_ns();
		uint64_t ticks = __rdtsc();
		int64_t after = clock_ns();

		if (after - before < best_span) {
			best_span = after - before;
			best = (struct moment){ before + best_span / 2, ticks };
		}
	}
	return best;
}

int main(void)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct moment first = look(), last;

	(void)nanosleep(&pause, NULL); /* longer or shorter, both clocks have seen it */
	last = look();
	printf("%.0f\n", (double)(last.ticks - first.ticks) * 1e6 / (double)(last.ns - first.ns));
	return 0;
}
