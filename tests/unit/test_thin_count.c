// SPDX-License-Identifier: MIT
/*
 * thin believes no image: a small one of its own making, with one number changed, is refused by name,
 * or mended where the format lets it be; and a leaf that can't be read is no empty table.
 *
 * With clusters of 512 bytes a table maps 32 KiB. The image has two, and one cluster of data in each.
 */
#include "scene.h"

#include "child_io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLUSTER 512u
#define SECOND (32u << 10) /* where the second table's part begins */
#define COPIED (UINT64_C(1) << 63)
#define BEYOND (UINT64_C(1) << 40)

enum field { /* of the header */
	TABLE_OFFSET = 48,
	L1_OFFSET = 40,
	SNAPSHOTS = 60,
	SNAPSHOTS_OFFSET = 64,
	INCOMPATIBLE = 72,
	REFCOUNT_ORDER = 96,
};

static uint64_t table, block, l1, l2, second_l2, data, second_data, end; /* of the good image */
static uint64_t bad; /* reads that begin there fail; 0: none */

ssize_t pread(int fd, void *bytes, size_t length, off_t offset)
{
	if (bad && (uint64_t)offset == bad) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, bytes, length, offset);
}

static uint64_t number(uint64_t offset, unsigned bytes)
{
	int fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);
	unsigned char text[8];
	uint64_t result = 0;
	unsigned i;

	assert_int_equal(pread(fd, text, bytes, (off_t)offset), bytes);
	close(fd);
	for (i = 0; i < bytes; i++)
		result = result << 8 | text[i];
	return result;
}

static void set(uint64_t offset, uint64_t value, unsigned bytes)
{
	int fd = open(scene_path("x"), O_WRONLY | O_CLOEXEC);
	unsigned char text[8];
	unsigned i;

	for (i = 0; i < bytes; i++)
		text[i] = (unsigned char)(value >> (bytes - 1 - i) * 8);
	assert_int_equal(pwrite(fd, text, bytes, (off_t)offset), bytes);
	close(fd);
}

static uint64_t host(uint64_t entry)
{
	return number(entry, 8) & ~COPIED;
}

static void start(void)
{
	assert_true(scene_start(scene_plain));
	assert_int_equal(tree_load(scene_assembled(), &(struct err){ 0 }), 0);
	scene_assembled()->child_io = CHILD_IO_FULL;
}

static void stop(void)
{
	assert_int_equal(tree_unload(scene_assembled(), &(struct err){ 0 }), 0);
	scene_stop();
}

static void write_cluster(uint64_t offset, char byte)
{
	char bytes[CLUSTER];

	memset(bytes, byte, CLUSTER);
	assert_int_equal(child_write(scene_assembled()->root, offset, bytes, CLUSTER), 0);
}

/* The good one, in "x" and "good". */
static int make(void **state)
{
	int fd;

	assert_int_equal(scene_setup(state), 0);
	scene_document("{'id':'t','type':'thin','size':'64KiB','cluster_size':512,"
		       "'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}");
	start();
	write_cluster(0, 'a');
	write_cluster(SECOND, 'b');
	stop();
	table = number(TABLE_OFFSET, 8);
	l1 = number(L1_OFFSET, 8);
	block = number(table, 8);
	l2 = host(l1);
	second_l2 = host(l1 + 8);
	data = host(l2);
	second_data = host(second_l2);
	fd = open(scene_path("x"), O_RDONLY | O_CLOEXEC);
	end = (uint64_t)lseek(fd, 0, SEEK_END);
	close(fd);
	scene_copy("x", "good");
	return 0;
}

/* "@" stands for the number. */
static void is_refused(const char *why, uint64_t place)
{
	char text[256], digits[24];
	const char *at = strchr(why, '@');

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)place);
	snprintf(text, sizeof(text), "thin t: %.*s%s%s", (int)(at ? at - why : (int)strlen(why)), why,
		at ? digits : "", at ? at + 1 : "");
	assert_false(scene_assemble(scene_plain));
	if (!scene_has_said(text)) {
		scene_said(text); /* fails, and shows both */
		fail();
	}
	scene_copy("good", "x");
}

static void what_its_counts_are_in_must_be_there_and_apart(void **state)
{
	set(TABLE_OFFSET, end - end % CLUSTER + CLUSTER, 8);
	is_refused("its refcount table at @ ends beyond the image's", end - end % CLUSTER + CLUSTER);
	set(table, block + 8, 8);
	is_refused("its refcount block 0 is at @, which is no cluster's", block + 8);
	set(table, BEYOND, 8);
	is_refused("its refcount block at @ ends beyond the image's", BEYOND);
	set(table, 0, 8);
	is_refused("the refcount of its cluster at @ is 0, and 1 entries name it", 0);
	set(table, table, 8);
	is_refused("its refcount block at @ shares a cluster with other metadata", table);
	set(table + 8, l1, 8); /* one that counts what isn't there */
	is_refused("its L1 table at @ shares a cluster with other metadata", l1);
}

