/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver from inside: its structures, its state machines, its locks. ubd_cmd.h is the manual
 * for those who talk to it from outside.
 *
 * FILES
 *   ubd_main.c     the module, and the table of devices by number
 *   ubd_device.c   a device's life: made, its session ended, removed
 *   ubd_disk.c     the gendisk: limits from parameters, START, STOP
 *   ubd_recovery.c what a disk does without a server: waits for the next, or goes
 *   ubd_control.c  control commands: unpack, check, hand on
 *   ubd_char.c     /dev/ubdcN: open, mmap, flush, release; who notices that a server is gone
 *   ubd_queue.c    the block layer's side: requests come, the server is notified
 *   ubd_deliver.c  a request's way to the server, or where it goes if that is gone
 *   ubd_io.c       the server's side: FETCH and COMMIT, requests end
 *   ubd_batch.c    the same with one command for many tags
 *   ubd_session.c  a queue from one session to the next: made, aborted, reset
 *   ubd_plan.c     plans: sub-I/Os on the legs with a request's own pages
 *   ubd_plan_check.c  what the server may plan
 *   ubd_sub_io.c   one of them, on a disk or a file
 *   ubd_leg.c      the table of legs
 *   ubd_copy.c     bytes between a request's pages and the server's buffer
 *   compat.h       kernels
 *
 * A TAG belongs to one side at a time, and ubd_io.state says to which. Each arrow is one atomic
 * step.
 *
 *              FETCH               queue_rq              delivered
 *     EMPTY ----------> (BUSY) --> READY --> QUEUED --> (BUSY) --> SERVER
 *       ^                            ^                               |
 *       |     COMMIT_REQ             |      COMMIT_AND_FETCH         v
 *       +----------------------------+--------------------------- (BUSY)
 *
 *   EMPTY   no command, no request. A request that meets it fails.
 *   READY   io->cmd is parked, no request.
 *   QUEUED  io->rq waits to be delivered; io->cmd is parked. The tag is on queue->pending, or the
 *           notification is just taking it from there.
 *   SERVER  io->rq is in the server's hands; no command.
 *   BUSY    one of our functions, in the context of a command of the server's, is copying or
 *           filling in fields; everybody else keeps off. For a READ or WRITE's copying, io->rq is
 *           its own. It waits for no one: where a copy meets a page that is not there, the tag goes
 *           back to QUEUED or SERVER while that is faulted in, and whoever wants it can have it.
 *   RUNNING io->rq's sub-I/Os are under way (ubd_plan.c); io->cmd is parked. Whoever ends the last
 *           of them takes the tag on, in any context: to READY if all went well, to QUEUED if one
 *           failed. ABORT takes nothing from it: the pages are in use. When its last sub-I/O ends,
 *           the request is ended there, and the command by bury_work, as that may not be done in an
 *           interrupt on all kernels.
 *   ABORT   a bit beside the state: the session is over. Whoever sets it takes what the state then
 *           gives away: READY: the command; QUEUED and SERVER: the request (but not the command of
 *           QUEUED, which the notification still uses). BUSY gives away nothing: leaving BUSY is a
 *           compare-and-exchange that fails when ABORT was set, and the holder cleans up. A tag
 *           with ABORT never changes again, until the session's reset.
 *
 * So each request and each command has exactly one owner, who ends it, exactly once. A command is
 * parked before the request before it ends: the moment that a request ends, its tag can be queued.
 *
 * A NOTIFICATION is one task work, on the command of any QUEUED tag, that delivers all of
 * queue->pending in the order in which it was queued. queue->notified is set from before the task
 * work is sent until it has found the list empty; so at most one is under way per queue, order
 * holds on kernels whose task work runs last-in first-out (6.1), and no tag can be delivered, nor
 * its command completed, while that command carries a task work. io_uring wakes the server, with or
 * without an interrupt as the server's ring asked for. Not the lazy variant: it counts task works,
 * not completions, against the number that the server waits for, and ours stands for many.
 *
 * A SESSION is one server's time with a device: from open() of the char device to the end of its
 * reset after release(). Bits in device->flags:
 *   OPEN      there is a session.
 *   ENDING    it is over: no request is queued any more (they fail), commands get ENODEV. Set once
 *             per session; whoever sets it sees to it that ubd_device_abort() follows.
 *   CLOSED    release() was called. As each command holds the file, none is left; nor a mapping.
 * Ways to notice that a server is gone, all of which lead to ubd_device_kill():
 *   flush()   each close of the char device, also the implicit ones of an exiting process; it looks
 *             whether a queue's task is exiting. This is the one that is at once and on all
 *             kernels, also while the ring, another process or a leaked descriptor hold the file:
 *             on 6.1 the ring's own exit waits for our pending commands, and release() for the
 *             ring's.
 *   unmap     the last mapping of descriptors goes: no one can serve without. For servers that
 *             closed their file descriptor after registering it with the ring.
 *   cancel    from 6.7 on io_uring tells of ring or task exit, each pending command by itself.
 *   delivery  the notification runs in a worker, an exiting task or for a dying ring: no user
 *             memory is touched, what it delivers fails.
 *   timeout   the block layer's, every 5 s for an unanswered request: for a lone thread that exits
 *             with requests in its hands while its process lives on, or cannot die as another
 *             thread of it waits for this very disk; and for params.timeout_ms.
 *   watch     before 6.7, once a second: a process that dies and doesn't get as far as its files, as its
 *             ring waits for what is linked behind a command of ours.
 *   release() in any case.
 * Not noticed: on 6.1, a server that calls exec() with commands pending hangs in exec() until
 * STOP_DEV or DEL_DEV, as io_uring waits there for all commands and tells nobody. So does one that
 * unmapped and closed everything but its ring, until then or until the next request, and a single
 * thread that exits with a link to a ring behind a FETCH. Rings with
 * IORING_SETUP_SQPOLL are refused: the death of their thread on 6.1 is such a case too.
 *
 * THE END OF A SESSION
 *   ubd_device_kill()   any context: sets ENDING, queues device->reap_work.
 *   ubd_device_abort()  may sleep, needs not device->lock, and must not: a START may hold device->lock while
 *                       it waits for the very requests that this ends. Sets ENDING, waits one RCU
 *                       grace period so that each queue_rq() that had missed it is done (requests
 *                       are queued inside RCU read-side sections, as our tag sets are
 *                       non-blocking), then sets ABORT on all tags. A kept disk's queue is
 *                       quiesced before that. Bounded: it waits for no one in user space.
 *   reap_work           abort; under device->lock remove the disk, unless its fate is to WAIT; if
 *                       CLOSED, reset the session.
 * STOP of a healthy server goes the other way round: remove the disk, which writes back what is
 * dirty and waits for all requests, then abort; a watchdog aborts first if that takes too long.
 *
 * THE FATE of the disk: what the end of a session means to it. device->fate, one of
 *
 *               START with                 session ends
 *               recovery_ms    HAND_OVER  +------------+
 *        END ------------> KEEP --------> DRAIN ----> WAIT
 *         ^                 | ^             |          | |
 *         |                 | +--time out---+  RESUME  | |
 *         |                 | +------------------------+ |
 *         +-----------------+----------------------------+
 *           STOP, DEL; from WAIT also: recovery_ms are over
 *
 *   END    no disk, or one that dies with its session: requests that meet ENDING fail.
 *   KEEP   the disk outlives its session. Requests that meet ENDING go back to the block layer,
 *          which tries them again (after some milliseconds, and until it is quiesced).
 *   DRAIN  the queue is quiesced: none comes any more. The server answers what it has; then its
 *          session ends as if it had died. Only the next session sees the difference: nothing is
 *          given again. A server that doesn't answer in time gets KEEP back and serves on.
 *   WAIT   the queue is quiesced and recovery_work ticks. There is the dead server's session, or
 *          none, or the next one's that has not said RESUME yet. No tag holds a request, but those
 *          of the dead session that are BUSY or RUNNING.
 * Who moves it: START, RESUME, STOP, DEL and recovery_work under device->lock and abort_lock; an
 * abort and HAND_OVER under abort_lock alone. So who has abort_lock and finds KEEP, DRAIN or WAIT
 * can rely on device->disk, and who waits for requests under device->lock has made the fate END
 * before: then an abort ends all requests, as ever.
 *
 * Quiesced means no queue_rq(), whoever asks; and stays so through any number of sessions that
 * never say RESUME, which can fetch, close, die or set legs as often as they like. From WAIT to END
 * the bit DOOMED is set before the queue runs again, so that all that has waited fails, also on tags
 * that a next session has fetched: it did not say RESUME, and is given nothing. It is cleared when
 * the disk is gone.
 *
 * A request whose server is gone is an ORPHAN, and its owner decides, see ubd_io_keep(): it goes
 * back to the block layer, to come again; or, if the server has had it and the device was not told
 * to give such again (UBD_PARAM_REISSUE), it ends with an error. Its copy of pages may be part done:
 * a READ's pages are then filled anew, from the start. A dying server's page faults fail: so the
 * failure of a copy in a task with a fatal signal pending is an orphan too, not an error.
 *
 * The next session can open when the last one's file is released; each of its commands held that.
 * So nothing of the dead session's runs in the driver then: no tag is BUSY or RUNNING, its legs are
 * put, the areas that it shared are cleared. What it had under way on its own, such as writes to its
 * leaves, the driver doesn't know: see RECOVERY in ubd_cmd.h.
 *
 * A DEVICE: ADD -> dead -> (START) live -> (STOP, kill) dead -> DEL. device->disk is not NULL when
 * live or nearly. Its memory is held by struct device's count: the table's reference until DEL, the
 * char device's while open, control commands', the reap work's, and a plug callback's.
 *
 * THE PLUG: while io_uring submits several commands at once, it holds a blk_plug. Requests that are
 * committed then are gathered in queue->plug.batch and end together when the plug is finished (or
 * its task sleeps). One task's plug at a time owns it; all others end their requests one by one.
 *
 * LOCKS, outermost first
 *   device->lock        a mutex: START, STOP, DEL, SET_PARAMS, RESUME, UPDATE_SIZE, reap,
 *                       recovery_work. Never taken where a ring's lock is held.
 *   device->abort_lock  a mutex: an abort, a reset, the fate. Held for bounded work only, never for
 *                       user space.
 *   the ring's lock     held by io_uring around our I/O commands' issue; taken inside
 *                       io_uring_cmd_done() from 6.7 on. So no lock of ours is held around that
 *                       call.
 *   ubd_devices.lock    the table; spin_lock inside everything.
 *   queue->lock         who serves the queue, against reset; spin_lock inside everything.
 * The hot path takes none.
 *
 * Ending a request can drop the last reference to a file, whose release may wait for I/O on this
 * very disk. As fput() defers to the running task unless it is in an interrupt, and our task is the
 * server, requests end with bottom halves disabled: the file then goes to a worker.
 */
