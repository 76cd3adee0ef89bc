/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A plan being carried out, as ubd_plan.c (the whole of it), ubd_plan_check.c (as the server wrote it)
 * and ubd_sub_io.c (one entry of it on its leg) share it.
 */
#ifndef UBD_PLAN_H
#define UBD_PLAN_H

#include <linux/bio.h>
#include <linux/fs.h>

#include "ubd_io.h"

struct ubd_sub_io {
	struct ubd_plan *plan;
	struct llist_node late; /* on its leg's list, to be tried again by the leg's worker */
	bool may_block;
	union {
		struct bio bio;
		struct kiocb kiocb;
		struct work_struct work; /* a file's, if it moves no bytes */
	};
};

struct ubd_plan {
	struct ubd_queue *queue;
	struct ubd_io *io;
	struct ubd_plan_slot copy; /* of the server's slot */
	atomic_t pending; /* of the wave under way */
	unsigned int begun; /* entries of it and of those before */
	bool failed; /* only ever set while pending */
	struct work_struct work; /* begins the next wave */
	struct file *file; /* with batches: the char device's, as RUNNING has no command to hold it */

	/* The request's bytes: its only bio's own vectors, or those of all its bios in a row */
	struct bio_vec *table;
	struct bvec_iter iter;
	struct bio_vec vectors[UBD_PLAN_VECTORS];
	struct ubd_sub_io sub_ios[UBD_PLAN_ENTRIES_MAX]; /* one for each entry */
};

static inline struct ubd_plan_slot *ubd_plan_slot(const struct ubd_plan *plan)
{
	return &plan->queue->slots[plan->io - plan->queue->ios];
}

/* ubd_plan_check.c, for a tag that is BUSY. False: the slot holds no plan for this request. */
bool ubd_plan_take(struct ubd_plan *plan, const struct request *rq);
/* False: the request has more vectors than we have room for. */
bool ubd_plan_take_vectors(struct ubd_plan *plan, struct request *rq);

/* ubd_plan.c */
/* The entry's outcome, 0 or -errno, once. Any context. The plan may be gone afterwards. */
void ubd_plan_sub_io_ended(struct ubd_sub_io *sub, int error);

/* ubd_sub_io.c: begins, or ends, the entry of this number. It never sleeps for its leg. */
void ubd_sub_io_start(struct ubd_plan *plan, unsigned int number);
void ubd_leg_work(struct work_struct *work);

#endif
