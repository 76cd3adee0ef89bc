// SPDX-License-Identifier: MIT
/*
 * A leaf that fails while the device is started or stopped: reads, writes, flushes or all that the main
 * thread asks of it, from some moment on, once, now and then or always. The start may be refused, and
 * says why; or it goes on, as if that leg was missing. The stop may be no clean one. What comes after the
 * fault works as ever.
 *
 * One seed in so many has such starts and stops, by its number alone, so that the others mean what they meant.
 */
#include "sim.h"

#include <errno.h>

#define MOMENTS 40u

static struct {
	const struct image *image; /* NULL: none fails */
	unsigned number; /* of the image, before the first start: there are none yet */
	bool is_first;
	unsigned kinds; /* bits of enum fault_kind */
	unsigned after; /* so many go well first */
	uint32_t rate;
	bool once;
} chosen;
static unsigned hits;
static bool has_lost;

bool fault_is_seed(uint64_t seed)
{
	return sim_has_faulty_starts || (seed * UINT64_C(0x9fb21c651e98df25) >> 32) % 20 == 0;
}

void fault_forget(void)
{
	chosen.kinds = 0;
	hits = 0;
	has_lost = false;
}

/*
 * What a leaf can't read refuses the start, or leaves it out: where the start goes on without leaves
 * anyway, where its label is about to be written, or where the copy of it that can be read is of an older
 * state, which only a clean stop rules out. Then it has to be one that may be lost. No leg is given up for
 * a leaf that never fails.
 */
static unsigned kinds_of(unsigned place, bool may_be_lost)
{
	unsigned all = FAULT_READ | FAULT_WRITE | FAULT_FLUSH;
	static const unsigned some[] = { FAULT_READ, FAULT_WRITE, FAULT_FLUSH };
	unsigned kinds = random_below(4) ? some[random_below(3)] : all;
	bool is_guarded = backend.guarded[place];
	bool may_read = may_be_lost || (!is_guarded && life.was_stopped && !meddle_is_degraded());

	if (chosen.is_first || !life.is_guarded || !model_is_redundant)
		return kinds;
	return kinds & ((is_guarded ? 0 : FAULT_WRITE | FAULT_FLUSH) |
			       (may_read ? FAULT_READ : 0));
}

void fault_choose(bool is_first_try)
{
	unsigned place;

	fault_forget();
	if (!life.has_faulty_starts || random_below(2))
		return;
	place = random_below(life.document.leaf_count);
	chosen.is_first = !life.is_formatted;
	chosen.number = place;
	chosen.image = backend.images[place];
	chosen.kinds = chosen.is_first || chosen.image ? kinds_of(place, is_first_try && meddle_is_spare(place)) : 0;
	chosen.after = random_below(1 + random_below(MOMENTS));
	chosen.once = random_below(2);
	chosen.rate = random_below(2) ? 1 : 5;
	if (chosen.kinds)
		sim_note("leaf %u fails %s%s%s, after %u, %s", place,
			chosen.kinds & FAULT_READ ? "reads " : "",
			chosen.kinds & FAULT_WRITE ? "writes " : "",
			chosen.kinds & FAULT_FLUSH ? "flushes" : "", chosen.after,
			chosen.once ? "once" : chosen.rate == 1 ? "always" : "at times");
}

bool fault_may_stay(void)
{
	return !chosen.is_first && meddle_is_spare(chosen.number);
}

void fault_again(void)
{
	hits = 0;
	has_lost = false;
	chosen.after = 0;
}

unsigned fault_hits(void)
{
	return hits;
}

bool fault_has_lost(void)
{
	return has_lost;
}

/* Any whole sectors of it. */
static void write_part(struct image *image, uint64_t offset, const void *data, uint64_t length)
{
	uint64_t from = random_below((uint32_t)(length / SECTOR) + 1) * UINT64_C(512);
	uint64_t part = random_below((uint32_t)((length - from) / SECTOR) + 1) * UINT64_C(512);

	if (part == 0)
		return;
	image_write(image, offset + from, (const char *)data + from, part);
	lie_written(image, offset + from, NULL, part);
}

bool fault_strikes(struct image *image, enum fault_kind kind, uint64_t offset, const void *data,
	uint64_t length)
{
	bool is_chosen = chosen.is_first ? image_number(image) == chosen.number : image == chosen.image;

	if (!(chosen.kinds & kind) || !is_chosen)
		return false;
	if (chosen.after) {
		chosen.after--;
		return false;
	}
	if ((chosen.once && hits) || (!chosen.once && random_below(chosen.rate)))
		return false;
	hits++;
	totals.start_faults++;
	model_fault();
	if (data)
		write_part(image, offset, data, length);
	if (kind == FAULT_FLUSH && random_below(2)) {
		image_lose_flush(image);
		has_lost = true;
	}
	return true;
}
