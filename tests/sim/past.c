// SPDX-License-Identifier: MIT
/*
 * Snapshots of a thin: asked for at random. What one holds is read past the engine as soon as the image
 * has it, and must be what a read of the device could have given at that moment; from then on it stays,
 * whatever becomes of the device, through crashes and power cuts. (But where legs of a mirror below differed
 * since a crash and were not made even yet: there it turns if the leg fails that is read, as the device does.) When the device goes back to one, all of
 * it has been written at that moment, durably, with what the snapshot holds.
 */
#include "sim.h"

#include "../../targets/thin.h"
#include "../past.h"

#include <stdlib.h>
#include <string.h>

#define PASTS_MAX 4u
#define ASKED_EVERY 30 /* requests */
#define OTHERS_MAX 32u

struct other { /* what a sector may turn to */
	unsigned sector;
	uint64_t value;
};

static struct kept {
	char *bytes;
	uint64_t size;
	struct other *others;
	unsigned other_count;
	uint64_t upheavals; /* model_upheavals when it was looked at last */
} kept[PASTS_MAX];
static unsigned kept_count, asked;
static int doomed = -1; /* which of them was to be deleted, by the last that was asked */
static int wanted = -1; /* and to which the device was to go back, … */
static uint64_t left; /* … from the map of that L1 table */

static void read_image(void *context, uint64_t offset, void *bytes, uint64_t length)
{
	const char *sector = judge_sector(life.tree->root->children[THIN_DATA], offset / SECTOR * SECTOR);

	memcpy(bytes, sector + offset % SECTOR, length);
}

static const struct past image = { .read = read_image };

bool past_is_seed(uint64_t seed)
{
	return (seed * UINT64_C(0xd6e8feb86659fd93) >> 34) % 3 == 0;
}

static uint64_t l1_offset(void)
{
	return past_number(&image, 40, 8);
}

/* Of one that is there; else a new one. The verb, and what it is to be told. */
static const char *choose(int *index, char text[64])
{
	bool goes_back = random_one_in(2);

	*index = -1;
	if (kept_count == PASTS_MAX || (kept_count && random_one_in(2)))
		*index = (int)random_below(kept_count);
	if (*index < 0) {
		(void)snprintf(text, 64, "{\"name\":\"s%u\"}", asked++);
		return "snapshot-create";
	}
	(void)snprintf(text, 64, "{\"name\":\"%u\"}", past_id(&image, (uint32_t)*index));
	return goes_back ? "snapshot-revert" : "snapshot-delete";
}

void past_ask(void)
{
	struct node *node = life.tree->root;
	struct err err = { 0 };
	char text[64];
	const char *verb;
	struct json *arguments;
	int index;

	if (!life.snapshots || !random_one_in(ASKED_EVERY) || thin_of(node)->failed)
		return;
	verb = choose(&index, text);
	arguments = json_parse("arguments", text, strlen(text), &err);
	if (node->type->command(node, verb, arguments, NULL, &err) == 0) {
		sim_note("%s %s", verb, text);
		doomed = !strcmp(verb, "snapshot-delete") ? index : -1;
		wanted = !strcmp(verb, "snapshot-revert") ? index : -1;
		left = l1_offset();
	}
	json_destroy(arguments);
	err_finish(&err);
	queue_wake_node(node);
}

bool past_were_asked(void)
{
	return asked > 0;
}

static char *read_past(unsigned index, uint64_t *size)
{
	uint64_t l1 = past_table(&image, index, size), at;
	char *bytes = malloc(*size);

	if (!bytes)
		sim_fail("out of memory");
	for (at = 0; at < *size; at += SECTOR)
		if (!past_sector(&image, l1, at, bytes + at))
			flatten_read_backing((unsigned)(at / SECTOR), bytes + at);
	return bytes;
}

static void forget_others(struct kept *one)
{
	free(one->others);
	one->others = NULL;
	one->other_count = 0;
}

static void find_others(struct kept *one)
{
	uint64_t values[OTHERS_MAX];
	unsigned i, j, count;

	for (i = 0; i < life.sectors; i++) {
		count = model_others(i, values, OTHERS_MAX);
		if (!count)
			continue;
		one->others = realloc(one->others, (one->other_count + count) * sizeof(*one->others));
		if (!one->others)
			sim_fail("out of memory");
		for (j = 0; j < count; j++)
			one->others[one->other_count++] = (struct other){ i, values[j] };
	}
}

static void keep(void)
{
	struct kept *one = &kept[kept_count];

	*one = (struct kept){ .upheavals = model_upheavals };
	one->bytes = read_past(kept_count, &one->size);
	find_others(one);
	kept_count++;
}