#ifndef UBD_H
#define UBD_H

#include <linux/atomic.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "ubd_cmd.h"

#define UBD_MAX_DEVICES 4096
#define UBD_FEATURES \
	(UBD_F_PARAMS | UBD_F_PLANS | UBD_F_RECOVERY | UBD_F_RESIZE | UBD_F_BATCHES)
#define UBD_IO_NO_NOTICE 1 /* beside UBD_IO_RES_*: the server is told nothing */
#define UBD_PLAN_VECTORS 128 /* most segments of a request on a device with plans */
#define UBD_COPY_TRIES 64 /* a page that was faulted in may be gone again before it is used */
#define UBD_LOOK_INTERVAL_MS 5000 /* an unanswered request has its server looked at this often */

enum ubd_io_state {
	UBD_IO_EMPTY,
	UBD_IO_READY,
	UBD_IO_QUEUED,
	UBD_IO_SERVER,
	UBD_IO_BUSY,
	UBD_IO_RUNNING,
	UBD_IO_ABORT = 8, /* a bit beside the above */
};

/* A tag. Shift-sized, as the element is found by its number for each request and command. */
struct ubd_io {
	atomic_t state;
	struct io_uring_cmd *cmd;
	struct request *rq;
	u64 addr;
	struct llist_node pending;
	int notice; /* what the command completes with when delivered: UBD_IO_RES_OK or _BACK */
	bool is_write; /* the request is */
} __aligned(64);

