// SPDX-License-Identifier: MIT
/* Who holds a disk, from /proc and /sys. It knows no device of ours: any disk will do. */
#include "holders.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTS_MAX 257 /* the disk and its partitions */
#define NAME_BYTES 64
#define PATH_TEXT 4096
#define HOLDERS_MAX 16 /* more are not told */

const struct holders_roots holders_roots_real = { "/proc", "/sys", "/dev" };

struct part {
	char name[NAME_BYTES];
	char numbers[NAME_BYTES]; /* "252:1" */
};

struct search {
	const struct holders_roots *roots;
	struct part parts[PARTS_MAX];
	unsigned part_count, found;
	struct err *err;
};

/* Into text of PATH_TEXT bytes; a longer path is cut and then leads nowhere. */
static __attribute__((format(printf, 2, 3))) void print_to(char *text, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, PATH_TEXT, format, arguments);
	va_end(arguments);
}

static void hold(struct search *search, const char *part, const char *how, const char *who)
{
	if (search->found++ < HOLDERS_MAX)
		err_add(search->err, "%s/%s %s %s", search->roots->dev, part, how, who);
}

/* A path's first line, without its newline; empty if there is none. */
static void read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");

	line[0] = '\0';
	if (!file)
		return;
	if (!fgets(line, (int)size, file))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	fclose(file);
}

/* Calls each() for every entry of a directory but those with a dot first. */
static void each_entry(struct search *search, const char *path, const void *context,
	void (*each)(struct search *search, const char *directory, const char *name,
		const void *context))
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	if (!directory)
		return; /* gone meanwhile, or not ours to read */
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			each(search, path, entry->d_name, context);
	closedir(directory);
}

static void add_part(struct search *search, const char *directory, const char *name)
{
	struct part *part = &search->parts[search->part_count];
	char path[PATH_TEXT];

	if (search->part_count == PARTS_MAX || strlen(name) >= NAME_BYTES)
		return;
	print_to(path, "%s/dev", directory);
	read_line(path, part->numbers, sizeof(part->numbers));
	if (!part->numbers[0])
		return;
	strcpy(part->name, name);
	search->part_count++;
}

/* Partitions are the disk's directories that have a file `partition`. */
static void maybe_part(
	struct search *search, const char *directory, const char *name, const void *context)
{
	char path[PATH_TEXT];

	(void)context;
	print_to(path, "%s/%s/partition", directory, name);
	if (access(path, F_OK) < 0)
		return;
	print_to(path, "%s/%s", directory, name);
	add_part(search, path, name);
}

