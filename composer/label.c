// SPDX-License-Identifier: MIT
/*
 * The label's bytes, and how they are written; label_decode.c reads them. It knows no file and no tree:
 * label_io.c moves the bytes.
 *
 * A leaf of ours:
 *	0	copy 0 of the label
 *	2 MiB	copy 1 of the label
 *	4 MiB	the node's bytes (data_offset)
 *	…	at least 1 MiB after data_offset + data_length, which is never written
 *
 * A copy; integers are little-endian, UUIDs are as in RFC 4122:
 *	offset	bytes
 *	0	8	magic "UBDLABEL"
 *	8	4	version, 1
 *	12	4	head length, 4096
 *	16	4	CRC32C of the head, with zeroes here. All above is so in every version
 *	20	4	CRC32C of the peers
 *	24	4	CRC32C of the document
 *	28	4	CRC32C of the geometry
 *	32	8	incompatible features: unknown ones mean "don't touch"
 *	40	8	compatible features: unknown ones may be ignored
 *	48	8	read-only compatible features: unknown ones mean "don't write"
 *	56	16	tree UUID
 *	72	16	leaf UUID
 *	88	4	place among the tree's leaves
 *	92	4	leaf count of the tree, which is the number of peers
 *	96	8	data offset
 *	104	8	data length
 *	112	8	generation: even ones stand in copy 0, odd ones in copy 1; never 0
 *	120	4	flags
 *	124	4	bytes per peer, 16
 *	128	4	document length
 *	132	4	geometry length
 *	136	4	document offset in the copy, 32768
 *	140	4	geometry offset in the copy: after the document, rounded up to 4096
 *	144	8	when it was written: seconds since 1970, UTC; for people. 0: unknown
 *	152	4	CRC32C of the lengths; 0 without them
 *	156	3940	zeroes
 *	4096	16 × n	peers, then zeroes to a multiple of 4096
 *	20480	8 × n	with the compatible feature 1: the leaves' data lengths by place; 0: has no label
 *	32768	…	document: JSON text, at most 1 MiB, then zeroes to a multiple of 4096
 *	…	…	geometry: text, at most 256 KiB, then zeroes to a multiple of 4096
 *
 * A peer: generation (8), state (4), joins (4). States are in label.h; one that a program doesn't know is
 * stale to it. (A tree with spares says so in its geometry, so that who knows of none refuses it.) With 256
 * added to its state the user has removed that leaf: it isn't used before he adds it again. A label with such a
 * peer has the incompatible feature 1, and none other has: who doesn't know it would bring the leaf back.
 *
 * The crash story. An update writes head and peers of one copy, the one that the new generation
 * falls to, in one write, and is durable before anybody relies on it. Whatever a power cut leaves
 * of it, the checksums tell; then the other copy, which is the state before the update, counts. The
 * texts only change when nothing is served, one copy at a time in the same way. A format begins
 * with zeroes for both heads and ends with the heads, whose bytes that are not zero lie within one
 * sector of 512: there is either no label or a whole one, and that says LABEL_FORMATTING.
 */
#include "label.h"

#include "crc32c.h"
#include "label_disk.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct head) == HEAD_BYTES, "the head is one block");
_Static_assert(offsetof(struct head, head_crc) == 16, "byte table");
_Static_assert(offsetof(struct head, incompatible) == 32, "byte table");
_Static_assert(offsetof(struct head, tree_uuid) == 56, "byte table");
_Static_assert(offsetof(struct head, place) == 88, "byte table");
_Static_assert(offsetof(struct head, generation) == 112, "byte table");
_Static_assert(offsetof(struct head, document_length) == 128, "byte table");
_Static_assert(offsetof(struct head, updated) == 144, "byte table");
_Static_assert(offsetof(struct head, reserved) == 156, "byte table");
_Static_assert(offsetof(struct head, reserved) <= SECTOR, "a head is written whole or not at all");
_Static_assert(sizeof(struct disk_peer) == 16, "byte table");
_Static_assert(sizeof(uuid_t) == 16, "byte table");
_Static_assert(HEAD_BYTES + LABEL_PEERS_MAX * sizeof(struct disk_peer) == LABEL_UPDATE_MAX,
	"all peers fit");
_Static_assert(LABEL_UPDATE_MAX <= LENGTHS_OFFSET, "peers end before the lengths");
_Static_assert(LENGTHS_OFFSET + LABEL_PEERS_MAX * sizeof(uint64_t) <= DOCUMENT_OFFSET,
	"lengths end before the document");
_Static_assert(DOCUMENT_OFFSET + LABEL_DOCUMENT_MAX + LABEL_GEOMETRY_MAX <= LABEL_COPY_STRIDE,
	"a copy ends before the next");
_Static_assert(LABEL_COPIES *LABEL_COPY_STRIDE <= LABEL_FRONT, "copies end before the data");

size_t label_rounded(size_t length)
{
	return (length + LABEL_BLOCK - 1) / LABEL_BLOCK * LABEL_BLOCK;
}

