// SPDX-License-Identifier: MIT
/* Files as leaves: what a path may lead to, what is refused with which words, what is left behind.
 */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NOBODY 65534

/* One leaf over "x"; further members begin with a comma. */
static void one_leaf(const char *type, const char *members)
{
	char root[512];

	snprintf(root, sizeof(root), "{'id':'d0','type':'%s','path':'x'%s}", type, members);
	scene_document(root);
}

static const struct leaf *first(void)
{
	return scene_assembled()->leaves[0];
}

static uint64_t bytes_of(const char *name)
{
	struct stat found;

	assert_int_equal(stat(scene_path(name), &found), 0);
	return (uint64_t)found.st_size;
}

static void refused(const char *type, const char *members, const char *said)
{
	one_leaf(type, members);
	assert_false(scene_open(LEAF_SERVE));
	scene_said(said);
}

static void a_missing_file_is_made_of_the_right_size(void **state)
{
	struct stat found;

	one_leaf("file", ",'size':'1GiB','direct':false");
	assert_true(scene_open(LEAF_SERVE));
	assert_false(first()->exists);
	assert_int_equal(first()->bytes, LABEL_FRONT + LABEL_TAIL + (UINT64_C(1) << 30));
	assert_int_equal(first()->node->limits.size, 1 << 30);
	assert_int_equal(stat(scene_path("x"), &found), 0);
	assert_int_equal(found.st_mode & 07777, 0600);
	assert_int_equal(found.st_size, first()->bytes);
	assert_true(found.st_blocks < 64); /* sparse */
}

static void a_missing_file_without_label_is_just_its_size(void **state)
{
	one_leaf("file", ",'size':1000000,'label':false,'direct':false");
	assert_true(scene_open(LEAF_SERVE));
	assert_int_equal(bytes_of("x"), 1000000);
	assert_int_equal(first()->data_offset, 0);
	assert_int_equal(first()->node->limits.size, 1000000 / 512 * 512);
}

static void a_probe_makes_nothing(void **state)
{
	one_leaf("file", ",'size':'1MiB'");
	assert_true(scene_open(LEAF_PROBE));
	assert_false(scene_has("x"));
	assert_int_equal(first()->fd, -1);
	assert_int_equal(first()->node->limits.size, SCENE_MIB);
}

static void a_probe_needs_no_lock(void **state)
{
	int other;

	scene_file("x", SCENE_LEAF_BYTES);
	other = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX), 0);
	one_leaf("file", ",'direct':false");
	assert_true(scene_open(LEAF_PROBE));
	close(other);
}

static void a_missing_file_needs_a_size(void **state)
{
	refused("file", "",
		"file d0: x does not exist; it is made if the leaf has a \"size\" "
		"(tree.json:1, /root/path)\n");
}

static void a_missing_directory_is_told(void **state)
{
	scene_document("{'id':'d0','type':'file','path':'no/such/x','size':'1MiB'}");
	assert_false(scene_open(LEAF_SERVE));
	scene_said(
		"file d0: the directory of no/such/x does not exist (tree.json:1, /root/path)\n");
}

static void a_directory_is_no_leaf(void **state)
{
	assert_int_equal(mkdir(scene_path("x"), 0700), 0);
	refused("file", ",'size':'1MiB'",
		"file d0: x is a directory, not a regular file (tree.json:1, /root/path)\n");
	refused("block", "",
		"block d0: x is a directory, not a block device (tree.json:1, /root/path)\n");
}

static void a_fifo_is_no_leaf_and_is_not_opened(void **state)
{
	assert_int_equal(mkfifo(scene_path("x"), 0600), 0);
	refused("file", ",'size':'1MiB'",
		"file d0: x is a FIFO, not a regular file (tree.json:1, /root/path)\n");
}

static void a_character_device_is_no_leaf(void **state)
{
	scene_document("{'id':'d0','type':'block','path':'/dev/null'}");
	assert_false(scene_open(LEAF_SERVE));
	scene_said("block d0: /dev/null is a character device, not a block device "
		   "(tree.json:1, /root/path)\n");
}

static void a_socket_is_no_leaf(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", scene_path("x"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	refused("file", "",
		"file d0: x is a socket, not a regular file (tree.json:1, /root/path)\n");
}

static void the_wrong_type_is_told_with_the_right_one(void **state)
{
	scene_file("x", SCENE_LEAF_BYTES);
	refused("block", "",
		"block d0: x is a regular file: its type is \"file\" (tree.json:1, /root/path)\n");
}

static void links_that_lead_nowhere_are_told(void **state)
{
	assert_int_equal(symlink("nothing", scene_path("x")), 0);
	refused("file", ",'size':'1MiB'",
		"file d0: x is a symbolic link to nothing (tree.json:1, /root/path)\n");
	assert_false(scene_has("nothing"));
	scene_remove("x");
	assert_int_equal(symlink("x", scene_path("x")), 0);
	refused("file", ",'size':'1MiB'",
		"file d0: x is a symbolic link that leads to itself (tree.json:1, /root/path)\n");
}

