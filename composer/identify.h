/* SPDX-License-Identifier: MIT */
/*
 * What a leaf holds that is not ours, as libblkid sees it: file systems, partition tables, members
 * of md, LVM and others, LUKS, swap.
 *
 * A leaf is blank when libblkid finds nothing and it has no label: as for mdadm and lvm2, it is the
 * known signatures that count, not zeroes. Main thread; blocks.
 */
#ifndef COMPOSER_IDENTIFY_H
#define COMPOSER_IDENTIFY_H

#include <stddef.h>
#include <stdint.h>

#define IDENTIFY_MAX 256

/*
 * 1 with a noun in `what` ("an ext4 file system labelled home"), 0 when it is blank (`what` is then
 * empty), or -errno. The file may be open with O_DIRECT; that is set aside meanwhile.
 */
int identify(int fd, uint64_t bytes, char *what, size_t size);

/*
 * Zeroes what belongs to us of a labelled leaf, LABEL_FRONT and LABEL_TAIL, durably: nothing is to
 * be found afterwards, neither there nor by identify(). 0, or -errno.
 */
int identify_wipe(int fd, uint64_t bytes);

#endif
