// SPDX-License-Identifier: MIT
/* A label out of its bytes, which may be anything; label.c has their table. */
#include "label.h"

#include "crc32c.h"
#include "label_disk.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t label_copy_length(const void *head)
{
	struct head h;
	uint64_t length;

	memcpy(&h, head, sizeof(h));
	length = (uint64_t)le32toh(h.geometry_offset) + le32toh(h.geometry_length);
	if (length < DOCUMENT_OFFSET)
		return DOCUMENT_OFFSET;
	return length > LABEL_COPY_STRIDE ? LABEL_COPY_STRIDE : label_rounded(length);
}

enum label_fault head_fault(const struct head *head, uint64_t offset)
{
	uint64_t data_offset = le64toh(head->data_offset), data_length = le64toh(head->data_length);
	uint32_t leaf_count = le32toh(head->leaf_count);
	uint64_t generation = le64toh(head->generation);

	if (le32toh(head->head_length) != HEAD_BYTES ||
		le32toh(head->peer_bytes) != sizeof(struct disk_peer))
		return LABEL_BAD_LENGTHS;
	if (leaf_count < 1 || leaf_count > LABEL_PEERS_MAX || le32toh(head->place) >= leaf_count)
		return LABEL_BAD_PLACE;
	if (data_offset < LABEL_FRONT || data_offset % LABEL_BLOCK || data_length == 0 ||
		data_length > INT64_MAX - LABEL_TAIL ||
		data_offset > INT64_MAX - LABEL_TAIL - data_length)
		return LABEL_BAD_RANGE;
	if (generation == 0 || label_offset(generation) != offset)
		return LABEL_BAD_GENERATION;
	if (uuid_is_null(head->tree_uuid) || uuid_is_null(head->leaf_uuid))
		return LABEL_BAD_UUIDS;
	return LABEL_WHOLE;
}

/* Where peers and texts are, and that they are there and whole. */
static enum label_fault texts_fault(const struct head *head, const char *copy, size_t length)
{
	size_t leaf_count = le32toh(head->leaf_count);
	size_t document_length = le32toh(head->document_length);
	size_t geometry_length = le32toh(head->geometry_length);
	size_t geometry_offset;

	if (document_length > LABEL_DOCUMENT_MAX || geometry_length > LABEL_GEOMETRY_MAX)
		return LABEL_LONG_TEXTS;
	geometry_offset = DOCUMENT_OFFSET + label_rounded(document_length);
	if (le32toh(head->document_offset) != DOCUMENT_OFFSET ||
		le32toh(head->geometry_offset) != geometry_offset)
		return LABEL_BAD_TEXTS;
	if (length < geometry_offset + geometry_length)
		return LABEL_CUT_SHORT;
	if (le32toh(head->peers_crc) !=
		crc32c(copy + HEAD_BYTES, leaf_count * sizeof(struct disk_peer)))
		return LABEL_BAD_PEERS;
	if (le64toh(head->compatible) & COMPATIBLE_LENGTHS &&
		le32toh(head->lengths_crc) !=
			crc32c(copy + LENGTHS_OFFSET, leaf_count * sizeof(uint64_t)))
		return LABEL_BAD_DATA_LENGTHS;
	if (le32toh(head->document_crc) != crc32c(copy + DOCUMENT_OFFSET, document_length) ||
		memchr(copy + DOCUMENT_OFFSET, '\0', document_length))
		return LABEL_BAD_DOCUMENT;
	if (le32toh(head->geometry_crc) != crc32c(copy + geometry_offset, geometry_length) ||
		memchr(copy + geometry_offset, '\0', geometry_length))
		return LABEL_BAD_GEOMETRY;
	return LABEL_WHOLE;
}

bool head_is_newer(const struct head *head, char *why, size_t why_size)
{
	uint64_t incompatible = le64toh(head->incompatible) & ~KNOWN_INCOMPATIBLE;
	uint64_t readonly = le64toh(head->readonly_compatible) & ~KNOWN_READONLY_COMPATIBLE;
	uint32_t version = le32toh(head->version), flags = le32toh(head->flags) & ~LABEL_FLAGS;

	if (version > VERSION)
		snprintf(why, why_size, "its label has version %" PRIu32 ", this program knows %u",
			version, VERSION);
	else if (incompatible)
		snprintf(why, why_size,
			"its label has incompatible features 0x%" PRIx64 " unknown to this program",
			incompatible);
	else if (readonly)
		snprintf(why, why_size,
			"its label has features 0x%" PRIx64
			" unknown to this program, which allow reading only",
			readonly);
	else if (flags)
		snprintf(why, why_size, "its label has flags 0x%" PRIx32 " unknown to this program",
			flags);
	else
		return false;
	return true;
}