struct ubd_plan;

struct ubd_leg {
	struct file *file; /* with a reference; NULL: an empty place */
	struct block_device *bdev; /* NULL: a file */
	u32 block_mask;
	bool can_nowait; /* it says when it would have to wait */
	bool can_flush_nowait; /* also of a flush */
	bool flush_failed; /* what that was for may be lost: no later flush is believed */
	struct llist_head late; /* sub-I/Os for the worker */
	struct work_struct work;
};

struct ubd_plug {
	struct blk_plug_cb cb;
	struct task_struct *task; /* whose plug cb is on; NULL: free to take */
	struct io_comp_batch batch;
};

struct ubd_queue {
	struct ubd_device *device;
	u16 id;
	u16 depth;
	struct ubd_io *ios;
	struct ubd_io_desc *descs;

	/* Who serves: set by the first FETCH under the lock, constant until the session's reset. */
	spinlock_t lock;
	struct io_ring_ctx *ring; /* compared, never followed */
	struct task_struct *task; /* with a reference */
	u16 nr_fetched; /* under the lock */

	struct llist_head aborted; /* tags whose command an abort has taken, not yet completed */
	struct llist_head pending ____cacheline_aligned_in_smp;
	unsigned long notified; /* bit 0 */
	struct ubd_plug plug;

