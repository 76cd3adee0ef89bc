// SPDX-License-Identifier: MIT
/*
 * A leg that goes on alone: between two lives of a device whose root is a mirror, one leg is started without
 * the others and written. Then the user prefers the others, and one day takes the leg back: what it alone
 * held must stand in the overlay, and nothing else in it but what the leg held.
 *
 * Only some seeds have such legs, by their number alone.
 */
#include "sim.h"

#include "child_io.h"
#include "lifetime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WRITES_MAX 8u
#define BLOCK 4096u

static struct {
	bool is_wanted; /* in this seed */
	bool is_alone[IMAGES_MAX]; /* leaves below the leg; none: nobody is given up */
	char *held; /* what the leg shows, of `size` bytes … */
	bool *written; /* … and by sectors, whether it was written alone. NULL: nobody went on alone */
	uint64_t size;
	bool takes_back; /* this start is to */
} split;

bool split_is_alone(unsigned place)
{
	return split.written && split.is_alone[place];
}

static void forget(void)
{
	free(split.held);
	free(split.written);
	split.held = NULL;
	split.written = NULL;
	memset(split.is_alone, 0, sizeof(split.is_alone));
}

void split_begin(uint64_t seed)
{
	forget();
	split.is_wanted = ((seed * UINT64_C(0xaef17502108ef2d9) >> 33) % 2 == 0 || life.document.has_spares) &&
		!life.lies && !life.has_faulty_starts && !life.grows && !life.document.has_images;
}

void split_end(void)
{
	forget();
	saved_remove();
}

/*
 * The places of the leaves below. False: one of them has to be there, or shows what no flush has made durable,
 * as one has failed: that may be gone when it is taken back.
 */
static bool find_leaves(const struct node *node)
{
	bool may_go = true;
	unsigned i;

	if (node->leaf) {
		const struct image *image = backend.images[node->leaf->place];

		split.is_alone[node->leaf->place] = true;
		return meddle_is_spare(node->leaf->place) && image && !image->first;
	}
	for (i = 0; i < node->child_count; i++)
		may_go &= find_leaves(node->children[i]);
	return may_go;
}

/* All leaves of the leg, or all others, away or back again. */
static void hide(bool of_the_leg, bool away)
{
	char here[300], there[300];
	unsigned place;

	for (place = 0; place < life.document.leaf_count; place++) {
		meddle_path(place, away ? "" : ".other", here);
		meddle_path(place, away ? ".other" : "", there);
		if (split.is_alone[place] == of_the_leg && rename(here, there) < 0)
			sim_fail("%s: %s", here, strerror(errno));
	}
}

static void write_alone(struct tree *tree)
{
	uint64_t block = tree->root->limits.logical_block_size;
	uint64_t blocks = tree->root->limits.size / block;
	unsigned writes = 1 + random_below(WRITES_MAX), i;
	int result = 0;

	split.size = blocks * block;
	split.held = calloc(1, split.size);
	split.written = calloc(split.size / SECTOR, sizeof(*split.written));
	if (!split.held || !split.written)
		sim_fail("out of memory");
	tree->child_io = CHILD_IO_FULL;
	for (i = 0; i < writes && result == 0; i++) {
		uint64_t first = random_below((unsigned)blocks), at;
		uint64_t count = 1 + random_below(8), offset = first * block;
		char *bytes = split.held + offset;

		if (count > blocks - first)
			count = blocks - first;
		for (at = 0; at < count * block; at++)
			bytes[at] = (char)random_below(256);
		memset(split.written + offset / SECTOR, true, count * block / SECTOR);
		result = child_write(tree->root, offset, bytes, (uint32_t)(count * block));
	}
	if (result == 0)
		result = child_flush(tree->root);
	for (i = 0; i < blocks && result == 0; i++)
		result = child_read(tree->root, i * block, split.held + i * block, (uint32_t)block);
	tree->child_io = CHILD_IO_NONE;
	if (result < 0)
		sim_fail("a leg alone can't be written: error %d", -result);
}

