/* SPDX-License-Identifier: MIT */
/*
 * A request: what the kernel asks of the device, or a parent of a child.
 *
 * Bytes everywhere; ranges are offset and length, in that order. A request never holds a pointer to
 * its data: `data` says at which offset of the device request's own buffer, or of its scratch, this
 * request's bytes begin, so that the same plan can be carried out by copying, or by the kernel on
 * its own pages. Who passes a request on to a child passes `data` on, plus what it skips.
 */
#ifndef COMPOSER_REQUEST_H
#define COMPOSER_REQUEST_H

#include <stdint.h>

enum io_kind {
	IO_READ,
	IO_WRITE,
	IO_WRITE_ZEROES, /* reads as zeroes afterwards; may unmap unless IO_NOUNMAP is set */
	IO_DISCARD, /* a hint; what is read afterwards is undefined */
	IO_FLUSH, /* all writes that ended before are durable when this ends; no range */
	IO_CLEAR, /* zero the request's own bytes; asks no child */
	IO_COPY, /* copy scratch, from `offset` there, to the request's own bytes; asks no child */
	IO_RECORD, /* make durable which legs have failed, on every leaf below; no range */
	IO_SELF, /* a node's own, made by plan_self() or work(): range and flags are its own words */
};
#define IO_KINDS 9

#define IO_FUA 1u /* durable when it ends (WRITE, WRITE_ZEROES) */
#define IO_NOUNMAP 2u /* WRITE_ZEROES must keep the space allocated */

enum data_home {
	DATA_NONE, /* no bytes travel */
	DATA_REQUEST, /* the device request's buffer */
	DATA_SCRATCH, /* memory that a node on the way down has asked for (plan.h) */
};

struct data {
	enum data_home home;
	uint32_t offset;
};

struct request {
	enum io_kind kind;
	unsigned flags;
	uint64_t offset, length;
	struct data data;
};

/* "read", "write", "write-zeroes", … : the words of plans, traces and the command line. */
const char *io_kind_name(enum io_kind kind);

#endif