	/* With UBD_F_PLANS only */
	struct ubd_plan_slot *slots; /* shared with the server, by tag */
	struct ubd_plan *plans; /* by tag */
	struct llist_head buried; /* tags whose command bury_work is to complete */

	/* With UBD_F_BATCHES only */
	void *batch; /* shared with the server: answers, then events */
	struct io_uring_cmd *waiter; /* taken by xchg() or cmpxchg() only */
};

/* Bits of ubd_device.flags */
enum ubd_device_flag {
	UBD_DEVICE_OPEN,
	UBD_DEVICE_ENDING,
	UBD_DEVICE_CLOSED,
	UBD_DEVICE_DELETED,
	UBD_DEVICE_DOOMED, /* what waited for a server fails, as the disk is on its way out */
};

enum ubd_fate { UBD_FATE_END, UBD_FATE_KEEP, UBD_FATE_DRAIN, UBD_FATE_WAIT };

struct ubd_device {
	struct device dev;
	struct cdev cdev;
	int number;
	unsigned long flags;
	struct ubd_dev_info info; /* constant but for state, pid and dev_blocks */
	struct ubd_params params; /* under lock, as set; zero where defaulted */
	struct mutex lock;
	struct mutex abort_lock; /* one abort or reset at a time */
	struct gendisk *disk; /* under lock, or under abort_lock while fate is not END */
	enum ubd_fate fate; /* changed under abort_lock */
	struct delayed_work recovery_work; /* ends WAIT; pending with a reference */
	unsigned long recovery_end; /* in jiffies */
	struct blk_mq_tag_set tag_set;
	atomic_t nr_ready; /* queues whose every tag is fetched */
	atomic_t nr_mappings;
	wait_queue_head_t wait; /* START waits for nr_ready or the end */
	struct work_struct reap_work;
	struct work_struct bury_work;
	struct delayed_work watch_work; /* looks for a dead server, from open() to release(), on kernels that don't tell */
	struct ubd_queue **queues;
	struct ubd_leg *legs; /* changed under lock while there is no disk */
	unsigned int nr_legs;
};

