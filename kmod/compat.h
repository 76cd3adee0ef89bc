/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that we build for. It knows nothing of devices or queues; the
 * rest of the driver names no kernel version.
 *
 * UBD_HAVE_… come from the Makefile: struct rq_list arrived in the middle of 6.12's stable releases,
 * and no version number tells; others are asked for in the same way.
 */
#ifndef UBD_COMPAT_H
#define UBD_COMPAT_H

#include <linux/version.h>
#include <linux/blk-mq.h>
#include <linux/mm.h>
#include <linux/uio.h>
#include <linux/io_uring_types.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#include <linux/io_uring/cmd.h>
#else
#include <linux/io_uring.h>
#endif

#include "ubd_cmd.h"

/* The default since 6.14 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
#define UBD_MQ_FLAGS BLK_MQ_F_NO_SCHED_BY_DEFAULT
#else
#define UBD_MQ_FLAGS (BLK_MQ_F_SHOULD_MERGE | BLK_MQ_F_NO_SCHED_BY_DEFAULT)
#endif

/*
 * 6.1 has no way to cancel a pending command: there, the death of a server is learned from its char
 * device and its mappings (ubd.h), or if it doesn't come to give those up, by looking now and then.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
#define UBD_LOOK_MS 0

static inline bool ubd_cmd_is_cancel(unsigned int issue_flags)
{
	return issue_flags & IO_URING_F_CANCEL;
}

static inline void ubd_cmd_mark_cancelable(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
}
#else
#define UBD_LOOK_MS 1000

static inline bool ubd_cmd_is_cancel(unsigned int issue_flags)
{
	return false;
}

static inline void ubd_cmd_mark_cancelable(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
}
#endif

/* The payload: memory that user space can write to at any time. Copy it once. */
static inline const void *ubd_cmd_payload(const struct io_uring_cmd *cmd)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return cmd->sqe->cmd;
#else
	return cmd->cmd;
#endif
}

/* The bytes that a command keeps for its driver while it is pending. */
#define ubd_cmd_pdu(cmd, type) ((type *)&(cmd)->pdu)

/* The ring that a command came through, and the task that sent it (an io_uring worker's owner). */
static inline struct io_ring_ctx *ubd_cmd_ring(struct io_uring_cmd *cmd)
{
	return cmd_to_io_kiocb(cmd)->ctx;
}

static inline struct task_struct *ubd_cmd_task(struct io_uring_cmd *cmd)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	return io_uring_cmd_get_task(cmd);
#else
	return cmd_to_io_kiocb(cmd)->task;
#endif
}

static inline void ubd_cmd_done(struct io_uring_cmd *cmd, int result, unsigned int issue_flags)
{
#ifdef UBD_HAVE_CMD_DONE32
	io_uring_cmd_done(cmd, result, issue_flags);
#else
	io_uring_cmd_done(cmd, result, 0, issue_flags);
#endif
}

/*
 * Task work on a command: UBD_TASK_WORK(name, function) makes the `name` that
 * io_uring_cmd_complete_in_task() takes from void function(cmd, issue_flags).
 */
#ifdef UBD_HAVE_TW_REQ
#define UBD_TASK_WORK(name, function) \
	static void name(struct io_tw_req tw_req, io_tw_token_t tw) \
	{ \
		function(io_uring_cmd_from_tw(tw_req), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS); \
	}
#else
#define UBD_TASK_WORK(name, function) \
	static void name(struct io_uring_cmd *cmd, unsigned int issue_flags) \
	{ \
		function(cmd, issue_flags); \
	}
#endif

/*
 * Complete a command from outside of its task and of task work. 6.1 goes on to look at the ring
 * after it has given the command up, and if the ring is closing, that was what kept it.
 */
static inline void ubd_cmd_done_elsewhere(struct io_uring_cmd *cmd, int result)
{
	struct io_ring_ctx *ring = ubd_cmd_ring(cmd);

	percpu_ref_get(&ring->refs);
	ubd_cmd_done(cmd, result, IO_URING_F_UNLOCKED);
	percpu_ref_put(&ring->refs);
}

