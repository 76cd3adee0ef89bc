// SPDX-License-Identifier: MIT
/* Random trees, small enough that every boundary is near. */
#include "sim.h"

#include "../../targets/mirror.h"

#include <stdlib.h>
#include <string.h>

#define PATH_WORD "leaf"

static const char *const policies[] = { "least_pending", "round_robin", "first" };
static const unsigned block_sizes[] = { 512, 512, 512, 1024, 4096 };
static const unsigned region_sizes[] = { 4096, 4096, 8192 };
static const char *const fan_outs[] = { "auto", "linked", "gathered", "passthrough" };
static const char *const timed_fan_outs[] = { "auto", "auto", "gathered", "gathered" };

/* Where a node stands: whether below a mirror, and how many bytes mirrors above keep of it. */
struct ground {
	bool below_mirror;
	uint32_t front;
	bool is_hemmed_in; /* others stand behind it in a linear */
};

static void print_leaf(struct document *document, FILE *out, struct ground ground)
{
	uint32_t size = ground.front + 16384 + 8704 * random_below(2);
	bool below_mirror = ground.below_mirror, is_bare = document->is_bare;

	document->is_bare = false;
	size += document->room; /* an image's tables, and clusters that wait for a flush */

	fprintf(out,
		"{\"type\":\"file\",\"path\":\"" PATH_WORD "%02u\",\"size\":%u,\"direct\":false",
		document->leaf_count, size);
	document->is_raw[document->leaf_count] = !below_mirror && !is_bare && random_one_in(4);
	document->can_grow[document->leaf_count] =
		!ground.is_hemmed_in && !document->is_raw[document->leaf_count];
	if (document->is_raw[document->leaf_count])
		fprintf(out, ",\"label\":false");
	else if (is_bare)
		fprintf(out, ",\"label\":true"); /* simulated files don't grow */
	if (below_mirror && random_one_in(6))
		fprintf(out, ",\"write_mostly\":true");
	fprintf(out, "}");
	document->sizes[document->leaf_count++] = size;
}

static void print_node(
	struct document *document, FILE *out, unsigned depth, struct ground ground);

/* The first child has its own front, as in a linear the others' bytes come after it. */
static void print_children(struct document *document, FILE *out, unsigned count, unsigned depth,
	struct ground first, struct ground others, bool appends)
{
	unsigned i;

	fprintf(out, ",\"children\":[");
	for (i = 0; i < count; i++) {
		struct ground ground = i ? others : first;

		ground.is_hemmed_in |= appends && i + 1 < count;
		fputs(i ? "," : "", out);
		print_node(document, out, depth, ground);
	}
	fprintf(out, "]}");
}

static void print_spares(
	struct document *document, FILE *out, unsigned count, unsigned depth, struct ground leg)
{
	unsigned i;

	fprintf(out, ",\"spares\":[");
	for (i = 0; i < count; i++) {
		fputs(i ? "," : "", out);
		print_node(document, out, random_one_in(4) ? depth : 0, leg);
	}
	fprintf(out, "]");
}

static void print_mirror(
	struct document *document, FILE *out, unsigned depth, struct ground ground)
{
	struct ground leg = { true, ground.front + MIRROR_FRONT, ground.is_hemmed_in };
	unsigned count, spares = 0;

	fprintf(out, "{\"type\":\"mirror\",\"read_policy\":\"%s\"", policies[random_below(3)]);
	if (document->has_slow)
		fprintf(out, ",\"slow_after_ms\":1");
	if (document->has_behind)
		fprintf(out, ",\"write_behind\":%u", 4096u << random_below(8));
	if (document->has_timeout)
		fprintf(out, ",\"timeout_ms\":%u", TIMEOUT_MS);
	fprintf(out, ",\"region_size\":%u", region_sizes[random_below(3)]);
	if (document->has_spares) { /* no more children than ever: their plans have to fit */
		count = 2 + random_below(2);
		spares = 1 + random_below(count - 1);
	} else {
		count = 1 + random_below(3);
	}
	print_children(document, out, count - spares, depth - 1, leg, leg, false);
	if (spares) {
		fseek(out, -1, SEEK_CUR); /* over its closing brace */
		print_spares(document, out, spares, depth - 1, leg);
		fprintf(out, "}");
	}
}

static void print_stripe(
	struct document *document, FILE *out, unsigned depth, struct ground ground)
{
	uint32_t chunk = 4096u << random_below(2), count = 1 + random_below(3);

	/* Each has its share of the front, in whole chunks. */
	ground.front = (ground.front / chunk + count - 1) / count * chunk;
	fprintf(out, "{\"type\":\"stripe\",\"chunk_size\":%u", chunk);
	print_children(document, out, count, depth - 1, ground, ground, false);
}

