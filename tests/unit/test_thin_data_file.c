// SPDX-License-Identifier: MIT
/*
 * thin with an external data file: whatever write is the last that the power lets through, and whichever of
 * those before it that were not flushed are lost, each block reads as it was at the last flush or as it was
 * written since; and where the data file is raw it alone reads as the device, at each of these points.
 */
#include "scene.h"

#include "child_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS 256u
#define SIZE (BLOCKS * BLOCK)
#define CLUSTER (64u << 10)
#define UNFLUSHED_MAX 512

enum loss { LOSE_NOTHING, LOSE_ALL, LOSE_DATA, LOSE_MAP, LOSE_EVERY_SECOND, LOSSES };

static struct {
	ino_t inode;
	off_t offset;
	size_t length;
	char *before;
} unflushed[UNFLUSHED_MAX];
static unsigned unflushed_count;
static int writes_left = -1; /* -1: the power stays */
static enum loss loss;

static ino_t inode_of(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return status.st_ino;
}

static ino_t inode_at(const char *name)
{
	struct stat status;

	assert_int_equal(stat(scene_path(name), &status), 0);
	return status.st_ino;
}

static bool is_lost(unsigned i)
{
	switch (loss) {
	case LOSE_NOTHING:
		return false;
	case LOSE_ALL:
		return true;
	case LOSE_DATA:
		return unflushed[i].inode == inode_at("disk");
	case LOSE_MAP:
		return unflushed[i].inode != inode_at("disk");
	default:
		return i % 2;
	}
}

/* The last write has come through, and of those before it only what was flushed and what is not lost. */
static void cut(void)
{
	unsigned i;

	for (i = unflushed_count; i-- > 0;) {
		int fd = open(scene_path(unflushed[i].inode == inode_at("disk") ? "disk" : "image"), O_RDWR | O_CLOEXEC);

		assert_int_equal(inode_of(fd), unflushed[i].inode);
		if (i + 1 < unflushed_count && is_lost(i)) /* of the same bytes later ones are lost with it */
			assert_true(syscall(SYS_pwrite64, fd, unflushed[i].before, unflushed[i].length,
					    unflushed[i].offset) >= 0);
		close(fd);
		free(unflushed[i].before);
	}
	unflushed_count = 0;
}

/* The power stays from here on; what a daemon's death leaves is all that it wrote. */
static void restore(void)
{
	writes_left = -1;
	while (unflushed_count > 0)
		free(unflushed[--unflushed_count].before);
}

/* False: there is no power. */
static bool remember(int fd, size_t length, off_t offset)
{
	if (writes_left == 0) {
		errno = EIO;
		return false;
	}
	if (writes_left < 0)
		return true;
	assert_true(unflushed_count < UNFLUSHED_MAX);
	unflushed[unflushed_count].inode = inode_of(fd);
	unflushed[unflushed_count].offset = offset;
	unflushed[unflushed_count].length = length;
	unflushed[unflushed_count].before = calloc(1, length);
	assert_true(pread(fd, unflushed[unflushed_count++].before, length, offset) >= 0);
	return true;
}

static void written(void)
{
	if (writes_left > 0 && --writes_left == 0)
		cut();
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	ssize_t result;

	if (!remember(fd, length, offset))
		return -1;
	result = syscall(SYS_pwrite64, fd, bytes, length, offset);
	written();
	return result;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	int result;

	if (!remember(fd, (size_t)length, offset))
		return -1;
	result = (int)syscall(SYS_fallocate, fd, mode, offset, length);
	written();
	return result;
}

int fdatasync(int fd)
{
	unsigned i, kept = 0;

	if (writes_left == 0) {
		errno = EIO;
		return -1;
	}
	for (i = 0; i < unflushed_count; i++)
		if (unflushed[i].inode == inode_of(fd))
			free(unflushed[i].before);
		else
			unflushed[kept++] = unflushed[i];
	unflushed_count = kept;
	return 0;
}

int fsync(int fd)
{
	return fdatasync(fd);
}

/* What a block may read as, by bit of the letter; and what it does as far as anybody was told. */
static uint32_t may[BLOCKS], told[BLOCKS], settled[BLOCKS];
static unsigned char device[SIZE];

static bool start(void)
{
	struct err err = { 0 };
	int result;

	if (!scene_start((struct assemble_options){ 0 }))
		return false;
	result = tree_load(scene_assembled(), &err);
	err_finish(&err);
	scene_assembled()->child_io = CHILD_IO_FULL;
	return result == 0;
}

static void stop(void)
{
	assert_int_equal(tree_unload(scene_assembled(), &(struct err){ 0 }), 0);
	scene_stop();
}

