/* SPDX-License-Identifier: MIT */
/* What a ublk device is to be, by its tree and what the driver can: all pure. */
#ifndef COMPOSER_UBLK_DEVICE_H
#define COMPOSER_UBLK_DEVICE_H

#include "tree.h"
#include "ublk_cmd.h"

/* The driver keeps 64 bits for the server: who it is, and for which device. */
#define UBLK_MARK (UINT64_C(0x7562642d) << 32)
#define UBLK_MARK_MASK (UINT64_C(0xffffffff) << 32)

/* What requests need to be handed down without a copy, and to be copied where they can't be. */
#define UBLK_PASS_FEATURES (UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY)

bool ublk_can_pass(uint64_t features);

/* For ADD_DEV, of a driver with these features; and for SET_PARAMS. */
struct ublk_dev_info ublk_device_wanted(const struct tree *tree, uint64_t features);
struct ublk_params ublk_parameters_wanted(const struct tree *tree);

#endif
