/* SPDX-License-Identifier: MIT */
/* The ubd driver's control node (kmod/ubd_cmd.h). */
#ifndef COMPOSER_UBD_CONTROL_H
#define COMPOSER_UBD_CONTROL_H

#include "driver_control.h"

#include <ubd_cmd.h>

/* 0, or -1 with a message: no module, no permission, a driver without what we need. */
int ubd_control_open(struct driver_control *control, struct err *err);

#endif
