// SPDX-License-Identifier: MIT
/*
 * thin's external data file: a third child that holds the guest's bytes, where the image holds the map and its own
 * counts alone (incompatible feature bit 2). Bytes at the device's offset N are at N of the data file, always:
 * an entry says whether they are there. What follows from that:
 * - the data file's clusters are counted nowhere, claimed, dropped or freed by nobody; L2 tables are, as ever;
 * - a place may be 0, so that "none" is told by qcow2_entry's is_external (qcow2_map.c);
 * - a cluster that is written first is written where it will be written ever after, whatever lies there by now.
 *
 * Crash story, beside thin.h's. A flush of the device, and each flush that comes before entries, is one of both
 * children: no entry is written before the bytes that it is to name are durable in the data file. What a power cut
 * leaves of a first write that was not flushed is the old entry, behind which nobody looks, or, if the cluster
 * was discarded or zeroed and that not flushed either, the entry from before that: then each of its sectors is
 * as it was, zeroes, or as it was written, each of which the device may show. A WRITE_ZEROES or DISCARD changes the
 * entries; then comes a flush, and only then the data file is told (as a DISCARD) that nobody needs the bytes:
 * no crash brings an entry of them back. The request has its clusters alone until that has ended.
 *
 * Raw (autoclear bit 1): the data file alone, too, reads as the device, at each moment and behind each crash. So
 * the map doesn't change while it is served: load() has mapped all of it, and zeroes and discards are zeroes
 * written to the data file. Mapping what is not: the data file is made to read as zeroes there, as the device
 * does, unless it does; a flush; then the table is written. Each entry is old or new, and both read the same.
 * (qemu-img makes such images with all of it mapped; what QEMU has discarded is not any more.)
 */
#include "thin_open.h"

#include "child_io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECE (1u << 20)
#define NAME_SHOWN 200

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

struct node *thin_data_file(const struct node *node)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (node->children[i]->role == THIN_DATA_FILE)
			return node->children[i];
	return NULL;
}

/* Bytes that are there: of a file that holds no label its own, which may end within a block. */
static uint64_t bytes_of(const struct node *child)
{
	return child->limits.present ? child->limits.present : child->limits.size;
}

/* All of the device is there, in whole blocks. */
static int check_size(const struct node *node, const struct node *child, struct err *err)
{
	const struct thin *thin = thin_of(node);
	uint64_t size = thin->header.size, block = node->limits.logical_block_size;

	if (thin->can_write && size % block)
		return json_err(node->json, err,
			"thin %s: its size %" PRIu64 " is no multiple of the logical block size %" PRIu64
			", which an image with a data file must have to be written",
			node->id, size, block);
	if (bytes_of(child) < size - size % block)
		return json_err(child->json, err,
			"thin %s: its data file has %" PRIu64 " bytes, less than the device's %" PRIu64, node->id,
			bytes_of(child), size);
	return 0;
}

/* As of a backing file: the header's name is only compared, which file is opened the document says. */
int thin_data_file_probe(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	const struct qcow2_header *header = &thin->header;
	const struct node *child = thin_data_file(node);
	const char *path = child ? json_get_string(child->json, "path", NULL) : NULL;

	if (!qcow2_has_data_file(header) && child)
		return json_err(child->json, err,
			"thin %s: its image holds its data itself, and the document gives it a data file", node->id);
	if (!qcow2_has_data_file(header))
		return 0;
	if (!child)
		return json_err(node->json, err,
			"thin %s: its data is in the external data file \"%.*s\"; name it as \"data_file\"", node->id,
			NAME_SHOWN, header->data_file);
	if (path && *header->data_file && strcmp(thin_base_name(path), thin_base_name(header->data_file)) != 0)
		return json_err(child->json, err,
			"thin %s: its data is in the external data file \"%.*s\", and the document gives it \"%.*s\"; "
			"see qemu-img amend -o data_file",
			node->id, NAME_SHOWN, header->data_file, NAME_SHOWN, path);
	thin->data_place = child->place;
	thin->is_raw = header->autoclear & QCOW2_DATA_FILE_RAW;
	return check_size(node, child, err);
}

