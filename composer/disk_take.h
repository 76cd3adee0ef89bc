/* SPDX-License-Identifier: MIT */
/*
 * A device's disk, taken for oneself: nobody else has it open, and nobody can mount it or build on it until the
 * fd is closed. For commands under which its users would lose what they rely on.
 */
#ifndef COMPOSER_DISK_TAKE_H
#define COMPOSER_DISK_TAKE_H

#include "err.h"

/*
 * The fd; -2 after messages that the disk is in use, and by whom; or -1: it can't be opened, errno says why.
 * Waits up to two seconds for who only looks at it, as udev does.
 */
int disk_take(const char *name, const char *path, struct err *err);

#endif
