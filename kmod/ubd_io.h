/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the I/O path offer each other: steps of a tag, its way to the server and back.
 * Whose a tag is, and what each may do with it, is in ubd.h.
 */
#ifndef UBD_IO_H
#define UBD_IO_H

#include "ubd.h"

#define UBD_NOTIFIED 0 /* bit of ubd_queue.notified */

/* Move a tag on, unless it is not in the state that it should be in. Returns the state found. */
static inline int ubd_io_step(struct ubd_io *io, enum ubd_io_state from, enum ubd_io_state to)
{
	return atomic_cmpxchg(&io->state, from, to);
}

/* ubd_queue.c, for those that put a tag on pending themselves: inside rcu_read_lock() */
void ubd_queue_notify(struct ubd_queue *queue);
bool ubd_queue_server_is_gone(const struct ubd_queue *queue);
bool ubd_queue_return(struct ubd_queue *queue, struct ubd_io *io, enum ubd_io_state from,
		      int notice);

/* ubd_session.c */
void ubd_queue_abort_command(struct io_uring_cmd *cmd); /* one that nobody else has; any context */

/* ubd_deliver.c */
int ubd_io_hand_over(struct ubd_queue *queue, struct ubd_io *io, bool gone);
void ubd_io_deliver(struct ubd_queue *queue, struct ubd_io *io, bool gone,
		    unsigned int issue_flags);
/*
 * The caller owns an orphan; any context. True: it has gone back to the block layer, for the next
 * server. False: the caller is to end it. `seen`: the dead server has had it.
 */
bool ubd_io_keep(struct ubd_queue *queue, struct request *rq, bool seen);
/* The same, ended too; `notice`: what the server was told of it, or would have been. */
void ubd_io_orphan(struct ubd_queue *queue, struct request *rq, int notice);
/* Whether a copy has failed as its server is dying, and not as its address was wrong. */
bool ubd_io_is_dying(struct ubd_queue *queue);
/*
 * Copies a BUSY tag's bytes, if it is a WRITE, to the server. 0: it is BUSY as before. -EFAULT: it
 * can't be done, and the tag is `back`. Others: it is somebody else's.
 */
int ubd_io_copy_out(struct ubd_queue *queue, struct ubd_io *io, u64 addr, enum ubd_io_state back);

/* ubd_io.c */
int ubd_io_answer(struct ubd_queue *queue, unsigned int tag, s32 result, struct io_uring_cmd *cmd);
int ubd_queue_bind(struct ubd_queue *queue, struct io_uring_cmd *cmd);
void ubd_queue_is_fetched(struct ubd_queue *queue);
void ubd_io_end(struct request *rq, blk_status_t status); /* any context but hardirq */
void ubd_io_finish(struct request *rq, blk_status_t status, unsigned int done,
		   struct ubd_plug *plug);
struct ubd_plug *ubd_plug_take(struct ubd_queue *queue, struct io_uring_cmd *cmd);

/* Whether this task's requests on this queue may gather until its plug is finished: that, or NULL. */
static inline struct ubd_plug *ubd_plug_arm(struct ubd_queue *queue, struct io_uring_cmd *cmd)
{
	return current->plug ? ubd_plug_take(queue, cmd) : NULL;
}

/* ubd_batch.c */
int ubd_batch_cmd(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
		  struct io_uring_cmd *cmd, unsigned int issue_flags);
void ubd_batch_notify(struct ubd_queue *queue);
void ubd_batch_abort(struct ubd_queue *queue);
int ubd_batch_create(struct ubd_queue *queue);
void ubd_batch_destroy(struct ubd_queue *queue);

/* ubd_plan.c */
int ubd_plan_answer(struct ubd_queue *queue, unsigned int tag, struct io_uring_cmd *cmd);
int ubd_plan_commit(struct ubd_queue *queue, const struct ubd_io_cmd *payload,
		    struct io_uring_cmd *cmd, unsigned int issue_flags);
int ubd_plans_create(struct ubd_queue *queue);
void ubd_plans_destroy(struct ubd_queue *queue);

/*
 * ubd_copy.c: current->mm is the server's. True if all bytes were copied, which doesn't sleep. False:
 * a page is missing, or the address is wrong; fault_in() tells which, and may wait for ever, until
 * the server is killed: not while the tag is BUSY.
 */
bool ubd_copy_to_server(struct request *rq, u64 addr);
bool ubd_copy_from_server(struct request *rq, u64 addr, unsigned int length);
bool ubd_copy_fault_in(u64 addr, unsigned int length, bool writes);

#endif
