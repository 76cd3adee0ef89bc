// SPDX-License-Identifier: MIT
/*
 * The model: for each sector the values that it may hold, by what was asked and answered.
 *
 * A sector's entries are writes. One is readable until another that began after its end has
 * succeeded; it may come back with a power cut until that other one is durable (FUA, or a flush
 * that began after its end and succeeded). Requests in flight, failed or cut off by a crash may or
 * may not have landed. What was read once when nothing was in flight is what is read again.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	uint64_t value;
	uint64_t begun, ended;
	uint64_t gone; /* can't be read by what begins later */
	uint64_t covered; /* a write that took its place ended then; a flush since drops it … */
	uint64_t cover; /* … unless one has failed since that write began */
	bool dropped; /* no power cut brings it back */
};

struct sector {
	struct entry *entries;
	unsigned count, room;
	bool is_void;
	bool is_loose; /* legs may differ since a crash: another leg may answer after a fault */
	bool is_chosen;
	uint64_t chosen, chosen_upheavals;
};

static struct written { /* by value */
	unsigned first, count;
} *history;
static uint64_t history_end, history_room;
static struct sector *sectors;
static unsigned sector_count;
static uint64_t now, oldest, doubt;
uint64_t model_faults, model_upheavals;
bool model_is_redundant;

void sector_fill(char *sector, uint64_t value, unsigned number)
{
	uint64_t words[2] = { value, value ^ ((uint64_t)number << 32 | number) };
	unsigned i;

	if (value == 0) {
		memset(sector, 0, SECTOR);
		return;
	}
	for (i = 0; i < SECTOR; i += sizeof(words))
		memcpy(sector + i, words, sizeof(words));
}

/* False: it is not a whole sector of one write to this place. */
static bool sector_read(const char *sector, unsigned number, uint64_t *value)
{
	char whole[SECTOR];

	memcpy(value, sector, sizeof(*value));
	sector_fill(whole, *value, number);
	return memcmp(whole, sector, SECTOR) == 0;
}

static struct entry *add_entry(struct sector *sector, uint64_t value, uint64_t begun)
{
	if (sector->count == sector->room) {
		sector->room = sector->room ? sector->room * 2 : 4;
		sector->entries = realloc(sector->entries, sector->room * sizeof(struct entry));
		if (!sector->entries)
			sim_fail("out of memory");
	}
	sector->entries[sector->count] = (struct entry){
		.value = value,
		.begun = begun,
		.ended = FOREVER,
		.gone = FOREVER,
		.covered = FOREVER,
	};
	return &sector->entries[sector->count++];
}

void model_open(unsigned count)
{
	unsigned i;

	sectors = calloc(count, sizeof(*sectors));
	if (!sectors)
		sim_fail("out of memory");
	sector_count = count;
	history_end = 0;
	now = 1;
	oldest = doubt = 0;
	for (i = 0; i < count; i++)
		add_entry(&sectors[i], 0, 0)->ended = 0;
}

void model_extend(unsigned count)
{
	sectors = realloc(sectors, count * sizeof(*sectors));
	if (!sectors)
		sim_fail("out of memory");
	for (; sector_count < count; sector_count++) {
		sectors[sector_count] = (struct sector){ .count = 0 };
		add_entry(&sectors[sector_count], 0, 0)->ended = 0;
	}
}

void model_close(void)
{
	unsigned i;

	for (i = 0; i < sector_count; i++)
		free(sectors[i].entries);
	free(sectors);
	sectors = NULL;
	sector_count = 0;
}

uint64_t model_time(void)
{
	return ++now;
}

void model_set_oldest(uint64_t begun)
{
	oldest = begun;
}

void model_set_void(unsigned sector)
{
	sectors[sector].is_void = true;
}

void model_set_first(unsigned sector, uint64_t value)
{
	sectors[sector].entries[0].value = value;
}

/* What can neither be read nor come back. */
static void forget_dropped(struct sector *sector)
{
	unsigned i, kept = 0;

	for (i = 0; i < sector->count; i++)
		if (!sector->entries[i].dropped || sector->entries[i].gone >= oldest)
			sector->entries[kept++] = sector->entries[i];
	sector->count = kept;
}

static void note_write(unsigned first, unsigned count, uint64_t value)
{
	if (value >= history_room) {
		uint64_t room = history_room ? history_room * 2 : 256;

		history = realloc(history, room * sizeof(*history));
		if (!history)
			sim_fail("out of memory");
		history_room = room;
	}
	history[value] = (struct written){ first, count };
	history_end = value + 1;
}

uint64_t model_write_begins(unsigned first, unsigned count, uint64_t value)
{
	uint64_t begun = model_time();
	unsigned i;

	if (life.lies && value)
		note_write(first, count, value);
	for (i = first; i < first + count; i++) {
		sectors[i].is_chosen = false;
		add_entry(&sectors[i], value, begun);
	}
	return begun;
}

static void write_ends(struct sector *sector, struct entry *entry, bool is_durable)
{
	unsigned i, readable = 0;

	for (i = 0; i < sector->count; i++) {
		struct entry *other = &sector->entries[i];

		if (other != entry && other->ended < entry->begun) {
			if (other->gone > now)
				other->gone = now;
			if (other->covered == FOREVER || other->cover <= doubt) {
				other->covered = now;
				other->cover = entry->begun;
			}
			other->dropped |= is_durable;
		}
		readable += other->gone == FOREVER;
	}
	if (readable == 1)
		sector->is_loose = false;
}

