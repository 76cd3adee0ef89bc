// SPDX-License-Identifier: MIT
/* What is recognised on a leaf, in which words, and that nothing of it is left after a wipe. */
#include "identify.h"
#include "scene.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES (16 * SCENE_MIB)
#define RAID_MAGIC 0xa92b4efc

static int leaf_fd = -1;
static char what[IDENTIFY_MAX];

static int setup(void **state)
{
	if (scene_setup(state) < 0)
		return -1;
	scene_file("leaf", BYTES);
	leaf_fd = open(scene_path("leaf"), O_RDWR | O_CLOEXEC);
	return leaf_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	close(leaf_fd);
	return scene_teardown(state);
}

static int identified(void)
{
	return identify(leaf_fd, BYTES, what, sizeof(what));
}

/* Runs a tool that makes a signature on the leaf; %s stands for its path. */
static void make(const char *format)
{
	char command[512];

	snprintf(command, sizeof(command), format, scene_path("leaf"));
	assert_int_equal(system(command), 0);
}

static void put(uint64_t offset, const void *bytes, size_t length)
{
	assert_int_equal(pwrite(leaf_fd, bytes, length, (off_t)offset), length);
}

/* It is found by these words; a wipe makes it blank and leaves the data alone. */
static void found_and_wiped(const char *words)
{
	char text[5] = "";

	put(LABEL_FRONT, "data", 4);
	put(BYTES - LABEL_TAIL - 4, "data", 4);
	assert_int_equal(identified(), 1);
	assert_string_equal(what, words);
	assert_int_equal(identify_wipe(leaf_fd, BYTES), 0);
	assert_int_equal(identified(), 0);
	assert_string_equal(what, "");
	assert_int_equal(pread(leaf_fd, text, 4, LABEL_FRONT), 4);
	assert_string_equal(text, "data");
	assert_int_equal(pread(leaf_fd, text, 4, (off_t)(BYTES - LABEL_TAIL - 4)), 4);
	assert_string_equal(text, "data");
}

static void zeroes_are_blank(void **state)
{
	assert_int_equal(identified(), 0);
	assert_string_equal(what, "");
	assert_int_equal(identify(leaf_fd, 0, what, sizeof(what)), 0);
	assert_int_equal(identify(leaf_fd, 512, what, sizeof(what)), 0);
}

static void bytes_that_nobody_knows_are_blank(void **state)
{
	char bytes[4096];
	unsigned i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 31 + 7);
	for (i = 0; i < 64; i++)
		put(i * sizeof(bytes), bytes, sizeof(bytes));
	assert_int_equal(identified(), 0);
}

static void a_file_system_is_named_with_its_label(void **state)
{
	make("PATH=$PATH:/sbin mkfs.ext4 -q -L home %s");
	found_and_wiped("an ext4 file system labelled home");
}

static void a_file_system_without_label_has_none(void **state)
{
	make("PATH=$PATH:/sbin mkfs.ext2 -q %s");
	found_and_wiped("an ext2 file system");
}

static void swap_space_is_named(void **state)
{
	make("PATH=$PATH:/sbin mkswap -q -L paging %s 2>/dev/null");
	found_and_wiped("swap space labelled paging");
}

static void luks_is_named(void **state)
{
	char header[592] = "LUKS\xba\xbe\0\1aes"; /* version 1 */

	put(0, header, sizeof(header));
	found_and_wiped("a LUKS volume");
}

/* An md superblock of version 1 that stands at this offset. */
static void put_raid(uint64_t offset)
{
	unsigned char block[4096] = { 0 };
	uint32_t magic = htole32(RAID_MAGIC), major_version = htole32(1);
	uint64_t sector = htole64(offset / 512);

	memcpy(block, &magic, sizeof(magic));
	memcpy(block + 4, &major_version, sizeof(major_version));
	memcpy(block + 144, &sector, sizeof(sector));
	put(offset, block, sizeof(block));
}

static void a_raid_member_is_named(void **state)
{
	put_raid(4096); /* metadata 1.2 */
	found_and_wiped("a Linux RAID member");
}

static void a_raid_member_is_found_by_its_end_too(void **state)
{
	put_raid(BYTES - 8192); /* metadata 1.0 */
	found_and_wiped("a Linux RAID member");
}

static void a_partition_table_is_named(void **state)
{
	unsigned char sector[512] = { 0 };

	sector[446 + 4] = 0x83; /* type of the first partition */
	sector[446 + 9] = 0x08; /* begins at sector 2048 */
	sector[446 + 13] = 0x10; /* has 4096 */
	sector[510] = 0x55;
	sector[511] = 0xaa;
	put(0, sector, sizeof(sector));
	found_and_wiped("an MBR partition table");
}

static void two_signatures_are_told(void **state)
{
	uint32_t journal_block = htole32(1000);
	uint16_t block_size = htole16(4096);

	make("PATH=$PATH:/sbin mkfs.ext4 -q %s");
	put(65536 + 12, &journal_block, sizeof(journal_block));
	put(65536 + 44, &block_size, sizeof(block_size));
	put(65536 + 52, "ReIsEr2Fs", 9);
	found_and_wiped("several signatures that contradict each other");
}