static void a_path_below_a_file_is_told(void **state)
{
	scene_file("f", 0);
	scene_document("{'id':'d0','type':'file','path':'f/x','size':'1MiB'}");
	assert_false(scene_open(LEAF_SERVE));
	scene_said("file d0: f/x: Not a directory (tree.json:1, /root/path)\n");
}

static void an_empty_file_needs_a_size_and_gets_it(void **state)
{
	scene_file("x", 0);
	refused("file", ",'direct':false",
		"file d0: x is empty; it gets its size if the leaf has a \"size\" "
		"(tree.json:1, /root/path)\n");
	one_leaf("file", ",'size':'2MiB','direct':false");
	assert_true(scene_open(LEAF_PROBE));
	assert_int_equal(bytes_of("x"), 0);
	assert_int_equal(first()->node->limits.size, SCENE_SIZE);
	assert_true(scene_open(LEAF_SERVE));
	assert_int_equal(bytes_of("x"), SCENE_LEAF_BYTES);
	leaves_close(scene_assembled(), true);
	assert_int_equal(bytes_of("x"), 0); /* it was there before, and so it stays */
}

static void a_file_too_small_for_a_label_is_told(void **state)
{
	scene_file("x", LABEL_FRONT + LABEL_TAIL);
	refused("file", ",'direct':false",
		"file d0: x has 5242880 bytes, too small for a label: it takes 5242880 "
		"(tree.json:1, /root/path)\n");
	scene_file("x", LABEL_FRONT + LABEL_TAIL + 511);
	refused("file", ",'direct':false",
		"file d0: x has no room for a block of 512 bytes (tree.json:1, /root/path)\n");
	scene_file("x", LABEL_FRONT + LABEL_TAIL + 1023);
	one_leaf("file", ",'direct':false");
	assert_true(scene_open(LEAF_SERVE));
	assert_int_equal(first()->node->limits.size, 512);
}

static void a_file_without_label_can_be_too_small_too(void **state)
{
	scene_file("x", 4096);
	refused("file", ",'size':8192,'label':false,'direct':false",
		"file d0: x has 4096 bytes, less than the size 8192 (tree.json:1, /root/path)\n");
	one_leaf("file", ",'size':2048,'label':false,'direct':false");
	assert_true(scene_open(LEAF_SERVE));
	assert_int_equal(first()->node->limits.size, 2048);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	refused("file", ",'size':0",
		"file: size 0, the least is one block "
		"(tree.json:1, /root/size)\n");
	refused("file", ",'size':9223372036854775807",
		"file: size 9223372036854775807 is more than a file can have "
		"(tree.json:1, /root/size)\n");
	one_leaf("file", ",'size':9223372036849532927,'direct':false"); /* 2^63-1 less a label */
	assert_false(scene_open(LEAF_SERVE)); /* no file system has that */
	assert_false(scene_has("x"));
}

static void a_size_over_the_limit_of_the_process_is_told(void **state)
{
	struct rlimit before, less;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	less = before;
	less.rlim_cur = SCENE_MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	refused("file", ",'size':'1MiB','direct':false",
		"file d0: giving x its 6291456 bytes: File too large (tree.json:1, /root/path)\n");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_false(scene_has("x"));
}

static void an_unreadable_file_is_told(void **state)
{
	bool is_root = geteuid() == 0;

	scene_file("x", SCENE_LEAF_BYTES);
	assert_int_equal(chmod(scene_path("x"), 0), 0);
	assert_int_equal(chmod(scene_path(""), 0755), 0);
	one_leaf("file", ",'direct':false");
	assert_int_equal(chmod(scene_path("tree.json"), 0644), 0);
	if (is_root)
		assert_int_equal(seteuid(NOBODY), 0);
	assert_false(scene_open(LEAF_SERVE));
	scene_said("file d0: no permission to read and write x (tree.json:1, /root/path)\n");
	assert_false(scene_open(LEAF_PROBE));
	scene_said("file d0: no permission to read x (tree.json:1, /root/path)\n");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0); /* or the leak checker can't look */
}

static void a_file_that_another_serves_is_told(void **state)
{
	int other;

	scene_file("x", SCENE_LEAF_BYTES);
	other = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX), 0);
	one_leaf("file", ",'direct':false");
	assert_false(scene_open(LEAF_SERVE));
	scene_said("file d0: x is locked: another daemon serves it, or a program uses it "
		   "(tree.json:1, /root/path)\n");
	assert_true(scene_open(LEAF_SERVE_DEGRADED));
	assert_true(scene_assembled()->leaves[0]->is_busy); /* assembly refuses it: both would write to the other leg */
	close(other);
	assert_true(scene_open(LEAF_SERVE));
}

