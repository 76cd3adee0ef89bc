// SPDX-License-Identifier: MIT
/* CRC32C: libisal's where it is there, and the same by table. It knows nothing of what it sums. */
#include "crc32c.h"

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bits reversed */
#define NIBBLE_BITS 4
#define NIBBLES 16
#define PIECE_MAX ((size_t)1 << 30) /* libisal counts in int */

/* The remainder of each value of four bits: 64 bytes of table, built on the spot. */
static uint32_t nibble_remainder(uint32_t value)
{
	unsigned bit;

	for (bit = 0; bit < NIBBLE_BITS; bit++)
		value = value & 1 ? value >> 1 ^ POLYNOMIAL : value >> 1;
	return value;
}

uint32_t crc32c_portable(const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;
	uint32_t table[NIBBLES], crc = UINT32_MAX;
	unsigned i;

	for (i = 0; i < NIBBLES; i++)
		table[i] = nibble_remainder(i);
	while (length--) {
		crc ^= *byte++;
		crc = crc >> NIBBLE_BITS ^ table[crc % NIBBLES];
		crc = crc >> NIBBLE_BITS ^ table[crc % NIBBLES];
	}
	return ~crc;
}

#ifdef HAVE_ISAL
uint32_t crc32c(const void *bytes, size_t length)
{
	/* libisal only reads, but says so in no const. */
	unsigned char *byte = (unsigned char *)(uintptr_t)bytes;
	uint32_t crc = UINT32_MAX;

	while (length) {
		size_t piece = length < PIECE_MAX ? length : PIECE_MAX;

		crc = crc32_iscsi(byte, (int)piece, crc);
		byte += piece;
		length -= piece;
	}
	return ~crc;
}
#else
uint32_t crc32c(const void *bytes, size_t length)
{
	return crc32c_portable(bytes, length);
}
#endif
