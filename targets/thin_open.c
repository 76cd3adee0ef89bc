// SPDX-License-Identifier: MIT
/*
 * thin's probe(): from a child's bytes to a map in memory, or to the plan of a new image where the
 * child is blank. It writes nothing, so that `check` may ask it too.
 */
#include "thin_open.h"

#include "child_io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_MAX (1u << 20)
#define BLANK_BYTES (UINT64_C(1) << 20) /* that are looked at where an image is made */
#define SECTOR 512u
#define BLOCK_MAX 4096u
#define NAME_MAX_SHOWN 200

/* What is beyond the child's end reads as zeroes: an image may end within a cluster. */
int thin_child_read(const struct node *node, uint64_t offset, void *memory, uint64_t length)
{
	struct node *child = node->children[THIN_DATA];
	uint64_t block = child->limits.logical_block_size;
	uint64_t end = thin_of(node)->present;
	uint8_t *bytes = memory, *bounce;
	int result = 0;

	end = (end + block - 1) / block * block; /* the last block is filled up with zeroes */
	memset(memory, 0, length);
	bounce = calloc(1, READ_MAX + 2 * BLOCK_MAX);
	if (!bounce)
		return -ENOMEM;
	while (length && offset < end && result == 0) {
		uint64_t from = offset - offset % block, skip = offset - from;
		uint64_t part = length < READ_MAX ? length : READ_MAX;
		uint64_t whole = (skip + part + block - 1) / block * block;

		if (whole > end - from)
			whole = end - from;
		result = child_read(child, from, bounce, (uint32_t)whole);
		if (part > whole - skip)
			part = whole - skip;
		memcpy(bytes, bounce + skip, part);
		bytes += part;
		offset += part;
		length -= part;
	}
	free(bounce);
	return result;
}

const char *thin_base_name(const char *path)
{
	const char *slash = path, *at;

	for (at = path; *at; at++)
		if (*at == '/')
			slash = at + 1;
	return *slash ? slash : path;
}

/* The path at the bottom of the backing child, as the document says it. */
static const char *backing_path(const struct node *node)
{
	const struct json *json = thin_backing(node)->json;
	const struct json *data;

	while ((data = json_get(json, "data")))
		json = data;
	return json_get_string(json, "path", NULL);
}

/* The header's name is only compared: which file is opened, the document alone says. */
static int check_backing(struct node *node, struct err *err)
{
	const struct qcow2_header *header = &thin_of(node)->header;
	bool has_child = thin_backing(node);
	const char *path = has_child ? backing_path(node) : NULL;

	if (header->is_flattened)
		return 0;
	if (*header->backing && !has_child)
		return json_err(node->json, err,
			"thin %s: its image stands on the backing file \"%.*s\"; name it as \"backing\"",
			node->id, NAME_MAX_SHOWN, header->backing);
	if (!*header->backing && has_child)
		return json_err(node->json, err,
			"thin %s: its image stands on no backing file, and the document gives it one",
			node->id);
	if (path && strcmp(thin_base_name(path), thin_base_name(header->backing)) != 0)
		return json_err(thin_backing(node)->json, err,
			"thin %s: its image stands on the backing file \"%.*s\", and the document gives "
			"it \"%.*s\"; see qemu-img rebase -u",
			node->id, NAME_MAX_SHOWN, header->backing, NAME_MAX_SHOWN, path);
	return 0;
}

/* Whether a backing child of something is, or stands above, this node. */
static bool is_backing(const struct node *node)
{
	for (; node->parent; node = node->parent)
		if (node->parent->type->roles && node->role == THIN_BACKING)
			return true;
	return false;
}

static int check_writable(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);

	if (!thin->can_write)
		return 0;
	if (thin->header.incompatible & QCOW2_CORRUPT)
		return json_err(node->json, err,
			"thin %s: its image is marked corrupt; see qemu-img check -r all, or serve it with "
			"\"read_only\": true",
			node->id);
	if (thin->header.has_bitmaps)
		return json_err(node->json, err,
			"thin %s: its image holds dirty bitmaps, which writing here would make wrong; remove "
			"them (qemu-img bitmap --remove), or serve it with \"read_only\": true",
			node->id);
	return 0;
}

static int read_image(struct node *node, const uint8_t *first, uint64_t length, uint64_t cache,
	struct err *err)
{
	struct thin *thin = thin_of(node);
	uint32_t block = node->limits.logical_block_size;
	char why[QCOW2_WHY];