/* Undoes \040 and the like, in place. */
static void unescape(char *text)
{
	char *to = text;

	while (*text) {
		unsigned code;

		if (text[0] == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
			*to++ = (char)code;
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
}

/* "dev/ubdb0" of a line's source, or its numbers: which part is meant; NULL: none. */
static const struct part *part_of(
	const struct search *search, const char *numbers, const char *source)
{
	size_t length = strlen(search->roots->dev);
	unsigned i;

	for (i = 0; i < search->part_count; i++) {
		const struct part *part = &search->parts[i];

		if (numbers && !strcmp(numbers, part->numbers))
			return part;
		if (source && !strncmp(source, search->roots->dev, length) &&
			source[length] == '/' && !strcmp(source + length + 1, part->name))
			return part;
	}
	return NULL;
}

/* One line of mountinfo: id parent MAJ:MIN root POINT options … - TYPE SOURCE … */
static bool mount_line(const struct search *search, char *line, const struct part **part,
	char **point, char **type)
{
	char *words[6], *rest = line, *dash = strstr(line, " - "), *source;
	unsigned i;

	if (!dash)
		return false;
	*dash = '\0';
	for (i = 0; i < 6 && (words[i] = strsep(&rest, " ")); i++)
		;
	if (i < 6)
		return false;
	rest = dash + 3;
	*type = strsep(&rest, " ");
	source = strsep(&rest, " ");
	*point = words[4];
	unescape(*point);
	*part = part_of(search, words[2], source);
	return *part != NULL;
}

/* `where` follows the mount's path in the message. How many were found. */
static unsigned find_mounts(struct search *search, const char *mountinfo, const char *where)
{
	FILE *file = fopen(mountinfo, "re");
	unsigned before = search->found;
	char *line = NULL, *point, *type;
	const struct part *part;
	size_t size = 0;

	if (!file)
		return 0;
	while (getline(&line, &size, file) > 0) {
		char *who;

		line[strcspn(line, "\n")] = '\0';
		if (!mount_line(search, line, &part, &point, &type))
			continue;
		if (asprintf(&who, "%s (%s)%s", point, type, where) < 0)
			abort();
		hold(search, part->name, "is mounted at", who);
		free(who);
	}
	free(line);
	fclose(file);
	return search->found - before;
}

static void find_swap(struct search *search)
{
	char path[PATH_TEXT], *line = NULL;
	size_t size = 0;
	FILE *file;

	print_to(path, "%s/swaps", search->roots->proc);
	file = fopen(path, "re");
	while (file && getline(&line, &size, file) > 0) {
		const struct part *part;

		line[strcspn(line, " \t\n")] = '\0';
		unescape(line);
		part = part_of(search, NULL, line);
		if (part)
			hold(search, part->name, "is in use", "as swap");
	}
	free(line);
	if (file)
		fclose(file);
}

/* A disk that stands on the part: dm and md have names of their own. */
static void holder_entry(
	struct search *search, const char *directory, const char *name, const void *context)
{
	const struct part *part = context;
	char path[PATH_TEXT], label[PATH_TEXT], who[PATH_TEXT];

	(void)directory;
	print_to(path, "%s/block/%s/dm/name", search->roots->sys, name);
	read_line(path, label, sizeof(label));
	if (label[0])
		print_to(who, "%s (device-mapper: %s)", name, label);
	else
		print_to(who, "%s", name);
	hold(search, part->name, "is used by", who);
}

static void find_stacked(struct search *search, const char *disk)
{
	char path[PATH_TEXT];
	unsigned i;

	for (i = 0; i < search->part_count; i++) {
		const struct part *part = &search->parts[i];

		print_to(path, "%s/block/%s%s%s/holders", search->roots->sys, disk, i ? "/" : "",
			i ? part->name : "");
		each_entry(search, path, part, holder_entry);
	}
}

static void loop_entry(
	struct search *search, const char *directory, const char *name, const void *context)
{
	const struct part *part;
	char path[PATH_TEXT], backing[PATH_TEXT];

	(void)context;
	if (strncmp(name, "loop", 4))
		return;
	print_to(path, "%s/%s/loop/backing_file", directory, name);
	read_line(path, backing, sizeof(backing));
	part = part_of(search, NULL, backing);
	if (part)
		hold(search, part->name, "is used by", name);
}

static void find_loops(struct search *search)
{
	char path[PATH_TEXT];

	print_to(path, "%s/block", search->roots->sys);
	each_entry(search, path, NULL, loop_entry);
}

struct process {
	const char *pid;
	bool told;
};

static void fd_entry(
	struct search *search, const char *directory, const char *name, const void *context)
{
	struct process *process = (struct process *)context;
	char path[PATH_TEXT], target[PATH_TEXT], command[64], who[PATH_TEXT];
	const struct part *part;
	ssize_t length;

	print_to(path, "%s/%s", directory, name);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0 || process->told)
		return;
	target[length] = '\0';
	part = part_of(search, NULL, target);
	if (!part)
		return;
	process->told = true;
	print_to(path, "%s/%s/comm", search->roots->proc, process->pid);
	read_line(path, command, sizeof(command));
	print_to(who, "process %s (%s)", process->pid, command);
	hold(search, part->name, "is open in", who);
}

static void process_entry(
	struct search *search, const char *directory, const char *name, const void *context)
{
	struct process process = { .pid = name };
	char path[PATH_TEXT];

	(void)context;
	if (!isdigit((unsigned char)name[0]) || strtol(name, NULL, 10) == getpid())
		return;
	print_to(path, "%s/%s/fd", directory, name);
	each_entry(search, path, &process, fd_entry);
}

/* Mounts in namespaces that are not ours, if nothing else explains who holds the disk. */
static void elsewhere_entry(
	struct search *search, const char *directory, const char *name, const void *context)
{
	char path[PATH_TEXT], where[PATH_TEXT];

	(void)context;
	if (!isdigit((unsigned char)name[0]) || search->found)
		return;
	print_to(path, "%s/%s/mountinfo", directory, name);
	print_to(where, " for process %s, in a mount namespace of its own", name);
	(void)find_mounts(search, path, where); /* counted in search->found */
}

unsigned holders_find(const struct holders_roots *roots, const char *disk, struct err *err)
{
	struct search *search = calloc(1, sizeof(*search));
	char path[PATH_TEXT];
	unsigned found;

	if (!search)
		abort();
	search->roots = roots;
	search->err = err;
	print_to(path, "%s/block/%s", roots->sys, disk);
	add_part(search, path, disk);
	each_entry(search, path, NULL, maybe_part);
	print_to(path, "%s/self/mountinfo", roots->proc);
	(void)find_mounts(search, path, ""); /* counted in search->found */
	find_swap(search);
	find_stacked(search, disk);
	find_loops(search);
	each_entry(search, roots->proc, NULL, process_entry);
	if (!search->found)
		each_entry(search, roots->proc, NULL, elsewhere_entry);
	found = search->found;
	free(search);
	return found;
}
