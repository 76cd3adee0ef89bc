// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plans: a request's sub-I/Os on the legs, run on the request's own pages. It knows no user memory
 * but the slot, which is copied once and then checked in the copy.
 *
 * Who may do what, and when:
 *   commit   the server's task. The tag is BUSY while the plan is copied, checked and made into
 *            bios; RUNNING before the first is submitted. plan->pending holds one count for each
 *            bio and one for the commit itself, so that the tag is the commit's until it drops its
 *            own.
 *   the last count is dropped by the commit or by the end of a bio, in task, softirq or hardirq.
 *            Whoever does it takes the tag on (ubd_plan_drop()), then touches neither tag nor
 *            plan.
 *
 * The bios live in the plan, one plan for each tag, and share the request's vectors: bios and
 * vectors stay as long as the request does, which is until the last bio's end.
 */
#include <linux/bio.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include "ubd.h"

struct ubd_plan_bio {
	struct ubd_plan *plan;
	struct bio bio;
};

struct ubd_plan {
	struct ubd_queue *queue;
	struct ubd_io *io;
	struct ubd_plan_slot copy; /* of the server's slot */
	atomic_t pending;
	bool failed; /* only ever set while pending */
	struct file *file; /* with batches: the char device's, as RUNNING has no command to hold it */

	/* The request's bytes: its only bio's own vectors, or those of all its bios in a row */
	struct bio_vec *table;
	struct bvec_iter iter;
	struct bio_vec vectors[UBD_PLAN_VECTORS];
	struct ubd_plan_bio bios[UBD_PLAN_ENTRIES_MAX];
};

static struct ubd_plan_slot *ubd_plan_slot(const struct ubd_plan *plan)
{
	return &plan->queue->slots[plan->io - plan->queue->ios];
}

/* What a command on its way out must not be completed with here: see RUNNING in ubd.h. */
static void ubd_plan_bury(struct ubd_queue *queue, struct ubd_io *io)
{
	struct ubd_device *device = queue->device;

	ubd_device_get(device);
	llist_add(&io->pending, &queue->buried);
	if (!queue_work(ubd_workqueue, &device->bury_work))
		ubd_device_put(device);
}

/* Each command holds the file, and with it the queues: the reference to the device is for us. */
void ubd_plan_bury_work(struct work_struct *work)
{
	struct ubd_device *device = container_of(work, struct ubd_device, bury_work);
	struct ubd_io *io, *next;
	int i;

	for (i = 0; i < device->info.nr_hw_queues; i++) {
		llist_for_each_entry_safe(io, next, llist_del_all(&device->queues[i]->buried),
					  pending)
			ubd_cmd_done_elsewhere(io->cmd, UBD_IO_RES_ABORT);
	}
	ubd_device_put(device);
}

/* Requests may end in a batch only in the task that has armed the plug, outside interrupts. */
static void ubd_plan_finish(struct ubd_queue *queue, struct request *rq, blk_status_t status)
{
	if (!in_task() || irqs_disabled())
		blk_mq_end_request(rq, status);
	else
		ubd_io_finish(rq, status, blk_rq_bytes(rq),
			      READ_ONCE(queue->plug.task) == current ? &queue->plug : NULL);
}

/*
 * The end of RUNNING, when its request has ended or is somebody else's. What holds the file goes
 * last: the plan's own reference, or if the session is over, the tag's command.
 */
static void ubd_plan_let_go(struct ubd_queue *queue, struct ubd_io *io, struct file *file,
			    bool is_over)
{
	if (file)
		fput(file);
	else if (unlikely(is_over))
		ubd_plan_bury(queue, io);
}

static void ubd_plan_succeeded(struct ubd_plan *plan)
{
	struct ubd_queue *queue = plan->queue;
	struct file *file = plan->file;
	struct ubd_io *io = plan->io;
	struct request *rq = io->rq;
	bool is_over;

	/* Whoever sees the request's end sees this: the step below is a full barrier. */
	WRITE_ONCE(ubd_plan_slot(plan)->ended, plan->copy.life);
	is_over = atomic_cmpxchg(&io->state, UBD_IO_RUNNING, UBD_IO_READY) != UBD_IO_RUNNING;
	ubd_plan_finish(queue, rq, BLK_STS_OK);
	ubd_plan_let_go(queue, io, file, is_over);
}

