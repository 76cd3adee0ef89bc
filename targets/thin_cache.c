// SPDX-License-Identifier: MIT
/*
 * thin's cache: which L2 pages are in memory. There are as many places as the document's
 * "metadata_cache" has room for; a page that is wanted and not there is read again (thin_bring.c) and
 * takes the place of one that nobody has looked at of late. A page without a table, or one that says
 * nothing, is the one page of zeroes, and has no place.
 *
 * Only what reads back as it is goes: it is written, and a flush since has made that durable. (After
 * a failed flush the child may show what was there before.) Of what goes its sum is kept, and nothing
 * else is taken for it when it is read again, whatever a child answers: so what was judged at the
 * start, or written since, is what is used.
 *
 * Who needs pages between two of his steps pins them. So that a place is always found, those that may
 * not go are counted beforehand: a commit's own, what is not durable yet (before that is too much,
 * the next commit flushes), and pages_max for each lane that reads. Requests pin nothing: they use what they
 * find in the same step, or have it brought.
 */
#include "thin_next.h"
#include "thin_open.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t smaller(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

/* Each word's change changes it. It is kept in memory alone. */
uint64_t thin_cache_sum(const uint8_t *bytes, uint32_t length)
{
	uint64_t sum = length, word;
	uint32_t at;

	for (at = 0; at < length; at += sizeof(word)) {
		memcpy(&word, bytes + at, sizeof(word));
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 32;
	}
	return sum;
}

static uint8_t *slot_bytes(const struct thin *thin, uint32_t slot)
{
	return thin->cache.memory + (uint64_t)(slot + 1) * thin->page;
}

static bool is_zeroes(const struct thin *thin, const uint8_t *page)
{
	return page == thin->cache.memory;
}

static struct thin_slot *slot_of(const struct thin *thin, uint64_t page)
{
	assert(thin->pages[page] && !is_zeroes(thin, thin->pages[page]));
	return &thin->cache.slots[(uint64_t)(thin->pages[page] - thin->cache.memory) / thin->page - 1];
}

/* How much one request, a commit, and reading may take, so that it fits; see above. */
static void share(struct node *node, uint64_t slots)
{
	struct thin *thin = thin_of(node);
	uint64_t reach = thin_cluster(thin) << thin->page_bits;
	uint32_t io_pages = (uint32_t)((limits_max_io(node) - 1) / reach) + 2, commit;
	bool evicts = slots < thin->page_count;

	thin->unmap_pages = THIN_UNMAP_PAGES;
	thin->commit_extra = THIN_COMMIT_EXTRA;
	if (evicts) {
		thin->unmap_pages = larger(1, smaller(slots / 8, THIN_UNMAP_PAGES / 2));
		thin->commit_extra = smaller(slots / 8, THIN_COMMIT_EXTRA / 2);
	}
	thin->pages_max = larger(io_pages, thin->unmap_pages + 1);
	commit = thin->pages_max + thin->commit_extra;
	if (slots < commit + thin->pages_max)
		slots = commit + thin->pages_max;
	thin->cache.lanes = smaller((slots - commit) / 2 / thin->pages_max, THIN_LANES);
	thin->cache.lanes = larger(thin->cache.lanes, 1);
	thin->cache.count = smaller(slots, thin->page_count);
	thin->cache.evicts = thin->cache.count < thin->page_count;
}