static void print_node(struct document *document, FILE *out, unsigned depth, struct ground ground)
{
	struct ground bare = { ground.below_mirror, 0, ground.is_hemmed_in };
	bool below_mirror = ground.below_mirror;
	unsigned kind = random_below(10);
	bool is_full = document->leaf_count >= sim_caps.leaves;

	if (depth == 0 || kind < 2 || is_full) {
		print_leaf(document, out, ground);
	} else if (kind < 6) {
		print_mirror(document, out, depth, ground);
	} else if (kind < 8) {
		print_stripe(document, out, depth, ground);
	} else if (kind == 8 && !below_mirror && !document->has_thin) {
		fprintf(out, "{\"type\":\"linear\",\"children\":[{\"type\":\"zero\",\"size\":%u},",
			512 + 512 * random_below(8));
		print_leaf(document, out, ground);
		fprintf(out, "]}");
	} else {
		bool is_window = random_one_in(3);

		fprintf(out, "{\"type\":\"linear\"");
		if (is_window)
			fprintf(out, ",\"offset\":%u", 512 * random_below(5));
		print_children(document, out, is_window ? 1 : 1 + random_below(3), depth - 1,
			ground, bare, true);
	}
}

enum root { ROOT_SHADOW, ROOT_SHADOWS, ROOTS = 8 }; /* the others are any node */

/* Now and then the shadow, above all or on each leg. It has half a leaf: too little for a chunk. */
static void print_root(struct document *document, FILE *out, unsigned root)
{
	struct ground half = { true, 2 * MIRROR_FRONT + 4096, false }; /* each page has two slots there */
	unsigned legs = 1 + random_below(3), i;

	switch (root) {
	case ROOT_SHADOW:
		document->has_shadow = true;
		shadow_print_begin(out);
		print_node(document, out, 1 + random_below(2), (struct ground){ true, 0, false });
		shadow_print_end(out);
		break;
	case ROOT_SHADOWS:
		document->has_shadow = true;
		fprintf(out, "{\"type\":\"mirror\",\"region_size\":4096,\"children\":[");
		for (i = 0; i < legs && document->leaf_count < sim_caps.leaves; i++) {
			fputs(i ? "," : "", out);
			shadow_print_begin(out);
			print_leaf(document, out, half);
			shadow_print_end(out);
		}
		fprintf(out, "]}");
		break;
	default:
		print_node(document, out, 1 + random_below(3), (struct ground){ false, 0, false });
	}
}

/* A file that is there already (flatten.c), in whole blocks; of the device's sectors some, or more. */
static void print_backing(struct document *document, FILE *out, unsigned sectors)
{
	unsigned place = document->leaf_count, blocks = 1 + (sectors * 7 + place) % (sectors / 6);

	if (life.commits) /* no shorter than the device */
		blocks = blocks % 4 + (sectors + 7) / 8;
	if (place >= sim_caps.leaves)
		return;
	document->backing_place = place;
	document->backing_sectors = blocks * 8;
	document->is_raw[place] = true;
	document->can_grow[place] = false;
	document->sizes[place] = document->backing_sectors * SECTOR;
	document->leaf_count++;
	fprintf(out, "%s,\"backing\":{\"type\":\"file\",\"path\":\"" PATH_WORD "%02u\",\"direct\":false}",
		life.commits ? ",\"commit\":true" : "", place);
}

/* Of the device's length to the last sector, with a label or without. */
static void print_data_file(struct document *document, FILE *out, unsigned sectors)
{
	unsigned place = document->leaf_count;

	if (place >= sim_caps.leaves || life.snapshots || life.commits || sectors % 4 > 1)
		return;
	document->has_data_file = true;
	totals.data_files++;
	document->is_raw[place] = sectors % 2;
	document->can_grow[place] = false;
	document->sizes[place] = sectors * SECTOR;
	document->leaf_count++;
	fprintf(out, ",\"data_file\":{\"type\":\"file\",\"path\":\"" PATH_WORD "%02u\",\"size\":%u,\"direct\":false,"
		"\"label\":%s}", place, sectors * SECTOR, document->is_raw[place] ? "false" : "true");
}

/* An image, at the top: below a mirror or a stripe its map would hide sectors from the judges. */
static void print_thin(struct document *document, FILE *out, unsigned depth)
{
	unsigned sectors = 8 + random_below(random_one_in(3) ? 200 : 48);
	unsigned backing = random_below(3), cluster = 512u << random_below(4);

	document->has_tight_cache = sectors / 8 % 2;
	if (document->has_tight_cache) { /* more map than what one request needs of it */
		sectors = 200 + sectors % 100 * 5;
		cluster = 512;
	}
	document->has_thin = document->is_bare = true;
	document->room += document->is_tight ? (16u << 10) + sectors * SECTOR / 4 /* its tables, and something */
					     : (96u << 10) + sectors * 2 * SECTOR;
	if (document->is_tight && document->has_store)
		document->hidden = store_hides(sectors * SECTOR);
	document->room += document->hidden;
	if (life.snapshots)
		document->room += (64u << 10) + sectors * 2 * SECTOR;
	fprintf(out, "{\"type\":\"thin\",%s\"discard\":\"%s\",\"size\":%u,\"cluster_size\":%u,",
		document->is_tight ? "\"when_full\":\"queue\",\"no_space_timeout\":3," : "",
		sectors % 8 ? "unmap" : "ignore", sectors * SECTOR, cluster);
	fprintf(out, "\"metadata_cache\":%u,\"data\":", document->has_tight_cache ? 512 : 1u << 20);
	if (document->hidden)
		store_print_begin(out);
	print_node(document, out, depth, (struct ground){ false, 0, false });
	if (document->hidden)
		shadow_print_end(out);
	if (backing == 1)
		print_backing(document, out, sectors);
	if (!backing)
		fprintf(out, ",\"backing\":{\"type\":\"zero\",\"size\":%u}",
			(1 + random_below(64)) * SECTOR);
	print_data_file(document, out, sectors);
	fprintf(out, "}");
	document->is_bare = false;
}

