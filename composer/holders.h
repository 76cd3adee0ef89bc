/* SPDX-License-Identifier: MIT */
/*
 * Who holds a disk: mounts, swap, devices stacked on it, processes that have it open. For the
 * sentence by which `delete` refuses. Reads /proc and /sys; a moment later it may be otherwise, so
 * whoever must be sure also opens the disk exclusively.
 */
#ifndef COMPOSER_HOLDERS_H
#define COMPOSER_HOLDERS_H

#include "err.h"

/* Where /proc, /sys and /dev are; tests have their own. */
struct holders_roots {
	const char *proc, *sys, *dev;
};

extern const struct holders_roots holders_roots_real;

/* Adds a message for each holder of the disk ("ubdb0") or of one of its partitions; how many. */
unsigned holders_find(const struct holders_roots *roots, const char *disk, struct err *err);

#endif