int thin_cache_make(struct node *node, uint64_t bytes)
{
	struct thin *thin = thin_of(node);
	struct thin_cache *cache = &thin->cache;
	uint64_t page;

	thin->page_count = (thin->table_count << thin->cluster_bits) / thin->page;
	share(node, smaller(bytes / thin->page, UINT32_MAX / 2));
	cache->memory = calloc(cache->count + UINT64_C(1), thin->page);
	cache->slots = calloc(cache->count + UINT64_C(1), sizeof(*cache->slots));
	cache->pins = calloc(thin->page_count + 1, 1);
	cache->recent = calloc(thin->page_count + 1, 1);
	cache->sums = calloc(thin->page_count + 1, sizeof(*cache->sums));
	cache->is_outdated = calloc(thin->page_count + 1, 1);
	thin->pages = calloc(thin->page_count + 1, sizeof(*thin->pages));
	if (!cache->memory || !cache->slots || !cache->pins || !cache->recent || !cache->sums ||
		!cache->is_outdated || !thin->pages)
		return -1;
	for (page = 0; page < thin->page_count; page++)
		thin->pages[page] = cache->memory;
	return 0;
}

void thin_cache_free(struct thin *thin)
{
	free(thin->cache.memory);
	free(thin->cache.slots);
	free(thin->cache.pins);
	free(thin->cache.recent);
	free(thin->cache.sums);
	free(thin->cache.is_outdated);
	free(thin->pages);
}

/* What is written and not known to be durable, at most, and another commit's pages. */
bool thin_cache_is_pressed(const struct thin *thin)
{
	const struct thin_cache *cache = &thin->cache;
	uint64_t commit = thin->pages_max + thin->commit_extra;
	uint64_t fresh = (thin->committed - thin->flushed) * commit;

	return cache->evicts && fresh &&
		fresh + commit + (uint64_t)cache->lanes * thin->pages_max > cache->count;
}

static bool may_go(const struct thin *thin, const struct thin_slot *slot)
{
	return !thin->cache.pins[slot->page] && slot->written <= thin->flushed;
}

void thin_cache_update(struct thin *thin, uint64_t page)
{
	if (thin->cache.is_outdated[page] && !is_zeroes(thin, thin->pages[page]))
		thin_set_flags(thin, &thin->counts, thin->pages[page]);
	thin->cache.is_outdated[page] = false;
}

/* A place, taken from whoever was not looked at since the hand came by. */
static uint32_t take_slot(struct thin *thin)
{
	struct thin_cache *cache = &thin->cache;
	uint64_t tries;

	if (cache->used < cache->count)
		return cache->used++;
	for (tries = 0; tries <= 2 * (uint64_t)cache->count; tries++) {
		uint32_t index = cache->hand;
		struct thin_slot *slot = &cache->slots[index];

		cache->hand = index + 1 < cache->count ? index + 1 : 0;
		if (!may_go(thin, slot))
			continue;
		if (cache->recent[slot->page]) {
			cache->recent[slot->page] = 0;
			continue;
		}
		thin_cache_update(thin, slot->page);
		cache->sums[slot->page] = thin_cache_sum(slot_bytes(thin, index), thin->page);
		thin->pages[slot->page] = NULL;
		cache->evicted++;
		return index;
	}
	assert(!"a place is always found");
	abort();
}

static void place(struct thin *thin, uint64_t page, const uint8_t *bytes)
{
	uint32_t index = take_slot(thin);

	thin->cache.slots[index] = (struct thin_slot){ .page = page };
	memcpy(slot_bytes(thin, index), bytes, thin->page);
	thin->pages[page] = slot_bytes(thin, index);
	thin->cache.recent[page] = 1;
}

void thin_cache_seen(struct thin *thin, uint64_t page, const uint8_t *bytes)
{
	if (!memcmp(bytes, thin->cache.memory, thin->page)) {
		thin->pages[page] = thin->cache.memory;
	} else if (thin->cache.used < thin->cache.count) {
		place(thin, page, bytes);
	} else {
		thin->cache.sums[page] = thin_cache_sum(bytes, thin->page);
		thin->pages[page] = NULL;
	}
}

void thin_cache_mended(struct thin *thin, uint64_t page, const uint8_t *bytes)
{
	uint8_t *there = thin->pages[page];

	if (!there)
		thin->cache.sums[page] = thin_cache_sum(bytes, thin->page);
	else if (!is_zeroes(thin, there))
		memcpy(there, bytes, thin->page);
}