/* The request goes back to the server; or nowhere, if that is gone. */
static void ubd_plan_failed(struct ubd_plan *plan)
{
	struct ubd_queue *queue = plan->queue;
	struct ubd_plan_slot *slot = ubd_plan_slot(plan);
	struct file *file = plan->file;
	struct ubd_io *io = plan->io;
	struct request *rq = io->rq;
	int i;

	for (i = 0; i < plan->copy.count; i++)
		WRITE_ONCE(slot->entries[i].result, plan->copy.entries[i].result);
	if (likely(ubd_queue_return(queue, io, UBD_IO_RUNNING, UBD_IO_RES_BACK))) {
		ubd_plan_let_go(queue, io, file, false);
		return;
	}
	WRITE_ONCE(slot->ended, plan->copy.life);
	atomic_cmpxchg(&io->state, UBD_IO_RUNNING, UBD_IO_BUSY); /* nothing for an abort to take */
	if (!ubd_io_keep(queue, rq, true))
		ubd_plan_finish(queue, rq, BLK_STS_IOERR);
	ubd_plan_let_go(queue, io, file, true);
}

static void ubd_plan_drop(struct ubd_plan *plan)
{
	if (!atomic_dec_and_test(&plan->pending))
		return;
	if (unlikely(READ_ONCE(plan->failed)))
		ubd_plan_failed(plan);
	else
		ubd_plan_succeeded(plan);
}

static void ubd_plan_bio_end(struct bio *bio)
{
	struct ubd_plan_bio *mine = container_of(bio, struct ubd_plan_bio, bio);
	struct ubd_plan *plan = mine->plan;

	if (unlikely(bio->bi_status)) {
		plan->copy.entries[mine - plan->bios].result = blk_status_to_errno(bio->bi_status);
		WRITE_ONCE(plan->failed, true);
	}
	bio_uninit(bio);
	ubd_plan_drop(plan);
}

/* False: the request has more vectors than we have room for. */
static bool ubd_plan_take_vectors(struct ubd_plan *plan, struct request *rq)
{
	struct req_iterator ri;
	struct bio_vec vector;
	unsigned int count = 0;

	if (likely(rq->bio == rq->biotail)) {
		plan->table = rq->bio->bi_io_vec;
		plan->iter = rq->bio->bi_iter;
		return true;
	}
	rq_for_each_bvec(vector, rq, ri) {
		if (count == UBD_PLAN_VECTORS)
			return false;
		plan->vectors[count++] = vector;
	}
	plan->table = plan->vectors;
	plan->iter = (struct bvec_iter){ .bi_size = blk_rq_bytes(rq) };
	return true;
}

/* One entry against the request and the leg. *end: where a READ's last entry ended. */
static bool ubd_plan_check_entry(const struct ubd_device *device,
				 const struct ubd_plan_entry *entry, const struct request *rq,
				 u32 *end)
{
	bool is_write = req_op(rq) == REQ_OP_WRITE;
	u64 end_of_entry, length = entry->length;
	struct block_device *bdev;

	if (entry->leg >= device->nr_legs || !device->legs[entry->leg].file)
		return false;
	if (entry->kind != (is_write ? UBD_OP_WRITE : UBD_OP_READ) ||
	    entry->flags & ~(is_write ? UBD_PLAN_FUA : 0) || entry->reserved1 ||
	    (entry->wave | entry->reserved0[0] | entry->reserved0[1] | entry->reserved0[2]))
		return false;
	if (!length || entry->offset > blk_rq_bytes(rq) ||
	    length > blk_rq_bytes(rq) - entry->offset)
		return false;
	if (!is_write && entry->offset != *end)
		return false;
	*end = entry->offset + length;
	bdev = device->legs[entry->leg].bdev;
	if ((entry->offset | length | entry->leg_offset) & (bdev_logical_block_size(bdev) - 1))
		return false;
	/* Past the leg's end is for the block layer to say: a leg that shrank has failed. */
	return !check_add_overflow(entry->leg_offset, length, &end_of_entry);
}