	if (qcow2_header_read(first, length, &thin->header, why) < 0)
		return json_err(node->json, err, "thin %s: its image: %s", node->id, why);
	if (qcow2_grain_size(&thin->header) < block)
		return json_err(node->json, err,
			"thin %s: its image maps pieces of %" PRIu64 " bytes, less than the logical block "
			"size %" PRIu32 " of what is below",
			node->id, qcow2_grain_size(&thin->header), block);
	memcpy(thin->header_page, first, length < THIN_PAGE_MAX ? length : THIN_PAGE_MAX);
	thin->is_dirty = thin->header.incompatible & QCOW2_DIRTY;
	if (check_backing(node, err) < 0 || check_writable(node, err) < 0 ||
		thin_data_file_probe(node, err) < 0 || thin_resize_plan(node, err) < 0 || thin_allocate(node, cache, err) < 0)
		return -1;
	if (thin_count(node, err) < 0 || thin_data_file_check(node, err) < 0)
		return -1;
	thin_grow_plan(thin);
	thin->shares = thin->has_compressed || thin->header.snapshot_count;
	thin->unpacker = thin->has_compressed ? calloc(1, qcow2_unpack_memory(thin->header.compression)) : NULL;
	if (thin->has_compressed && !thin->unpacker)
		return json_err(node->json, err, "thin %s: out of memory", node->id);
	return 0;
}

/* Packed bytes are found again by their entries, step by step: with them all of the map is in memory. */
static int open_image(struct node *node, const uint8_t *first, uint64_t length, struct err *err)
{
	uint64_t cache = json_get_size(node->json, "metadata_cache", THIN_CACHE_DEFAULT);
	struct thin *thin = thin_of(node), empty;
	int result;

	empty = *thin;
	result = read_image(node, first, length, cache, err);
	if (result < 0 || !thin->has_compressed || !thin->cache.evicts)
		return result;
	thin_free(thin);
	*thin = empty;
	return read_image(node, first, length, UINT64_MAX, err);
}

/*
 * Nothing is there but, perhaps, what a making that broke off has left: each sector is zeroes, or
 * what a new image has there.
 */
static bool is_blank(const struct node *node, const uint8_t *bytes, uint64_t length)
{
	uint64_t cluster = thin_cluster(thin_of(node)), at;
	uint8_t *expected = calloc(1, cluster);
	bool result = expected;

	for (at = 0; at < length && result; at += SECTOR) {
		uint64_t part = length - at < SECTOR ? length - at : SECTOR, i;

		if (at % cluster == 0)
			thin_make_cluster(node, at / cluster, expected);
		for (i = 0; i < part && !bytes[at + i]; i++)
			;
		result = i == part || !memcmp(bytes + at, expected + at % cluster, part);
	}
	free(expected);
	return result;
}

static int make_image(struct node *node, const uint8_t *first, uint64_t length, struct err *err)
{
	struct thin *thin = thin_of(node);

	thin->is_blank = true;
	if (node->repairs)
		return json_err(node->json, err, "thin %s: there is no image to repair", node->id);
	if (thin_make(node, err) < 0)
		return -1;
	if (!is_blank(node, first, length))
		return json_err(node->json, err,
			"thin %s: what is below is neither blank nor a qcow2 image", node->id);
	return 0;
}

int thin_probe(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	const struct limits *child = &node->children[THIN_DATA]->limits;
	uint64_t length, cluster;
	uint8_t *first;
	int result;

	thin_free(thin);
	limits_join(node);
	thin->present = child->is_growing || child->present ? child->present : child->size;
	thin->can_write = !child->read_only && !is_backing(node);
	if (thin_data_file(node))
		thin->can_write &= !thin_data_file(node)->limits.read_only;
	length = thin->present < BLANK_BYTES ? thin->present : BLANK_BYTES;
	first = calloc(1, BLANK_BYTES * 2); /* the largest cluster */
	if (!first)
		return json_err(node->json, err, "thin %s: out of memory", node->id);
	result = thin_child_read(node, 0, first, length);
	if (length < THIN_PAGE_MAX)
		length = THIN_PAGE_MAX; /* zeroes */
	cluster = qcow2_header_cluster(first, length);
	if (result == 0 && cluster > length)
		result = thin_child_read(node, 0, first, cluster);
	if (result < 0)
		json_err(node->json, err, "thin %s: reading its image: error %d", node->id, -result);
	else if (length < 4 || !qcow2_read32(first))
		result = make_image(node, first, length, err);
	else
		result = open_image(node, first, cluster > length ? cluster : BLANK_BYTES, err);
	free(first);
	return result;
}
