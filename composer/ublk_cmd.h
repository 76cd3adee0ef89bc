/* SPDX-License-Identifier: MIT */
/*
 * What the mainline ublk driver and its servers say to each other, as far as we use it.
 *
 * Our own copy, since a distribution's header is as old as its kernel: bookworm's knows nothing
 * after 6.4, and the driver that runs tells by GET_FEATURES what it can do. The numbers are those
 * of the kernel's user-space interface, include/uapi/linux/ublk_cmd.h of 6.12 and 6.16 to 7.0, what
 * they mean is told in Documentation/block/ublk.rst. All little-endian, naturally aligned.
 *
 * The life of a device is ubd's (kmod/ubd_cmd.h), which grew from the same root: ADD_DEV, then
 * SET_PARAMS, a FETCH for each tag, START_DEV; STOP_DEV, DEL_DEV. Descriptors, the I/O command, its
 * results and their meaning are the same, and so is the place where the descriptors are mapped.
 */
#ifndef COMPOSER_UBLK_CMD_H
#define COMPOSER_UBLK_CMD_H

#include <assert.h>
#include <linux/ioctl.h>
#include <stdint.h>

#define UBLK_CHECK_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)

/* Inline in the SQE of a control command. */
struct ublk_ctrl_cmd {
	uint32_t dev_id;
	uint16_t queue_id; /* 0xffff: none */
	uint16_t len;
	uint64_t addr;
	uint64_t data;
	uint16_t dev_path_length; /* for devices of unprivileged users only */
	uint16_t pad;
	uint32_t reserved;
};
UBLK_CHECK_SIZE(struct ublk_ctrl_cmd, 32);

/*
 * Codes are encoded as an ioctl's, from 6.4. Before, the bare number is the code, and GET_FEATURES
 * is not there. The direction is part of the number, not of the meaning.
 */
#define UBLK_OUT(number) _IOR('u', number, struct ublk_ctrl_cmd)
#define UBLK_BOTH(number) _IOWR('u', number, struct ublk_ctrl_cmd)
#define UBLK_BARE(code) _IOC_NR(code)

#define UBLK_CMD_GET_DEV_INFO UBLK_OUT(0x02) /* out: struct ublk_dev_info */
#define UBLK_CMD_ADD_DEV UBLK_BOTH(0x04) /* in and out: struct ublk_dev_info */
#define UBLK_CMD_DEL_DEV UBLK_BOTH(0x05) /* waits until the char device is closed */
#define UBLK_CMD_START_DEV UBLK_BOTH(0x06) /* data: the server's pid */
#define UBLK_CMD_STOP_DEV UBLK_BOTH(0x07)
#define UBLK_CMD_SET_PARAMS UBLK_BOTH(0x08) /* in: struct ublk_params; not while live */
#define UBLK_CMD_GET_PARAMS UBLK_OUT(0x09) /* in: its length; out: struct ublk_params */
#define UBLK_CMD_START_USER_RECOVERY UBLK_BOTH(0x10) /* EBUSY: the last server isn't gone yet */
#define UBLK_CMD_END_USER_RECOVERY UBLK_BOTH(0x11) /* data: the new server's pid */
#define UBLK_CMD_GET_DEV_INFO2 UBLK_OUT(0x12) /* the same behind the char device's path; 6.3 */
#define UBLK_CMD_GET_FEATURES UBLK_OUT(0x13) /* out: u64, len 8; 6.5 */
#define UBLK_CMD_DEL_DEV_ASYNC UBLK_OUT(0x14) /* 6.9; EOPNOTSUPP before */
#define UBLK_CMD_UPDATE_SIZE UBLK_BOTH(0x15) /* data: the new size in sectors; 6.16 */
#define UBLK_CMD_QUIESCE_DEV UBLK_BOTH(0x16) /* data: milliseconds to wait; 6.16 */

/* Features, and flags of a device. */
#define UBLK_F_SUPPORT_ZERO_COPY (1ull << 0) /* 6.15: buffers registered by commands */
#define UBLK_F_USER_RECOVERY (1ull << 3)
#define UBLK_F_USER_RECOVERY_REISSUE (1ull << 4) /* with USER_RECOVERY: what was in flight too */
/*
 * 6.3: a device of somebody who isn't root. Each command about it begins with the path of its char
 * device, whose permissions decide. No recovery, and no bytes but by the tags' buffers; a request that
 * isn't answered within 30 s has its server killed.
 */
#define UBLK_F_UNPRIVILEGED_DEV (1ull << 5)
#define UBLK_F_CMD_IOCTL_ENCODE (1ull << 6)
#define UBLK_F_USER_COPY (1ull << 7) /* a request's bytes by pread() and pwrite(); 6.5 */
#define UBLK_F_USER_RECOVERY_FAIL_IO (1ull << 9) /* with USER_RECOVERY; 6.13 */
#define UBLK_F_UPDATE_SIZE (1ull << 10)
#define UBLK_F_AUTO_BUF_REG (1ull << 11) /* a request's pages in the ring's table; 6.16 */
#define UBLK_F_QUIESCE (1ull << 12)
#define UBLK_F_PER_IO_DAEMON (1ull << 13)
#define UBLK_F_BATCH_IO (1ull << 15) /* one command for many tags, see below; 7.0 */

/* ublk_dev_info.state */
#define UBLK_DEV_DEAD 0
#define UBLK_DEV_LIVE 1
#define UBLK_DEV_QUIESCED 2 /* recoverable, its server is gone: requests wait */
#define UBLK_DEV_FAIL_IO 3 /* recoverable, its server is gone: requests fail */