/* Copies the slot and checks the copy. */
static bool ubd_plan_take(struct ubd_plan *plan, const struct request *rq)
{
	const struct ubd_plan_slot *slot = ubd_plan_slot(plan);
	struct ubd_plan_slot *copy = &plan->copy;
	u32 end = 0;
	int i;

	memcpy(copy, slot, offsetof(struct ubd_plan_slot, entries));
	barrier(); /* the copy is what we go by */
	if (copy->count > UBD_PLAN_ENTRIES_MAX || copy->flags ||
	    (copy->reserved[0] | copy->reserved[1] | copy->reserved[2] | copy->reserved[3] |
	     copy->reserved[4]))
		return false;
	if (!copy->count)
		return true;
	if (req_op(rq) != REQ_OP_READ && req_op(rq) != REQ_OP_WRITE)
		return false;
	memcpy(copy->entries, slot->entries, copy->count * sizeof(*copy->entries));
	barrier();
	for (i = 0; i < copy->count; i++) {
		if (!ubd_plan_check_entry(plan->queue->device, &copy->entries[i], rq, &end))
			return false;
		copy->entries[i].result = 0;
	}
	/* No byte of a READ may be what its page held before. */
	return req_op(rq) != REQ_OP_READ || end == blk_rq_bytes(rq);
}

static void ubd_plan_submit(struct ubd_plan *plan, const struct request *rq, int number)
{
	const struct ubd_plan_entry *entry = &plan->copy.entries[number];
	struct ubd_plan_bio *mine = &plan->bios[number];
	struct bio *bio = &mine->bio;
	blk_opf_t opf = req_op(rq) | (rq->cmd_flags & (REQ_SYNC | REQ_META | REQ_PRIO | REQ_IDLE));

	if (entry->flags & UBD_PLAN_FUA)
		opf |= REQ_FUA;
	bio_init(bio, plan->queue->device->legs[entry->leg].bdev, NULL, 0, opf);
	bio_set_flag(bio, BIO_CLONED); /* the vectors are not its own */
	bio->bi_io_vec = plan->table;
	bio->bi_iter = plan->iter;
	if (entry->offset)
		bvec_iter_advance(plan->table, &bio->bi_iter, entry->offset);
	bio->bi_iter.bi_size = entry->length;
	bio->bi_iter.bi_sector = entry->leg_offset >> SECTOR_SHIFT;
	bio->bi_end_io = ubd_plan_bio_end;
	bio->bi_ioprio = req_get_ioprio((struct request *)rq);
	mine->plan = plan;
	submit_bio_noacct(bio);
}

/* RUNNING by now: from here on the tag can be anybody's at any time. */
static void ubd_plan_start(struct ubd_plan *plan, const struct request *rq)
{
	int i, count = plan->copy.count;

	plan->failed = false;
	atomic_set(&plan->pending, count + 1);
	for (i = 0; i < count; i++)
		ubd_plan_submit(plan, rq, i);
	ubd_plan_drop(plan);
}

/* BUSY to SERVER, at once: refused, or handed back with its bytes. */
static int ubd_plan_give_back(struct ubd_queue *queue, struct ubd_io *io, u64 addr, int result)
{
	struct request *rq = io->rq;

	if (result == UBD_IO_RES_BACK && req_op(rq) == REQ_OP_WRITE &&
	    !ubd_copy_to_server(rq, addr))
		result = -EFAULT;
	io->addr = addr;
	if (unlikely(atomic_cmpxchg(&io->state, UBD_IO_BUSY, UBD_IO_SERVER) != UBD_IO_BUSY)) {
		if (!ubd_io_keep(queue, rq, true))
			ubd_io_end(rq, BLK_STS_IOERR);
		return UBD_IO_RES_ABORT;
	}
	return result;
}

/*
 * RUNNING, with the command parked. It can be cancelled and freed by others as soon as the last
 * count has been dropped, and the file with it.
 */