/*
 * Images as legs, with room for all that they may be asked to hold. They ignore discards, of which each would
 * keep another part: legs would differ without a fault.
 */
static void print_images(struct document *document, FILE *out)
{
	bool is_mirror = random_below(4);
	unsigned count = 2 + random_below(2), sectors = 8 + random_below(random_one_in(3) ? 200 : 48), i;

	document->has_images = true;
	totals.images++;
	document->room += (96u << 10) + (MIRROR_FRONT + sectors * SECTOR) * 2;
	fprintf(out, is_mirror ? "{\"type\":\"mirror\",\"region_size\":4096" : "{\"type\":\"stripe\",\"chunk_size\":4096");
	if (is_mirror && document->has_slow)
		fprintf(out, ",\"slow_after_ms\":1");
	if (is_mirror && document->has_timeout)
		fprintf(out, ",\"timeout_ms\":%u", TIMEOUT_MS);
	fprintf(out, ",\"children\":[");
	for (i = 0; i < count && document->leaf_count < sim_caps.leaves; i++) {
		bool is_tight = random_below(2);

		fprintf(out, "%s{\"type\":\"thin\",\"discard\":\"ignore\",\"size\":%u,\"cluster_size\":%u,", i ? "," : "",
			(is_mirror ? (unsigned)MIRROR_FRONT : 4096) + sectors * SECTOR, 512u << random_below(4));
		fprintf(out, "\"metadata_cache\":%u,\"data\":", is_tight ? 512 : 1u << 20);
		document->is_bare = true;
		print_leaf(document, out, (struct ground){ false, 0, false });
		fprintf(out, "}");
	}
	fprintf(out, "]}");
}

void document_make(struct document *document, const struct wishes *wishes)
{
	unsigned root = random_below(ROOTS);
	unsigned blocks = sizeof(block_sizes) / sizeof(*block_sizes);
	size_t length;
	FILE *out;

	if (root <= ROOT_SHADOWS)
		blocks--; /* the largest may be more than it has */
	*document = (struct document){
		.room = wishes->room,
		.is_tight = wishes->is_tight,
		.has_store = wishes->has_store,
		.has_slow = wishes->has_slow,
		.has_behind = wishes->has_behind,
		.has_timeout = wishes->has_timeout,
		.has_spares = wishes->has_spares,
	};
	out = open_memstream(&document->text, &length);
	if (!out)
		sim_fail("out of memory");
	fprintf(out,
		"{\"format\":1,\"name\":\"sim\",\"device\":{\"queue_depth\":%u,"
		"\"max_io_size\":\"%uKiB\",\"fan_out\":\"%s\",\"logical_block_size\":%u},\"root\":",
		TAGS, 4u << random_below(4), (wishes->has_timeout ? timed_fan_outs : fan_outs)[random_below(4)],
		block_sizes[random_below(blocks)]);
	if (wishes->has_images)
		print_images(document, out);
	else if (random_one_in(3))
		print_thin(document, out, random_below(3));
	else
		print_root(document, out, root);
	fprintf(out, "}");
	if (fclose(out) != 0)
		sim_fail("out of memory");
}

char *document_permuted(const struct document *document, bool permute)
{
	char *text = strdup(document->text), *at = text;
	unsigned places[IMAGES_MAX], i, j;

	for (i = 0; i < document->leaf_count; i++)
		places[i] = i;
	for (i = 0; i < document->leaf_count && permute; i++) {
		j = random_below(document->leaf_count);
		if (document->sizes[i] == document->sizes[j] && !document->is_raw[i] &&
			!document->is_raw[j]) {
			unsigned place = places[i];

			places[i] = places[j];
			places[j] = place;
		}
	}
	for (i = 0; i < document->leaf_count; i++) {
		at = strstr(at, "\"" PATH_WORD) + 1 + strlen(PATH_WORD);
		at[0] = (char)('0' + places[i] / 10);
		at[1] = (char)('0' + places[i] % 10);
	}
	return text;
}

void document_finish(struct document *document)
{
	free(document->text);
	document->text = NULL;
}