static void a_served_file_is_locked_until_it_is_closed(void **state)
{
	int other;

	one_leaf("file", ",'size':'1MiB','direct':false");
	assert_true(scene_open(LEAF_SERVE));
	other = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	scene_close();
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	close(other);
	assert_true(scene_has("x"));
}

/* What QEMU does for each thing that it does (from 100 on), or doesn't bear (from 200 on). */
static void lock_byte(int fd, int byte)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

static bool is_byte_locked(int fd, int byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type != F_UNLCK;
}

static void a_file_that_qemu_has_is_told(void **state)
{
	static const int against[] = { 101, 103, 200, 201, 203 };
	struct err err = { 0 };
	unsigned i;

	scene_file("x", SCENE_LEAF_BYTES);
	one_leaf("file", ",'direct':false");
	for (i = 0; i < sizeof(against) / sizeof(*against); i++) {
		int other = open(scene_path("x"), O_RDWR | O_CLOEXEC);

		lock_byte(other, against[i]);
		assert_false(scene_open(LEAF_SERVE));
		scene_said("file d0: x is open in QEMU or one of its tools (tree.json:1, /root/path)\n");
		assert_true(scene_open(LEAF_PROBE));
		assert_int_equal(leaves_check_free(scene_assembled(), &err), -1);
		assert_non_null(strstr(err.text, "x is open in QEMU or one of its tools"));
		err_finish(&err);
		scene_close();
		close(other);
	}
	assert_true(scene_open(LEAF_SERVE));
}