void model_write_ends(unsigned first, unsigned count, uint64_t begun, bool is_ok, bool is_durable)
{
	unsigned i, j;

	(void)model_time();
	for (i = first; i < first + count; i++) {
		struct sector *sector = &sectors[i];

		for (j = 0; sector->entries[j].begun != begun; j++)
			;
		sector->entries[j].ended = now;
		if (is_ok)
			write_ends(sector, &sector->entries[j], is_durable);
		if (is_durable)
			forget_dropped(sector);
	}
}

void model_flush_ends(uint64_t begun, bool is_ok)
{
	unsigned i, j;

	(void)model_time();
	for (i = 0; i < sector_count && is_ok; i++) {
		for (j = 0; j < sectors[i].count; j++) {
			struct entry *entry = &sectors[i].entries[j];

			if (entry->covered < begun && entry->cover > doubt)
				entry->dropped = true;
		}
		forget_dropped(&sectors[i]);
	}
}

static void describe(const struct sector *sector)
{
	unsigned i;

	for (i = 0; i < sector->count; i++)
		sim_note("  value %llu begun %llu ended %lld gone %lld covered %lld%s",
			(unsigned long long)sector->entries[i].value,
			(unsigned long long)sector->entries[i].begun,
			(long long)sector->entries[i].ended, (long long)sector->entries[i].gone,
			(long long)sector->entries[i].covered,
			sector->entries[i].dropped ? " dropped" : "");
}

/* Reads that follow each other must agree while nothing is written. */
static void check_stable(struct sector *sector, unsigned number, uint64_t value, uint64_t begun,
	uint64_t begun_upheavals)
{
	unsigned i;

	for (i = 0; i < sector->count; i++)
		if (sector->entries[i].gone == FOREVER && sector->entries[i].ended > begun)
			return;
	if (sector->is_loose && begun_upheavals != model_upheavals)
		return;
	if (sector->is_chosen && sector->chosen != value &&
		!(sector->is_loose && sector->chosen_upheavals != model_upheavals)) {
		describe(sector);
		sim_fail("sector %u was read as %llu, is read as %llu, and nothing was written",
			number, (unsigned long long)sector->chosen, (unsigned long long)value);
	}
	sector->is_chosen = true;
	sector->chosen = value;
	sector->chosen_upheavals = model_upheavals;
}

/* Whether the value was ever asked to be written there; sectors begin as zeroes, and may become such. */
static bool was_written(unsigned number, uint64_t value)
{
	return value == 0 || (value < history_end && number >= history[value].first &&
				     number - history[value].first < history[value].count);
}

static void check_sector(
	unsigned number, const char *data, uint64_t begun, uint64_t begun_upheavals)
{
	struct sector *sector = &sectors[number];
	uint64_t value;
	unsigned i;

	if (life.lies == LIES_ANY && life.document.has_thin)
		return;
	if (!sector_read(data, number, &value)) {
		describe(sector);
		sim_fail("sector %u is a mixture: it begins as value %llu", number,
			(unsigned long long)value);
	}
	if (sector->is_void && value != 0)
		sim_fail("sector %u of a zero target is read as %llu", number,
			(unsigned long long)value);
	if (sector->is_void)
		return;
	if (life.lies == LIES_ANY) {
		if (!was_written(number, value))
			sim_fail("sector %u is read as %llu, which was never written there", number,
				(unsigned long long)value);
		return;
	}
	for (i = 0; i < sector->count; i++)
		if (sector->entries[i].value == value && sector->entries[i].gone > begun)
			break;
	if (i == sector->count) {
		describe(sector);
		sim_fail("sector %u is read as %llu, which it can't be (read begun %llu)", number,
			(unsigned long long)value, (unsigned long long)begun);
	}
	check_stable(sector, number, value, begun, begun_upheavals);
}

void model_doubt(void)
{
	doubt = model_time();
}

void model_loosen(unsigned first, unsigned count)
{
	for (; count > 0; count--)
		sectors[first++].is_loose |= model_is_redundant;
}

void model_fault(void)
{
	model_faults++;
	model_upheavals++;
}

void model_read_ends(
	unsigned first, unsigned count, const char *data, uint64_t begun, uint64_t begun_upheavals)
{
	unsigned i;

	(void)model_time();
	for (i = 0; i < count; i++)
		check_sector(first + i, data + i * SECTOR, begun, begun_upheavals);
}

void model_crash(bool is_cut)
{
	unsigned i, j;

	(void)model_time();
	oldest = now;
	for (i = 0; i < sector_count; i++) {
		struct sector *sector = &sectors[i];
		unsigned readable = 0;

		if (is_cut)
			forget_dropped(sector);
		for (j = 0; j < sector->count; j++) {
			struct entry *entry = &sector->entries[j];

			if (entry->ended == FOREVER)
				entry->ended = now;
			if (is_cut && !entry->dropped)
				entry->gone = entry->covered = FOREVER;
			readable += entry->gone == FOREVER;
		}
		sector->is_chosen = false;
		sector->is_loose |= model_is_redundant && readable > 1;
	}
}

unsigned model_others(unsigned number, uint64_t *values, unsigned max)
{
	const struct sector *sector = &sectors[number];
	unsigned i, count = 0;

	for (i = 0; i < sector->count && count < max && sector->is_loose; i++)
		if (sector->entries[i].gone == FOREVER)
			values[count++] = sector->entries[i].value;
	return count;
}

/* As if it had been written at the time of what is there, by somebody who ended when that did. */
void model_set_other(unsigned number, uint64_t value)
{
	struct sector *sector = &sectors[number];
	struct entry entry = sector->entries[sector->count - 1];

	add_entry(sector, value, entry.begun);
	sector->entries[sector->count - 1] = entry;
	sector->entries[sector->count - 1].value = value;
	sector->is_loose = true;
}

void model_agree(void)
{
	unsigned i;

	past_agree();
	for (i = 0; i < sector_count; i++)
		sectors[i].is_loose = false;
}