/* The leaves of the leg, or all others, that don't stand by: their paths, as many as there are. */
static unsigned name_leaves(bool of_the_leg, const char **names)
{
	static char paths[IMAGES_MAX][300];
	unsigned place, count = 0;

	for (place = 0; place < life.document.leaf_count; place++)
		if (split.is_alone[place] == of_the_leg && !life.is_hidden[place] && !life.is_blank[place] &&
			!start_stands_by(place)) {
			meddle_path(place, "", paths[count]);
			names[count] = paths[count];
			count++;
		}
	return count;
}

static struct tree *read_tree(void)
{
	struct err err = { 0 };
	struct tree *tree;
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/tree.json", sim_directory);
	tree = tree_parse(path, life.document.text, strlen(life.document.text), &err);
	if (!tree)
		sim_fail("the document is refused: %s", err.text);
	shadow_place(tree);
	return tree;
}

/*
 * A life of the leg without the others, or of them without it, who are not written. A leg that is stale, of
 * mirrors in different states, may be refused.
 */
static void live_without(struct tree *tree, bool is_the_leg)
{
	struct assemble_options options = { .degraded = true };
	struct err err = { 0 }, notes = { 0 };
	const char *names[IMAGES_MAX];

	options.prefer = names;
	options.prefer_count = name_leaves(is_the_leg, names);
	hide(!is_the_leg, true);
	if (lifetime_prepare(tree, &options, &err, &notes) < 0) {
		if (!is_the_leg)
			sim_fail("legs without another are refused: %s", err.text);
		sim_note("refused: %s", err.text);
	} else {
		if (lifetime_start(tree, &err, &notes) < 0)
			sim_fail("a leg alone can't be started: %s", err.text);
		if (is_the_leg)
			write_alone(tree);
		/* Else it was killed. What the others have must be believed without a word. */
		if ((!is_the_leg || random_below(2)) && lifetime_stop(tree, &err) < 0)
			sim_fail("a leg alone can't be stopped: %s", err.text);
	}
	err_finish(&err);
	err_finish(&notes);
	tree_destroy(tree);
	hide(!is_the_leg, false);
}

static bool node_has_mirrors(const struct node *node)
{
	bool has_mirrors = node->type->redundant;
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		has_mirrors |= node_has_mirrors(node->children[i]);
	return has_mirrors;
}

/* One that doesn't stand by; all leaves of a leg have the same role. */
static const struct node *choose_leg(const struct node *root)
{
	unsigned place = random_below(root->child_count), i;
	const struct node *leaf = NULL;

	for (i = 0; i < root->child_count; i++, place = (place + 1) % root->child_count) {
		for (leaf = root->children[place]; !leaf->leaf; leaf = leaf->children[0])
			;
		if (!start_stands_by(leaf->leaf->place))
			break;
	}
	return root->children[place];
}

void split_meddle(void)
{
	const struct node *leg = NULL;
	struct tree *tree;

	if (!split.is_wanted || split.written || !life.is_guarded || !life.was_stopped ||
		meddle_is_degraded() || memchr(life.is_blank, true, sizeof(life.is_blank)))
		return;
	tree = read_tree();
	if (tree->root->type->redundant)
		leg = choose_leg(tree->root);
	if (leg && find_leaves(leg)) {
		bool has_mirrors = node_has_mirrors(leg);

		sim_note("a leg goes on alone, and the others do");
		live_without(tree, true);
		if (split.written)
			live_without(read_tree(), false);
		remove_forget();
		model_upheavals++;
		totals.splits += split.written != NULL;
		totals.split_mirrors += split.written && has_mirrors;
	} else {
		tree_destroy(tree);
	}
	if (!split.written)
		memset(split.is_alone, 0, sizeof(split.is_alone));
}

void split_choose(struct assemble_options *options)
{
	static const char *names[IMAGES_MAX];

	split.takes_back = split.written && random_below(2);
	if (!split.written)
		return;
	options->prefer = names;
	options->prefer_count = name_leaves(false, names);
	if (split.takes_back)
		options->take_back = saved_directory();
}

/*
 * Marks where the map's ranges hold what the leg did: the first one has nothing else. A later one may, of a leg of
 * mirrors some of which were on their way back already.
 */
