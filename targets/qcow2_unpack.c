// SPDX-License-Identifier: MIT
/*
 * Compressed clusters: a bare deflate stream (no zlib header; its window is 4 KiB at QEMU's), or
 * zstd frames. Decompression stops when a cluster is full; what follows in the last sector is
 * another cluster's. All memory is the caller's, so that nothing is allocated on the way of a
 * request.
 */
#define ZSTD_STATIC_LINKING_ONLY /* for the static context, which takes our memory */
#include "qcow2.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#define WINDOW_BITS_MAX 15
#define INFLATE_MEMORY (64u << 10) /* zlib: 7 KiB of state and the window of 32 KiB; the rest is room */
#define ALIGN 64u

struct pool {
	uint8_t *memory;
	size_t size, used;
};

static void *pool_take(void *opaque, unsigned items, unsigned size)
{
	struct pool *pool = opaque;
	size_t bytes = ((size_t)items * size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	void *memory = pool->memory + pool->used;

	if (bytes > pool->size - pool->used)
		return NULL;
	pool->used += bytes;
	return memory;
}

static void pool_give(void *opaque, void *memory)
{
	(void)opaque; /* the pool is the request's, and goes with it */
	(void)memory;
}

static int unpack_zlib(const uint8_t *packed, size_t packed_length, uint8_t *out, size_t length,
	struct pool *pool)
{
	z_stream stream = {
		.zalloc = pool_take,
		.zfree = pool_give,
		.opaque = pool,
		.next_in = (uint8_t *)packed, /* zlib only reads it */
		.avail_in = (unsigned)packed_length,
		.next_out = out,
		.avail_out = (unsigned)length,
	};
	int result;

	if (inflateInit2(&stream, -WINDOW_BITS_MAX) != Z_OK)
		return -EIO;
	result = inflate(&stream, Z_FINISH);
	(void)inflateEnd(&stream); /* frees nothing: the pool is the caller's */
	/* The stream may have its end behind the last byte that was wanted. */
	if (stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR || result == Z_OK))
		return 0;
	return -EIO;
}

static int unpack_zstd(const uint8_t *packed, size_t packed_length, uint8_t *out, size_t length,
	struct pool *pool)
{
	ZSTD_DCtx *context = ZSTD_initStaticDCtx(pool->memory, pool->size);
	ZSTD_inBuffer from = { packed, packed_length, 0 };
	ZSTD_outBuffer to = { out, length, 0 };

	if (!context ||
		ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_stableOutBuffer, 1)))
		return -EIO;
	while (to.pos < to.size) {
		size_t before = from.pos + to.pos;
		size_t result = ZSTD_decompressStream(context, &to, &from);

		if (ZSTD_isError(result) || from.pos + to.pos == before)
			return -EIO;
	}
	return 0;
}

size_t qcow2_unpack_memory(enum qcow2_compression compression)
{
	if (compression == QCOW2_ZLIB)
		return INFLATE_MEMORY;
	/* The output is stable, so that there is no window of its own; the input's block is kept. */
	return ((size_t)ZSTD_estimateDCtxSize() + (256u << 10) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

int qcow2_unpack(enum qcow2_compression compression, const uint8_t *packed, size_t packed_length,
	uint8_t *out, size_t length, void *memory, size_t memory_size)
{
	struct pool pool = { memory, memory_size, 0 };

	if (compression == QCOW2_ZLIB)
		return unpack_zlib(packed, packed_length, out, length, &pool);
	return unpack_zstd(packed, packed_length, out, length, &pool);
}
