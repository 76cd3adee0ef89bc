// SPDX-License-Identifier: MIT
/*
 * Simulated leaves: a file in memory is what is read; beside it stands what is durable, and a list
 * of writes that are not yet. A power cut keeps, drops or tears each of them.
 *
 * Also in place of composer/leaf_io.c, uuid_generate() and fdatasync(), so that assembly and labels
 * meet the same leaves, crash in the middle of their writes, and depend on nothing but the seed.
 */
#include "sim.h"

#include "leaf_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOUCHED_MAX ((size_t)256 << 10)
#define PAGE 4096u

struct unflushed {
	struct unflushed *next;
	uint64_t number; /* of image->writes */
	uint64_t offset, length; /* whole sectors */
	bool is_lost; /* a flush has failed since: no later one makes it durable */
	char data[]; /* the bytes, then for each sector whether it still counts */
};

static struct image images[IMAGES_MAX];
static unsigned image_count;
uint64_t images_budget = FOREVER;

static char *map(int fd, size_t bytes)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (memory == MAP_FAILED)
		sim_fail("no memory for an image of %zu bytes", bytes);
	return memory;
}

/* What the file already holds is durable, and was written once: somebody has made it so (flatten.c). */
static void take_contents(struct image *image, int fd)
{
	off_t begin, end = 0;

	while ((begin = lseek(fd, end, SEEK_DATA)) >= 0 && (size_t)begin < image->bytes) {
		end = lseek(fd, begin, SEEK_HOLE);
		if (end <= begin || (size_t)end > image->bytes)
			end = (off_t)image->bytes;
		memcpy(image->durable + begin, image->view + begin, (size_t)(end - begin));
		memset(image->touched + (size_t)begin / PAGE, true, (size_t)(end - 1) / PAGE - (size_t)begin / PAGE + 1);
	}
}

/* By a description of our own: a mapping would keep the leaf's, and its lock, alive. */
static void map_file(struct image *image, int fd)
{
	char path[64];
	int own;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDWR | O_CLOEXEC);
	if (own < 0)
		sim_fail("%s: %s", path, strerror(errno));
	image->view = map(own, image->bytes);
	take_contents(image, own);
	close(own);
}

struct image *image_of_fd(int fd)
{
	struct stat status;
	struct image *image;
	unsigned i;

	if (fstat(fd, &status) < 0)
		sim_fail("fstat: %s", strerror(errno));
	for (i = 0; i < image_count; i++)
		if (images[i].inode == status.st_ino)
			return &images[i];
	if (image_count == IMAGES_MAX)
		sim_fail("more than %d images", IMAGES_MAX);
	image = &images[image_count++];
	*image = (struct image){ .inode = status.st_ino, .bytes = (size_t)status.st_size };
	image->durable = map(-1, image->bytes);
	image->touched = calloc(image->bytes / PAGE + 1, sizeof(*image->touched));
	if (!image->touched)
		sim_fail("out of memory");
	map_file(image, fd);
	lie_prepare(image);
	return image;
}

unsigned image_number(const struct image *image)
{
	return (unsigned)(image - images);
}

struct image *image_of_view(const char *view)
{
	unsigned i;

	for (i = 0; i < image_count; i++)
		if (view >= images[i].view && view < images[i].view + images[i].bytes)
			return &images[i];
	return NULL;
}

static bool *counts(struct unflushed *write)
{
	return (bool *)(write->data + write->length);
}

/* Notes what the sectors of the range now hold as not durable. */
static void remember(struct image *image, uint64_t offset, uint64_t length)
{
	uint64_t first = offset / SECTOR * SECTOR;
	uint64_t end = (offset + length + SECTOR - 1) / SECTOR * SECTOR;
	struct unflushed *write = malloc(sizeof(*write) + (end - first) + (end - first) / SECTOR);

	if (!write)
		sim_fail("out of memory");
	*write = (struct unflushed){
		.number = ++image->writes,
		.offset = first,
		.length = end - first,
	};
	if (end > first)
		memset(image->touched + first / PAGE, true, (end - 1) / PAGE - first / PAGE + 1);
	memcpy(write->data, image->view + first, end - first);
	memset(counts(write), true, (end - first) / SECTOR);
	if (image->last)
		image->last->next = write;
	else
		image->first = write;
	image->last = write;
}

