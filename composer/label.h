/* SPDX-License-Identifier: MIT */
/*
 * The label: what we write on a leaf, so that it says who it is whatever its path. label.c has the
 * byte table and the crash story; this header has the fields.
 *
 * A labelled leaf keeps LABEL_FRONT bytes at its front and LABEL_TAIL at its end for us, whatever
 * its size: at the front two copies of the label (and, later, the mirror's bitmap), at the end
 * nothing, so that what a user puts at the end of his device (a GPT's backup, an old md superblock)
 * is never at the end of the leaf, where other tools would take it for the leaf's own.
 */
#ifndef COMPOSER_LABEL_H
#define COMPOSER_LABEL_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uuid/uuid.h>

#define LABEL_FRONT (UINT64_C(4) << 20)
#define LABEL_TAIL (UINT64_C(1) << 20)
#define LABEL_COPIES 2
#define LABEL_COPY_STRIDE (UINT64_C(2) << 20) /* copy n begins at n * LABEL_COPY_STRIDE */
#define LABEL_PEERS_MAX 1024
#define LABEL_BLOCK 4096 /* all offsets and lengths of ours are multiples: fits any O_DIRECT */
#define LABEL_UPDATE_MAX                                                                           \
	(4096 + LABEL_PEERS_MAX * 16) /* head and peers: what changes while live                   \
				       */
#define LABEL_DOCUMENT_MAX ((size_t)1 << 20)
#define LABEL_GEOMETRY_MAX ((size_t)256 << 10)

/* label.flags */
#define LABEL_FORMATTING 1u /* `create` has not ended: nothing was ever served from this leaf */
#define LABEL_OPEN                                                                                 \
	2u /* a daemon serves it: an assembly that finds this follows an unclean stop              \
	    */
#define LABEL_UNSYNCED                                                                             \
	4u /* redundant legs may differ where writes were in flight; resync clears it */
#define LABEL_SERVED 8u /* a daemon has served it once: never again taken for a blank leaf */
#define LABEL_GIVEN_UP                                                                             \
	16u /* the user has decided against it (--prefer): it is stale, and what it says of others  \
	       doesn't count. Cleared when it is used again */
#define LABEL_FLAGS 31u /* those that we know */

enum label_peer_state {
	LABEL_PEER_IN_SYNC = 0,
	LABEL_PEER_STALE = 1, /* missed a write that was acknowledged */
	LABEL_PEER_OLD_COPY = 2, /* stale, and put back from a copy since it was called so, or before:
				    nobody knows what it misses */
	LABEL_PEER_SPARE = 3, /* stale, and stands by to take a failed one's place: it holds nothing, and
				 what its own label says of the others, if that calls it so too, is old */
};

/* What a leaf knows of another leaf of its tree, by that one's place. */
struct label_peer {
	uint64_t generation; /* the peer's when last seen */
	uint32_t state;
	bool removed; /* by the user: it is left out, also when it is there, until he adds it again */
	uint32_t joins; /* how often it was stale and has been brought up to date, as far as known */
};

struct label {
	uint64_t incompatible, compatible, readonly_compatible; /* feature masks */
	uuid_t tree_uuid, leaf_uuid;
	uint32_t place, leaf_count;
	uint64_t data_offset, data_length;
	uint64_t generation; /* goes up with every write of the label */
	uint32_t flags;
	struct label_peer *peers; /* leaf_count of them; owned */
	char *document; /* the tree's JSON text, NUL-ended; owned */
	char *geometry; /* tree_geometry(), NUL-ended; owned */
	uint64_t *lengths; /* every leaf's data_length by place, 0 for those without a label; or NULL:
			      not known; owned. For the day when a leaf is away */
	uint64_t updated; /* when it was written: seconds since 1970, 0 unknown. For people only */
	bool damaged; /* label_read(): one copy is not whole. Torn by a crash, or rotten: no telling
		       */
	bool mixed; /* label_read(): the copies' texts or lengths differ, as label_update_texts() was
		       interrupted */
};

