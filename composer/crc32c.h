/* SPDX-License-Identifier: MIT */
/*
 * CRC32C (Castagnoli), as in RFC 3720: what guards everything that we write about ourselves.
 *
 * With HAVE_ISAL it is libisal's, which uses the processor's instruction; else a table. Pure; any
 * thread; doesn't block.
 */
#ifndef COMPOSER_CRC32C_H
#define COMPOSER_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *bytes, size_t length);

/* The table's version, whatever the build: for the test that both agree. */
uint32_t crc32c_portable(const void *bytes, size_t length);

#endif
