// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sub-I/O: one entry of a plan on its leg, with the request's own pages. A bio for a block device;
 * for a file a kiocb, or if it moves no bytes, a job for a worker, as fsync() and fallocate() sleep.
 * It knows no tag and no server.
 *
 * The server's task starts it, with its ring's lock held, so it must not sleep there for a leg that
 * is full, frozen or busy allocating. It is tried without waiting first; a leg that would have to
 * wait says so, at once or when it has tried, and one that cannot tell is not asked: then the leg's
 * worker tries again, and may sleep. Each leg has a worker of its own, so that none waits for
 * another. Zeroing and discarding are always the worker's: a long one is cut up, each piece with
 * memory and a tag of the leg's to wait for.
 *
 * The worker uses no memory that could only be had by writing to some disk, which might be ours.
 */
#include <linux/fs.h>

#include <linux/falloc.h> /* needs the one above */
#include <linux/sched/mm.h>
#include <linux/uio.h>

#include "ubd_plan.h"

static const struct ubd_plan_entry *ubd_sub_io_entry(const struct ubd_sub_io *sub)
{
	return &sub->plan->copy.entries[sub - sub->plan->sub_ios];
}

static struct ubd_leg *ubd_sub_io_leg(const struct ubd_sub_io *sub)
{
	return &sub->plan->queue->device->legs[ubd_sub_io_entry(sub)->leg];
}

/* For the worker. Any context. */
static void ubd_sub_io_defer(struct ubd_sub_io *sub)
{
	struct ubd_leg *leg = ubd_sub_io_leg(sub);

	sub->may_block = true;
	llist_add(&sub->late, &leg->late);
	queue_work(ubd_leg_workqueue, &leg->work);
}

/* A flush is believed only until the leg's first failed one. */
static int ubd_sub_io_judge_flush(struct ubd_leg *leg, int error)
{
	if (unlikely(error))
		WRITE_ONCE(leg->flush_failed, true);
	else if (unlikely(READ_ONCE(leg->flush_failed)))
		error = -EIO;
	return error;
}

/* The bio can't be asked whether it was a flush: the block layer may have taken that off. */
static __always_inline void ubd_sub_io_bio_ended(struct bio *bio, bool is_flush)
{
	struct ubd_sub_io *sub = container_of(bio, struct ubd_sub_io, bio);
	blk_status_t status = bio->bi_status;
	int error = unlikely(status) ? blk_status_to_errno(status) : 0;

	bio_uninit(bio);
	if (unlikely(status == BLK_STS_AGAIN && !sub->may_block)) {
		ubd_sub_io_defer(sub);
		return;
	}
	if (is_flush)
		error = ubd_sub_io_judge_flush(ubd_sub_io_leg(sub), error);
	ubd_plan_sub_io_ended(sub, error);
}

static void ubd_sub_io_bio_end(struct bio *bio)
{
	ubd_sub_io_bio_ended(bio, false);
}

static void ubd_sub_io_flush_end(struct bio *bio)
{
	ubd_sub_io_bio_ended(bio, true);
}

/* FLUSH, DISCARD and WRITE_ZEROES. A FLUSH request has no bio, and nobody known who asked. */
static void ubd_sub_io_start_bare_bio(struct ubd_sub_io *sub, struct ubd_leg *leg)
{
	const struct ubd_plan_entry *entry = ubd_sub_io_entry(sub);
	struct request *rq = sub->plan->io->rq;
	struct bio *bio = &sub->bio;
	blk_opf_t opf = REQ_OP_WRITE | REQ_PREFLUSH | REQ_SYNC;

	if (entry->kind == UBD_OP_DISCARD)
		opf = REQ_OP_DISCARD;
	else if (entry->kind == UBD_OP_WRITE_ZEROES)
		opf = REQ_OP_WRITE_ZEROES |
		      (entry->flags & UBD_PLAN_NOUNMAP ? REQ_NOUNMAP : 0);
	if (!sub->may_block)
		opf |= REQ_NOWAIT;
	bio_init(bio, leg->bdev, NULL, 0, opf);
	if (rq->bio)
		bio_clone_blkg_association(bio, rq->bio);
	bio->bi_iter.bi_size = entry->length;
	bio->bi_iter.bi_sector = entry->leg_offset >> SECTOR_SHIFT;
	bio->bi_end_io = entry->kind == UBD_OP_FLUSH ? ubd_sub_io_flush_end : ubd_sub_io_bio_end;
	bio->bi_ioprio = req_get_ioprio(rq);
	if (unlikely(!bdev_nr_sectors(leg->bdev)))
		bio_io_error(bio);
	else
		submit_bio_noacct(bio);
}

