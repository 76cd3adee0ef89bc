/* SPDX-License-Identifier: MIT */
/*
 * What a process must be to serve a block device: not in need of memory that only its own device
 * could free, not the first that the kernel kills, not holding more rights than it uses. It knows
 * no device. Main thread, before other threads exist: they inherit all of it.
 */
#ifndef COMPOSER_PROCESS_H
#define COMPOSER_PROCESS_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* CAP_SYS_ADMIN: what drivers ask for. Without it ublk has devices of a lesser kind. */
bool process_may_administrate(void);

/*
 * A mount namespace of our own, for who may have one. A daemon that was the last process of somebody else's would, by its
 * end, unmount a file system that stands on its own device and wait for itself. Mounts that others
 * end are ended here too, so we pin none. 0, or -1 with a message.
 */
int process_isolate(struct err *err);

/*
 * Drops from our namespace what is mounted from `disk` ("/dev/ubdb0") or a partition of it: for a
 * daemon that takes over a disk in use. Where mounts are private, others' unmounting would not end
 * our copies, and we would keep our own disk in use. The users' own mounts stay.
 */
void process_leave_mounts(const char *disk);

/*
 * Whether so many bytes of memory are to be had, as asking for them all could end other processes.
 * 0, or -1 with a message.
 */
int process_check_memory(uint64_t bytes, struct err *err);

/*
 * Memory locked, allocations that don't wait for I/O on our own device, no limit on open files,
 * file size or locked memory. What the system denies goes to notes: the device works without.
 */
void process_harden(struct err *notes);

/*
 * Drops all capabilities but two: CAP_SYS_ADMIN, as the driver asks for it when the device is
 * stopped and removed, and CAP_DAC_OVERRIDE, to remove again what was made in others' directories.
 *
 * From here to process_protect() the OOM killer takes us first, as that is when all that a daemon
 * needs is allocated; afterwards never. That reads in all memory that was reserved, where it could be
 * locked: no request is the first to touch any.
 */
void process_drop_capabilities(struct err *notes);
void process_protect(void);

#endif