/* From task work, be it the server's or, if that is gone, a worker's; and from a submission. */
static inline void ubd_cmd_abort(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	if (issue_flags & IO_URING_F_UNLOCKED)
		ubd_cmd_done_elsewhere(cmd, UBD_IO_RES_ABORT);
	else
		ubd_cmd_done(cmd, UBD_IO_RES_ABORT, issue_flags);
}

/*
 * queue_rqs() hands over a whole list: take it, and say that none is left. Before there was struct
 * rq_list, a plug's list began with its newest request.
 */
#ifdef UBD_HAVE_RQ_LIST
#define UBD_RQ_LIST struct rq_list

static inline struct request *ubd_rq_list_take(struct rq_list *list)
{
	struct request *rq = rq_list_peek(list);

	rq_list_init(list);
	return rq;
}
#else
#define UBD_RQ_LIST struct request *

static inline struct request *ubd_rq_list_take(struct request **list)
{
	struct request *rq, *first = NULL;

	while ((rq = *list)) {
		*list = rq->rq_next;
		rq->rq_next = first;
		first = rq;
	}
	return first;
}
#endif

static inline void ubd_vm_flags_change(struct vm_area_struct *vma, unsigned long set,
				       unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/*
 * A disk with limits and features. Before 6.9, limits are set on the queue afterwards, and what are
 * features since 6.11 were flags of the queue.
 */
struct ubd_disk_limits {
	unsigned int logical_block_size, physical_block_size, io_min, io_opt;
	unsigned int max_sectors, chunk_sectors, max_segments;
	unsigned int max_discard_sectors, discard_granularity, max_write_zeroes_sectors;
	bool write_cache, fua, rotational, stable_writes;
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static inline struct gendisk *ubd_alloc_disk(struct blk_mq_tag_set *set, void *queuedata,
					     const struct ubd_disk_limits *limits)
{
	struct queue_limits lim = {
		.logical_block_size = limits->logical_block_size,
		.physical_block_size = limits->physical_block_size,
		.io_min = limits->io_min,
		.io_opt = limits->io_opt,
		.max_hw_sectors = limits->max_sectors,
		.chunk_sectors = limits->chunk_sectors,
		.max_hw_discard_sectors = limits->max_discard_sectors,
		.discard_granularity = limits->discard_granularity,
		.max_write_zeroes_sectors = limits->max_write_zeroes_sectors,
		.max_segments = limits->max_segments,
		.max_segment_size = UINT_MAX,
	};

	if (limits->write_cache)
		lim.features |= BLK_FEAT_WRITE_CACHE;
	if (limits->fua)
		lim.features |= BLK_FEAT_FUA;
	if (limits->rotational)
		lim.features |= BLK_FEAT_ROTATIONAL;
	if (limits->stable_writes)
		lim.features |= BLK_FEAT_STABLE_WRITES;
	return blk_mq_alloc_disk(set, &lim, queuedata);
}
#else
static inline struct gendisk *ubd_alloc_disk(struct blk_mq_tag_set *set, void *queuedata,
					     const struct ubd_disk_limits *limits)
{
	struct gendisk *disk = blk_mq_alloc_disk(set, queuedata);
	struct request_queue *q;

	if (IS_ERR(disk))
		return disk;
	q = disk->queue;
	blk_queue_logical_block_size(q, limits->logical_block_size);
	blk_queue_physical_block_size(q, limits->physical_block_size);
	blk_queue_io_min(q, limits->io_min);
	blk_queue_io_opt(q, limits->io_opt);
	blk_queue_max_hw_sectors(q, limits->max_sectors);
	blk_queue_chunk_sectors(q, limits->chunk_sectors);
	blk_queue_max_discard_sectors(q, limits->max_discard_sectors);
	q->limits.discard_granularity = limits->discard_granularity;
	blk_queue_max_write_zeroes_sectors(q, limits->max_write_zeroes_sectors);
	blk_queue_max_segments(q, limits->max_segments);
	blk_queue_max_segment_size(q, UINT_MAX);
	blk_queue_write_cache(q, limits->write_cache, limits->fua);
	if (!limits->rotational)
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	if (limits->stable_writes)
		blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	return disk;
}
#endif

#endif