static void check_range(const struct image *image, uint64_t offset, uint64_t length)
{
	if (offset > image->bytes || length > image->bytes - offset)
		sim_fail("a leaf of %zu bytes is asked for %llu at %llu", image->bytes,
			(unsigned long long)length, (unsigned long long)offset);
}

void image_write(struct image *image, uint64_t offset, const void *data, uint64_t length)
{
	check_range(image, offset, length);
	memcpy(image->view + offset, data, length);
	remember(image, offset, length);
}

void image_zero(struct image *image, uint64_t offset, uint64_t length)
{
	check_range(image, offset, length);
	memset(image->view + offset, 0, length);
	remember(image, offset, length);
}

/* What was written to the range before `end` in the list can't come back over what is durable
 * there. */
static void outdate(
	struct image *image, const struct unflushed *end, uint64_t offset, uint64_t length)
{
	struct unflushed *write;
	uint64_t at;

	for (write = image->first; write != end; write = write->next)
		for (at = 0; at < write->length; at += SECTOR)
			if (write->offset + at >= offset && write->offset + at < offset + length)
				counts(write)[at / SECTOR] = false;
}

void image_persist(struct image *image, uint64_t offset, uint64_t length)
{
	check_range(image, offset, length);
	memcpy(image->durable + offset, image->view + offset, length);
	outdate(image, NULL, offset, length);
}

static void settle(struct image *image, struct unflushed *write, bool whole, bool torn)
{
	uint64_t at;

	for (at = 0; at < write->length; at += SECTOR)
		if (counts(write)[at / SECTOR] && (whole || (torn && random_below(2))))
			memcpy(image->durable + write->offset + at, write->data + at, SECTOR);
}

static void drop_all(struct image *image, bool restore)
{
	struct unflushed *write, *next;

	for (write = image->first; write; write = write->next)
		if (restore)
			memcpy(image->view + write->offset, image->durable + write->offset,
				write->length);
	for (write = image->first; write; write = next) {
		next = write->next;
		free(write);
	}
	image->first = image->last = NULL;
}

void image_flush(struct image *image, uint64_t writes)
{
	struct unflushed *write, **link = &image->first;

	image->last = NULL;
	while ((write = *link)) {
		if (write->is_lost || write->number > writes) {
			image->last = write;
			link = &write->next;
			continue;
		}
		settle(image, write, true, false);
		outdate(image, write, write->offset, write->length);
		*link = write->next;
		free(write);
	}
}

void image_lose_flush(struct image *image)
{
	struct unflushed *write;

	for (write = image->first; write; write = write->next)
		write->is_lost = true;
}

void image_doubt(struct image *image)
{
	const struct unflushed *write;

	for (write = image->first; write; write = write->next)
		lie_doubt(image, write->offset, write->length);
}

/* Both ways between the leaf and what was saved of it, where anything was ever written. */
static void copy_all(const struct image *image, char *to, const char *from)
{
	uint64_t n;

	for (n = 0; n * PAGE < image->bytes; n++)
		if (image->touched[n])
			memcpy(to + n * PAGE, from + n * PAGE,
				image->bytes - n * PAGE < PAGE ? image->bytes - n * PAGE : PAGE);
}

void image_save(struct image *image)
{
	if (!image->saved)
		image->saved = map(-1, image->bytes);
	copy_all(image, image->saved, image->view);
}

void image_restore(struct image *image)
{
	drop_all(image, false);
	copy_all(image, image->view, image->saved);
	copy_all(image, image->durable, image->saved);
	lie_return(image);
}

void image_blank(struct image *image)
{
	drop_all(image, false);
	memset(image->view, 0, image->bytes);
	memset(image->durable, 0, image->bytes);
	if (image->marks)
		memset(image->marks, 0, image->bytes / SECTOR + 1);
}