static void qemu_finds_what_we_do_and_bear(void **state)
{
	static const int locked[] = { 100, 101, 103, 201, 203 }, others[] = { 0, 102, 200, 202 };
	unsigned i;
	int other;

	one_leaf("file", ",'size':'1MiB','direct':false");
	assert_true(scene_open(LEAF_SERVE));
	other = open(scene_path("x"), O_RDWR | O_CLOEXEC);
	for (i = 0; i < sizeof(locked) / sizeof(*locked); i++)
		assert_true(is_byte_locked(other, locked[i]));
	for (i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_false(is_byte_locked(other, others[i]));
	scene_close();
	for (i = 0; i < sizeof(locked) / sizeof(*locked); i++)
		assert_false(is_byte_locked(other, locked[i]));
	close(other);
}

static void the_same_file_twice_is_refused_by_any_name(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES);
	assert_int_equal(symlink("a", scene_path("symbolic")), 0);
	assert_int_equal(link(scene_path("a"), scene_path("hard")), 0);
	scene_tree("'stripe'", "a a");
	assert_false(scene_open(LEAF_PROBE));
	scene_said("file d1: a is the same file as a of d0 (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_open(LEAF_SERVE)); /* our own lock isn't taken for another's */
	scene_said("file d1: a is the same file as a of d0 (tree.json:1, /root/children/1/path)\n");
	scene_tree("'stripe'", "a symbolic");
	assert_false(scene_open(LEAF_SERVE));
	scene_said("file d1: symbolic is the same file as a of d0 "
		   "(tree.json:1, /root/children/1/path)\n");
	scene_tree("'stripe'", "hard a");
	assert_false(scene_open(LEAF_PROBE));
	scene_said("file d1: a is the same file as hard of d0 "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void the_same_missing_file_twice_is_refused(void **state)
{
	scene_tree("'stripe'", "a ./a");
	assert_false(scene_open(LEAF_SERVE));
	scene_said("file d1: ./a is given to d0 too (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("a"));
}

static void all_faults_are_told_at_once_and_nothing_is_made(void **state)
{
	assert_int_equal(mkdir(scene_path("b"), 0700), 0);
	scene_file("c", 1);
	scene_tree("'stripe'", "a b c d");
	assert_false(scene_open(LEAF_SERVE));
	scene_said("file d1: b is a directory, not a regular file "
		   "(tree.json:1, /root/children/1/path)\n"
		   "file d2: c has 1 bytes, too small for a label: it takes 5242880 "
		   "(tree.json:1, /root/children/2/path)\n");
	assert_false(scene_has("a"));
	assert_false(scene_has("d"));
	assert_int_equal(bytes_of("c"), 1);
}

static void files_made_before_one_that_fails_are_removed(void **state)
{
	scene_document("{'type':'linear','children':["
		       "{'id':'d0','type':'file','path':'a','size':'1MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','size':'7EiB','direct':false}]}");
	assert_false(scene_open(LEAF_SERVE));
	assert_false(scene_has("a"));
	assert_false(scene_has("b"));
}

static void undo_spares_a_file_that_took_the_place_of_ours(void **state)
{
	one_leaf("file", ",'size':'1MiB','direct':false");
	assert_true(scene_open(LEAF_SERVE));
	scene_rename("x", "moved");
	scene_file("x", 1);
	leaves_close(scene_assembled(), true);
	assert_true(scene_has("x"));
}

static void paths_are_relative_to_the_document(void **state)
{
	one_leaf("file", ",'size':'1MiB','direct':false");
	assert_true(scene_open(LEAF_SERVE));
	assert_string_equal(first()->path, scene_path("x"));
}

static void limits_of_a_buffered_file(void **state)
{
	one_leaf("file", ",'size':'1MiB','direct':false");
	assert_true(scene_open(LEAF_SERVE));
	assert_int_equal(first()->node->limits.logical_block_size, 512);
	assert_int_equal(first()->node->limits.physical_block_size, 4096);
	assert_int_equal(first()->node->limits.io_min, 4096);
	assert_false(first()->node->limits.read_only);
	assert_non_null(first()->label_memory);
	assert_int_equal((uintptr_t)first()->label_memory % LABEL_BLOCK, 0);
}

static void direct_access_is_had_or_refused_with_the_remedy(void **state)
{
	one_leaf("file", ",'size':'1MiB'");
	if (scene_open(LEAF_SERVE)) {
		assert_true(fcntl(first()->fd, F_GETFL) & O_DIRECT);
		assert_false(fcntl(first()->fd, F_GETFL) & O_NONBLOCK);
		assert_true(first()->node->limits.logical_block_size >= 512);
		assert_true(first()->node->limits.logical_block_size <= 4096);
	} else {
		scene_said("file d0: x is on a file system without O_DIRECT; set \"direct\": false "
			   "(tree.json:1, /root/path)\n");
		assert_false(scene_has("x"));
	}
}

static void a_degraded_open_keeps_what_failed(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES);
	assert_int_equal(mkdir(scene_path("c"), 0700), 0);
	scene_tree("'mirror'", "a b c");
	assert_true(scene_open(LEAF_SERVE_DEGRADED));
	assert_null(first()->problem);
	assert_non_null(strstr(scene_assembled()->leaves[1]->problem, "b does not exist ("));
	assert_non_null(strstr(scene_assembled()->leaves[2]->problem, "c is a directory"));
	assert_int_equal(scene_assembled()->leaves[1]->fd, -1);
	assert_false(scene_has("b"));
}

static void a_read_only_device_needs_no_write_to_a_leaf_without_label(void **state)
{
	char *text = fixture_document("'read_only':true",
		"{'id':'d0','type':'file','path':'x','label':false,'direct':false}");
	FILE *file = fopen(scene_path("tree.json"), "we");

	fputs(text, file);
	fclose(file);
	free(text);
	scene_file("x", 4096);
	assert_true(scene_open(LEAF_SERVE));
	assert_int_equal(fcntl(first()->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(first()->node->limits.read_only);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_missing_file_is_made_of_the_right_size),
		TEST(a_missing_file_without_label_is_just_its_size),
		TEST(a_probe_makes_nothing),
		TEST(a_probe_needs_no_lock),
		TEST(a_missing_file_needs_a_size),
		TEST(a_missing_directory_is_told),
		TEST(a_directory_is_no_leaf),
		TEST(a_fifo_is_no_leaf_and_is_not_opened),
		TEST(a_character_device_is_no_leaf),
		TEST(a_socket_is_no_leaf),
		TEST(the_wrong_type_is_told_with_the_right_one),
		TEST(links_that_lead_nowhere_are_told),
		TEST(a_path_below_a_file_is_told),
		TEST(an_empty_file_needs_a_size_and_gets_it),
		TEST(a_file_too_small_for_a_label_is_told),
		TEST(a_file_without_label_can_be_too_small_too),
		TEST(sizes_that_cannot_be_are_refused),
		TEST(a_size_over_the_limit_of_the_process_is_told),
		TEST(an_unreadable_file_is_told),
		TEST(a_file_that_another_serves_is_told),
		TEST(a_served_file_is_locked_until_it_is_closed),
		TEST(a_file_that_qemu_has_is_told),
		TEST(qemu_finds_what_we_do_and_bear),
		TEST(the_same_file_twice_is_refused_by_any_name),
		TEST(the_same_missing_file_twice_is_refused),
		TEST(all_faults_are_told_at_once_and_nothing_is_made),
		TEST(files_made_before_one_that_fails_are_removed),
		TEST(undo_spares_a_file_that_took_the_place_of_ours),
		TEST(paths_are_relative_to_the_document),
		TEST(limits_of_a_buffered_file),
		TEST(direct_access_is_had_or_refused_with_the_remedy),
		TEST(a_degraded_open_keeps_what_failed),
		TEST(a_read_only_device_needs_no_write_to_a_leaf_without_label),
	};

	return cmocka_run_group_tests_name("leaf", tests, NULL, NULL);
}