struct ublk_dev_info {
	uint16_t nr_hw_queues, queue_depth, state, pad0;
	uint32_t max_io_buf_bytes;
	uint32_t dev_id; /* -1: the next free one */
	int32_t server_pid;
	uint32_t pad1;
	uint64_t flags; /* UBLK_F_* */
	uint64_t server_flags; /* the driver only keeps them */
	uint32_t owner_uid, owner_gid;
	uint64_t reserved[2];
};
UBLK_CHECK_SIZE(struct ublk_dev_info, 64);

/* ublk_params.types: which parts are set */
#define UBLK_PARAM_BASIC (1u << 0)
#define UBLK_PARAM_DISCARD (1u << 1)

/* ublk_params.attributes */
#define UBLK_ATTR_READ_ONLY (1u << 0)
#define UBLK_ATTR_ROTATIONAL (1u << 1)
#define UBLK_ATTR_VOLATILE_CACHE (1u << 2)
#define UBLK_ATTR_FUA (1u << 3)

/* Up to the discard part; newer kernels know more after it, and look at `length`. */
struct ublk_params {
	uint32_t length; /* of the struct */
	uint32_t types;
	/* BASIC */
	uint32_t attributes;
	uint8_t logical_shift, physical_shift, io_opt_shift, io_min_shift; /* 9: 512 bytes */
	uint32_t max_sectors, chunk_sectors;
	uint64_t sectors;
	uint64_t virt_boundary_mask;
	/* DISCARD */
	uint32_t discard_alignment, discard_granularity; /* bytes */
	uint32_t max_discard_sectors, max_write_zeroes_sectors;
	uint16_t max_discard_segments; /* 1 */
	uint16_t reserved;
	uint32_t pad;
};
UBLK_CHECK_SIZE(struct ublk_params, 64);

/* I/O commands, on /dev/ublkcN; their payload is ubd's, struct ubd_io_cmd. */
struct ublk_io_cmd {
	uint16_t q_id, tag;
	int32_t result;
	uint64_t addr;
};
UBLK_CHECK_SIZE(struct ublk_io_cmd, 16);

/*
 * AUTO_BUF_REG: while a tag's request is the server's, its pages are in the table of registered
 * buffers of the ring that fetched it, at the place that the SQE's addr (not the payload's) named
 * with these bits. With FALLBACK, pages that can't be put there (the table is too small) are told by
 * NEED_REG_BUF in the descriptor's flags; without, such a request fails unseen.
 */
#define UBLK_AUTO_BUF(place, flags) ((uint64_t)(place) | (uint64_t)(flags) << 16)
#define UBLK_AUTO_BUF_FALLBACK 1u
#define UBLK_IO_F_NEED_REG_BUF (1u << 17)

/*
 * USER_COPY: where a request's bytes are read and written on /dev/ublkcN. The payload's addr is 0
 * on such a device, as it is with AUTO_BUF_REG.
 */
#define UBLK_BYTES_OFFSET UINT64_C(0x80000000)
#define UBLK_BYTES_TAG_SHIFT 25
#define UBLK_BYTES_QUEUE_SHIFT 41

/*
 * BATCH_IO: instead of a command for each tag,
 * - PREP hands in all tags, once;
 * - FETCH, a multishot command with provided buffers, ends with a list of uint16_t tags that have a
 *   request, again and again;
 * - COMMIT hands in results, and so the tags for further requests.
 * PREP and COMMIT find their elements at the SQE's addr, and read them while they are submitted.
 * PREP answers 0; COMMIT the bytes of elements that it has worked off: fewer than all only where
 * the next one's tag is not the server's. A FETCH that runs out of buffers ends with ENOBUFS, and
 * one whose device stops being served with ABORT.
 */
struct ublk_batch_io {
	uint16_t q_id, flags; /* UBLK_BATCH_* */
	uint16_t nr_elem;
	uint8_t elem_bytes; /* FETCH: 2 */
	uint8_t reserved;
	uint64_t reserved2;
};
UBLK_CHECK_SIZE(struct ublk_batch_io, 16);

#define UBLK_BATCH_HAS_BUFFER (1u << 1) /* elements are a struct ublk_element with its addr */
#define UBLK_BATCH_AUTO_BUF_FALLBACK (1u << 2) /* as UBLK_AUTO_BUF_FALLBACK, of all elements */

struct ublk_element {
	uint16_t tag;
	uint16_t place; /* AUTO_BUF_REG: in the ring's table */
	int32_t result; /* COMMIT */
	uint64_t addr; /* the tag's buffer, where the driver copies; else not there */
};
UBLK_CHECK_SIZE(struct ublk_element, 16);

#define UBLK_IO_PREP _IOWR('u', 0x25, struct ublk_batch_io)
#define UBLK_IO_COMMIT _IOWR('u', 0x26, struct ublk_batch_io)
#define UBLK_IO_FETCH _IOWR('u', 0x27, struct ublk_batch_io)
#define UBLK_FETCH_MULTISHOT (1u << 1) /* of the SQE's uring_cmd_flags */

#define UBLK_IO_FETCH_REQ _IOWR('u', 0x20, struct ublk_io_cmd)
#define UBLK_IO_COMMIT_AND_FETCH_REQ _IOWR('u', 0x21, struct ublk_io_cmd)

#endif