void head_decode(const struct head *head, struct label *label)
{
	*label = (struct label){
		.incompatible = le64toh(head->incompatible),
		.compatible = le64toh(head->compatible),
		.readonly_compatible = le64toh(head->readonly_compatible),
		.place = le32toh(head->place),
		.leaf_count = le32toh(head->leaf_count),
		.data_offset = le64toh(head->data_offset),
		.data_length = le64toh(head->data_length),
		.generation = le64toh(head->generation),
		.flags = le32toh(head->flags),
		.updated = le64toh(head->updated),
	};
	memcpy(label->tree_uuid, head->tree_uuid, sizeof(uuid_t));
	memcpy(label->leaf_uuid, head->leaf_uuid, sizeof(uuid_t));
}

bool peers_decode(const char *copy, struct label *label)
{
	uint32_t i;

	label->peers = calloc(label->leaf_count, sizeof(*label->peers));
	for (i = 0; label->peers && i < label->leaf_count; i++) {
		struct disk_peer peer;

		memcpy(&peer, copy + HEAD_BYTES + i * sizeof(peer), sizeof(peer));
		label->peers[i].generation = le64toh(peer.generation);
		label->peers[i].state = le32toh(peer.state) & ~PEER_REMOVED;
		label->peers[i].removed = le32toh(peer.state) & PEER_REMOVED;
		label->peers[i].joins = le32toh(peer.joins);
	}
	return label->peers != NULL;
}

static bool lengths_decode(const char *copy, struct label *label)
{
	uint32_t i;

	if (!(label->compatible & COMPATIBLE_LENGTHS))
		return true;
	label->lengths = calloc(label->leaf_count, sizeof(*label->lengths));
	for (i = 0; label->lengths && i < label->leaf_count; i++) {
		uint64_t length;

		memcpy(&length, copy + LENGTHS_OFFSET + i * sizeof(length), sizeof(length));
		label->lengths[i] = le64toh(length);
	}
	return label->lengths != NULL;
}

static bool decode_all(const struct head *head, const char *copy, struct label *label)
{
	size_t geometry_offset = le32toh(head->geometry_offset);

	head_decode(head, label);
	label->document = strndup(copy + DOCUMENT_OFFSET, le32toh(head->document_length));
	label->geometry = strndup(copy + geometry_offset, le32toh(head->geometry_length));
	if (label->document && label->geometry && peers_decode(copy, label) &&
		lengths_decode(copy, label))
		return true;
	label_finish(label);
	return false;
}

enum label_fault label_check(const void *copy, size_t length, uint64_t offset)
{
	struct head head;
	enum label_fault fault;

	if (length < DOCUMENT_OFFSET)
		return LABEL_CUT_SHORT;
	memcpy(&head, copy, sizeof(head));
	if (le32toh(head.head_crc) != head_crc(&head) || le32toh(head.version) == 0)
		return LABEL_BAD_HEAD;
	fault = head_fault(&head, offset);
	return fault ? fault : texts_fault(&head, copy, length);
}

enum label_found label_decode(const void *copy, size_t length, uint64_t offset, struct label *label,
	char *why, size_t why_size)
{
	enum label_fault fault;
	struct head head;

	*label = (struct label){ 0 };
	if (length < sizeof(label_magic) || memcmp(copy, label_magic, sizeof(label_magic)) != 0)
		return LABEL_NONE;
	fault = label_check(copy, length, offset);
	if (fault == LABEL_CUT_SHORT && length < DOCUMENT_OFFSET)
		goto corrupt;
	memcpy(&head, copy, sizeof(head));
	if (fault != LABEL_BAD_HEAD && head_is_newer(&head, why, why_size))
		return LABEL_NEWER;
	if (fault == LABEL_WHOLE && decode_all(&head, copy, label))
		return LABEL_FOUND;
	if (fault == LABEL_WHOLE)
		fault = LABEL_NO_MEMORY;
corrupt:
	snprintf(why, why_size, "%s", label_fault_clause(fault));
	return LABEL_CORRUPT;
}