/*
 * Writes head and peers into memory of LABEL_UPDATE_MAX bytes, zero-padded to whole 4096-byte
 * blocks, and returns their length. Pure; for a queue's thread too. The texts don't change while
 * live.
 */
size_t label_encode(const struct label *label, void *memory);

/* Where in the leaf the label of this generation goes: copies take turns, the older one is
 * replaced. */
uint64_t label_offset(uint64_t generation);

/*
 * Makes a label where none is: writes both copies with their texts, durably. A crash before its end
 * leaves no label or one with the flags given: callers set LABEL_FORMATTING. The copies get
 * label->generation and the one before it, so that must be 2 or more. 0, or -errno. Blocks.
 */
int label_format(int fd, const struct label *label);

/*
 * Raises the generation and writes the copy whose turn it is, durably. 0, or -errno, and then the
 * generation is as before. Blocks.
 */
int label_update(int fd, struct label *label);

/*
 * The same with the texts, for one copy. Called twice it replaces them in both, and a crash at any
 * point leaves one whole copy. label_update() must not come between the two calls.
 */
int label_update_texts(int fd, struct label *label);

/*
 * Makes durable the copy that was read, by writing the same bytes there again: after a failed flush a
 * file shows what its disk need not have, and a flush that succeeds later proves nothing. A write that
 * stops half-way changes nothing. 0, or -errno. Blocks.
 */
int label_rewrite(int fd, uint64_t generation);

enum label_found {
	LABEL_NONE, /* nothing of ours */
	LABEL_FOUND, /* label is filled; label_finish() frees it */
	LABEL_NEWER, /* ours, but of a version or with features unknown to us */
	LABEL_CORRUPT, /* our magic, but no copy is whole */
	LABEL_UNREADABLE, /* an I/O error */
};

/* What is wrong with a copy. */
enum label_fault {
	LABEL_WHOLE, /* nothing */
	LABEL_CUT_SHORT,
	LABEL_BAD_HEAD,
	LABEL_BAD_LENGTHS,
	LABEL_BAD_PLACE,
	LABEL_BAD_RANGE,
	LABEL_BAD_GENERATION,
	LABEL_BAD_UUIDS,
	LABEL_LONG_TEXTS,
	LABEL_BAD_TEXTS,
	LABEL_BAD_PEERS,
	LABEL_BAD_DATA_LENGTHS,
	LABEL_BAD_DOCUMENT,
	LABEL_BAD_GEOMETRY,
	LABEL_NO_MEMORY,
};

/* "head_checksum" for programs, "the checksum of its head is wrong" for messages. */
const char *label_fault_word(enum label_fault fault);
const char *label_fault_clause(enum label_fault fault);

/* The first fault of a copy with our magic, as label_decode() finds it, newer or not. Pure. */
enum label_fault label_check(const void *copy, size_t length, uint64_t offset);

/*
 * Takes apart the copy that begins at `offset` of a leaf: `copy` holds its first `length` bytes.
 * Pure; safe on any bytes. LABEL_NONE, FOUND, NEWER or CORRUPT; all but the first two fill `why`
 * with a clause for messages. Features that only forbid writing are LABEL_NEWER too: we write.
 */
enum label_found label_decode(const void *copy, size_t length, uint64_t offset, struct label *label,
	char *why, size_t why_size);

/*
 * The length that label_decode() wants for the copy with this head (LABEL_BLOCK bytes, any
 * content): at most LABEL_COPY_STRIDE, a multiple of LABEL_BLOCK.
 */
size_t label_copy_length(const void *head);

/* Reads the newer of the whole copies. `why` (a buffer) gets a clause for messages. Blocks. */
enum label_found label_read(
	int fd, uint64_t bytes, struct label *label, char *why, size_t why_size);

void label_finish(struct label *label);

/*
 * One whole copy with the texts, as it stands at label_offset(generation). Returns its length, of
 * which `memory` (LABEL_COPY_STRIDE bytes) is filled. Pure. For label_io.c and tests.
 */
size_t label_encode_copy(const struct label *label, void *memory);

#endif
