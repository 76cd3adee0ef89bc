/* SPDX-License-Identifier: MIT */
/*
 * What a ubd device's queue has beyond a driver_queue: one command for many tags (kmod/ubd_cmd.h,
 * BATCHES), and plans that the driver carries out itself.
 */
#ifndef COMPOSER_UBD_QUEUE_H
#define COMPOSER_UBD_QUEUE_H

#include "driver_queue.h"

#include <ubd_cmd.h>

struct ubd_queue {
	struct driver_queue queue; /* first; live_tags: those in our hands, and 1 while is_live */
	struct ubd_batch_answer *answers; /* a list of depth, shared with the driver */
	const struct ubd_batch_event *events; /* likewise, behind it */
	unsigned answer_count; /* listed, and not sent */
	struct event wait, answer, commit;
	bool is_waiting; /* an ANSWER_AND_WAIT is the driver's */
	bool is_live; /* the driver serves us still */

	/* With plans only */
	struct ubd_plan_slot *slots; /* by tag */
	uint32_t *lives; /* by tag: of the last plan handed down */
};

/* Without plans, and with. */
extern const struct driver_queue_type ubd_queue_type, ubd_queue_type_plans;

/* Answers a tag: UBD_ANSWER_*. It goes down with all others of this wake-up. */
void ubd_queue_answer(struct ubd_queue *queue, unsigned tag, uint16_t kind, int result);

/* The backend's half that hands requests down as plans (ubd_plan.c); the context is a ubd_queue. */
bool ubd_plan_pass(void *context, unsigned tag, const struct sub_io *subs);
bool ubd_plan_ended(void *context, unsigned tag);

/* The tag's plan has come back: what its results mean beyond the request. */
void ubd_plan_failed(struct ubd_queue *queue, unsigned tag);

#endif