int thin_cache_put(struct thin *thin, uint64_t page, const uint8_t *bytes)
{
	if (thin->pages[page])
		return 0; /* somebody else has brought it */
	if (thin_cache_sum(bytes, thin->page) != thin->cache.sums[page])
		return -EIO;
	place(thin, page, bytes);
	return 0;
}

void thin_cache_own(struct thin *thin, uint64_t page)
{
	if (is_zeroes(thin, thin->pages[page]))
		place(thin, page, thin->cache.memory);
}

void thin_cache_written(struct thin *thin, uint64_t page)
{
	slot_of(thin, page)->written = thin->committed;
}

void thin_cache_pin(struct thin *thin, uint64_t page, int more)
{
	assert(thin->cache.pins[page] + more >= 0 && thin->cache.pins[page] + more <= (int)THIN_LANES + 1);
	thin->cache.pins[page] = (uint8_t)(thin->cache.pins[page] + more);
}

int thin_cache_copy(const struct thin *thin, uint64_t first, uint8_t *bytes, uint32_t length)
{
	uint64_t page;

	for (page = first; length; page++, bytes += thin->page, length -= thin->page)
		if (thin->pages[page])
			memcpy(bytes, thin->pages[page], thin->page);
		else if (thin_cache_sum(bytes, thin->page) != thin->cache.sums[page])
			return -EIO;
	return 0;
}

int thin_cache_table(const struct node *node, uint64_t index, uint8_t *bytes)
{
	const struct thin *thin = thin_of(node);
	uint32_t size = (uint32_t)thin_cluster(thin);
	uint64_t first = (index << thin->cluster_bits) / thin->page, page;
	int result = 0;

	for (page = first; page < first + size / thin->page; page++)
		if (!thin->pages[page]) {
			result = thin_child_read(node, thin->table_hosts[index], bytes, size);
			break;
		}
	return result < 0 ? result : thin_cache_copy(thin, first, bytes, size);
}

int thin_cache_next_make(const struct thin *thin, struct thin_cache_next *next)
{
	uint64_t page;

	next->memory = calloc(thin->cache.count + UINT64_C(1), thin->page);
	next->slots = calloc(thin->cache.count + UINT64_C(1), sizeof(*next->slots));
	next->pages = calloc(thin->page_count + 1, sizeof(*next->pages));
	if (!next->memory || !next->slots || !next->pages)
		return -1;
	for (page = 0; page < thin->page_count; page++)
		next->pages[page] = next->memory;
	return 0;
}

void thin_cache_next_put(const struct thin *thin, struct thin_cache_next *next, uint64_t page, const uint8_t *bytes)
{
	uint8_t *place = next->memory + (uint64_t)(next->used + 1) * thin->page;

	if (!memcmp(bytes, next->memory, thin->page))
		return;
	next->pages[page] = NULL;
	if (next->used == thin->cache.count)
		return;
	next->slots[next->used++] = (struct thin_slot){ .page = page };
	next->pages[page] = memcpy(place, bytes, thin->page);
}

/* Pins are by page and stay: somebody may be reading one for himself, to find that there is another map. */
void thin_cache_next_swap(struct thin *thin, struct thin_cache_next *next)
{
	struct thin_cache *cache = &thin->cache;
	struct thin_cache_next old = { thin->pages, cache->memory, cache->slots, cache->used };

	thin->pages = next->pages;
	cache->memory = next->memory;
	cache->slots = next->slots;
	__atomic_store_n(&cache->used, next->used, __ATOMIC_RELAXED);
	cache->hand = 0;
	cache->wanted = cache->unread = 0;
	cache->generation++;
	memset(cache->is_outdated, false, thin->page_count);
	*next = old;
}

void thin_cache_next_free(struct thin_cache_next *next)
{
	free(next->memory);
	free(next->slots);
	free(next->pages);
}
