// SPDX-License-Identifier: MIT
/* Counts in memory, and the sets of clusters that their cells are. */
#include "thin.h"

#include <assert.h>
#include <stdlib.h>

#define CHUNK 256u /* clusters of a part that a set may have some in */

/* Codes of 4 bits, where a count's begin. */
static const uint8_t codes[] = { 0, 1, 9, 12 };

static uint64_t low_mask(const struct thin_counts *counts)
{
	return (UINT64_C(1) << counts->bits / 2) - 1;
}

static uint64_t cell_of(const struct thin_counts *counts, uint64_t count, uint64_t low)
{
	return counts->bits == 4 ? codes[count] + low : count << counts->bits / 2 | low;
}

static void set_cell(struct thin_counts *counts, uint64_t cluster, uint64_t cell)
{
	uint8_t *bytes = counts->cells;
	unsigned shift = cluster % 2 * 4;

	switch (counts->bits) {
	case 4:
		bytes[cluster / 2] = (uint8_t)((bytes[cluster / 2] & ~(15u << shift)) | cell << shift);
		break;
	case 8:
		bytes[cluster] = (uint8_t)cell;
		break;
	case 16:
		((uint16_t *)counts->cells)[cluster] = (uint16_t)cell;
		break;
	case 32:
		((uint32_t *)counts->cells)[cluster] = (uint32_t)cell;
		break;
	default:
		((uint64_t *)counts->cells)[cluster] = cell;
	}
}

uint64_t thin_counts_low(const struct thin_counts *counts, uint64_t cluster)
{
	uint64_t cell = thin_cell(counts, cluster);

	return counts->bits == 4 ? cell - codes[thin_cell_count(4, cell)] : cell & low_mask(counts);
}

uint64_t thin_counts_less(const struct thin_counts *counts, uint64_t cluster)
{
	return thin_counts_of(counts, cluster) > 1 ? thin_counts_low(counts, cluster) : 0;
}

unsigned thin_counts_bits(uint64_t largest)
{
	unsigned bits = 8;

	if (largest <= 3)
		return 4;
	while (bits < 64 && largest >> bits / 2)
		bits *= 2;
	return bits;
}

uint64_t thin_counts_max(const struct thin_counts *counts)
{
	return counts->bits == 4 ? 3 : low_mask(counts);
}

uint64_t thin_counts_memory(const struct thin_counts *counts)
{
	return (counts->length * counts->bits + 7) / 8;
}

int thin_counts_make(struct thin_counts *counts, uint64_t length, unsigned bits)
{
	*counts = (struct thin_counts){ .length = length, .bits = bits };
	counts->cells = calloc(1, thin_counts_memory(counts) + 1);
	return counts->cells ? 0 : -1;
}

void thin_counts_free(struct thin_counts *counts)
{
	free(counts->cells);
	counts->cells = NULL;
}

void thin_counts_put(struct thin_counts *counts, uint64_t cluster, uint64_t count, uint64_t low)
{
	assert(cluster < counts->length && count <= thin_counts_max(counts));
	if (count > counts->largest)
		counts->largest = count;
	set_cell(counts, cluster, cell_of(counts, count, low));
}

int thin_counts_widen(struct thin_counts *counts, uint64_t largest)
{
	struct thin_counts wide;
	uint64_t i;

	assert(!counts->next);
	if (thin_counts_make(&wide, counts->length, thin_counts_bits(largest)) < 0)
		return -1;
	for (i = 0; i < counts->length; i++)
		if (thin_cell(counts, i))
			thin_counts_put(&wide, i, thin_counts_of(counts, i), thin_counts_low(counts, i));
	free(counts->cells);
	*counts = wide;
	return 0;
}

/* What the other half is beside a count, by the cell of before, or of the generation before. */
static uint64_t low_beside(const struct thin_counts *counts, uint64_t cluster, uint64_t count)
{
	uint64_t old = thin_counts_of(counts, cluster), low;

	if (count == 0 || old == 0 || (count == 1) != (old == 1))
		return 0;
	low = thin_counts_low(counts, cluster);
	return count == 1 || low < count ? low : count;
}

void thin_counts_set(struct thin_counts *counts, uint64_t cluster, uint64_t count)
{
	thin_counts_put(counts, cluster, count, low_beside(counts, cluster, count));
}

void thin_counts_set_next(const struct thin_counts *counts, uint64_t cluster, uint64_t count)
{
	struct thin_counts *next = counts->next;
	bool is_nothing = next->is_folded && count > 1;

	thin_counts_put(next, cluster, count, is_nothing ? 0 : low_beside(counts, cluster, count));
}

void thin_counts_copy_next(const struct thin_counts *counts, uint64_t first, uint64_t end)
{
	struct thin_counts *next = counts->next;
	uint64_t from = first * counts->bits / 8, to = (end * counts->bits + 7) / 8;

	assert(first % 2 == 0);
	if (next->bits == counts->bits) {
		memcpy((uint8_t *)next->cells + from, (const uint8_t *)counts->cells + from, to - from);
		next->largest = counts->largest;
		return;
	}
	for (; first < end; first++)
		thin_counts_put(next, first, thin_counts_of(counts, first), thin_counts_low(counts, first));
}

/* The other half has changed: it does in the next generation too. */
static void follow(const struct thin_counts *counts, uint64_t cluster)
{
	if (counts->next)
		thin_counts_set_next(counts, cluster, thin_counts_of(counts->next, cluster));
}

