// SPDX-License-Identifier: MIT
/*
 * Snapshots of a thin: asked for at random. What one holds is read past the engine as soon as the image
 * has it, and must be what a read of the device could have given at that moment; from then on it stays,
 * whatever becomes of the device, through crashes and power cuts.
 */
#include "sim.h"

#include "../../targets/thin.h"
#include "../past.h"

#include <stdlib.h>
#include <string.h>

#define PASTS_MAX 4u
#define ASKED_EVERY 30 /* requests */

static struct kept {
	char *bytes;
	uint64_t size;
} kept[PASTS_MAX];
static unsigned kept_count, asked;
static int doomed = -1; /* which of them was to be deleted, by the last that was asked */

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

void past_ask(void)
{
	struct node *node = life.tree->root;
	unsigned count = kept_count;
	struct err err = { 0 };
	char text[64];
	struct json *arguments;
	int index = -1;

	if (!life.snapshots || !random_one_in(ASKED_EVERY) || thin_of(node)->failed)
		return;
	if (count == PASTS_MAX || (count && random_one_in(3)))
		index = (int)random_below(count);
	if (index < 0)
		(void)snprintf(text, sizeof(text), "{\"name\":\"s%u\"}", asked++);
	else
		(void)snprintf(text, sizeof(text), "{\"name\":\"%u\"}", past_id(&image, (uint32_t)index));
	arguments = json_parse("arguments", text, strlen(text), &err);
	if (node->type->command(node, index < 0 ? "snapshot-create" : "snapshot-delete", arguments, NULL, &err) == 0) {
		sim_note("snapshot %s%s", index < 0 ? "" : "goes: ", text);
		doomed = index;
	}
	json_destroy(arguments);
	err_finish(&err);
	engine_wake(backend.engine, node);
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

static void keep(void)
{
	struct kept *one = &kept[kept_count];

	one->bytes = read_past(kept_count, &one->size);
	kept_count++;
}

static void forget_doomed(void)
{
	free(kept[doomed].bytes);
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

void past_watch(void)
{
	const struct thin *thin = life.snapshots ? thin_of(life.tree->root) : NULL;

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
			if (memcmp(bytes + at, kept[i].bytes + at, SECTOR) != 0)
				sim_fail("sector %llu of snapshot %u has changed", (unsigned long long)(at / SECTOR), i);
		free(bytes);
		totals.pasts++;
	}
}

void past_started(void)
{
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
	while (kept_count)
		free(kept[--kept_count].bytes);
	asked = 0;
	doomed = -1;
}