static int ubd_plan_run(struct ubd_plan *plan, struct io_uring_cmd *cmd, u64 addr,
			unsigned int issue_flags)
{
	struct ubd_io *io = plan->io;
	struct request *rq = io->rq;
	struct file *file = get_file(cmd->file);

	ubd_plug_arm(plan->queue, cmd);
	io->addr = addr;
	io->cmd = cmd;
	ubd_cmd_mark_cancelable(cmd, issue_flags);
	if (unlikely(atomic_cmpxchg(&io->state, UBD_IO_BUSY, UBD_IO_RUNNING) != UBD_IO_BUSY)) {
		if (!ubd_io_keep(plan->queue, rq, true))
			ubd_io_end(rq, BLK_STS_IOERR);
		io_uring_cmd_done(cmd, UBD_IO_RES_ABORT, 0, issue_flags);
	} else {
		ubd_plan_start(plan, rq);
	}
	fput(file);
	return -EIOCBQUEUED;
}

int ubd_plan_commit(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
		    struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_io *io = &queue->ios[payload->tag];
	struct ubd_plan *plan;
	int state;

	if (unlikely(!queue->plans))
		return -EOPNOTSUPP;
	if (unlikely(ubd_cmd_ring(cmd) != queue->ring || ubd_cmd_task(cmd) != queue->task))
		return -EINVAL;
	if (unlikely(!payload->addr))
		return -EINVAL;
	state = atomic_cmpxchg(&io->state, UBD_IO_SERVER, UBD_IO_BUSY);
	if (unlikely(state != UBD_IO_SERVER))
		return state & UBD_IO_ABORT ? UBD_IO_RES_ABORT : -EINVAL;
	plan = &queue->plans[payload->tag];
	if (unlikely(!ubd_plan_take(plan, io->rq)))
		return ubd_plan_give_back(queue, io, payload->addr, -EINVAL);
	if (unlikely(!plan->copy.count || !ubd_plan_take_vectors(plan, io->rq)))
		return ubd_plan_give_back(queue, io, payload->addr, UBD_IO_RES_BACK);
	return ubd_plan_run(plan, cmd, payload->addr, issue_flags);
}

int ubd_plan_answer(struct ubd_queue *queue, unsigned int tag, struct io_uring_cmd *cmd)
{
	struct ubd_io *io = &queue->ios[tag];
	int state, notice = UBD_IO_RES_OK;
	struct ubd_plan *plan;

	if (unlikely(!queue->plans))
		return -EINVAL;
	state = atomic_cmpxchg(&io->state, UBD_IO_SERVER, UBD_IO_BUSY);
	if (unlikely(state != UBD_IO_SERVER))
		return state & UBD_IO_ABORT ? UBD_IO_RES_ABORT : -EINVAL;
	plan = &queue->plans[tag];
	if (unlikely(!ubd_plan_take(plan, io->rq)))
		notice = -EINVAL;
	else if (unlikely(!plan->copy.count || !ubd_plan_take_vectors(plan, io->rq)))
		notice = UBD_IO_RES_BACK;
	if (unlikely(notice)) {
		if (likely(ubd_queue_return(queue, io, UBD_IO_BUSY, notice)))
			return 0;
	} else {
		ubd_plug_arm(queue, cmd);
		if (likely(atomic_cmpxchg(&io->state, UBD_IO_BUSY, UBD_IO_RUNNING) == UBD_IO_BUSY)) {
			plan->file = get_file(cmd->file);
			ubd_plan_start(plan, io->rq);
			return 0;
		}
	}
	if (!ubd_io_keep(queue, io->rq, true))
		ubd_io_end(io->rq, BLK_STS_IOERR);
	return 0;
}

int ubd_plans_create(struct ubd_queue *queue)
{
	int i;

	init_llist_head(&queue->buried);
	if (!(queue->device->info.flags[0] & UBD_F_PLANS))
		return 0;
	queue->slots = vmalloc_user(ubd_plan_length(queue->depth, PAGE_SIZE));
	queue->plans = kvcalloc(queue->depth, sizeof(*queue->plans), GFP_KERNEL);
	if (!queue->slots || !queue->plans)
		return -ENOMEM; /* ubd_plans_destroy() follows */
	for (i = 0; i < queue->depth; i++) {
		queue->plans[i].queue = queue;
		queue->plans[i].io = &queue->ios[i];
	}
	return 0;
}

void ubd_plans_destroy(struct ubd_queue *queue)
{
	vfree(queue->slots);
	kvfree(queue->plans);
}