static bool may_turn_to(const struct kept *one, unsigned sector, const char *bytes)
{
	char other[SECTOR];
	unsigned i;

	for (i = 0; i < one->other_count && one->upheavals != model_upheavals; i++) {
		sector_fill(other, one->others[i].value, sector);
		if (one->others[i].sector == sector && memcmp(other, bytes, SECTOR) == 0)
			return true;
	}
	return false;
}

static void forget_doomed(void)
{
	free(kept[doomed].bytes);
	forget_others(&kept[doomed]);
	kept_count--;
	memmove(&kept[doomed], &kept[doomed + 1], (kept_count - (unsigned)doomed) * sizeof(*kept));
	doomed = -1;
	totals.pasts_gone++;
	sim_note("there are %u snapshots", kept_count);
}

static void check_flags(void)
{
	unsigned wrong = past_wrong_flags(&image);

	if (wrong)
		sim_fail("%u entries say the contrary of what their counts do", wrong);
}

/* The device has: what requests have written by now is gone for good, but for those under way. */
static void went_back(void)
{
	const struct kept *past = &kept[wanted];
	unsigned i;

	wanted = -1;
	totals.pasts_back++;
	sim_note("the device is as it was");
	for (i = 0; i < life.sectors && i < past->size / SECTOR; i++) { /* it may have grown at this start */
		uint64_t value, begun;

		memcpy(&value, past->bytes + (size_t)i * SECTOR, sizeof(value));
		begun = model_write_begins(i, 1, value);
		model_write_ends(i, 1, begun, true, true);
	}
	for (i = 0; i < past->other_count; i++)
		model_set_other(past->others[i].sector, past->others[i].value);
	if (life.snapshots)
		check_flags();
	past_judge();
}

void past_watch(void)
{
	const struct thin *thin = life.snapshots ? thin_of(life.tree->root) : NULL;

	if (thin && !thin->failed && wanted >= 0 && thin->header.l1_offset != left)
		went_back();
	if (!thin || thin->failed || thin->header.snapshot_count == kept_count)
		return;
	if (doomed >= 0 && thin->header.snapshot_count == kept_count - 1) {
		forget_doomed();
		check_flags();
		past_judge();
		return;
	}
	if (thin->header.snapshot_count != kept_count + 1 || past_count(&image) != kept_count + 1)
		sim_fail("there are %u snapshots, and were %u", past_count(&image), kept_count);
	keep();
	totals.snapshots++;
	sim_note("there are %u snapshots", kept_count);
	/* The image's size need be no whole number of the device's blocks. */
	if (kept[kept_count - 1].size < (uint64_t)life.sectors * SECTOR)
		sim_fail("a snapshot has %llu bytes only", (unsigned long long)kept[kept_count - 1].size);
	model_read_ends(0, life.sectors, kept[kept_count - 1].bytes, model_time(), model_upheavals);
	check_flags();
}

void past_judge(void)
{
	unsigned i;

	/* One was to go when the image failed, and the header may have got that far: the next start tells. */
	if (life.snapshots && doomed >= 0 && past_count(&image) == kept_count - 1)
		return;
	for (i = 0; i < kept_count && life.snapshots; i++) {
		uint64_t size, at;
		char *bytes = read_past(i, &size);

		if (size != kept[i].size)
			sim_fail("snapshot %u had %llu bytes and has %llu", i, (unsigned long long)kept[i].size,
				(unsigned long long)size);
		for (at = 0; at < size; at += SECTOR)
			if (memcmp(bytes + at, kept[i].bytes + at, SECTOR) != 0 &&
				!may_turn_to(&kept[i], (unsigned)(at / SECTOR), bytes + at))
				sim_fail("sector %llu of snapshot %u has changed", (unsigned long long)(at / SECTOR), i);
		free(kept[i].bytes);
		kept[i].bytes = bytes;
		kept[i].upheavals = model_upheavals;
		totals.pasts++;
	}
}

void past_agree(void)
{
	unsigned i;

	past_judge(); /* what has turned has turned by now */
	for (i = 0; i < kept_count; i++)
		forget_others(&kept[i]);
}

void past_started(void)
{
	if (wanted >= 0 && l1_offset() != left) /* also where a flush was lost with that */
		went_back();
	wanted = -1;
	if (!life.snapshots)
		return;
	/* A crash may have come when the header named it, or no longer did, and before anybody was told. */
	if (doomed >= 0 && past_count(&image) == kept_count - 1)
		forget_doomed();
	doomed = -1;
	if (past_count(&image) != kept_count && past_count(&image) != kept_count + 1)
		sim_fail("there are %u snapshots, and were %u", past_count(&image), kept_count);
	if (past_count(&image) != kept_count)
		keep();
	check_flags();
	past_judge();
}

void past_finish(void)
{
	while (kept_count) {
		forget_others(&kept[--kept_count]);
		free(kept[kept_count].bytes);
	}
	asked = 0;
	doomed = wanted = -1;
}