static void what_maps_it_must_be_there_and_apart(void **state)
{
	set(L1_OFFSET, BEYOND, 8);
	is_refused("its L1 table at @ ends beyond the image's", BEYOND);
	set(l1, 1 | l2, 8);
	is_refused("entry 0 of its L1 table: it has reserved bits set", 0);
	set(l1, BEYOND, 8);
	is_refused("its L2 table at @ ends beyond the image's", BEYOND);
	set(l1 + 8, COPIED | l2, 8);
	is_refused("its L1 table names the L2 table at @ twice", l2);
	set(l1, COPIED | block, 8);
	is_refused("its L2 table at @ shares a cluster with other metadata", block);
	set(l2 + 8, 2, 8);
	is_refused("entry 1 of its L2 table at @: ", l2);
	set(l2 + 8, BEYOND, 8);
	is_refused("its data at @ ends beyond the image's", BEYOND);
	set(l2, COPIED | second_l2, 8);
	is_refused("its data at @ shares a cluster with other metadata", second_l2);
	set(l2 + 8, COPIED | second_data, 8);
	is_refused("the refcount of its cluster at @ is 1, and 2 entries name it", second_data);
}

static void what_it_can_not_read_is_not_empty(void **state)
{
	static const struct {
		const uint64_t *place;
		const char *why;
	} parts[] = {
		{ &table, "reading its refcount table at @: error 5" },
		{ &block, "reading its refcount block at @: error 5" },
		{ &l1, "reading its L1 table at @: error 5" },
		{ &l2, "reading its L2 table at @: error 5" },
		{ &second_l2, "reading its L2 table at @: error 5" },
	};
	unsigned i;

	for (i = 0; i < LENGTH_OF(parts); i++) {
		bad = *parts[i].place;
		is_refused(parts[i].why, bad);
	}
	bad = 0;
	start(); /* it is fine again */
	stop();
}

/* A snapshot of what the image holds, at the image's end: its L1 is a copy, its L2 tables are ours. */
static void add_snapshot(uint64_t copy, uint32_t entries)
{
	uint64_t at = end - end % CLUSTER + 8 * CLUSTER;

	set(SNAPSHOTS, 1, 4);
	set(SNAPSHOTS_OFFSET, at, 8);
	set(at, copy, 8);
	set(at + 8, entries, 4);
	set(at + 12, 0, 4);
	set(at + 32, 0, 8);
	set(at + CLUSTER - 1, 0, 1);
}

static void a_snapshots_tables_count_too(void **state)
{
	uint64_t at = end - end % CLUSTER + 8 * CLUSTER, copy = at - CLUSTER;

	set(SNAPSHOTS, 1, 4);
	set(SNAPSHOTS_OFFSET, BEYOND, 8);
	is_refused("its snapshot table at @ ends beyond the image's", BEYOND);
	add_snapshot(copy, 2);
	set(at + 36, 1 << 20, 4);
	is_refused("a snapshot has @ bytes of extra data, over the limit of 1024", 1 << 20);
	add_snapshot(BEYOND, 2);
	is_refused("its snapshot's L1 table at @ ends beyond the image's", BEYOND);
	add_snapshot(copy, 2);
	set(copy, 1, 8);
	is_refused("entry 0 of its snapshot's L1 table: it has reserved bits set", 0);
	add_snapshot(copy, 2);
	set(copy, l2, 8);
	is_refused("the refcount of its cluster at @ is 1, and 2 entries name it", l2);
	add_snapshot(copy, 2);
	bad = copy;
	assert_false(scene_assemble(scene_plain));
	assert_true(scene_has_said("reading its snapshot's L1 table at"));
	bad = at;
	assert_false(scene_assemble(scene_plain));
	assert_true(scene_has_said("reading its snapshot table at"));
	bad = 0;
}

static uint64_t count_of(uint64_t cluster)
{
	return number(block + cluster / CLUSTER * 2, 2);
}

static void set_count(uint64_t cluster, uint64_t count)
{
	set(block + cluster / CLUSTER * 2, count, 2);
}

/* Too high is a leak, which goes with the clean stop; too low is refused, but for a dirty image. */
static void counts_are_mended_where_that_is_safe(void **state)
{
	uint64_t unused = end - end % CLUSTER;

	assert_int_equal(count_of(data), 1);
	set_count(unused, 5);
	start();
	stop();
	assert_int_equal(count_of(unused), 0);
	set_count(data, 2); /* somebody else's, as far as we know */
	start();
	write_cluster(0, 'c');
	stop();
	assert_int_equal(count_of(data), 2);
	assert_int_not_equal(host(l2), data);
	scene_copy("good", "x");
	set_count(data, 0);
	is_refused("the refcount of its cluster at @ is 0, and 1 entries name it; see qemu-img check -r all",
		data);
	set_count(data, 0);
	set(INCOMPATIBLE, 1, 8);
	start();
	assert_int_equal(count_of(data), 1);
	assert_int_equal(number(INCOMPATIBLE, 8), 0);
	stop();
	scene_copy("good", "x");
	set(INCOMPATIBLE, 1, 8);
	set(table, 0, 8);
	is_refused("it is marked dirty, and no refcount block counts its cluster at @", 0);
	set(INCOMPATIBLE, 1, 8);
	set(REFCOUNT_ORDER, 0, 4);
	set(l2 + 8, second_data, 8);
	is_refused("2 entries name its cluster at @, more than its refcounts can say", second_data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_its_counts_are_in_must_be_there_and_apart),
		TEST(what_maps_it_must_be_there_and_apart),
		TEST(what_it_can_not_read_is_not_empty),
		TEST(a_snapshots_tables_count_too),
		TEST(counts_are_mended_where_that_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
