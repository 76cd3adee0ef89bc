// SPDX-License-Identifier: MIT
/*
 * The judge of a log (log.h): judge DIRECTORY DISKS SECTORS SEED FIRST STEP PROGRAM
 *
 * For the FIRST entry of DIRECTORY/log and each STEPth after it, it makes the legs as a power cut
 * right there may leave them, twice: with all that had been written by then, and with a random
 * choice of what had not been flushed, torn at sectors, for each leg by itself. On each it runs
 * PROGRAM's replay with DIRECTORY/tree.json (in a directory of its own), which must start, read
 * everything and stop; each sector must hold a version that was not older than the last one known
 * to be durable. Where DIRECTORY/check is, a shell runs that on the legs first, and must agree. Every
 * fourth time it does so again: what was read once must be read again.
 *
 * SECTORS is the size of the device, SEED the load's. Exit status 1 and a report when something is
 * violated; what the point consists of stays in the directory that it names.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISKS_MAX = 32, CHUNK = 65536, AGAIN_EVERY = 4 };

struct disk {
	uint64_t size;
	char *flushed; /* what is certain */
	char *view;    /* with all that was written */
	const struct log_entry **pending; /* since the last flush, in order */
	unsigned pending_count, pending_room;
};

static struct disk disks[DISKS_MAX];
static unsigned disk_count; /* without the notebook */
static uint64_t sectors, seed, random_state;
static struct notebook known;
static uint64_t *floors; /* by sector: the last version known to be durable; 0: none */
static uint64_t floors_done; /* versions up to this are in floors */
static uint64_t *zeroes; /* by sector: the last version that zeroes it, of those submitted */
static uint64_t zeroes_done;
static const char *directory, *program;
static char point_directory[4096];
static unsigned long points, violations;
static bool is_checked; /* the tree has a check of its own, for the legs as the crash has left them */

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("judge: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(2);
}

static void *allocated(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		die("no memory for %zu bytes", size);
	return memory;
}

static uint64_t random_below(uint64_t bound)
{
	random_state += UINT64_C(0x9e3779b97f4a7c15);
	return mixed(random_state) % bound;
}

static const char *entry_bytes(const struct log_entry *entry)
{
	return (const char *)(entry + 1);
}

static const struct log_entry *entry_next(const struct log_entry *entry)
{
	uint64_t length = entry->kind == LOG_WRITE ? entry->length : 0;

	return (const struct log_entry *)(entry_bytes(entry) + length);
}

/* What a trimmed range holds is up to the disk: ours read as zeroes. */
static void entry_apply(const struct log_entry *entry, char *image, uint64_t skip, uint64_t length)
{
	if (entry->kind == LOG_WRITE)
		memcpy(image + entry->offset + skip, entry_bytes(entry) + skip, length);
	else
		memset(image + entry->offset + skip, 0, length);
}

static void disk_flush(struct disk *disk)
{
	unsigned i;

	for (i = 0; i < disk->pending_count; i++)
		entry_apply(disk->pending[i], disk->flushed, 0, disk->pending[i]->length);
	disk->pending_count = 0;
}

static void disk_write(struct disk *disk, const struct log_entry *entry)
{
	if (entry->offset + entry->length > disk->size)
		die("an entry ends beyond its disk");
	entry_apply(entry, disk->view, 0, entry->length);
	if (disk->pending_count == disk->pending_room) {
		disk->pending_room = disk->pending_room * 2 + 64;
		disk->pending = realloc(disk->pending, disk->pending_room * sizeof(*disk->pending));
		if (!disk->pending)
			die("out of memory");
	}
	disk->pending[disk->pending_count++] = entry;
}

static void floor_raise(uint64_t number)
{
	struct version version = version_of(seed, number, sectors);
	uint64_t i;

	for (i = version.first; i < version.first + version.count; i++)
		if (floors[i] < number)
			floors[i] = number;
}

static void notebook_read(const struct log_entry *entry)
{
	if (entry->kind != LOG_WRITE || entry->length < sizeof(known))
		return;
	memcpy(&known, entry_bytes(entry), sizeof(known));
	if (known.magic != NOTEBOOK_MAGIC)
		die("a page of the notebook can't be read");
	while (floors_done < known.durable)
		floor_raise(++floors_done);
	if (known.alone)
		floor_raise(known.alone);
	for (; zeroes_done < known.submitted; zeroes_done++) {
		struct version version = version_of(seed, zeroes_done + 1, sectors);
		uint64_t i;

		for (i = version.first; version.zeroes && i < version.first + version.count; i++)
			zeroes[i] = zeroes_done + 1;
	}
}