uint64_t label_offset(uint64_t generation)
{
	return generation % LABEL_COPIES * LABEL_COPY_STRIDE;
}

uint32_t head_crc(const struct head *head)
{
	struct head copy = *head;

	copy.head_crc = 0;
	return crc32c(&copy, sizeof(copy));
}

static void encode_peers(const struct label *label, struct disk_peer *peers)
{
	uint32_t i;

	for (i = 0; i < label->leaf_count; i++)
		peers[i] = (struct disk_peer){
			.generation = htole64(label->peers[i].generation),
			.state = htole32(label->peers[i].state +
					 (label->peers[i].removed ? PEER_REMOVED : 0)),
			.joins = htole32(label->peers[i].joins),
		};
}

static uint64_t incompatible_now(const struct label *label)
{
	uint64_t features = label->incompatible & ~INCOMPATIBLE_REMOVED;
	uint32_t i;

	for (i = 0; i < label->leaf_count; i++)
		if (label->peers[i].removed)
			features |= INCOMPATIBLE_REMOVED;
	return features;
}

/* Returns their checksum; 0 where there are none. */
static uint32_t encode_lengths(const struct label *label, uint64_t lengths[LABEL_PEERS_MAX])
{
	uint32_t i;

	if (!label->lengths)
		return 0;
	for (i = 0; i < label->leaf_count; i++)
		lengths[i] = htole64(label->lengths[i]);
	return crc32c(lengths, label->leaf_count * sizeof(*lengths));
}

size_t label_encode(const struct label *label, void *memory)
{
	size_t peers_length = label->leaf_count * sizeof(struct disk_peer);
	size_t length = HEAD_BYTES + label_rounded(peers_length);
	size_t document_length = strlen(label->document), geometry_length = strlen(label->geometry);
	uint64_t compatible = label->compatible & ~COMPATIBLE_LENGTHS;
	uint64_t lengths[LABEL_PEERS_MAX];
	struct head *head = memory;

	assert(label->leaf_count >= 1 && label->leaf_count <= LABEL_PEERS_MAX);
	assert(document_length <= LABEL_DOCUMENT_MAX && geometry_length <= LABEL_GEOMETRY_MAX);
	memset(memory, 0, length);
	encode_peers(label, (struct disk_peer *)((char *)memory + HEAD_BYTES));
	*head = (struct head){
		.version = htole32(VERSION),
		.head_length = htole32(HEAD_BYTES),
		.peers_crc = htole32(crc32c((char *)memory + HEAD_BYTES, peers_length)),
		.document_crc = htole32(crc32c(label->document, document_length)),
		.geometry_crc = htole32(crc32c(label->geometry, geometry_length)),
		.incompatible = htole64(incompatible_now(label)),
		.compatible = htole64(compatible | (label->lengths ? COMPATIBLE_LENGTHS : 0)),
		.readonly_compatible = htole64(label->readonly_compatible),
		.place = htole32(label->place),
		.leaf_count = htole32(label->leaf_count),
		.data_offset = htole64(label->data_offset),
		.data_length = htole64(label->data_length),
		.generation = htole64(label->generation),
		.flags = htole32(label->flags),
		.peer_bytes = htole32(sizeof(struct disk_peer)),
		.document_length = htole32((uint32_t)document_length),
		.geometry_length = htole32((uint32_t)geometry_length),
		.document_offset = htole32(DOCUMENT_OFFSET),
		.geometry_offset = htole32((uint32_t)(DOCUMENT_OFFSET + label_rounded(document_length))),
		.updated = htole64(label->updated),
		.lengths_crc = htole32(encode_lengths(label, lengths)),
	};
	memcpy(head->magic, label_magic, sizeof(label_magic));
	memcpy(head->tree_uuid, label->tree_uuid, sizeof(head->tree_uuid));
	memcpy(head->leaf_uuid, label->leaf_uuid, sizeof(head->leaf_uuid));
	head->head_crc = htole32(head_crc(head));
	return length;
}

size_t label_encode_copy(const struct label *label, void *memory)
{
	size_t document_length = strlen(label->document), geometry_length = strlen(label->geometry);
	size_t geometry_offset = DOCUMENT_OFFSET + label_rounded(document_length);
	size_t length = geometry_offset + label_rounded(geometry_length);
	uint64_t lengths[LABEL_PEERS_MAX];
	char *bytes = memory;

	memset(bytes, 0, length);
	(void)label_encode(label, bytes); /* its length is within LENGTHS_OFFSET */
	if (encode_lengths(label, lengths))
		memcpy(bytes + LENGTHS_OFFSET, lengths, label->leaf_count * sizeof(*lengths));
	memcpy(bytes + DOCUMENT_OFFSET, label->document, document_length);
	memcpy(bytes + geometry_offset, label->geometry, geometry_length);
	return length;
}

void label_finish(struct label *label)
{
	free(label->peers);
	free(label->document);
	free(label->geometry);
	free(label->lengths);
	*label = (struct label){ 0 };
}
