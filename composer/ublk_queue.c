// SPDX-License-Identifier: MIT
/*
 * A ublk queue. The driver copies a WRITE's bytes to the tag's buffer before it tells of the
 * request, and a READ's from there at the commit: as ubd does, so that all is driver_queue.c's.
 */
#include "ublk_queue.h"

#include "ublk_cmd.h"

#include <stddef.h>
#include <ubd_cmd.h>

static_assert(sizeof(struct ublk_io_cmd) == sizeof(struct ubd_io_cmd) &&
		      offsetof(struct ublk_io_cmd, result) == offsetof(struct ubd_io_cmd, result) &&
		      offsetof(struct ublk_io_cmd, addr) == offsetof(struct ubd_io_cmd, addr),
	"driver_queue.c fills in one for both");
static_assert(UBLK_BARE(UBLK_IO_FETCH_REQ) == UBD_IO_FETCH_REQ &&
		      UBLK_BARE(UBLK_IO_COMMIT_AND_FETCH_REQ) == UBD_IO_COMMIT_AND_FETCH_REQ,
	"one root");

const struct driver_queue_type ublk_queue_type = {
	.size = sizeof(struct driver_queue),
	.fetch = UBLK_IO_FETCH_REQ,
	.commit = UBLK_IO_COMMIT_AND_FETCH_REQ,
};

const struct driver_queue_type ublk_queue_type_bare = {
	.size = sizeof(struct driver_queue),
	.fetch = UBLK_BARE(UBLK_IO_FETCH_REQ),
	.commit = UBLK_BARE(UBLK_IO_COMMIT_AND_FETCH_REQ),
};
