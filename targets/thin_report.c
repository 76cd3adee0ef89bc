// SPDX-License-Identifier: MIT
/*
 * What thin tells about itself: its status, and its map as the verb "map":
 *
 *   {"offset": N}   answers {"extents": [ … ], "next": M}
 *
 * with extents from N on, as qemu-img map has them: start, length, depth (0: this image, 1: its
 * backing, …), present, zero, data, compressed, and offset within the file at that depth. "next" is
 * left out at the end. So that no request waits for long, an answer ends after EXTENTS_MAX extents or
 * LOOKUPS_MAX lookups, or at what is not in memory: that is then brought in the background, and the
 * answer, which may have no extents at all, to be asked for again.
 */
#include "thin_next.h"
#include "thin_open.h"

#include <errno.h>
#include <json-c/json_object.h>

#define NS_PER_US 1000u
#define EXTENTS_MAX 1024u
#define LOOKUPS_MAX (1u << 18)

struct extent {
	uint64_t start, length, host; /* host 0: none */
	unsigned depth;
	enum qcow2_kind kind;
};

static uint64_t read_number(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_RELAXED);
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

static void add_flag(struct json_object *out, const char *key, bool value)
{
	json_object_object_add(out, key, json_object_new_boolean(value));
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* "Full in": at the rate of late, where there is less room than the device could still ask for. */
static void add_room(const struct thin *thin, struct json_object *out)
{
	uint64_t room = thin_room(thin), rate = read_number(&thin->rate);
	uint64_t allocated = read_number(&thin->allocated) << thin->cluster_bits;

	add_number(out, "available", room);
	if (thin->low_water_mark)
		add_number(out, "low_water_mark", thin->low_water_mark);
	json_object_object_add(out, "when_full", json_object_new_string(thin->queues ? "queue" : "error"));
	if (thin->queues)
		add_number(out, "waiting", __atomic_load_n(&thin->waiting_count, __ATOMIC_RELAXED));
	if (rate && room < thin->header.size - smaller(allocated, thin->header.size))
		add_number(out, "full_in_s", room / rate);
}

static void add_cache(const struct thin *thin, struct json_object *out)
{
	const struct thin_cache *cache = &thin->cache;

	add_number(out, "metadata_memory", read_number(&thin->memory));
	add_number(out, "metadata_cache", (uint64_t)cache->count * thin->page);
	add_number(out, "metadata_cached", (uint64_t)__atomic_load_n(&cache->used, __ATOMIC_RELAXED) * thin->page);
	add_number(out, "metadata_hits", read_number(&cache->hits));
	add_number(out, "metadata_misses", read_number(&cache->misses));
}

void thin_status(const struct node *node, struct json_object *out)
{
	const struct thin *thin = thin_of(node);
	uint64_t cluster = thin_cluster(thin);

	json_object_object_add(out, "format", json_object_new_string("qcow2"));
	if (!thin_is_known(thin))
		return;
	add_number(out, "cluster_size", cluster);
	add_number(out, "virtual", thin->header.size);
	add_number(out, "allocated", read_number(&thin->allocated) * cluster);
	if (thin->can_write)
		add_room(thin, out);
	add_number(out, "reserved", read_number(&thin->reserve.count) * cluster);
	add_number(out, "reclaimable",
		(read_number(&thin->dropped.count) + read_number(&thin->flushing.count) +
			read_number(&thin->freed.count)) * cluster);
	add_number(out, "reclaimed", read_number(&thin->reclaimed) * cluster);
	add_number(out, "punched", read_number(&thin->punched) * cluster);
	add_number(out, "leaked", read_number(&thin->leaked) * cluster);
	add_number(out, "snapshots", thin->header.snapshot_count);
	if (read_number(&thin->made.pause_ops)) {
		add_number(out, "snapshot_pause_us", read_number(&thin->made.pause) / NS_PER_US);
		add_number(out, "snapshot_pause_ops", read_number(&thin->made.pause_ops));
	}
	add_number(out, "commits", read_number(&thin->committed));
	add_number(out, "no_space", read_number(&thin->no_space));
	add_cache(thin, out);
	add_flag(out, "metadata_failed", thin->failed);
	thin_flatten_status(node, out);
	thin_merge_status(node, out);
	thin_trim_status(node, out);
}

/* A page of the map is wanted. -EAGAIN: it will be there soon. Where nothing is served it is read at once. */
static int want_page(const struct node *node, uint64_t page)
{
	struct thin *thin = thin_of(node);
	uint8_t bytes[THIN_PAGE_MAX];
	int result;

	if (thin->pages[page])
		return 0;
	if (node->loaded && thin->cache.unread == page + 1) {
		thin->cache.unread = 0; /* whoever asks again may have more luck */
		return -EIO;
	}
	if (node->loaded) {
		thin->cache.wanted = page + 1;
		return -EAGAIN;
	}
	result = thin_child_read(node, thin_page_host(thin, page), bytes, thin->page);
	return result < 0 ? result : thin_cache_put(thin, page, bytes);
}

/* What one lookup tells about [extent->start, end): the part of it that is of one kind. 0, or as want_page(). */
static int look(const struct node *node, uint64_t end, struct extent *extent)
{
	const struct thin *thin = thin_of(node);
	uint64_t cluster = extent->start >> thin->cluster_bits;
	uint64_t base = cluster << thin->cluster_bits, within = extent->start - base;
	uint64_t table = cluster >> thin->table_bits;
	struct qcow2_entry entry;
	int result;

	if (!thin->table_hosts[table]) {
		end = smaller(end, (table + 1) << thin->table_bits << thin->cluster_bits);
		extent->kind = QCOW2_HOLE;
		extent->length = end - extent->start;
		return 0;
	}
	result = want_page(node, thin_page_of(thin, cluster));
	if (result < 0)
		return result;
	entry = thin_lookup(thin, cluster);
	end = smaller(end, base + thin_run_end(thin, &entry, within, thin_cluster(thin)));
	extent->kind = qcow2_entry_kind(&entry, (unsigned)(within >> thin->grain_bits));
	extent->length = end - extent->start;
	if (extent->kind == QCOW2_DATA)
		extent->host = qcow2_entry_place(&entry) + within;
	return 0;
}

/* The same down the chain: a hole shows what backing has there, as far as that goes. */
static int look_through(const struct node *node, uint64_t end, struct extent *extent)
{
	unsigned depth = 0;
	int result;

	for (;;) {
		const struct node *backing;

		result = look(node, end, extent);
		if (result < 0)
			return result;
		end = extent->start + extent->length;
		if (extent->kind != QCOW2_HOLE || !thin_has_backing(node))
			break;
		backing = thin_backing(node);
		if (extent->start >= backing->limits.size)
			break;
		depth++;
		end = smaller(end, backing->limits.size);
		extent->length = end - extent->start;
		if (backing->type != node->type) { /* bytes, and nothing else is known of them */
			extent->kind = QCOW2_DATA;
			extent->host = extent->start;
			break;
		}
		node = backing;
	}
	extent->depth = depth;
	return 0;
}

/* Whether `next` goes on where `extent` ends, on disk too. */
static bool is_continued(const struct extent *extent, const struct extent *next)
{
	return extent->kind == next->kind && extent->depth == next->depth &&
		(extent->kind != QCOW2_DATA || extent->host + extent->length == next->host);
}

static void add_extent(struct json_object *extents, const struct extent *extent)
{
	struct json_object *out = json_object_new_object();
	bool is_data = extent->kind == QCOW2_DATA || extent->kind == QCOW2_COMPRESSED;

	add_number(out, "start", extent->start);
	add_number(out, "length", extent->length);
	add_number(out, "depth", extent->depth);
	add_flag(out, "present", extent->kind != QCOW2_HOLE);
	add_flag(out, "zero", !is_data);
	add_flag(out, "data", is_data);
	add_flag(out, "compressed", extent->kind == QCOW2_COMPRESSED);
	if (extent->kind == QCOW2_DATA)
		add_number(out, "offset", extent->host);
	json_object_array_add(extents, out);
}

static int tell_map(const struct node *node, uint64_t offset, struct json_object *answer, struct err *err)
{
	uint64_t size = node->limits.size;
	struct json_object *extents = json_object_new_array();
	struct extent extent = { .start = offset };
	unsigned count = 0, lookups;
	int result = 0;

	for (lookups = 0; offset < size && lookups < LOOKUPS_MAX && count < EXTENTS_MAX; lookups++) {
		struct extent next = { .start = offset };

		result = look_through(node, size, &next);
		if (result < 0)
			break;
		offset += next.length;
		if (extent.length && is_continued(&extent, &next)) {
			extent.length += next.length;
			continue;
		}
		if (extent.length) {
			add_extent(extents, &extent);
			count++;
		}
		extent = next;
	}
	/* The last one may go on: the next answer begins with it, unless it is all that there was room for. */
	if (extent.length && (offset >= size || count == 0 || result < 0)) {
		add_extent(extents, &extent);
		extent.start = offset;
	}
	json_object_object_add(answer, "extents", extents);
	if (offset < size)
		add_number(answer, "next", extent.start);
	if (result < 0 && result != -EAGAIN)
		return err_add(err, "thin %s: reading its map at offset %llu: error %d", node->id,
			(unsigned long long)offset, -result);
	return 0;
}

int thin_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	uint64_t offset = json_get_unsigned(arguments, "offset", 0);

	if (!thin_is_known(thin_of(node)))
		return err_add(err, "thin %s: its leg has failed, and its image isn't open", node->id);
	if (!strcmp(verb, "flatten"))
		return thin_flatten_begin(node, arguments, err);
	if (!strcmp(verb, "stop-flatten")) {
		thin_flatten_stop(node);
		return 0;
	}
	if (!strcmp(verb, "commit"))
		return thin_merge_begin(node, arguments, err);
	if (!strcmp(verb, "stop-commit")) {
		thin_merge_stop(node);
		return 0;
	}
	if (!strcmp(verb, "trim"))
		return thin_trim_begin(node, err);
	if (!strcmp(verb, "trimmed"))
		return thin_trim_tell(node, answer, err);
	if (strcmp(verb, "map") != 0)
		return thin_snapshot_command(node, verb, arguments, answer, err);
	if (offset > node->limits.size)
		return err_add(err, "thin %s: offset %llu is beyond its size %llu", node->id,
			(unsigned long long)offset, (unsigned long long)node->limits.size);
	return tell_map(node, offset, answer, err);
}
