/* SPDX-License-Identifier: MIT */
/*
 * The label as it lies on a leaf, for label.c, which has the byte table, label_decode.c, and
 * label_inspect.c, which shows what is left of a damaged one. Integers are little-endian.
 */
#ifndef COMPOSER_LABEL_DISK_H
#define COMPOSER_LABEL_DISK_H

#include "label.h"

#define VERSION 1u
#define HEAD_BYTES 4096u
#define SECTOR 512u /* what a disk writes whole or not at all */
#define LENGTHS_OFFSET 20480u
#define DOCUMENT_OFFSET 32768u

#define COMPATIBLE_LENGTHS UINT64_C(1) /* the leaves' data lengths are there */

#define INCOMPATIBLE_REMOVED UINT64_C(1) /* a peer's state says that it was removed */
#define KNOWN_INCOMPATIBLE INCOMPATIBLE_REMOVED
#define PEER_REMOVED 256u /* added to its state */
#define KNOWN_READONLY_COMPATIBLE UINT64_C(0)

static const char label_magic[8] = { 'U', 'B', 'D', 'L', 'A', 'B', 'E', 'L' };

struct head {
	char magic[8];
	uint32_t version, head_length;
	uint32_t head_crc, peers_crc, document_crc, geometry_crc;
	uint64_t incompatible, compatible, readonly_compatible;
	unsigned char tree_uuid[16], leaf_uuid[16];
	uint32_t place, leaf_count;
	uint64_t data_offset, data_length, generation;
	uint32_t flags, peer_bytes;
	uint32_t document_length, geometry_length, document_offset, geometry_offset;
	uint64_t updated;
	uint32_t lengths_crc;
	unsigned char reserved[3940];
};

struct disk_peer {
	uint64_t generation;
	uint32_t state, joins;
};

/* Up to whole blocks. */
size_t label_rounded(size_t length);

/* The checksum that the head should have. */
uint32_t head_crc(const struct head *head);

/* The fields, whatever they say; the peers and texts stay NULL. */
void head_decode(const struct head *head, struct label *label);

/* What is wrong with a head whose checksum fits. */
enum label_fault head_fault(const struct head *head, uint64_t offset);

/* A clause on what a newer program has put in, or false. */
bool head_is_newer(const struct head *head, char *why, size_t why_size);

/* Copies what the copy has from there on into label->peers. False: no memory. */
bool peers_decode(const char *copy, struct label *label);

#endif