/* Each request's path: worth a copy of it in both callers. */
static __always_inline void ubd_sub_io_start_bio(struct ubd_sub_io *sub,
						 const struct ubd_plan_entry *entry,
						 struct ubd_leg *leg)
{
	const struct ubd_plan *plan = sub->plan;
	struct request *rq = plan->io->rq;
	struct bio *bio = &sub->bio;
	blk_opf_t opf = req_op(rq) | (rq->cmd_flags & (REQ_SYNC | REQ_META | REQ_PRIO | REQ_IDLE));

	if (entry->flags & UBD_PLAN_FUA)
		opf |= REQ_FUA;
	if (!sub->may_block)
		opf |= REQ_NOWAIT;
	bio_init(bio, NULL, NULL, 0, opf);
	bio->bi_bdev = leg->bdev;
	bio_clone_blkg_association(bio, rq->bio); /* who asked pays, not the server */
	bio_set_flag(bio, BIO_CLONED); /* the vectors are not its own */
	bio->bi_io_vec = plan->table;
	bio->bi_iter = plan->iter;
	if (entry->offset)
		bvec_iter_advance(plan->table, &bio->bi_iter, entry->offset);
	bio->bi_iter.bi_size = entry->length;
	bio->bi_iter.bi_sector = entry->leg_offset >> SECTOR_SHIFT;
	bio->bi_end_io = ubd_sub_io_bio_end;
	bio->bi_ioprio = req_get_ioprio(rq);
	/* The block layer looks at a leg's end, but 6.1 takes a size of 0 for an unknown one. */
	if (unlikely(!bdev_nr_sectors(leg->bdev)))
		bio_io_error(bio);
	else
		submit_bio_noacct(bio);
}

/*
 * A file system that is being frozen lets no write begin, and waits for those that have begun.
 * What begins here may end elsewhere.
 */
static bool ubd_sub_io_begin_write(struct super_block *sb, bool may_block)
{
	if (may_block)
		sb_start_write(sb);
	else if (!sb_start_write_trylock(sb))
		return false;
	__sb_writers_release(sb, SB_FREEZE_WRITE);
	return true;
}

static void ubd_sub_io_end_write(struct super_block *sb)
{
	__sb_writers_acquired(sb, SB_FREEZE_WRITE);
	sb_end_write(sb);
}

/* What a first try may have been stopped by that a second one, in the worker, is not. */
static bool ubd_sub_io_is_passing(long result, u32 length)
{
	switch (result) {
	case -EAGAIN:
	case -EOPNOTSUPP: /* a file system that cannot promise not to wait */
	case -EINTR:
	case -519 ... -512: /* ERESTARTSYS and its like, of the server's signals */
		return true;
	default:
		return result > 0 && result < length; /* stopped in its middle */
	}
}

static void ubd_sub_io_file_ended(struct ubd_sub_io *sub, long result)
{
	u32 length = ubd_sub_io_entry(sub)->length;

	if (sub->kiocb.ki_flags & IOCB_WRITE)
		ubd_sub_io_end_write(file_inode(sub->kiocb.ki_filp)->i_sb);
	if (unlikely(!sub->may_block && ubd_sub_io_is_passing(result, length)))
		ubd_sub_io_defer(sub);
	else if (likely(result == length))
		ubd_plan_sub_io_ended(sub, 0);
	else
		ubd_plan_sub_io_ended(sub, result < 0 && result >= -MAX_ERRNO ? result : -EIO);
}

static void ubd_sub_io_file_complete(struct kiocb *kiocb, long result)
{
	ubd_sub_io_file_ended(container_of(kiocb, struct ubd_sub_io, kiocb), result);
}

/* The entry's part of the request's vectors. */
static void ubd_sub_io_iter(const struct ubd_plan *plan, const struct ubd_plan_entry *entry,
			    bool is_write, struct iov_iter *result)
{
	struct bvec_iter iter = plan->iter;
	unsigned int count = 0;

	for (; iter.bi_size; count++)
		bvec_iter_advance(plan->table, &iter, mp_bvec_iter_len(plan->table, iter));
	iov_iter_bvec(result, is_write ? WRITE : READ, plan->table + plan->iter.bi_idx, count,
		      plan->iter.bi_size);
	result->iov_offset = mp_bvec_iter_offset(plan->table, plan->iter) -
			     plan->table[plan->iter.bi_idx].bv_offset;
	iov_iter_advance(result, entry->offset);
	iov_iter_truncate(result, entry->length);
}

