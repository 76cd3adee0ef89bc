// SPDX-License-Identifier: MIT
/* Who keeps a disk busy: mounts and the disks that stand on it. For one clause in a message. */
#include "leaf_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LINE_TEXT 4096
#define PATH_TEXT 512

/* Undoes the octal escapes of /proc/self/mountinfo: "\040" is a blank. */
static void unescape(char *text)
{
	char *out = text;
	unsigned byte;

	while (*text) {
		if (*text == '\\' && sscanf(text + 1, "%3o", &byte) == 1 && strlen(text) >= 4) {
			*out++ = (char)byte;
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

/* Whether `part` is the disk or one of its partitions. */
static bool is_within(dev_t part, dev_t disk)
{
	char name[PATH_TEXT], path[PATH_TEXT + 64];
	struct stat found;

	if (part == disk)
		return true;
	if (!sysfs_name(part, name, sizeof(name)))
		return false;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%.128s/partition", major(disk),
		minor(disk), name);
	return stat(path, &found) == 0;
}

static bool find_mount(dev_t disk, char *text, size_t size)
{
	char line[LINE_TEXT], where[LINE_TEXT];
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	bool found = false;

	while (mounts && !found && fgets(line, sizeof(line), mounts)) {
		unsigned major_number, minor_number;

		if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &major_number, &minor_number, where) !=
			3)
			continue;
		found = is_within(makedev(major_number, minor_number), disk);
	}
	if (mounts)
		fclose(mounts);
	if (found) {
		unescape(where);
		snprintf(text, size, "it is mounted on %s", where);
	}
	return found;
}

static bool find_swap(dev_t disk, char *text, size_t size)
{
	char line[LINE_TEXT], path[LINE_TEXT];
	FILE *swaps = fopen("/proc/swaps", "re");
	struct stat found_here;
	bool found = false;

	while (swaps && !found && fgets(line, sizeof(line), swaps)) {
		if (sscanf(line, "%4095s", path) != 1)
			continue;
		unescape(path);
		found = stat(path, &found_here) == 0 && S_ISBLK(found_here.st_mode) &&
			is_within(found_here.st_rdev, disk);
	}
	if (swaps)
		fclose(swaps);
	if (found)
		snprintf(text, size, "the system swaps to it");
	return found;
}

static bool find_disk_above(dev_t disk, char *text, size_t size)
{
	char path[PATH_TEXT];
	struct dirent *entry;
	bool found = false;
	DIR *holders;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(disk), minor(disk));
	holders = opendir(path);
	while (holders && !found && (entry = readdir(holders)))
		if (entry->d_name[0] != '.') {
			snprintf(text, size, "%s stands on it", entry->d_name);
			found = true;
		}
	if (holders)
		closedir(holders);
	return found;
}

void leaf_holder(dev_t disk, char *text, size_t size)
{
	if (!find_mount(disk, text, size) && !find_swap(disk, text, size) &&
		!find_disk_above(disk, text, size))
		snprintf(text, size, "a program has it for itself");
}
