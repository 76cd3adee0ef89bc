// SPDX-License-Identifier: MIT
/* Who holds a disk, told from a /proc and a /sys of our own. */
#include "holders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

/* A file of the fixture; text NULL: a directory; with a dash first: a link to the rest. */
struct entry {
	const char *path, *text;
};

static char root[64];

static void make(const struct entry *entry)
{
	char path[512], *slash;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, entry->path);
	for (slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700); /* may be there */
		*slash = '/';
	}
	if (!entry->text) {
		assert_int_equal(mkdir(path, 0700), 0);
	} else if (entry->text[0] == '-') {
		assert_int_equal(symlink(entry->text + 1, path), 0);
	} else {
		file = fopen(path, "w");
		assert_non_null(file);
		assert_true(fputs(entry->text, file) >= 0);
		fclose(file);
	}
}

/* A disk with two partitions, and another disk that nobody asks about. */
static const struct entry base[] = {
	{ "sys/block/ubdb0/dev", "252:0\n" },
	{ "sys/block/ubdb0/queue/nr_requests", "128\n" },
	{ "sys/block/ubdb0/ubdb0p1/dev", "252:1\n" },
	{ "sys/block/ubdb0/ubdb0p1/partition", "1\n" },
	{ "sys/block/ubdb0/ubdb0p2/dev", "252:2\n" },
	{ "sys/block/ubdb0/ubdb0p2/partition", "2\n" },
	{ "sys/block/ubdb01/dev", "252:16\n" },
	{ "proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
				 "23 22 252:16 / /other rw - ext4 /dev/ubdb01 rw\n" },
	{ "proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition\t1\t0\t-2\n" },
	{ "proc/7/fd/3", "-/dev/ubdb01" },
	{ "proc/7/comm", "reader\n" },
};

static char *found_with(const struct entry *more, unsigned count, unsigned *found)
{
	struct holders_roots roots;
	struct err err = { 0 };
	char proc[96], sys[96], remove[96], *text;
	unsigned i;

	strcpy(root, "/tmp/ubd-test-holders.XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(proc, sizeof(proc), "%s/proc", root);
	snprintf(sys, sizeof(sys), "%s/sys", root);
	for (i = 0; i < LENGTH_OF(base); i++)
		make(&base[i]);
	for (i = 0; i < count; i++)
		make(&more[i]);
	roots = (struct holders_roots){ proc, sys, "/dev" };
	*found = holders_find(&roots, "ubdb0", &err);
	snprintf(remove, sizeof(remove), "rm -r %s", root);
	assert_int_equal(system(remove), 0);
	text = strdup(err.text ? err.text : "");
	err_finish(&err);
	return text;
}

static void a_holder_is_named(void **state)
{
	static const struct {
		struct entry entry;
		const char *text;
	} cases[] = {
		{ { "none", "" }, "" },
		{ { "proc/9/mountinfo",
			  "30 1 252:1 / /data\\040two rw,relatime shared:1 - xfs /dev/x rw\n" },
			"/dev/ubdb0p1 is mounted at /data two (xfs) for process 9, in a mount "
			"namespace of its own\n" },
		{ { "sys/block/ubdb0/ubdb0p2/holders/md5/x", "" },
			"/dev/ubdb0p2 is used by md5\n" },
		{ { "sys/block/loop3/loop/backing_file", "/dev/ubdb0\n" },
			"/dev/ubdb0 is used by loop3\n" },
		{ { "proc/12/fd/0", "-/dev/ubdb0p1" }, "/dev/ubdb0p1 is open in process 12 ()\n" },
	};
	unsigned i, found;

	(void)state;
	for (i = 0; i < LENGTH_OF(cases); i++) {
		char *text = found_with(&cases[i].entry, 1, &found);

		assert_string_equal(text, cases[i].text);
		assert_int_equal(found, *cases[i].text != '\0');
		free(text);
	}
}

static void all_kinds_are_told_together(void **state)
{
	static const struct entry more[] = {
		{ "sys/block/ubdb0/holders/dm-0/x", "" },
		{ "sys/block/dm-0/dm/name", "vg-root\n" },
		{ "proc/8/fd/0", "-/dev/ubdb0" },
		{ "proc/8/fd/1", "-/dev/ubdb0" },
		{ "proc/8/comm", "fio\n" },
		{ "proc/notes/fd/1", "-/dev/ubdb0" },
	};
	unsigned found;
	char *text = found_with(more, LENGTH_OF(more), &found);

	(void)state;
	assert_string_equal(text, "/dev/ubdb0 is used by dm-0 (device-mapper: vg-root)\n"
				  "/dev/ubdb0 is open in process 8 (fio)\n");
	assert_int_equal(found, 2);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_holder_is_named),
		cmocka_unit_test(all_kinds_are_told_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
