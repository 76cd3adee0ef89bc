// SPDX-License-Identifier: MIT
/* What libblkid sees on a leaf, in words, and making it see nothing. It knows no label's content.
 */
#include "identify.h"

#include "label.h"
#include "leaf_io.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define AMBIVALENT (-2) /* blkid_do_safeprobe(): several signatures that exclude each other */

/* libblkid reads to where it likes: O_DIRECT would fail that. Returns the flags, or -errno. */
static int direct_off(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_DIRECT && fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0))
		return -errno;
	return flags;
}

/*
 * What was read meanwhile would stay in the page cache, where each direct write has to look for it:
 * some 300 instructions, and nobody will want it.
 */
static int direct_back(int fd, int flags)
{
	if (!(flags & O_DIRECT))
		return 0;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* a wish */
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static const char *value(blkid_probe probe, const char *name)
{
	const char *text;

	return blkid_probe_lookup_value(probe, name, &text, NULL) == 0 ? text : NULL;
}

/* "an ext4", "an xfs", "a vfat": as they are spoken. */
static const char *article(const char *word)
{
	static const char *const spelt[] = { "xfs", "ntfs", "f2fs", "hfs", "hpfs" };
	unsigned i;

	for (i = 0; i < sizeof(spelt) / sizeof(*spelt); i++)
		if (!strncmp(word, spelt[i], strlen(spelt[i])))
			return "an";
	return strchr("aeio", word[0]) ? "an" : "a";
}

static void describe(blkid_probe probe, char *what, size_t size)
{
	static const struct {
		const char *type, *words;
	} known[] = {
		{ "linux_raid_member", "a Linux RAID member" },
		{ "LVM2_member", "an LVM physical volume" },
		{ "LVM1_member", "an LVM physical volume" },
		{ "crypto_LUKS", "a LUKS volume" },
		{ "swap", "swap space" },
		{ "swsuspend", "a suspended system's image" },
	};
	const char *type = value(probe, "TYPE"), *label = value(probe, "LABEL");
	const char *table = value(probe, "PTTYPE"), *usage = value(probe, "USAGE");
	const char *words = NULL;
	unsigned i;
	int length;

	if (!type) {
		table = table ? table : "foreign";
		snprintf(what, size, "%s %s partition table",
			!strcmp(table, "gpt")	? "a"
			: !strcmp(table, "dos") ? "an"
						: article(table),
			!strcmp(table, "gpt")	? "GPT"
			: !strcmp(table, "dos") ? "MBR"
						: table);
		return;
	}
	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(type, known[i].type))
			words = known[i].words;
	if (words)
		length = snprintf(what, size, "%s", words);
	else if (usage && !strcmp(usage, "filesystem"))
		length = snprintf(what, size, "%s %s file system", article(type), type);
	else
		length = snprintf(what, size, "%s %s volume", article(type), type);
	if (label && *label && length > 0 && (size_t)length < size)
		snprintf(what + length, size - (size_t)length, " labelled %s", label);
}

static int probe_open_file(int fd, uint64_t bytes, char *what, size_t size)
{
	blkid_probe probe = blkid_new_probe();
	int result;

	if (!probe)
		return -ENOMEM;
	errno = 0;
	if (blkid_probe_set_device(probe, fd, 0, (blkid_loff_t)bytes) < 0)
		goto fail;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(
		probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL);
	blkid_probe_enable_partitions(probe, 1);
	result = blkid_do_safeprobe(probe);
	if (result == AMBIVALENT)
		snprintf(what, size, "several signatures that contradict each other");
	else if (result < 0)
		goto fail;
	else if (result == 0)
		describe(probe, what, size);
	blkid_free_probe(probe);
	return result == 1 ? 0 : 1; /* libblkid's 1 is "nothing found" */
fail:
	blkid_free_probe(probe);
	return errno ? -errno : -EIO;
}

int identify(int fd, uint64_t bytes, char *what, size_t size)
{
	int flags, result, back;

	*what = '\0';
	if (bytes == 0)
		return 0;
	flags = direct_off(fd);
	if (flags < 0)
		return flags;
	result = probe_open_file(fd, bytes, what, size);
	back = direct_back(fd, flags);
	return back < 0 ? back : result;
}

int identify_wipe(int fd, uint64_t bytes)
{
	uint64_t front = bytes < LABEL_FRONT ? bytes : LABEL_FRONT;
	uint64_t tail = bytes - front < LABEL_TAIL ? bytes - front : LABEL_TAIL;
	int flags = direct_off(fd), result, back;

	if (flags < 0)
		return flags;
	result = leaf_io_zero(fd, tail, bytes - tail);
	if (result == 0)
		result = leaf_io_zero(fd, front, 0);
	if (result == 0)
		result = leaf_io_flush(fd);
	back = direct_back(fd, flags);
	return result < 0 ? result : back;
}