static void ubd_sub_io_start_file(struct ubd_sub_io *sub, struct file *file)
{
	const struct ubd_plan_entry *entry = ubd_sub_io_entry(sub);
	struct request *rq = sub->plan->io->rq;
	bool is_write = req_op(rq) == REQ_OP_WRITE;
	struct kiocb *kiocb = &sub->kiocb;
	struct iov_iter iter;
	unsigned int noio;
	ssize_t result;

	if (is_write && !ubd_sub_io_begin_write(file_inode(file)->i_sb, sub->may_block)) {
		ubd_sub_io_defer(sub);
		return;
	}
	ubd_sub_io_iter(sub->plan, entry, is_write, &iter);
	*kiocb = (struct kiocb){
		.ki_filp = file,
		.ki_pos = entry->leg_offset,
		.ki_flags = IOCB_DIRECT | (sub->may_block ? 0 : IOCB_NOWAIT),
		.ki_ioprio = req_get_ioprio(rq),
		.ki_complete = ubd_sub_io_file_complete,
	};
	if (is_write)
		kiocb->ki_flags |= IOCB_WRITE;
	if (entry->flags & UBD_PLAN_FUA)
		kiocb->ki_flags |= IOCB_DSYNC;
	noio = memalloc_noio_save();
	if (is_write)
		result = file->f_op->write_iter(kiocb, &iter);
	else
		result = file->f_op->read_iter(kiocb, &iter);
	memalloc_noio_restore(noio);
	if (result != -EIOCBQUEUED)
		ubd_sub_io_file_ended(sub, result);
}

/* A file's FLUSH, DISCARD or WRITE_ZEROES, side by side with others of the leg's: all may take long. */
static void ubd_sub_io_file_work(struct work_struct *work)
{
	struct ubd_sub_io *sub = container_of(work, struct ubd_sub_io, work);
	const struct ubd_plan_entry *entry = ubd_sub_io_entry(sub);
	struct ubd_leg *leg = ubd_sub_io_leg(sub);
	unsigned int noio = memalloc_noio_save();
	int error;

	if (entry->kind == UBD_OP_FLUSH)
		error = ubd_sub_io_judge_flush(leg, vfs_fsync(leg->file, 1));
	else if (entry->flags & UBD_PLAN_NOUNMAP)
		error = vfs_fallocate(leg->file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				      entry->leg_offset, entry->length);
	else
		error = vfs_fallocate(leg->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      entry->leg_offset, entry->length);
	memalloc_noio_restore(noio);
	ubd_plan_sub_io_ended(sub, error);
}

static void ubd_sub_io_try(struct ubd_sub_io *sub, struct ubd_leg *leg)
{
	if (unlikely(ubd_sub_io_entry(sub)->kind > UBD_OP_WRITE))
		ubd_sub_io_start_bare_bio(sub, leg);
	else if (leg->bdev)
		ubd_sub_io_start_bio(sub, ubd_sub_io_entry(sub), leg);
	else
		ubd_sub_io_start_file(sub, leg->file);
}

static void ubd_sub_io_start_bare(struct ubd_sub_io *sub, struct ubd_leg *leg)
{
	if (!leg->bdev) {
		INIT_WORK(&sub->work, ubd_sub_io_file_work);
		queue_work(ubd_leg_workqueue, &sub->work);
	} else if (ubd_sub_io_entry(sub)->kind == UBD_OP_FLUSH && leg->can_flush_nowait) {
		ubd_sub_io_try(sub, leg);
	} else {
		ubd_sub_io_defer(sub);
	}
}

void ubd_sub_io_start(struct ubd_plan *plan, unsigned int number)
{
	const struct ubd_plan_entry *entry = &plan->copy.entries[number];
	struct ubd_leg *leg = &plan->queue->device->legs[entry->leg];
	struct ubd_sub_io *sub = &plan->sub_ios[number];

	sub->may_block = false;
	if (unlikely(entry->kind > UBD_OP_WRITE))
		ubd_sub_io_start_bare(sub, leg);
	else if (unlikely(!leg->can_nowait))
		ubd_sub_io_defer(sub);
	else if (leg->bdev)
		ubd_sub_io_start_bio(sub, entry, leg);
	else
		ubd_sub_io_start_file(sub, leg->file);
}

/* A leg stays until no plan is left, and its worker has ended: ubd_legs_put(). */
void ubd_leg_work(struct work_struct *work)
{
	struct ubd_leg *leg = container_of(work, struct ubd_leg, work);
	struct llist_node *node = llist_reverse_order(llist_del_all(&leg->late));
	unsigned int noio = memalloc_noio_save();
	struct ubd_sub_io *sub, *next;
	struct blk_plug plug;

	blk_start_plug(&plug);
	llist_for_each_entry_safe(sub, next, node, late)
		ubd_sub_io_try(sub, leg);
	blk_finish_plug(&plug);
	memalloc_noio_restore(noio);
}