/* A choice of what was not flushed, in order: each is there, lost, or there in some sectors. */
static void disk_lose(const struct disk *disk, char *image)
{
	unsigned i;
	uint64_t at;

	memcpy(image, disk->flushed, disk->size);
	for (i = 0; i < disk->pending_count; i++) {
		const struct log_entry *entry = disk->pending[i];
		uint64_t fate = random_below(4);

		if (entry->flags & LOG_FUA || fate < 2)
			entry_apply(entry, image, 0, entry->length);
		for (at = 0; !(entry->flags & LOG_FUA) && fate == 2 && at < entry->length;
			at += SECTOR)
			if (random_below(2))
				entry_apply(entry, image, at, SECTOR);
	}
}

static void image_write(unsigned place, const char *image)
{
	static const char nothing[CHUNK];
	const struct disk *disk = &disks[place];
	char path[4200];
	uint64_t at;
	int fd;

	snprintf(path, sizeof(path), "%s/leg%u.img", point_directory, place);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)disk->size) < 0)
		die("%s: %s", path, strerror(errno));
	for (at = 0; at < disk->size; at += CHUNK) {
		uint64_t length = disk->size - at < CHUNK ? disk->size - at : CHUNK;

		if (memcmp(image + at, nothing, length) != 0 &&
			pwrite(fd, image + at, length, (off_t)at) != (ssize_t)length)
			die("%s: %s", path, strerror(errno));
	}
	close(fd);
}

