// SPDX-License-Identifier: MIT
/* Time: it passes with each event, and jumps to the engine's timer where nothing else will happen. */
#include "sim.h"

#define STEP_NS 10000
#define MS UINT64_C(1000000)

static uint64_t clock_now, timer_at = FOREVER; /* ns */
static unsigned timer_queue; /* whose it is: another's, set before, would tick too early */

uint64_t clock_time(void *context)
{
	(void)context;
	return clock_now;
}

void clock_timer(void *context, uint64_t when)
{
	timer_queue = queue_of(context);
	timer_at = when;
}

void clock_reset(void)
{
	clock_now = 0;
	timer_at = FOREVER;
}

bool clock_tick(bool is_idle)
{
	/* Mostly a little, sometimes seconds. */
	clock_now += random_one_in(life.document.has_timeout ? 12 : 64) ? random_below(3000) * MS : random_below(2 * STEP_NS);
	if (timer_at == FOREVER || (!is_idle && (clock_now < timer_at || random_below(4))))
		return false;
	clock_skip();
	return true;
}

void clock_pass(uint64_t ms)
{
	clock_now += ms * MS;
}

bool clock_is_wanted(void)
{
	return timer_at != FOREVER;
}

void clock_skip(void)
{
	unsigned hung = backend_hung();

	if (timer_at == FOREVER)
		return;
	if (clock_now < timer_at)
		clock_now = timer_at;
	timer_at = FOREVER;
	sim_note("  tick");
	totals.ticks++;
	backend_note_time();
	queue_enter(timer_queue);
	engine_tick(backend.engine);
	queue_leave();
	totals.hung += backend_hung() - hung;
}
