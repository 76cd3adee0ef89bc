// SPDX-License-Identifier: MIT
/* The overlays that starts leave: two files each, kept apart by their starts until they are judged. */
#include "sim.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	char now[300], before[300]; /* directories: of this start's overlays, and of earlier ones' */
	unsigned earlier; /* overlays that stand in the latter */
} saved;

static void earlier_paths(unsigned number, char overlay[600], char map[600])
{
	(void)snprintf(overlay, 600, "%s/%u.overlay", saved.before, number);
	(void)snprintf(map, 600, "%s/%u.json", saved.before, number);
}

/* Where the two files of some overlay of this start stand. False: there is none, or no more. */
static bool find_files(char overlay[600], char map[600])
{
	DIR *open = opendir(saved.now);
	struct dirent *entry;
	const char *dot = NULL;

	while (open && !dot && (entry = readdir(open))) {
		dot = strrchr(entry->d_name, '.');
		if (entry->d_name[0] == '.' || strcmp(dot, ".json") != 0) {
			dot = NULL;
			continue;
		}
		(void)snprintf(map, 600, "%s/%s", saved.now, entry->d_name);
		(void)snprintf(overlay, 600, "%s/%.*s.overlay", saved.now,
			(int)(dot - entry->d_name), entry->d_name);
	}
	if (open)
		closedir(open);
	return dot;
}

/* Those of a start are moved away before the next one, which would refuse to replace them. */
static void keep_files(void)
{
	char from[2][600], to[2][600];

	while (find_files(from[0], from[1])) {
		earlier_paths(saved.earlier++, to[0], to[1]);
		if (rename(from[0], to[0]) < 0 || rename(from[1], to[1]) < 0)
			sim_fail("%s: %s", from[0], strerror(errno));
	}
}

const char *saved_directory(void)
{
	(void)snprintf(saved.now, sizeof(saved.now), "%s/saved", sim_directory);
	(void)snprintf(saved.before, sizeof(saved.before), "%s/saved-before", sim_directory);
	(void)mkdir(saved.now, 0700); /* or they are there */
	(void)mkdir(saved.before, 0700);
	keep_files();
	return saved.now;
}

bool saved_paths(unsigned number, char overlay[600], char map[600])
{
	earlier_paths(number, overlay, map);
	return number < saved.earlier;
}

void saved_remove(void)
{
	char paths[2][600];

	if (!*saved.now)
		return;
	keep_files();
	while (saved.earlier) {
		earlier_paths(--saved.earlier, paths[0], paths[1]);
		(void)unlink(paths[0]);
		(void)unlink(paths[1]);
	}
	(void)rmdir(saved.now); /* if there are any */
	(void)rmdir(saved.before);
}
