/* SPDX-License-Identifier: MIT */
/*
 * The command that makes the disk, sent by a process of its own.
 *
 * It reads the partition table through the device, so it may wait for our leaves as long as they
 * like. A command keeps its process from ending, and ublk ends the requests of a dead server only
 * when that has let go of the char device: sent by ourselves, we could neither give up nor die.
 *
 * Main thread only.
 */
#ifndef COMPOSER_FRONTEND_START_H
#define COMPOSER_FRONTEND_START_H

#include "err.h"

#include <stdint.h>
#include <sys/types.h>

struct frontend_type;

struct starter {
	pid_t pid; /* 0: there is none */
	int fd;
};

/*
 * Makes the process, which keeps no file of ours. Before there are threads and large buffers, which
 * a fork would have to copy. 0, or -1 with a message.
 */
int starter_open(struct starter *starter, const struct frontend_type *type, struct err *err);

/* Starts the device. 0 or more, or -errno as the driver gave it, or -ETIME: not within that time.
 */
int starter_run(struct starter *starter, uint32_t id, unsigned limit_ms);

/* Waits for the process' end, unless its command has not been answered. Fine on a zeroed one. */
void starter_close(struct starter *starter);

#endif