void images_cut(void)
{
	unsigned i;

	for (i = 0; i < image_count; i++) {
		struct unflushed *write;

		for (write = images[i].first; write; write = write->next) {
			unsigned fate = random_below(3);

			settle(&images[i], write, fate == 0, fate == 1);
		}
		drop_all(&images[i], true);
		lie_return(&images[i]);
	}
}

static void forget(struct image *image)
{
	drop_all(image, false);
	free(image->marks);
	free(image->touched);
	(void)munmap(image->view, image->bytes);
	(void)munmap(image->durable, image->bytes);
	if (image->saved)
		(void)munmap(image->saved, image->bytes);
}

void image_forget(int fd)
{
	struct image *image = image_of_fd(fd);

	forget(image);
	*image = images[--image_count];
}

void images_forget(void)
{
	while (image_count)
		forget(&images[--image_count]);
}

void images_forget_gone(void)
{
	struct stat status;
	char path[300];
	unsigned i, place;

	for (i = image_count; i-- > 0;) {
		bool is_there = false;

		for (place = 0; place < life.document.leaf_count; place++) {
			meddle_path(place, "", path);
			is_there |= stat(path, &status) == 0 && status.st_ino == images[i].inode;
		}
		if (is_there)
			continue;
		forget(&images[i]);
		images[i] = images[--image_count];
	}
}

/* False: the power has gone meanwhile. */
static bool spend(void)
{
	if (images_budget == 0)
		return false;
	if (images_budget != FOREVER)
		images_budget--;
	return true;
}

/* Zeroed as far as any label of ours goes: touching megabytes would be most of a start's time. */
void *leaf_io_memory(size_t size)
{
	void *memory;

	if (posix_memalign(&memory, LABEL_BLOCK, size) != 0)
		return NULL;
	return memset(memory, 0, size < TOUCHED_MAX ? size : TOUCHED_MAX);
}

int leaf_io_read(int fd, void *memory, size_t length, uint64_t offset)
{
	struct image *image = image_of_fd(fd);

	if (offset > image->bytes || length > image->bytes - offset ||
		fault_strikes(image, FAULT_READ, offset, NULL, length))
		return -EIO;
	memcpy(memory, image->view + offset, length);
	return 0;
}

int leaf_io_read_end(int fd, void *memory, size_t length, uint64_t offset)
{
	return leaf_io_read(fd, memory, length, offset); /* files have whole blocks here */
}

int leaf_io_write(int fd, const void *memory, size_t length, uint64_t offset)
{
	struct image *image = image_of_fd(fd);

	if (images_budget == 1) { /* the write during which the power goes: any part of it */
		images_budget = 0;
		image_write(image, offset, memory, length);
		return -EIO;
	}
	if (!spend() || fault_strikes(image, FAULT_WRITE, offset, memory, length))
		return -EIO;
	if (lie_main(image, offset, length))
		return 0;
	image_write(image, offset, memory, length);
	lie_written(image, offset, NULL, length);
	return 0;
}

int leaf_io_zero(int fd, uint64_t length, uint64_t offset)
{
	if (!spend() || fault_strikes(image_of_fd(fd), FAULT_WRITE, offset, NULL, length))
		return -EIO;
	image_zero(image_of_fd(fd), offset, length);
	lie_written(image_of_fd(fd), offset, NULL, length);
	return 0;
}

int leaf_io_punch(int fd, uint64_t length, uint64_t offset)
{
	return leaf_io_zero(fd, length, offset);
}

int leaf_io_flush(int fd)
{
	if (!spend() || fault_strikes(image_of_fd(fd), FAULT_FLUSH, 0, NULL, 0))
		return -EIO;
	image_flush(image_of_fd(fd), FOREVER);
	return 0;
}

int fdatasync(int fd)
{
	if (leaf_io_flush(fd) == 0)
		return 0;
	errno = EIO;
	return -1;
}

void uuid_generate(uuid_t out)
{
	unsigned i;

	for (i = 0; i < sizeof(uuid_t); i++)
		out[i] = (unsigned char)random_below(256);
}