/* ubd_main.c */
extern struct workqueue_struct *ubd_workqueue; /* ends sessions: never queues behind jobs */
extern struct workqueue_struct *ubd_leg_workqueue; /* sub-I/Os whose leg would have to wait */
extern struct workqueue_struct *ubd_job_workqueue; /* START, STOP, DEL: may wait for long */
extern struct class ubd_class;
int ubd_devices_reserve(int wanted); /* -1: any; the number, or -EEXIST, -ENOSPC, -EINVAL */
void ubd_devices_publish(int number, struct ubd_device *device); /* NULL gives the number back */
struct ubd_device *ubd_devices_get(u32 number); /* with a reference, or NULL */
dev_t ubd_char_devt(int number);

/* ubd_device.c */
struct ubd_device *ubd_device_create(struct ubd_dev_info *info); /* fills in what info left open */
int ubd_device_delete(struct ubd_device *device, int unused); /* -ENODEV: was deleted before */
void ubd_device_kill(struct ubd_device *device); /* any context */
void ubd_device_abort(struct ubd_device *device); /* sleeps; any number of times, also at once */

static inline void ubd_device_get(struct ubd_device *device)
{
	get_device(&device->dev);
}

static inline void ubd_device_put(struct ubd_device *device)
{
	put_device(&device->dev);
}

/* The longest READ or WRITE, which is also the size of a tag's buffer. */
static inline u32 ubd_device_request_size(const struct ubd_device *device)
{
	return device->info.rq_max_blocks * device->info.block_size;
}

static inline bool ubd_device_is(const struct ubd_device *device, enum ubd_device_flag flag)
{
	return test_bit(flag, &device->flags);
}

/* ubd_disk.c */
int ubd_disk_check_params(const struct ubd_device *device, const struct ubd_params *params);
void ubd_disk_effective_params(const struct ubd_device *device, struct ubd_params *params);
int ubd_disk_can_start(const struct ubd_device *device); /* -EAGAIN: not yet, -ENODEV: never */
int ubd_disk_start(struct ubd_device *device, int pid);
int ubd_disk_stop(struct ubd_device *device, int unused);
void ubd_disk_remove(struct ubd_device *device); /* under device->lock */
int ubd_disk_resize(struct ubd_device *device, u64 dev_blocks); /* likewise */

/* ubd_recovery.c */
void ubd_recovery_init(struct ubd_device *device);
void ubd_recovery_keep(struct ubd_device *device); /* START is done; under device->lock */
void ubd_recovery_hold(struct ubd_device *device); /* the session ends; under abort_lock */
void ubd_recovery_forget(struct ubd_device *device); /* the disk goes; under device->lock */
int ubd_recovery_resume(struct ubd_device *device, int pid);
int ubd_recovery_hand_over(struct ubd_device *device, int timeout_ms);

/* ubd_control.c */
int ubd_control_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* ubd_char.c */
extern const struct file_operations ubd_char_fops;
void ubd_char_watch_work(struct work_struct *work);

/* ubd_queue.c */
extern const struct blk_mq_ops ubd_mq_ops;

/* ubd_session.c */
struct ubd_queue *ubd_queue_create(struct ubd_device *device, u16 id);
void ubd_queue_destroy(struct ubd_queue *queue); /* accepts NULL */
void ubd_queue_abort_requests(struct ubd_queue *queue); /* ends all but BUSY and RUNNING ones */
void ubd_queue_abort_commands(struct ubd_queue *queue); /* after the former, of all queues */
void ubd_queue_reset(struct ubd_queue *queue); /* no command, no request, no disk is left */

/* ubd_io.c */
int ubd_io_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* ubd_plan.c */
void ubd_plan_bury_work(struct work_struct *work);

/* ubd_leg.c: under device->lock */
int ubd_legs_set(struct ubd_device *device, const s32 *fds, unsigned int count);
void ubd_legs_put(struct ubd_device *device);

#endif
