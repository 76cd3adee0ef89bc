// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plans: a request's sub-I/Os on the legs, run on the request's own pages. What the server may plan
 * is ubd_plan_check.c's to say, what a sub-I/O is to its leg ubd_sub_io.c's.
 *
 * Who may do what, and when:
 *   commit   the server's task. The tag is BUSY while the plan is copied and checked; RUNNING before
 *            its first sub-I/O is started. plan->pending holds one count for each sub-I/O of the wave
 *            and one for who starts it, so that the tag is the starter's until it drops its own.
 *   the last count is dropped by the starter or by the end of a sub-I/O, in task, softirq or
 *            hardirq. Whoever does it takes the tag on, then touches neither tag nor plan: the plan
 *            is over (ubd_plan_end()), or the next wave begins, by the starter himself, or else in a
 *            worker, as interrupts and other people's threads start no sub-I/Os.
 *
 * The sub-I/Os live in the plan, one plan for each tag, and share the request's vectors: they and
 * the vectors stay as long as the request does, which is until the last sub-I/O's end.
 */
#include <linux/bio.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include "ubd_plan.h"

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

static void ubd_plan_end(struct ubd_plan *plan)
{
	if (unlikely(READ_ONCE(plan->failed)))
		ubd_plan_failed(plan);
	else
		ubd_plan_succeeded(plan);
}

/* Of a wave that has ended: whether it was the last. */
static bool ubd_plan_is_over(const struct ubd_plan *plan)
{
	return plan->begun == plan->copy.count || READ_ONCE(plan->failed);
}

void ubd_plan_sub_io_ended(struct ubd_sub_io *sub, int error)
{
	struct ubd_plan *plan = sub->plan;

	if (unlikely(error)) {
		plan->copy.entries[sub - plan->sub_ios].result = error;
		WRITE_ONCE(plan->failed, true);
	}
	if (!atomic_dec_and_test(&plan->pending))
		return;
	if (likely(ubd_plan_is_over(plan)))
		ubd_plan_end(plan);
	else
		queue_work(ubd_leg_workqueue, &plan->work);
}

/* Starts the next wave, and those behind it for as long as they end at once. Tasks only. */
static void ubd_plan_go_on(struct ubd_plan *plan)
{
	do {
		struct ubd_plan_entry *entries = plan->copy.entries;
		unsigned int i = plan->begun, end = i + 1;

		while (end < plan->copy.count && entries[end].wave == entries[i].wave)
			end++;
		plan->begun = end;
		atomic_set(&plan->pending, end - i + 1);
		for (; i < end; i++) {
			entries[i].result = 0;
			ubd_sub_io_start(plan, i);
		}
		if (!atomic_dec_and_test(&plan->pending))
			return;
	} while (unlikely(!ubd_plan_is_over(plan)));
	ubd_plan_end(plan);
}

/* RUNNING by now: from here on the tag can be anybody's at any time. */
static void ubd_plan_start(struct ubd_plan *plan)
{
	plan->failed = false;
	plan->begun = 0;
	ubd_plan_go_on(plan);
}

/* The work is the plan's, and the plan's memory stays as long as its sub-I/Os: see ubd_leg_work(). */
static void ubd_plan_work(struct work_struct *work)
{
	ubd_plan_go_on(container_of(work, struct ubd_plan, work));
}

/* BUSY to SERVER, at once: refused, or handed back with its bytes. */
static int ubd_plan_give_back(struct ubd_queue *queue, struct ubd_io *io, u64 addr, int result)
{
	if (result == UBD_IO_RES_BACK) {
		int error = ubd_io_copy_out(queue, io, addr, UBD_IO_SERVER);

		if (unlikely(error))
			return error;
	}
	io->addr = addr;
	if (unlikely(atomic_cmpxchg(&io->state, UBD_IO_BUSY, UBD_IO_SERVER) != UBD_IO_BUSY)) {
		if (!ubd_io_keep(queue, io->rq, true))
			ubd_io_end(io->rq, BLK_STS_IOERR);
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
		ubd_cmd_done(cmd, UBD_IO_RES_ABORT, issue_flags);
	} else {
		ubd_plan_start(plan);
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
			ubd_plan_start(plan);
			return 0;
		}
	}
	if (!ubd_io_keep(queue, io->rq, true))
		ubd_io_end(io->rq, BLK_STS_IOERR);
	return 0;
}

int ubd_plans_create(struct ubd_queue *queue)
{
	int i, j;

	init_llist_head(&queue->buried);
	if (!(queue->device->info.flags[0] & UBD_F_PLANS))
		return 0;
	queue->slots = vmalloc_user(ubd_plan_length(queue->depth, PAGE_SIZE));
	queue->plans = kvcalloc(queue->depth, sizeof(*queue->plans), GFP_KERNEL);
	if (!queue->slots || !queue->plans)
		return -ENOMEM; /* ubd_plans_destroy() follows */
	for (i = 0; i < queue->depth; i++) {
		struct ubd_plan *plan = &queue->plans[i];

		plan->queue = queue;
		plan->io = &queue->ios[i];
		INIT_WORK(&plan->work, ubd_plan_work);
		for (j = 0; j < UBD_PLAN_ENTRIES_MAX; j++)
			plan->sub_ios[j].plan = plan;
	}
	return 0;
}

void ubd_plans_destroy(struct ubd_queue *queue)
{
	vfree(queue->slots);
	kvfree(queue->plans);
}