static uint32_t bit(char letter)
{
	return letter ? 2u << (letter - 'a') : 1;
}

/* As the last flush, or start, left it. */
static void settle(void)
{
	memcpy(may, told, sizeof(may));
	memcpy(settled, told, sizeof(settled));
}

enum kind { END, WRITE, ZERO, DISCARD, FLUSH };

static const struct step {
	enum kind kind;
	unsigned first, count; /* blocks */
	char letter;
} life[] = {
	{ WRITE, 1, 1, 'a' }, /* a first write, small */
	{ WRITE, 14, 20, 'b' }, /* across clusters */
	{ FLUSH, 0, 0, 0 },
	{ WRITE, 16, 4, 'c' }, /* in place */
	{ ZERO, 16, 16, 0 },
	{ WRITE, 17, 1, 'd' }, /* over what was zeroed, which no flush has followed */
	{ DISCARD, 0, 32, 0 },
	{ WRITE, 18, 2, 'e' },
	{ FLUSH, 0, 0, 0 },
	{ WRITE, 240, 16, 'f' },
	{ WRITE, 3, 1, 'g' },
	{ ZERO, 0, 256, 0 },
	{ WRITE, 100, 60, 'h' },
	{ WRITE, 19, 1, 'i' },
	{ END, 0, 0, 0 },
};

static int carry_out(const struct step *step)
{
	static char bytes[SIZE];
	struct node *root = scene_assembled()->root;
	uint64_t offset = (uint64_t)step->first * BLOCK;
	uint32_t length = step->count * BLOCK;

	memset(bytes, step->letter, sizeof(bytes));
	switch (step->kind) {
	case WRITE:
		return child_write(root, offset, bytes, length);
	case ZERO:
		return child_zero(root, offset, length);
	case DISCARD:
		return child_discard(root, offset, length);
	default:
		return child_flush(root);
	}
}

/* Until the power goes. */
static void live(void)
{
	const struct step *step;
	unsigned i;

	for (step = life; step->kind != END; step++) {
		int result = carry_out(step);

		for (i = step->first; i < step->first + step->count; i++) {
			may[i] |= bit(step->letter);
			if (result == 0 && writes_left != 0)
				told[i] = bit(step->letter);
			else
				told[i] |= bit(step->letter);
		}
		if (result < 0 || writes_left == 0)
			return;
		if (step->kind == FLUSH)
			settle();
	}
}

static void read_all(void)
{
	assert_int_equal(child_read(scene_assembled()->root, 0, device, SIZE), 0);
}

static void check_blocks(const uint32_t *allowed)
{
	unsigned i;

	read_all();
	for (i = 0; i < BLOCKS; i++) {
		const unsigned char *block = device + (size_t)i * BLOCK;

		assert_memory_equal(block, block + 1, BLOCK - 1);
		if (!(bit((char)block[0]) & allowed[i]))
			fail_msg("loss %d: block %u is %d, of %#x", loss, i, block[0], allowed[i]);
	}
}

static unsigned char disk[SIZE]; /* the raw file as it was looked at last */

static void look_at_disk(void)
{
	int fd = open(scene_path("disk"), O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, disk, SIZE, 0), SIZE);
	close(fd);
}

/* QEMU finds a data file from where it stands, not from its image. */
static void run(const char *what)
{
	char command[1024], directory[512];

	snprintf(directory, sizeof(directory), "%s", scene_path(""));
	snprintf(command, sizeof(command), "cd %s && { %s; } >/dev/null 2>&1", directory, what);
	assert_int_equal(system(command), 0);
}

static void judged(void)
{
	run("qemu-img check image");
}

static void document(const char *keys)
{
	char root[512];

	snprintf(root, sizeof(root),
		"{'id':'t','type':'thin',%s'data':{'id':'f','type':'file','path':'image','direct':false},"
		"'data_file':{'id':'d','type':'file','path':'disk','direct':false}}",
		keys);
	scene_document(root);
}

/* Each write of the life is the last once, for each way to lose what was not flushed. */
static void live_and_die(bool is_raw, char first)
{
	unsigned lost, i;
	int writes;

	scene_copy("image", "image0");
	scene_copy("disk", "disk0");
	for (lost = 0; lost < LOSSES; lost++) {
		bool is_over = false;

		for (writes = 1; !is_over; writes++) {
			loss = lost;
			scene_copy("image0", "image");
			scene_copy("disk0", "disk");
			assert_true(start());
			for (i = 0; i < BLOCKS; i++)
				told[i] = bit(first);
			settle();
			writes_left = writes;
			live();
			is_over = writes_left > 0;
			restore();
			scene_close();
			look_at_disk(); /* before a start could mend it */
			assert_true(start());
			check_blocks(is_over || loss == LOSE_NOTHING ? told : may);
			if (is_raw)
				assert_memory_equal(disk, device, SIZE);
			stop();
			if (is_over)
				judged();
		}
		assert_true(writes > 10);
	}
}