static void a_label_of_ours_is_blank_to_libblkid(void **state)
{
	close(leaf_fd);
	scene_file("leaf", 0);
	scene_document("{'id':'d0','type':'file','path':'leaf','size':'11MiB','direct':false}");
	scene_run();
	leaf_fd = open(scene_path("leaf"), O_RDWR | O_CLOEXEC);
	assert_int_equal(identified(), 0);
}

/* What the user has made on the device begins behind our front, where libblkid doesn't look. */
static void the_file_system_inside_is_not_taken_for_the_leafs_own(void **state)
{
	char bytes[4096], command[512];
	int inside;
	unsigned i;

	close(leaf_fd);
	scene_file("leaf", 0);
	scene_document("{'id':'d0','type':'file','path':'leaf','size':'11MiB','direct':false}");
	scene_run();
	leaf_fd = open(scene_path("leaf"), O_RDWR | O_CLOEXEC);
	scene_file("fs", 11 * SCENE_MIB);
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q %s", scene_path("fs"));
	assert_int_equal(system(command), 0);
	inside = open(scene_path("fs"), O_RDONLY | O_CLOEXEC);
	for (i = 0; i < 11 * SCENE_MIB / sizeof(bytes); i++) {
		assert_int_equal(
			pread(inside, bytes, sizeof(bytes), i * sizeof(bytes)), sizeof(bytes));
		put(LABEL_FRONT + i * sizeof(bytes), bytes, sizeof(bytes));
	}
	close(inside);
	put_raid(LABEL_FRONT + 11 * SCENE_MIB - 8192); /* of a RAID over our device */
	assert_int_equal(identified(), 0);
}

static void direct_access_is_set_aside_and_comes_back(void **state)
{
	int direct = open(scene_path("leaf"), O_RDWR | O_DIRECT | O_CLOEXEC);

	if (direct < 0)
		return; /* a file system without O_DIRECT: nothing to set aside */
	make("PATH=$PATH:/sbin mkfs.ext4 -q %s");
	assert_int_equal(identify(direct, BYTES, what, sizeof(what)), 1);
	assert_string_equal(what, "an ext4 file system");
	assert_true(fcntl(direct, F_GETFL) & O_DIRECT);
	assert_int_equal(identify_wipe(direct, BYTES), 0);
	assert_true(fcntl(direct, F_GETFL) & O_DIRECT);
	assert_int_equal(identify(direct, BYTES, what, sizeof(what)), 0);
	close(direct);
}

static void what_cannot_be_read_is_no_blank_leaf(void **state)
{
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	assert_true(memory >= 0);
	assert_true(identify(memory, BYTES, what, sizeof(what)) < 0);
	close(memory);
}

static unsigned cached_pages(void)
{
	unsigned char pages[BYTES / 4096];
	void *memory = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, leaf_fd, 0);
	unsigned i, count = 0;

	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal(mincore(memory, BYTES, pages), 0);
	for (i = 0; i < LENGTH_OF(pages); i++)
		count += pages[i] & 1;
	munmap(memory, BYTES);
	return count;
}

/* Each direct write would look for it there. */
static void what_is_written_directly_has_nothing_in_the_page_cache(void **state)
{
	assert_int_equal(identified(), 0);
	assert_int_equal(fsync(leaf_fd), 0);
	assert_true(cached_pages() > 0);
	if (fcntl(leaf_fd, F_SETFL, O_RDWR | O_DIRECT) < 0)
		skip(); /* a file system that is nothing but page cache */
	assert_int_equal(identified(), 0);
	assert_int_equal(cached_pages(), 0);
}

static void any_size_can_be_wiped(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 511, 4096, LABEL_FRONT - 1, LABEL_FRONT,
		LABEL_FRONT + 1, LABEL_FRONT + LABEL_TAIL - 1, LABEL_FRONT + LABEL_TAIL + 5 };
	unsigned i;

	for (i = 0; i < LENGTH_OF(sizes); i++) {
		assert_int_equal(ftruncate(leaf_fd, (off_t)sizes[i]), 0);
		assert_int_equal(identify_wipe(leaf_fd, sizes[i]), 0);
		assert_int_equal(lseek(leaf_fd, 0, SEEK_END), sizes[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(zeroes_are_blank),
		TEST(bytes_that_nobody_knows_are_blank),
		TEST(a_file_system_is_named_with_its_label),
		TEST(a_file_system_without_label_has_none),
		TEST(swap_space_is_named),
		TEST(luks_is_named),
		TEST(a_raid_member_is_named),
		TEST(a_raid_member_is_found_by_its_end_too),
		TEST(a_partition_table_is_named),
		TEST(two_signatures_are_told),
		TEST(a_label_of_ours_is_blank_to_libblkid),
		TEST(the_file_system_inside_is_not_taken_for_the_leafs_own),
		TEST(direct_access_is_set_aside_and_comes_back),
		TEST(what_cannot_be_read_is_no_blank_leaf),
		TEST(what_is_written_directly_has_nothing_in_the_page_cache),
		TEST(any_size_can_be_wiped),
	};

	return cmocka_run_group_tests_name("identify", tests, NULL, NULL);
}