/* Runs words in the point's directory. Their status; what was said is in `said` there. */
static int words_run(const char *const *words)
{
	pid_t child = fork();
	int status = -1, fd;

	if (child == 0) {
		if (chdir(point_directory) < 0)
			_exit(126);
		fd = open("said", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			_exit(126);
		alarm(60);
		execvp(words[0], (char *const *)words);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		die("fork: %s", strerror(errno));
	return status;
}

static int program_run(const char *script)
{
	return words_run((const char *const[]){ program, "replay", "tree.json", script, NULL });
}

static void __attribute__((format(printf, 1, 2))) violated(const char *format, ...)
{
	char command[4300];
	va_list arguments;

	violations++;
	va_start(arguments, format);
	printf("violated at point %lu: ", points);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n  the legs are in %s; what the program said:\n", point_directory);
	fflush(stdout);
	snprintf(command, sizeof(command), "tail -n 5 '%s/said' | sed 's/^/  /'", point_directory);
	if (system(command) != 0)
		puts("  nothing");
	exit(1);
}

static char *content_map(const char *name)
{
	char path[4200];
	char *content;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", point_directory, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	content = mmap(NULL, sectors * SECTOR, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (content == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	return content;
}

static void sector_judge(const char *content, uint64_t sector)
{
	static const char nothing[SECTOR];
	char expected[SECTOR];
	struct version version;
	struct stamp stamped;

	memcpy(&stamped, content, sizeof(stamped));
	if (memcmp(content, nothing, SECTOR) == 0) {
		if (floors[sector] > 0 && zeroes[sector] < floors[sector])
			violated("sector %llu is zeroes, but version %llu is durable",
				(unsigned long long)sector, (unsigned long long)floors[sector]);
		return;
	}
	if (stamped.magic != STAMP_MAGIC || stamped.version == 0 ||
		stamped.version > known.submitted)
		violated("sector %llu holds what was never written",
			(unsigned long long)sector);
	stamp(expected, sector, stamped.version);
	version = version_of(seed, stamped.version, sectors);
	if (memcmp(content, expected, SECTOR) != 0 || version.zeroes || sector < version.first ||
		sector >= version.first + version.count)
		violated("sector %llu holds what was never written there",
			(unsigned long long)sector);
	if (stamped.version < floors[sector])
		violated("sector %llu holds version %llu, but %llu is durable",
			(unsigned long long)sector, (unsigned long long)stamped.version,
			(unsigned long long)floors[sector]);
}

static void point_judge(void)
{
	char *content, *again;
	uint64_t i;

	points++;
	if (is_checked && words_run((const char *const[]){ "sh", "check", NULL }) != 0)
		violated("the check of the bare legs failed");
	if (program_run("script") != 0)
		violated("the program failed");
	content = content_map("content");
	for (i = 0; i < sectors; i++)
		sector_judge(content + i * SECTOR, i);
	if (points % AGAIN_EVERY == 0) {
		if (program_run("script-again") != 0)
			violated("the program failed when it was started again");
		again = content_map("again");
		for (i = 0; i < sectors; i++)
			if (memcmp(content + i * SECTOR, again + i * SECTOR, SECTOR) != 0)
				violated("sector %llu is read differently the second time",
					(unsigned long long)i);
		munmap(again, sectors * SECTOR);
	}
	munmap(content, sectors * SECTOR);
}

static void point_visit(void)
{
	char *image = NULL;
	unsigned i, lossy;

	for (lossy = 0; lossy < 2; lossy++) {
		for (i = 0; i < disk_count; i++) {
			if (!lossy) {
				image_write(i, disks[i].view);
				continue;
			}
			image = allocated(disks[i].size);
			disk_lose(&disks[i], image);
			image_write(i, image);
			free(image);
		}
		point_judge();
	}
}

static void file_write(const char *name, const char *text)
{
	char path[4200];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", point_directory, name);
	file = fopen(path, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0)
		die("%s: %s", path, strerror(errno));
}

static void prepare(uint64_t first)
{
	char text[9000], path[4200];
	struct stat status;
	unsigned i;

	snprintf(point_directory, sizeof(point_directory), "%s/point%llu", directory,
		(unsigned long long)first);
	if (mkdir(point_directory, 0700) < 0 && errno != EEXIST)
		die("%s: %s", point_directory, strerror(errno));
	snprintf(text, sizeof(text), "save 0 %llu content\n",
		(unsigned long long)(sectors * SECTOR));
	file_write("script", text);
	snprintf(text, sizeof(text), "save 0 %llu again\n", (unsigned long long)(sectors * SECTOR));
	file_write("script-again", text);
	snprintf(path, sizeof(path), "%s/check", directory);
	is_checked = access(path, R_OK) == 0;
	snprintf(text, sizeof(text), "cp '%s/tree.json' %s%s%s '%s/'", directory,
		is_checked ? "'" : "", is_checked ? path : "", is_checked ? "'" : "",
		point_directory);
	if (system(text) != 0)
		die("%s/tree.json can't be copied", directory);
	for (i = 0; i < disk_count; i++) {
		snprintf(path, sizeof(path), "%s/leg%u.img", directory, i);
		if (stat(path, &status) < 0)
			die("%s: %s", path, strerror(errno));
		disks[i].size = (uint64_t)status.st_size;
		disks[i].flushed = allocated(disks[i].size);
		disks[i].view = allocated(disks[i].size);
	}
	floors = allocated(sectors * sizeof(*floors));
	zeroes = allocated(sectors * sizeof(*zeroes));
}

static void log_judge(const char *log, uint64_t size, uint64_t first, uint64_t step)
{
	const struct log_entry *entry = (const void *)log, *end = (const void *)(log + size);
	uint64_t number = 0;

	for (; entry < end && entry_next(entry) <= end; entry = entry_next(entry)) {
		if (entry->disk == disk_count) {
			notebook_read(entry);
			continue;
		}
		if (entry->kind == LOG_FLUSH)
			disk_flush(&disks[entry->disk]);
		else
			disk_write(&disks[entry->disk], entry);
		if (number++ % step == first)
			point_visit();
	}
	printf("%lu points of %llu log entries judged\n", points, (unsigned long long)number);
}

int main(int count, char **words)
{
	char path[4200];
	struct stat status;
	const char *log;
	int fd;

	if (count != 8)
		die("usage: judge DIRECTORY DISKS SECTORS SEED FIRST STEP PROGRAM");
	directory = words[1];
	disk_count = (unsigned)strtoul(words[2], NULL, 0);
	sectors = strtoull(words[3], NULL, 0);
	seed = strtoull(words[4], NULL, 0);
	program = words[7];
	random_state = seed + strtoull(words[5], NULL, 0);
	if (disk_count == 0 || disk_count >= DISKS_MAX || sectors == 0)
		die("DISKS or SECTORS is out of range");
	snprintf(path, sizeof(path), "%s/log", directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		die("%s: %s", path, strerror(errno));
	log = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (log == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	prepare(strtoull(words[5], NULL, 0));
	log_judge(log, (uint64_t)status.st_size, strtoull(words[5], NULL, 0),
		strtoull(words[6], NULL, 0));
	return violations ? 1 : 0;
}
