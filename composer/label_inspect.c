// SPDX-License-Identifier: MIT
/*
 * The label as far as it goes: what is left of each copy, damaged or not, for people who look. It
 * decides nothing: what is not whole here is used by nobody.
 */
#include "label_inspect.h"

#include "crc32c.h"
#include "label_disk.h"
#include "leaf_io.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *word, *clause;
} faults[] = {
	[LABEL_WHOLE] = { "none", "it is whole" },
	[LABEL_CUT_SHORT] = { "cut_short", "it is cut short" },
	[LABEL_BAD_HEAD] = { "head_checksum", "the checksum of its head is wrong" },
	[LABEL_BAD_LENGTHS] = { "lengths", "its lengths are not those of its version" },
	[LABEL_BAD_PLACE] = { "place", "its place is not within its tree" },
	[LABEL_BAD_RANGE] = { "data_range", "its data range is impossible" },
	[LABEL_BAD_GENERATION] = { "generation", "its generation belongs into the other copy" },
	[LABEL_BAD_UUIDS] = { "uuids", "it has no UUIDs" },
	[LABEL_LONG_TEXTS] = { "texts_length", "its texts are too long" },
	[LABEL_BAD_TEXTS] = { "texts_place", "its texts are not where its version has them" },
	[LABEL_BAD_PEERS] = { "peers_checksum", "the checksum of its peers is wrong" },
	[LABEL_BAD_DATA_LENGTHS] = { "data_lengths_checksum",
		"the checksum of its leaves' lengths is wrong" },
	[LABEL_BAD_DOCUMENT] = { "document_checksum", "the checksum of its document is wrong" },
	[LABEL_BAD_GEOMETRY] = { "geometry_checksum", "the checksum of its geometry is wrong" },
	[LABEL_NO_MEMORY] = { "no_memory", "there is no memory to read it" },
};

const char *label_fault_word(enum label_fault fault)
{
	return faults[fault].word;
}

const char *label_fault_clause(enum label_fault fault)
{
	return faults[fault].clause;
}

/* The document where every label has it, up to its end or the first NUL. */
static char *document_left(const struct head *head, const char *copy, size_t length)
{
	size_t room = length > DOCUMENT_OFFSET ? length - DOCUMENT_OFFSET : 0;
	size_t said = le32toh(head->document_length);

	if (said > 0 && said < room)
		room = said;
	return strndup(
		copy + DOCUMENT_OFFSET, room < LABEL_DOCUMENT_MAX ? room : LABEL_DOCUMENT_MAX);
}

static bool has_text(const char *copy, size_t length, uint32_t at, uint32_t bytes, uint32_t crc)
{
	return at <= length && bytes <= length - at && bytes > 0 &&
	       crc32c(copy + at, bytes) == crc && !memchr(copy + at, '\0', bytes);
}

/* What of the copy can be believed, each part by its own checksum. */
static void inspect(const char *copy, size_t length, uint64_t offset, struct label_copy *out)
{
	size_t peers_length;
	struct head head;

	out->found = label_decode(copy, length, offset, &out->label, out->why, sizeof(out->why));
	if (out->found == LABEL_NONE || length < LABEL_BLOCK)
		return;
	label_finish(&out->label); /* taken apart again below, in part if need be */
	out->fault = label_check(copy, length, offset);
	memcpy(&head, copy, sizeof(head));
	head_decode(&head, &out->label);
	out->version = le32toh(head.version);
	out->head_whole = le32toh(head.head_crc) == head_crc(&head);
	peers_length = (size_t)out->label.leaf_count * sizeof(struct disk_peer);
	if (out->label.leaf_count <= LABEL_PEERS_MAX && out->label.leaf_count > 0 &&
		length >= HEAD_BYTES + peers_length) {
		out->peers_whole =
			le32toh(head.peers_crc) == crc32c(copy + HEAD_BYTES, peers_length);
		(void)peers_decode(copy, &out->label); /* NULL is told as not to be had */
	}
	if (length < DOCUMENT_OFFSET)
		return;
	out->document_whole = has_text(copy, length, DOCUMENT_OFFSET, le32toh(head.document_length),
		le32toh(head.document_crc));
	out->label.document = document_left(&head, copy, length);
	if (has_text(copy, length, le32toh(head.geometry_offset), le32toh(head.geometry_length),
		    le32toh(head.geometry_crc)))
		out->label.geometry = strndup(
			copy + le32toh(head.geometry_offset), le32toh(head.geometry_length));
}

static void inspect_at(
	int fd, uint64_t bytes, uint64_t offset, char *memory, struct label_copy *out)
{
	size_t length = LABEL_COPY_STRIDE;
	int result;

	*out = (struct label_copy){ .found = LABEL_NONE };
	if (offset >= bytes)
		return;
	if (length > bytes - offset)
		length = (size_t)((bytes - offset) / LABEL_BLOCK * LABEL_BLOCK);
	result = leaf_io_read(fd, memory, length, offset);
	if (result < 0) { /* a bad sector further behind does not matter to the head */
		length = length < DOCUMENT_OFFSET ? length : DOCUMENT_OFFSET;
		result = leaf_io_read(fd, memory, length, offset);
	}
	if (result == 0) {
		inspect(memory, length, offset, out);
		return;
	}
	out->found = LABEL_UNREADABLE;
	snprintf(out->why, sizeof(out->why), "reading it: %s", strerror(-result));
}

int label_inspect(int fd, uint64_t bytes, struct label_copy copies[LABEL_COPIES])
{
	char *memory = leaf_io_memory(LABEL_COPY_STRIDE);
	unsigned i;

	for (i = 0; i < LABEL_COPIES; i++)
		copies[i] = (struct label_copy){ .found = LABEL_NONE };
	if (!memory)
		return -ENOMEM;
	for (i = 0; i < LABEL_COPIES; i++)
		inspect_at(fd, bytes, i * LABEL_COPY_STRIDE, memory, &copies[i]);
	free(memory);
	return 0;
}

/* The most whole one, the newer among equals; of others the one with more left. */
unsigned label_best(const struct label_copy copies[LABEL_COPIES])
{
	unsigned scores[LABEL_COPIES], i;

	for (i = 0; i < LABEL_COPIES; i++)
		scores[i] = copies[i].found == LABEL_FOUND ? 8
			    : copies[i].found == LABEL_NONE || copies[i].found == LABEL_UNREADABLE
				    ? 0
				    : 1 + copies[i].head_whole * 4U + copies[i].peers_whole +
					      copies[i].document_whole;
	if (scores[0] != scores[1])
		return scores[1] > scores[0];
	return copies[1].label.generation > copies[0].label.generation;
}

void label_copies_finish(struct label_copy copies[LABEL_COPIES])
{
	unsigned i;

	for (i = 0; i < LABEL_COPIES; i++)
		label_finish(&copies[i].label);
}