static void check_range(FILE *overlay, uint64_t offset, uint64_t length, bool is_first, bool *covered)
{
	char *bytes = malloc(length);
	uint64_t at;

	if (!bytes || fseek(overlay, (long)offset, SEEK_SET) != 0 ||
		fread(bytes, 1, length, overlay) != length)
		sim_fail("an overlay can't be read");
	if (is_first && memcmp(bytes, split.held + offset, length) != 0)
		sim_fail("an overlay holds something else at %llu than its leg",
			(unsigned long long)offset);
	for (at = 0; at < length; at += SECTOR)
		covered[(offset + at) / SECTOR] |=
			memcmp(bytes + at, split.held + offset + at, SECTOR) == 0;
	free(bytes);
}

/* The same of a mirror below: no two sectors that were written alone are equal, wherever they stand. */
static void find_range(FILE *overlay, uint64_t offset, uint64_t length, bool *covered)
{
	uint64_t at, place;
	char bytes[SECTOR];

	for (at = 0; at < length; at += SECTOR) {
		if (fseek(overlay, (long)(offset + at), SEEK_SET) != 0 ||
			fread(bytes, 1, SECTOR, overlay) != SECTOR)
			sim_fail("an overlay can't be read");
		for (place = 0; place < split.size; place += SECTOR)
			covered[place / SECTOR] |= split.written[place / SECTOR] &&
				memcmp(bytes, split.held + place, SECTOR) == 0;
	}
}

static bool stands_by_now(const char *leg)
{
	unsigned i;

	for (i = 0; i < life.tree->node_count; i++)
		if (life.tree->nodes[i]->spare && !strcmp(life.tree->nodes[i]->id, leg))
			return true;
	return false;
}

/*
 * The ranges lie within the mirror whose leg it was. Where that is the root, what they hold is judged too. Below it a
 * leg is taken back where its fellows are in use again: after a start in which their labels alone were
 * written, when it was saved with them before; or they stood by, and nobody has given them up.
 */
static bool check_files(const char *overlay, const char *map, bool is_first, bool *covered)
{
	struct err err = { 0 };
	struct json *json = json_read_file(map, &err);
	const struct json *ranges = json ? json_get(json, "ranges") : NULL;
	FILE *file = fopen(overlay, "r");
	uint64_t size = 0, offset = 0, length = 0;
	bool is_of_root;
	size_t i;

	if (!json || !file || !json_unsigned(json_get(json, "size"), &size))
		sim_fail("an overlay is not whole: %s", err.text ? err.text : overlay);
	is_of_root = !strcmp(json_string(json_get(json, "mirror")), life.tree->root->id);
	if (is_of_root && size != split.size)
		sim_fail("an overlay is of %llu bytes, not %llu", (unsigned long long)size,
			(unsigned long long)split.size);
	for (i = 0; i < json_count(ranges); i++) {
		const struct json *range = json_at(ranges, i);

		if (!json_unsigned(json_at(range, 0), &offset) ||
			!json_unsigned(json_at(range, 1), &length) || offset % SECTOR ||
			length % SECTOR || offset > size || length > size - offset || length == 0)
			sim_fail("a range of an overlay is wrong: %llu %llu of %llu",
				(unsigned long long)offset, (unsigned long long)length,
				(unsigned long long)size);
		if (is_of_root)
			check_range(file, offset, length, is_first, covered);
		else
			find_range(file, offset, length, covered);
	}
	fclose(file);
	totals.overlays++;
	totals.overlays_below += !is_of_root;
	totals.overlays_of_spares += stands_by_now(json_string(json_get(json, "leg")));
	json_destroy(json);
	return is_of_root;
}

void split_judge(void)
{
	char overlay[600], map[600];
	bool is_first = true;
	unsigned number;
	bool *covered;
	uint64_t at;

	if (!split.takes_back || !split.written)
		return;
	covered = calloc(split.size / SECTOR, sizeof(*covered));
	if (!covered)
		sim_fail("out of memory");
	saved_directory();
	for (number = 0; saved_paths(number, overlay, map); number++)
		is_first &= !check_files(overlay, map, is_first, covered);
	for (at = 0; at < split.size; at += SECTOR)
		if (split.written[at / SECTOR] && !covered[at / SECTOR] &&
			memcmp(split.held + at, judge_sector(life.tree->root, at), SECTOR) != 0)
			sim_fail("what a leg alone held at %llu is not saved",
				(unsigned long long)at);
	free(covered);
	saved_remove();
	forget();
}
