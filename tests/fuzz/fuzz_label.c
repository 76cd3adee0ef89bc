// SPDX-License-Identifier: MIT
/*
 * Fuzzes the label's decoder with any bytes as a copy of it (libFuzzer): make fuzz T=label MINUTES=10.
 *
 * Half of the inputs get a head whose checksum fits, else the fuzzer would never come past it. What
 * must hold: nothing is read outside; what is taken for a label is within its bounds, and encoded
 * again it is the same head and peers.
 */
#include "crc32c.h"
#include "label.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_CRC 16
#define PEERS_CRC 20
#define DOCUMENT_CRC 24
#define GEOMETRY_CRC 28
#define LEAF_COUNT 92
#define DOCUMENT_LENGTH 128
#define GEOMETRY_LENGTH 132
#define GEOMETRY_OFFSET 140
#define LENGTHS_CRC 152
#define LENGTHS 20480
#define DOCUMENT 32768

static void must(bool what)
{
	if (!what)
		abort();
}

static uint32_t field(const char *copy, size_t at)
{
	uint32_t value;

	memcpy(&value, copy + at, sizeof(value));
	return le32toh(value);
}

/* Makes a checksum fit, where what it sums is there at all. */
static void mend(char *copy, size_t size, size_t at, uint64_t offset, uint64_t length)
{
	uint32_t crc;

	if (offset > size || length > size - offset)
		return;
	crc = htole32(crc32c(copy + offset, length));
	memcpy(copy + at, &crc, sizeof(crc));
}

static void mend_all(char *copy, size_t size)
{
	memcpy(copy, "UBDLABEL", 8);
	mend(copy, size, PEERS_CRC, LABEL_BLOCK, UINT64_C(16) * field(copy, LEAF_COUNT));
	mend(copy, size, LENGTHS_CRC, LENGTHS, UINT64_C(8) * field(copy, LEAF_COUNT));
	mend(copy, size, DOCUMENT_CRC, DOCUMENT, field(copy, DOCUMENT_LENGTH));
	mend(copy, size, GEOMETRY_CRC, field(copy, GEOMETRY_OFFSET), field(copy, GEOMETRY_LENGTH));
	memset(copy + HEAD_CRC, 0, sizeof(uint32_t));
	mend(copy, size, HEAD_CRC, 0, LABEL_BLOCK);
}

static void look_at(const struct label *label, const char *copy)
{
	static char again[LABEL_UPDATE_MAX];
	uint32_t i;

	must(label->leaf_count >= 1 && label->leaf_count <= LABEL_PEERS_MAX);
	must(label->place < label->leaf_count && label->data_offset >= LABEL_FRONT);
	must(label->data_offset + label->data_length + LABEL_TAIL <= INT64_MAX);
	must(strlen(label->document) == field(copy, DOCUMENT_LENGTH));
	must(strlen(label->geometry) == field(copy, GEOMETRY_LENGTH));
	must((label->flags & ~LABEL_FLAGS) == 0 && label_offset(label->generation) == 0);
	(void)label_encode(label, again);
	must(memcmp(again + PEERS_CRC + 4, copy + PEERS_CRC + 4, 144 - PEERS_CRC - 4) == 0);
	for (i = 0; i < label->leaf_count; i++)
		must(memcmp(again + LABEL_BLOCK + 16 * i, copy + LABEL_BLOCK + 16 * i, 12) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct label label;
	char why[256] = "";
	char *copy = malloc(size + 1); /* ends where the input ends: ASan sees a byte too many */
	enum label_found found;

	must(copy != NULL);
	memcpy(copy, data, size);
	copy = realloc(copy, size ? size : 1);
	if (size >= LABEL_BLOCK && data[size - 1] & 1)
		mend_all(copy, size);
	if (size >= LABEL_BLOCK)
		must(label_copy_length(copy) <= LABEL_COPY_STRIDE);
	found = label_decode(copy, size, 0, &label, why, sizeof(why));
	must(found == LABEL_FOUND || found == LABEL_NONE || *why);
	if (found == LABEL_FOUND) {
		look_at(&label, copy);
		label_finish(&label);
	}
	free(copy);
	return 0;
}