int thin_data_file_check(const struct node *node, struct err *err)
{
	const struct thin *thin = thin_of(node);
	uint64_t index;

	for (index = 0; index < thin->table_count && thin->is_raw && thin->can_write; index++)
		if (!thin->table_hosts[index])
			return json_err(node->json, err,
				"thin %s: its data file is said to be raw, and its map has no L2 table for offset %" PRIu64
				", which writing it needs; see qemu-img convert, or serve it with \"read_only\": true",
				node->id, index << thin->table_bits << thin->cluster_bits);
	return 0;
}

bool thin_data_file_has(const struct node *node, const struct qcow2_entry *entry, uint64_t guest, uint64_t index,
	uint64_t host, struct err *err)
{
	if (!entry->is_external || guest == THIN_NOWHERE)
		return true;
	guest += index << thin_of(node)->cluster_bits;
	if (entry->external == guest)
		return true;
	json_err(node->json, err,
		"thin %s: entry %" PRIu64 " of its L2 table at %" PRIu64 ": it names offset %" PRIu64
		" of its data file for the device's offset %" PRIu64 ", which must be the same",
		node->id, index, host, entry->external, guest);
	return false;
}

static bool is_zero(const uint8_t *bytes, uint64_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* A new image must not take what somebody has left there for its own. */
static int check_blank(const struct node *node, struct node *child, struct err *err)
{
	uint64_t length = smaller(thin_of(node)->header.size, PIECE);
	uint8_t *bytes = calloc(1, PIECE);
	int result;

	if (!bytes)
		return json_err(node->json, err, "thin %s: out of memory", node->id);
	result = child_read(child, 0, bytes, (uint32_t)length);
	if (result < 0)
		json_err(child->json, err, "thin %s: reading its data file: error %d", node->id, -result);
	else if (!is_zero(bytes, length))
		result = json_err(child->json, err,
			"thin %s: its data file is not blank, and a new image would overwrite it", node->id);
	free(bytes);
	return result < 0 ? -1 : 0;
}

int thin_data_file_make(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct qcow2_header *header = &thin->header;
	struct node *child = thin_data_file(node);
	int length;

	if (!child)
		return 0;
	length = snprintf(header->data_file, sizeof(header->data_file), "%s",
		json_get_string(child->json, "path", child->id));
	if (length < 0 || (size_t)length >= sizeof(header->data_file))
		return json_err(child->json, err, "thin %s: a data file's name may have %d bytes at most", node->id,
			QCOW2_BACKING_MAX);
	header->incompatible |= QCOW2_DATA_FILE;
	thin->data_place = child->place;
	return check_size(node, child, err) < 0 || check_blank(node, child, err) < 0 ? -1 : 0;
}

void thin_data_file_open(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct limits *limits = &node->limits;
	const struct limits *child = &node->children[thin->data_place]->limits;
	bool is_ignored = !strcmp(json_get_string(node->json, "discard", "unmap"), "ignore");

	if (!thin_is_external(thin))
		return;
	thin->punches_data = thin->can_write && !is_ignored && !thin->is_raw && child->discard_granularity;
	if (thin->is_raw) {
		limits->zeroes_granularity = child->zeroes_granularity;
		limits->discard_granularity = is_ignored ? 0 : child->zeroes_granularity;
		limits->unmap_max = child->unmap_max;
	} else if (child->unmap_max && child->unmap_max < limits->unmap_max) {
		limits->unmap_max = child->unmap_max;
	}
}

/* [offset, end) of the device read as zeroes, and of the data file do so from here on. */
static int zero(struct node *child, uint64_t offset, uint64_t end, uint8_t *bytes)
{
	int result = 0;

	while (offset < end && result == 0) {
		uint64_t part = smaller(end - offset, PIECE);

		result = child_read(child, offset, bytes, (uint32_t)part);
		if (result == 0 && !is_zero(bytes, part))
			result = child_zero(child, offset, part);
		offset += part;
	}
	return result;
}

/* What is not mapped of one cluster is: in the table in memory. 1: something was. */
static int map_cluster(struct node *node, uint64_t base, uint8_t *entry_bytes, uint8_t *bytes)
{
	struct thin *thin = thin_of(node);
	uint32_t all = qcow2_is_extended(&thin->header) ? UINT32_MAX : 1;
	struct qcow2_entry entry;
	char why[QCOW2_WHY];
	uint64_t within, next, end = smaller(thin_cluster(thin), thin->header.size - base);
	int result = 0;

	(void)qcow2_entry_read(&thin->header, entry_bytes, &entry, why); /* judged */
	if (base >= thin->header.size || entry.data == all)
		return 0;
	for (within = 0; within < end && result == 0; within = next) {
		next = thin_run_end(thin, &entry, within, end);
		if (qcow2_entry_kind(&entry, (unsigned)(within >> thin->grain_bits)) != QCOW2_DATA)
			result = zero(node->children[thin->data_place], base + within, base + next, bytes);
	}
	if (result < 0)
		return result;
	thin->allocated += !entry.is_external;
	entry = (struct qcow2_entry){ .external = base, .is_external = true, .data = all };
	qcow2_entry_write(&thin->header, entry_bytes, &entry);
	return 1;
}

/* All that one table tells of. */
static int map_table(struct node *node, uint64_t index, uint8_t *table, uint8_t *bytes)
{
	struct thin *thin = thin_of(node);
	uint64_t entries = qcow2_l2_entries(&thin->header), per_page = UINT64_C(1) << thin->page_bits, i;
	bool is_changed = false;
	int result = thin_cache_table(node, index, table);

	for (i = 0; i < entries && result == 0; i++) {
		result = map_cluster(node, (index * entries + i) << thin->cluster_bits, table + (i << thin->entry_bits),
			bytes);
		is_changed |= result > 0;
		if (result > 0)
			result = 0;
	}
	if (result < 0 || !is_changed)
		return result;
	result = child_flush(node->children[thin->data_place]);
	if (result == 0)
		result = child_write(node->children[THIN_DATA], thin->table_hosts[index], table,
			(uint32_t)thin_cluster(thin));
	for (i = 0; i < entries && result == 0; i += per_page)
		thin_cache_mended(thin, (index * entries + i) >> thin->page_bits, table + (i << thin->entry_bits));
	return result;
}

int thin_data_file_load(struct node *node)
{
	struct thin *thin = thin_of(node);
	uint8_t *bytes, *table;
	uint64_t index;
	int result = 0;

	if (!thin->is_raw)
		return 0;
	bytes = calloc(1, PIECE);
	table = calloc(1, thin_cluster(thin));
	if (!bytes || !table)
		result = -ENOMEM;
	for (index = 0; index < thin->table_count && result == 0; index++)
		result = map_table(node, index, table, bytes);
	free(bytes);
	free(table);
	return result == 0 ? child_flush(node->children[THIN_DATA]) : result;
}

/* A plan that nobody resumes but with an error, which is the result. */
void thin_data_file_zero(struct thin *thin, const struct request *request, struct plan *plan)
{
	struct request zeroes = *request;

	zeroes.kind = IO_WRITE_ZEROES;
	if (thin->failed)
		plan_end(plan, -EIO);
	else
		plan_add(plan, thin->data_place, zeroes);
}

void thin_data_file_punch(struct node *node, struct plan *plan, struct thin_io *io)
{
	uint64_t end = smaller(io->end, node->limits.size);

	plan_add(plan, thin_of(node)->data_place,
		(struct request){ .kind = IO_DISCARD, .offset = io->begin, .length = end - io->begin });
	plan_ask(plan);
	io->step = STEP_PUNCHED;
}