/* Of one that is counted once, from one station to another. */
static void move_cell(struct thin_counts *counts, uint64_t cluster, enum thin_station from, enum thin_station to)
{
	uint64_t change = cell_of(counts, 1, from) ^ cell_of(counts, 1, to);

	if (counts->bits == 4)
		((uint8_t *)counts->cells)[cluster / 2] ^= (uint8_t)(change << cluster % 2 * 4);
	else
		set_cell(counts, cluster, thin_cell(counts, cluster) ^ change);
	follow(counts, cluster);
}

void thin_counts_lose(struct thin_counts *counts, uint64_t cluster, int names)
{
	uint64_t count = thin_counts_of(counts, cluster), less = thin_counts_less(counts, cluster);

	if (count < 2 || (names < 0 ? less == 0 : less == count))
		return;
	thin_counts_put(counts, cluster, count, less + (uint64_t)(int64_t)names);
	follow(counts, cluster);
}

/* The counts of 16 cells of 4 bits, the first one's lowest: as thin_cell_count(), all at once. */
static uint64_t counts_of_16(uint64_t cells)
{
	const uint64_t ones = UINT64_C(0x1111111111111111);
	uint64_t low = cells | cells >> 1 | cells >> 2, top = cells >> 3;

	return ((low | top) & ones) + (low & top & ones) + (cells >> 2 & top & ones);
}

/* Four of those, as 16 bits each. */
static void write_4(uint64_t counts, uint8_t *bytes)
{
	counts = (counts | counts << 24) & UINT64_C(0xff000000ff);
	counts = (counts | counts << 12) & UINT64_C(0xf000f000f000f);
	qcow2_write64(bytes, __builtin_bswap64(counts << 8));
}

/* Of nearly all images: 16 bits each, of cells of 4. Each reserve writes some thousands. */
static void write_small(const uint8_t *cells, uint32_t number, uint8_t *bytes)
{
	uint64_t before = 0;
	uint32_t i, part;

	for (i = 0; i < number; i += 16) {
		uint64_t these = __builtin_bswap64(qcow2_read64(cells + i / 2)), counts = counts_of_16(these);

		if (these == before && i) { /* long rows are alike */
			memcpy(bytes + i * 2, bytes + i * 2 - 32, 32);
			continue;
		}
		for (part = 0; part < 4; part++)
			write_4(counts >> part * 16 & 0xffff, bytes + i * 2 + part * 8);
		before = these;
	}
}

void thin_counts_bytes(const struct thin *thin, const struct thin_counts *counts, uint64_t at, uint32_t length,
	uint8_t *bytes)
{
	uint64_t first = at * 8 >> thin->header.refcount_order, i;
	uint64_t number = (uint64_t)length * 8 >> thin->header.refcount_order;

	if (thin->header.refcount_order == 4 && counts->bits == 4) {
		assert(first % 2 == 0 && number % 16 == 0);
		write_small((const uint8_t *)counts->cells + first / 2, (uint32_t)number, bytes);
		return;
	}
	for (i = 0; i < number; i++)
		qcow2_refcount_write(&thin->header, bytes, i, thin_counts_of(counts, first + i));
}

int thin_set_make(struct thin_set *set, struct thin_counts *counts, enum thin_station station)
{
	*set = (struct thin_set){ .counts = counts, .station = station };
	set->chunks = calloc(counts->length / CHUNK / 64 + 1, sizeof(*set->chunks));
	return set->chunks ? 0 : -1;
}

bool thin_set_has(const struct thin_set *set, uint64_t cluster)
{
	return thin_cell(set->counts, cluster) == cell_of(set->counts, 1, set->station);
}

/* It is one of them by its cell. */
static void add(struct thin_set *set, uint64_t cluster)
{
	thin_bit_set(set->chunks, cluster / CHUNK, true);
	if (set->count++ == 0) {
		set->low = cluster;
		set->high = cluster + 1;
	}
	if (cluster < set->low)
		set->low = cluster;
	if (cluster >= set->high)
		set->high = cluster + 1;
}

void thin_set_put(struct thin_set *set, uint64_t cluster)
{
	assert(thin_cell(set->counts, cluster) == cell_of(set->counts, 1, STATION_USED));
	move_cell(set->counts, cluster, STATION_USED, set->station);
	add(set, cluster);
}

bool thin_set_take(struct thin_set *set, uint64_t cluster)
{
	if (!thin_set_has(set, cluster))
		return false;
	move_cell(set->counts, cluster, set->station, STATION_USED);
	set->count--;
	return true;
}

/* Whether one is in what is left of the part that set->low lies in; that is where it stands then. */
static bool look_in_chunk(struct thin_set *set)
{
	uint64_t chunk = set->low / CHUNK, end = (chunk + 1) * CHUNK;

	for (; set->low < end; set->low++)
		if (thin_set_has(set, set->low))
			return true;
	thin_bit_set(set->chunks, chunk, false);
	return false;
}

/* The lowest, which is no longer counted: its cell is to be changed. */
static uint64_t pop(struct thin_set *set)
{
	assert(set->count);
	for (;;) {
		uint64_t chunk = set->low / CHUNK;

		if (thin_bit(set->chunks, chunk)) {
			if (look_in_chunk(set))
				break;
		} else {
			chunk = set->chunks[chunk / 64] >> chunk % 64 ? chunk + 1 : (chunk | 63) + 1;
			set->low = chunk * CHUNK;
		}
		assert(set->low < set->high);
	}
	set->count--;
	return set->low++;
}

uint64_t thin_set_first(struct thin_set *set)
{
	uint64_t cluster = pop(set);

	move_cell(set->counts, cluster, set->station, STATION_USED);
	return cluster;
}

void thin_set_move(struct thin_set *to, struct thin_set *from)
{
	while (from->count) {
		uint64_t cluster = pop(from);

		move_cell(from->counts, cluster, from->station, to->station);
		add(to, cluster);
	}
}
