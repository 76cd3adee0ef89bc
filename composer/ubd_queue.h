/* SPDX-License-Identifier: MIT */
/* What a ubd device's queue has beyond a driver_queue: plans that the driver carries out itself. */
#ifndef COMPOSER_UBD_QUEUE_H
#define COMPOSER_UBD_QUEUE_H

#include "driver_queue.h"

#include <ubd_cmd.h>

struct ubd_queue {
	struct driver_queue queue; /* first */
	struct ubd_plan_slot *slots; /* by tag */
	uint32_t *lives; /* by tag: of the last plan handed down */
	struct event poll;
	bool is_polling;
};

/* Without plans, and with. */
extern const struct driver_queue_type ubd_queue_type, ubd_queue_type_plans;

/* The backend's half that hands requests down as plans (ubd_plan.c); the context is a ubd_queue. */
bool ubd_plan_pass(void *context, unsigned tag, const struct sub_io *subs);
bool ubd_plan_ended(void *context, unsigned tag);
void ubd_plan_poll(void *context);

#endif
