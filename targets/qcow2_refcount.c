// SPDX-License-Identifier: MIT
/*
 * Refcounts: a table of 8 byte host offsets (0: none) of refcount blocks, each one cluster of
 * entries of 1, 2, 4, 8, 16, 32 or 64 bits. Entries below a byte fill it from the least significant
 * bit on.
 *
 * Crash story: an entry lies within one sector. A count too high after a crash is a lost cluster
 * and nothing worse; who counts down sees to it that no entry names the cluster any more.
 */
#include "qcow2.h"

uint64_t qcow2_refcount_max(const struct qcow2_header *header)
{
	unsigned bits = 1u << header->refcount_order;

	return bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

uint64_t qcow2_refcount_read(const struct qcow2_header *header, const uint8_t *block, uint64_t index)
{
	unsigned bits = 1u << header->refcount_order, bytes = bits / 8, i;
	uint64_t count = 0;

	if (bits == 16) /* nearly all images, and each request asks */
		return (uint64_t)block[index * 2] << 8 | block[index * 2 + 1];
	if (bits < 8)
		return block[index * bits / 8] >> (index * bits % 8) & qcow2_refcount_max(header);
	for (i = 0; i < bytes; i++)
		count = count << 8 | block[index * bytes + i];
	return count;
}

void qcow2_refcount_write(
	const struct qcow2_header *header, uint8_t *block, uint64_t index, uint64_t count)
{
	unsigned bits = 1u << header->refcount_order, bytes = bits / 8, i;

	if (bits < 8) {
		unsigned shift = index * bits % 8;
		uint8_t *byte = &block[index * bits / 8];

		*byte = (uint8_t)((*byte & ~(qcow2_refcount_max(header) << shift)) | count << shift);
		return;
	}
	for (i = bytes; i > 0; i--, count >>= 8)
		block[index * bytes + i - 1] = (uint8_t)count;
}