static void a_life_can_stop_at_any_write(void **state)
{
	run("qemu-img create -f qcow2 -o data_file=disk image 1M");
	document("");
	live_and_die(false, 0);
}

static void a_life_over_small_clusters_can_stop_at_any_write(void **state)
{
	run("qemu-img create -f qcow2 -o data_file=disk,cluster_size=4096 image 1M");
	document("");
	live_and_die(false, 0);
}

static void a_life_of_a_raw_file_can_stop_at_any_write(void **state)
{
	run("qemu-img create -f qcow2 -o data_file=disk,data_file_raw=on image 1M");
	document("");
	live_and_die(true, 0);
}

/* Subclusters are what is mapped, and with a backing zeroes must be said. */
static void a_life_over_a_backing_can_stop_at_any_write(void **state)
{
	run("qemu-img create -f raw base 1M && qemu-io -f raw -c 'write -P 0x7a 0 1M' base && "
	    "qemu-img create -f qcow2 -o data_file=disk,extended_l2=on,cluster_size=128k -b base -F raw image");
	document("'backing':{'id':'b','type':'file','path':'base','direct':false},");
	live_and_die(false, 'z');
}

/* What QEMU has discarded isn't mapped, and the file may hold the bytes still. */
static void a_raw_file_is_mapped_and_can_stop_at_any_write(void **state)
{
	int writes, ended = 0;
	unsigned i;

	run("qemu-img create -f qcow2 -o data_file=disk,data_file_raw=on,cluster_size=4096 image 1M && "
	    "qemu-io -c 'write -P 0x61 0 1M' -c 'discard 4k 64k' -c 'write -z 512k 128k' image && "
	    "qemu-io -f raw -c 'write -P 0x62 4k 64k' disk");
	document("");
	scene_copy("image", "image0");
	scene_copy("disk", "disk0");
	for (i = 0; i < BLOCKS; i++)
		told[i] = bit((i >= 1 && i < 17) || (i >= 128 && i < 160) ? 0 : 'a');
	for (loss = 0; loss < LOSSES; loss++)
		for (writes = 1, ended = 0; !ended; writes++) {
			scene_copy("image0", "image");
			scene_copy("disk0", "disk");
			writes_left = writes;
			ended = start() && writes_left > 0;
			restore();
			scene_close();
			assert_true(start());
			check_blocks(told);
			look_at_disk();
			assert_memory_equal(disk, device, SIZE);
			stop();
			judged();
		}
	assert_true(writes > 3);
}

static uint64_t host_of(unsigned place, enum io_kind kind, uint64_t offset)
{
	struct request request = { .kind = kind, .offset = offset, .length = BLOCK, .data.home = DATA_REQUEST };
	struct op ops[64];
	struct plan plan = { .ops = ops, .capacity = 64, .result = PLAN_RUNNING };
	const struct node *root = scene_assembled()->root;
	char io[1024] = { 0 };

	plan.io_state = io;
	root->type->map((struct node *)root, &request, &plan);
	assert_int_equal(plan.count, 1);
	assert_int_equal(ops[0].child, place);
	return ops[0].request.offset;
}

static void what_is_mapped_is_where_the_device_has_it(void **state)
{
	run("qemu-img create -f qcow2 -o data_file=disk image 1M && "
	    "qemu-io -c 'write -P 0x61 0 64k' -c 'write -P 0x61 512k 64k' image");
	document("");
	assert_true(start());
	assert_int_equal(host_of(1, IO_READ, 0), 0);
	assert_int_equal(host_of(1, IO_WRITE, BLOCK), BLOCK);
	assert_int_equal(host_of(1, IO_READ, (512 << 10) + BLOCK), (512 << 10) + BLOCK);
	assert_true(scene_assembled()->root->type->grew(scene_assembled()->root, 1)); /* of no use, and no harm */
	stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_mapped_is_where_the_device_has_it),
		TEST(a_life_can_stop_at_any_write),
		TEST(a_life_over_small_clusters_can_stop_at_any_write),
		TEST(a_life_of_a_raw_file_can_stop_at_any_write),
		TEST(a_life_over_a_backing_can_stop_at_any_write),
		TEST(a_raw_file_is_mapped_and_can_stop_at_any_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
