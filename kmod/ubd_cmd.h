/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * What the ubd driver and its servers say to each other.
 *
 * This is the one header shared by the kernel module and user space. It holds the contract of the
 * second (V2) posting of the io_uring based user-space block driver, and our extensions to it, each
 * behind a feature bit. All numbers are little-endian and naturally aligned; nothing here depends
 * on the width of a pointer.
 *
 *
 * NODES
 *
 *   /dev/ubd-control   control commands; every one needs CAP_SYS_ADMIN
 *   /dev/ubdcN         I/O commands and the descriptors' mapping of device N; mode 0600; one opener
 *                      at a time, a second open() fails with EBUSY
 *   /dev/ubdbN         the disk; exists from START_DEV until STOP_DEV, DEL_DEV or the server's
 *   death
 *
 * There is no ioctl. Every command is an IORING_OP_URING_CMD, its code in sqe->cmd_op and its
 * payload in sqe->cmd, on a ring made with IORING_SETUP_SQE128. Any other ring gets EINVAL before
 * anything else is looked at. Errors come as the CQE's result, a negative errno.
 *
 *
 * THE LIFE OF A DEVICE
 *
 *   1. ADD_DEV makes device N and /dev/ubdcN. State DEAD.
 *   2. SET_PARAMS, if wanted (extension). The defaults are V2's, see struct ubd_params.
 *   3. The server opens /dev/ubdcN, maps each queue's descriptors and puts one FETCH_REQ per tag.
 *      All I/O commands of one queue come from one task and one ring; queues may be served by
 *      different tasks and rings.
 *   4. START_DEV waits until every tag of every queue is fetched, then adds the disk and answers.
 *      Adding the disk reads its partition table, so that the queues must be served while START_DEV
 *      is under way: from another task, or by a server that does not wait for its answer in a way
 *      that keeps it from serving. State LIVE before the first request.
 *   5. STOP_DEV takes the disk away and ends every waiting FETCH with UBD_IO_RES_ABORT. State DEAD.
 *   6. The server closes /dev/ubdcN. The device can be opened, fetched and started once more.
 *   7. DEL_DEV removes it, in any state (it stops a live one first). The number is free at once.
 *
 * A device may be deleted without ever having been started or opened. A server that has the char
 * node open while its device is deleted gets ENODEV from then on and should close it.
 *
 * If the server dies, closes its ring or unmaps all descriptors, then the device is stopped:
 * requests that it had end with an I/O error, the disk goes away, the state is DEAD. The device
 * stays, until DEL_DEV; the next server may open it (EBUSY while the last one's exit is still under
 * way), fetch and start it.
 *
 *
 * RECOVERY (UBD_F_RECOVERY, and params.recovery_ms not zero)
 *
 * The disk outlives its server. When that is gone, state WAITING: whoever uses the disk waits, for
 * at most recovery_ms; then requests end with an I/O error and the disk goes, as without recovery.
 * Requests that the server had not yet been given come to the next one. Those that it had, and had
 * not answered, come again with UBD_PARAM_REISSUE, and otherwise end with an I/O error.
 *
 * The next server: opens /dev/ubdcN (EBUSY while the last one's exit is under way), maps, sets
 * legs if the device has plans, fetches every tag, and says RESUME_DEV where the first one said
 * START_DEV. Parameters stay as they were. If it dies before, the disk goes on waiting, and the time
 * that is left is not prolonged.
 *
 * What comes again may have been carried out already, in part or in whole, and be carried out twice.
 * So nothing that the dead server had begun may land after the next one has begun: a late write
 * would undo a newer one. /dev/ubdcN can be opened again only when all files of the last server's
 * are released, and a ring keeps its registered files until the last of its I/O has ended. So a
 * server that does its I/O with rings in which /dev/ubdcN is registered is safe. Others have to see
 * to it by themselves.
 *
 * A server that hands over in peace says HAND_OVER_DEV, while it serves: no request comes any more,
 * and when it has answered what it had, its commands end with UBD_IO_RES_ABORT and the state is
 * WAITING. No request fails, none comes twice.
 */
#ifndef UBD_CMD_H
#define UBD_CMD_H

#include <linux/types.h>

#ifdef __KERNEL__
#include <linux/build_bug.h>
#else
#include <assert.h>
#endif
#define UBD_CHECK_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)

/* Limits */
#define UBD_MAX_QUEUE_DEPTH 4096
#define UBD_MAX_NR_QUEUES 4096 /* ADD_DEV further lowers a larger number to the CPUs' */
#define UBD_MAX_RQ_BYTES (32u << 20) /* rq_max_blocks * block_size; at least a page */
#define UBD_NO_QUEUE 0xffff /* ubd_ctrl_cmd.queue_id of a command that is not about a queue */

/*
 * CONTROL COMMANDS, on /dev/ubd-control
 *
 * They sleep: a non-blocking issue is passed on to an io_uring worker, which the sender does not
 * see. dev_id and queue_id (UBD_NO_QUEUE) are always set; len and addr say where the buffer is.
 * Common errors: EPERM without CAP_SYS_ADMIN, ENODEV no such device, EINVAL a field out of its
 * range or a buffer that is too short, EFAULT a bad address, EOPNOTSUPP an unknown command,
 * feature or flag. EINTR of a command that had to wait: its sender was stopped (SIGSTOP, a debugger,
 * a freezer), or its ring is closing; nothing was done, and it can be sent again.
 */

/*
 * out: the CPUs of queue data[0], a bitmap in u64 words. len: a multiple of 8, with room for all
 * possible CPUs.
 */
#define UBD_CMD_GET_QUEUE_AFFINITY 0x01

/* out: struct ubd_dev_info, as ADD_DEV returned it, with the state and pid of now */
#define UBD_CMD_GET_DEV_INFO 0x02

/*
 * in and out: struct ubd_dev_info; out: what the device really got. dev_id is the wanted number, or
 * -1 for the next free one, in the command and in the struct alike. EEXIST: the number is taken.
 */
#define UBD_CMD_ADD_DEV 0x04

#define UBD_CMD_DEL_DEV 0x05

/*
 * data[0]: the server's pid, kept for GET_DEV_INFO and not otherwise used. Answers when the disk is
 * there. EEXIST if it was before, ENODEV if the server dies or the device is stopped meanwhile.
 */
#define UBD_CMD_START_DEV 0x06

/*
 * What the disk's page cache holds is written back, as long as the server answers and for at most
 * UBD_STOP_TIMEOUT_MS; after that, requests end with an I/O error. 0 also for a device that is not
 * live.
 */
#define UBD_CMD_STOP_DEV 0x07
#define UBD_STOP_TIMEOUT_MS 10000

/* Extensions. 0x17 to 0x1f: reserved. */

/* out: u64 at addr, len 8: the UBD_F_* bits that ADD_DEV takes. Needs no device. */
#define UBD_CMD_GET_FEATURES 0x10

/*
 * in: struct ubd_params. EBUSY while there is a disk. They stay when the server goes and another
 * one comes.
 */
#define UBD_CMD_SET_PARAMS 0x11

/* out: struct ubd_params, with all defaults filled in */
#define UBD_CMD_GET_PARAMS 0x12

/*
 * In: s32 file descriptors, len is 4 times their number, at most UBD_MAX_LEGS; -1 leaves a place
 * empty. Open for reading and writing: block devices, and regular files with O_DIRECT on a file
 * system that has that (else EINVAL). EBUSY once START_DEV has begun, until the disk waits for its
 * next server and the last one is gone. ENOTBLK: neither of the two; ELOOP: the device's own disk, or
 * a file on it. ENOTCONN: no server has the device open. Held until the disk is taken away or that
 * server's session has ended.
 */
#define UBD_CMD_SET_LEGS 0x13
#define UBD_MAX_LEGS 256

/*
 * data[0]: the new capacity in blocks of dev_info.block_size, a multiple of the logical block size.
 * ENODEV when there is no disk. Who uses the disk is told by a uevent (RESIZE=1); requests beyond
 * the new end that are under way still come.
 */
#define UBD_CMD_UPDATE_SIZE 0x14

/*
 * RECOVERY. data[0]: the server's pid, as in START_DEV; like that it waits until every tag is
 * fetched. EBUSY: the disk has its server. ENODEV: there is none any more, or it is being stopped,
 * or the server's session ends.
 */
#define UBD_CMD_RESUME_DEV 0x15

/*
 * RECOVERY. data[0]: milliseconds, 1 to UBD_HAND_OVER_MAX_MS, that the server has to answer what it
 * was given; ETIMEDOUT if it did not, and it serves on as if nothing had been. A server that did not
 * say RESUME_DEV yet gives up by this. EBUSY: it is under way already, or there is no server.
 * ENODEV: no disk, or the server died, or STOP_DEV came.
 * EOPNOTSUPP: a disk that dies with its server.
 */
#define UBD_CMD_HAND_OVER_DEV 0x16
#define UBD_HAND_OVER_MAX_MS 60000

struct ubd_ctrl_cmd {
	__u32 dev_id;
	__u16 queue_id;
	__u16 len;
	__u64 addr;
	__u64 data[2];
};
UBD_CHECK_SIZE(struct ubd_ctrl_cmd, 32);

/* ubd_dev_info.state */
#define UBD_DEV_DEAD 0
#define UBD_DEV_LIVE 1
#define UBD_DEV_WAITING 2 /* there is a disk, and no server: see RECOVERY */

/*
 * Features: ubd_dev_info.flags[0]. A device has those that its ADD_DEV asked for; unknown bits are
 * refused with EOPNOTSUPP, and so is the use of an extension that the device was not added with.
 */
#define UBD_F_ZERO_COPY (1ull << 0) /* V2's: never granted, taken back silently as V2 did */
#define UBD_F_PARAMS (1ull << 8) /* SET_PARAMS and GET_PARAMS */
#define UBD_F_PLANS (1ull << 9) /* SET_LEGS and COMMIT_PLAN_AND_FETCH */
#define UBD_F_RECOVERY (1ull << 10) /* params.recovery_ms, RESUME_DEV and HAND_OVER_DEV */
#define UBD_F_RESIZE (1ull << 11) /* UPDATE_SIZE */
#define UBD_F_BATCHES (1ull << 12) /* ANSWER_AND_WAIT and ANSWER instead of FETCHes: see BATCHES */

struct ubd_dev_info {
	__u16 nr_hw_queues; /* 1 ... UBD_MAX_NR_QUEUES; more than there are CPUs is lowered */
	__u16 queue_depth; /* 1 ... UBD_MAX_QUEUE_DEPTH */
	__u16 block_size; /* bytes: a power of two from 512 to the page size */
	__u16 state; /* UBD_DEV_*; ignored by ADD_DEV */
	__u32 rq_max_blocks; /* largest READ or WRITE, and size of a tag's buffer, in blocks */
	__u32 dev_id;
	__u64 dev_blocks; /* capacity in blocks of block_size */
	__s32 pid; /* that START_DEV was given; -1 when not live */
	__s32 reserved0; /* zero */
	__u64 flags[2]; /* [0]: UBD_F_*; [1]: zero */
	__u64 reserved1[10]; /* not looked at, as in V2; zero is returned */
};
UBD_CHECK_SIZE(struct ubd_dev_info, 128);

/*
 * The disk's parameters. All sizes in bytes. A zero means the default where one is named; unknown
 * flags and reserved fields that are not zero are refused with EINVAL. SET_PARAMS replaces all.
 * Without SET_PARAMS the disk is V2's: UBD_PARAM_DEFAULT_FLAGS, discard and write-zeroes accepted.
 */
struct ubd_params {
	__u32 flags; /* UBD_PARAM_* */
	__u32 logical_block_size; /* power of two, 512 to page size; default dev_info.block_size */
	__u32 physical_block_size; /* power of two, not below the logical; default the logical */
	__u32 io_min; /* default the physical block size */
	__u32 io_opt; /* a multiple of the logical block size; default: none given */
	/*
	 * No request crosses a multiple of this. A power of two, not below the page size; default:
	 * none.
	 */
	__u32 chunk_size;
	/*
	 * A power of two, not below the logical block size, not above max_discard; default (if
	 * max_discard is not zero) the logical block size.
	 */
	__u32 discard_granularity;
	/*
	 * A request unanswered for longer stops the device as the server's death does. 1000 to
	 * 86400000; default: wait for ever.
	 */
	__u32 timeout_ms;
	__u64 max_discard; /* a request's, a multiple of the logical block size; 0: no discard */
	__u64 max_write_zeroes; /* likewise; 0: zeroes are sent as ordinary WRITEs */
	__u32 recovery_ms; /* 100 to 86400000: see RECOVERY; 0: none */
	__u32 reserved0; /* zero */
	__u64 reserved[9]; /* zero */
};
UBD_CHECK_SIZE(struct ubd_params, 128);

#define UBD_PARAM_READ_ONLY (1u << 0) /* the disk refuses writes */
#define UBD_PARAM_ROTATIONAL (1u << 1)
#define UBD_PARAM_VOLATILE_CACHE (1u << 2) /* FLUSH is sent; write_cache says "write back" */
#define UBD_PARAM_FUA (1u << 3) /* WRITEs carry UBD_IO_F_FUA; otherwise a FLUSH follows them. */
				/* Needs VOLATILE_CACHE */
#define UBD_PARAM_REISSUE (1u << 4) /* see RECOVERY; only with recovery_ms */
#define UBD_PARAM_ALL_FLAGS 0x1fu
#define UBD_PARAM_DEFAULT_FLAGS (UBD_PARAM_VOLATILE_CACHE | UBD_PARAM_FUA)

/*
 * I/O COMMANDS, on /dev/ubdcN
 *
 * A command that completes with UBD_IO_RES_OK says: a request with that tag waits in the descriptor
 * array, and the tag is the server's until it commits. Completions come in the order in which the
 * kernel sent the requests. UBD_IO_RES_ABORT: the device is being stopped, do not fetch again. Any
 * other negative result: this command was wrong, and changed nothing:
 *   EINVAL   queue or tag out of range; addr zero or not the server's; another task or ring than
 *            the queue's first; COMMIT of a tag that is not the server's
 *   EBUSY    FETCH of a tag that is fetched already, or of a queue that is complete already
 *   EOPNOTSUPP  an unknown code; a ring with IORING_SETUP_SQPOLL
 */
#define UBD_IO_FETCH_REQ 0x20 /* once per tag, before START_DEV */
#define UBD_IO_COMMIT_AND_FETCH_REQ 0x21 /* hands back the tag's request and fetches its next */
/*
 * Hands back the tag's request, and completes at once with 0. Requests that meet this tag
 * afterwards end with an I/O error.
 */
#define UBD_IO_COMMIT_REQ 0x22
#define UBD_IO_COMMIT_PLAN_AND_FETCH 0x23 /* runs the tag's plan, and fetches its next */
#define UBD_IO_ANSWER_AND_WAIT 0x24 /* these two: see BATCHES */
#define UBD_IO_ANSWER 0x25
/* 0x26 to 0x2f: reserved */

#define UBD_IO_RES_OK 0
#define UBD_IO_RES_ABORT (-19) /* -ENODEV */
#define UBD_IO_RES_BACK (-121) /* -EREMOTEIO: the request is the server's again, see PLANS */

struct ubd_io_cmd {
	__u16 q_id;
	__u16 tag;
	/*
	 * The request's result. READ and WRITE: bytes done, a multiple of the logical block size
	 * (what is over is not counted). Fewer than asked: the rest comes again, as a request of
	 * its own on the same or another tag. None, or more than asked: the request fails with EIO.
	 * Other operations: 0 or more is success. A negative errno fails the request.
	 */
	__s32 result;
	/*
	 * The tag's buffer, rq_max_blocks * block_size bytes, for the request that is fetched. A
	 * COMMIT_AND_FETCH's READ data is taken from here too; COMMIT_REQ does not look at it, its
	 * READ data is taken from the address last given.
	 */
	__u64 addr;
};

UBD_CHECK_SIZE(struct ubd_io_cmd, 16);

/*
 * THE DESCRIPTORS: one array per queue, indexed by tag
 *
 * mmap() of /dev/ubdcN: PROT_READ, MAP_SHARED, offset ubd_desc_offset(), length exactly that of
 * ubd_desc_length(). An element is valid from its command's completion until its commit.
 *
 * Data: the bytes of a WRITE are in the tag's buffer when the command completes; those of a READ
 * are taken from it while the commit is being submitted. Other operations carry none.
 */
struct ubd_io_desc {
	__u32 op_flags; /* UBD_OP_* in bits 0 to 7, UBD_IO_F_* above */
	__u32 nr_sectors; /* of 512 bytes, whatever the block size */
	__u64 start_sector;
	__u64 addr; /* the tag's buffer, as last given */
};
UBD_CHECK_SIZE(struct ubd_io_desc, 24);

#define UBD_OP_READ 0
#define UBD_OP_WRITE 1
#define UBD_OP_FLUSH 2
#define UBD_OP_DISCARD 3
#define UBD_OP_WRITE_SAME 4 /* never sent: Linux has none since 5.18 */
#define UBD_OP_WRITE_ZEROES 5

/* These are bits of op_flags as it stands, not shifted. */
#define UBD_IO_F_FAILFAST_DEV (1u << 8)
#define UBD_IO_F_FAILFAST_TRANSPORT (1u << 9)
#define UBD_IO_F_FAILFAST_DRIVER (1u << 10)
#define UBD_IO_F_META (1u << 11)
#define UBD_IO_F_INTEGRITY (1u << 12)
#define UBD_IO_F_FUA (1u << 13) /* durable before the commit */
#define UBD_IO_F_PREFLUSH (1u << 14)
#define UBD_IO_F_NOUNMAP (1u << 15) /* WRITE_ZEROES: do not deallocate */
#define UBD_IO_F_SWAP (1u << 16)

static inline __u8 ubd_desc_op(const struct ubd_io_desc *desc)
{
	return desc->op_flags & 0xff;
}

/* The UBD_IO_F_* bits, unshifted. */
static inline __u32 ubd_desc_flags(const struct ubd_io_desc *desc)
{
	return desc->op_flags & ~0xffu;
}

/*
 * Queues lie 4096 descriptors apart whatever their depth. Where pages are larger than 32 KiB that
 * is no multiple of a page, and is rounded up to one.
 */
static inline __u64 ubd_desc_offset(unsigned int q_id, unsigned long page_size)
{
	__u64 stride = UBD_MAX_QUEUE_DEPTH * sizeof(struct ubd_io_desc);

	return q_id * ((stride + page_size - 1) & ~((__u64)page_size - 1));
}

static inline __u64 ubd_desc_length(unsigned int queue_depth, unsigned long page_size)
{
	__u64 length = queue_depth * sizeof(struct ubd_io_desc);

	return (length + page_size - 1) & ~((__u64)page_size - 1);
}

/*
 * PLANS (UBD_F_PLANS)
 *
 * The server answers a request with a plan instead of a result: sub-I/Os on the legs that SET_LEGS
 * named, which the driver runs, those with bytes on the request's own pages. No byte passes through
 * the server. The request ends when the last of them has ended, and the command is by then the fetch
 * for the tag's next request.
 *
 * Entries of one wave run side by side; a wave begins when all of the lower ones have succeeded, and
 * does not begin when one has failed.
 *
 * On such a device, the bytes of a WRITE are not in the tag's buffer when it is fetched. A server
 * that wants them commits an empty plan, and has them when that command completes with
 * UBD_IO_RES_BACK, which it does at once.
 *
 * If a sub-I/O fails, the request does not end: when the others have ended, the command completes
 * with UBD_IO_RES_BACK, the results are in the entries, a WRITE's bytes are in the buffer, and the
 * server answers anew, by a result or another plan. Entries that succeeded stay done.
 *
 * When a FLUSH of a leg has failed, all later ones of it fail with -EIO, until SET_LEGS names it
 * anew: what the failed one should have made durable may be lost, and a leg tells of that only once.
 * Flushes that the server sends to the leg by itself are not judged so; it has to see to that.
 *
 * A plan that breaks a rule below is refused with EINVAL and nothing has been started; the tag is
 * the server's as before.
 *
 * mmap() of /dev/ubdcN: PROT_READ | PROT_WRITE, MAP_SHARED, offset ubd_plan_offset(), length
 * exactly that of ubd_plan_length(): a slot for each tag. The driver copies a slot once, while its
 * command is being submitted, and goes by the copy.
 */
#define UBD_PLAN_ENTRIES_MAX 15

struct ubd_plan_entry {
	__u16 leg; /* number in SET_LEGS */
	/*
	 * UBD_OP_*: the request's own; also FLUSH, for all but a READ, and WRITE_ZEROES for a
	 * DISCARD. A file has its DISCARD and WRITE_ZEROES by fallocate(), and where its file system
	 * has none, or a disk has no such operation, that fails with -EOPNOTSUPP.
	 */
	__u8 kind;
	__u8 flags; /* UBD_PLAN_FUA, for a WRITE; UBD_PLAN_NOUNMAP, for a WRITE_ZEROES */
	__u8 wave; /* not below the entry before */
	__u8 reserved0[3]; /* zero */
	/*
	 * Bytes: where in the request, and how many, multiples of the leg's logical block size (a
	 * file's: 512), as leg_offset is. A READ's entries follow one another in the request and
	 * cover it; those of a WRITE may overlap (two legs of a mirror). A DISCARD and a WRITE_ZEROES
	 * have offset 0, and no more bytes than the request. A FLUSH has zeroes here and as leg_offset.
	 */
	__u32 offset;
	__u32 length;
	__s32 result; /* out, with UBD_IO_RES_BACK: 0 or a negative errno; -ECANCELED: not begun */
	__u32 reserved1; /* zero */
	__u64 leg_offset;
};
UBD_CHECK_SIZE(struct ubd_plan_entry, 32);

struct ubd_plan_slot {
	__u32 life; /* any number, another each time */
	__u16 count; /* 0: hand the request back, with its bytes */
	__u16 flags; /* 0 */
	__u32 ended; /* out: the last life whose plan ended its request; set before */
	__u32 reserved[5]; /* zero */
	struct ubd_plan_entry entries[UBD_PLAN_ENTRIES_MAX];
};
UBD_CHECK_SIZE(struct ubd_plan_slot, 512);

#define UBD_PLAN_FUA 1u
#define UBD_PLAN_NOUNMAP 2u

static inline __u64 ubd_plan_offset(unsigned int q_id)
{
	return (1ull << 40) + (__u64)q_id * UBD_MAX_QUEUE_DEPTH * sizeof(struct ubd_plan_slot);
}

static inline __u64 ubd_plan_length(unsigned int queue_depth, unsigned long page_size)
{
	__u64 length = queue_depth * sizeof(struct ubd_plan_slot);

	return (length + page_size - 1) & ~((__u64)page_size - 1);
}

/*
 * BATCHES (UBD_F_BATCHES)
 *
 * Each queue of such a device is served by one command at a time, instead of one for each tag. All
 * commands but those named here are refused with EOPNOTSUPP.
 *
 *   ANSWER_AND_WAIT  takes a list of answers, then waits. It completes with the number of events
 *                    that it has listed, 1 at least, or with UBD_IO_RES_ABORT. A queue's first one
 *                    fetches all its tags; its addr is that of the tags' buffers, which lie side by
 *                    side, each rq_max_blocks * block_size long. Later ones' addr is not looked at.
 *   ANSWER           takes a list of answers and completes at once, with 0: for what is ready while
 *                    an ANSWER_AND_WAIT waits.
 *   COMMIT_REQ       one answer, completing at once: for the end of a chain of linked SQEs. Linux 6.10
 *                    to 6.13 read a linked SQE when its turn comes, from where it lies in the ring:
 *                    until then its server leaves it alone.
 *
 * An answered tag is fetched by that: its next request can be among the next events.
 *
 * In struct ubd_io_cmd, `tag` is the first answer's place in the list and `result` their number.
 * The driver reads an answer once, while its command is being submitted; its place is free again
 * after that. Events stay as they are until the next ANSWER_AND_WAIT is submitted. They come in the
 * order in which the kernel sent the requests.
 *
 * Answers for a tag that is not the server's, or of an unknown kind, are passed over; their command
 * then completes with EINVAL, having taken the others, and does not wait. A plan that breaks a rule
 * comes back as an event with the notice -EINVAL, one that is empty or has failed with
 * UBD_IO_RES_BACK. EBUSY: the answers were taken, but another ANSWER_AND_WAIT waits already.
 *
 * mmap() of /dev/ubdcN: PROT_READ | PROT_WRITE, MAP_SHARED, offset ubd_batch_offset(), length
 * exactly that of ubd_batch_length(): queue_depth answers, and behind them queue_depth events.
 */
struct ubd_batch_answer {
	__u16 tag;
	__u16 kind; /* UBD_ANSWER_* */
	__s32 result; /* as in struct ubd_io_cmd; of a plan: 0 */
};
UBD_CHECK_SIZE(struct ubd_batch_answer, 8);

#define UBD_ANSWER_RESULT 0
#define UBD_ANSWER_PLAN 1 /* run the tag's plan, as COMMIT_PLAN_AND_FETCH does */

struct ubd_batch_event {
	__u16 tag;
	__u16 reserved; /* zero */
	__s32 notice; /* UBD_IO_RES_OK: a new request; UBD_IO_RES_BACK, -EINVAL: of its last plan */
};
UBD_CHECK_SIZE(struct ubd_batch_event, 8);

static inline __u64 ubd_batch_offset(unsigned int q_id)
{
	__u64 stride = UBD_MAX_QUEUE_DEPTH *
		       (sizeof(struct ubd_batch_answer) + sizeof(struct ubd_batch_event));

	return (1ull << 41) + q_id * stride;
}

static inline __u64 ubd_batch_length(unsigned int queue_depth, unsigned long page_size)
{
	__u64 length = (__u64)queue_depth *
		       (sizeof(struct ubd_batch_answer) + sizeof(struct ubd_batch_event));

	return (length + page_size - 1) & ~((__u64)page_size - 1);
}

#endif
