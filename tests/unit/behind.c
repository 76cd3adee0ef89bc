// SPDX-License-Identifier: MIT
#include "behind.h"

struct node *behind_root(void)
{
	return scene_assembled()->root;
}

struct mirror *behind_mirror(void)
{
	return behind_root()->state;
}

void behind_work(void)
{
	engine_wake(live_engine, behind_root());
}

void behind_write(uint64_t region, char byte)
{
	live_ask(0, IO_WRITE, region * LIVE_BYTES, byte);
	live_end_all();
	assert_int_equal(live_results[0], 0);
}

void behind_begin(const char *document, unsigned slow)
{
	live_load(document);
	live_begin();
	live_write_all('x');
	while (behind_mirror()->dirty_count)
		live_step();
	behind_mirror()->legs[slow].is_slow = true;
	behind_write(0, 'x');
	behind_work();
}

void behind_begun(const char *document, unsigned slow)
{
	behind_begin(document, slow);
	live_end_all();
	assert_true(mirror_leg_is_behind(behind_mirror(), slow));
}

void behind_end_all_but(unsigned place)
{
	unsigned i = 0;

	while (i < live_pending_count)
		if (live_pending[i]->leaf->place == place)
			i++;
		else
			live_end_one(i, 0);
}

void behind_assert_same(const char *one, const char *other)
{
	unsigned i;

	for (i = 0; i < LIVE_REGIONS; i++)
		assert_int_equal(live_byte_of(one, i * LIVE_BYTES), live_byte_of(other, i * LIVE_BYTES));
}
