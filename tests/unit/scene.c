// SPDX-License-Identifier: MIT
/* A directory with leaves and a document, for tests. */
#include "scene.h"

#include "crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FILES 16
#define PATHS 8

static char directory[64];
static struct tree *tree;
static struct err messages, notes;

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *walk)
{
	return remove(path);
}

int scene_setup(void **state)
{
	snprintf(directory, sizeof(directory), "/tmp/ubd-test-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

int scene_teardown(void **state)
{
	scene_close();
	err_finish(&messages);
	err_finish(&notes);
	return nftw(directory, remove_one, OPEN_FILES, FTW_DEPTH | FTW_PHYS);
}

const char *scene_path(const char *name)
{
	static char paths[PATHS][PATH_MAX];
	static unsigned turn;
	char *path = paths[turn++ % PATHS];

	snprintf(path, PATH_MAX, "%s/%s", directory, name);
	return path;
}

static int file_open(const char *name, int flags)
{
	int fd = open(scene_path(name), flags | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

void scene_file(const char *name, uint64_t bytes)
{
	int fd = file_open(name, O_RDWR | O_CREAT | O_TRUNC);

	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

void scene_copy(const char *from, const char *to)
{
	int source = file_open(from, O_RDONLY), target = file_open(to, O_RDWR | O_CREAT | O_TRUNC);
	struct stat found;
	off_t left;

	assert_int_equal(fstat(source, &found), 0);
	for (left = found.st_size; left > 0;) {
		ssize_t done = copy_file_range(source, NULL, target, NULL, (size_t)left, 0);

		assert_true(done > 0);
		left -= done;
	}
	close(source);
	close(target);
}

void scene_rename(const char *from, const char *to)
{
	assert_int_equal(rename(scene_path(from), scene_path(to)), 0);
}

void scene_remove(const char *name)
{
	assert_int_equal(unlink(scene_path(name)), 0);
}

bool scene_has(const char *name)
{
	return access(scene_path(name), F_OK) == 0;
}

void scene_write(const char *name, uint64_t offset, const char *text)
{
	int fd = file_open(name, O_RDWR);

	assert_int_equal(lseek(fd, (off_t)offset, SEEK_SET), offset);
	assert_int_equal(
		write(fd, text, strlen(text)), strlen(text)); /* pwrite() fails on demand */
	close(fd);
}

const char *scene_read(const char *name, uint64_t offset)
{
	static char text[64];
	int fd = file_open(name, O_RDONLY);

	assert_true(pread(fd, text, sizeof(text) - 1, (off_t)offset) > 0);
	close(fd);
	return text;
}

uint64_t scene_sum(const char *names)
{
	static char block[1 << 20];
	char *list = strdup(names), *rest = list, *name;
	uint64_t sum = 0;
	ssize_t got;

	while ((name = strsep(&rest, " "))) {
		int fd = file_open(name, O_RDONLY);

		while ((got = read(fd, block, sizeof(block))) > 0)
			sum = sum * 1000003 + crc32c(block, (size_t)got) + (uint64_t)got;
		close(fd);
	}
	free(list);
	return sum;
}

void scene_document(const char *root)
{
	char *text = fixture_document("", root);
	FILE *file = fopen(scene_path("tree.json"), "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	free(text);
}

void scene_tree(const char *type, const char *names)
{
	char *list = strdup(names), *rest = list, *name, *root = NULL;
	size_t length;
	FILE *out = open_memstream(&root, &length);
	unsigned i = 0;

	fprintf(out, "{'id':'r','type':%s,'children':[", type);
	while ((name = strsep(&rest, " "))) {
		fprintf(out,
			"%s{'id':'d%u','type':'file','path':'%s','size':'2MiB','direct':false}",
			i ? "," : "", i, name);
		i++;
	}
	fprintf(out, "]}");
	fclose(out);
	scene_document(root);
	free(root);
	free(list);
}

struct assemble_options scene_prefer(const char *leaf)
{
	static const char *leaves[1];

	leaves[0] = leaf;
	return (struct assemble_options){ .degraded = true, .prefer = leaves, .prefer_count = 1 };
}

bool scene_open(enum leaf_access access)
{
	scene_close();
	err_finish(&messages);
	err_finish(&notes);
	tree = tree_read(scene_path("tree.json"), &messages);
	if (tree && leaves_open(tree, access, &messages) == 0)
		return true;
	scene_close();
	return false;
}

bool scene_assemble(struct assemble_options options)
{
	enum leaf_access access = options.dry ? LEAF_PROBE : LEAF_SERVE;

	if (options.degraded)
		access = options.dry ? LEAF_PROBE_DEGRADED : LEAF_SERVE_DEGRADED;
	if (!scene_open(access))
		return false;
	if (assemble(tree, &options, &messages, &notes) == 0 && tree_open(tree, &messages) == 0) {
		assert_int_equal(messages.count, 0);
		return true;
	}
	leaves_close(tree, true);
	scene_close();
	return false;
}

struct tree *scene_assembled(void)
{
	return tree;
}

bool scene_start(struct assemble_options options)
{
	if (!scene_assemble(options))
		return false;
	if (assemble_start(tree, &messages, &notes) == 0)
		return true;
	scene_close();
	return false;
}

void scene_stop(void)
{
	assert_int_equal(assemble_stop(tree, &messages), 0);
	scene_close();
}

void scene_close(void)
{
	tree_destroy(tree);
	tree = NULL;
}

void scene_run(void)
{
	if (!scene_start((struct assemble_options){ 0 }))
		fail_msg("%s", messages.text);
	scene_stop();
}

void scene_two_legs(const char *type)
{
	scene_tree(type, "a b");
	scene_run();
	scene_write("a", SCENE_DATA, "of a");
	scene_write("b", SCENE_DATA, "of b");
}

void scene_diverge(void)
{
	scene_two_legs("'mirror'");
	scene_rename("b", "b-away");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("a", "a-away");
	scene_rename("b-away", "b");
	assert_true(scene_start(scene_degraded));
	scene_stop();
	scene_rename("a-away", "a");
}

/* "2026-11-22T19:58:48Z" at `text`? */
static bool is_time(const char *text)
{
	static const char form[] = "0000-00-00T00:00:00Z";
	size_t i;

	for (i = 0; form[i]; i++)
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return false;
	return true;
}

/* The text without the directory, and with TIME for every time. */
static char *shortened(const struct err *err)
{
	const char *from = err->text ? err->text : "";
	char *text = calloc(1, strlen(from) + 1), *to = text;

	while (*from)
		if (!strncmp(from, directory, strlen(directory))) {
			from += strlen(directory) + 1;
		} else if (is_time(from)) {
			to = stpcpy(to, "TIME");
			from += strlen("0000-00-00T00:00:00Z");
		} else {
			*to++ = *from++;
		}
	return text;
}

void scene_said(const char *expected)
{
	char *text = shortened(&messages);

	assert_string_equal(text, expected);
	free(text);
}

bool scene_has_said(const char *part)
{
	return messages.text && strstr(messages.text, part);
}

void scene_noted(const char *expected)
{
	char *text = shortened(&notes);

	assert_string_equal(text, expected);
	free(text);
}

void scene_label(const char *name, struct label *label)
{
	int fd = file_open(name, O_RDONLY);
	char why[256];
	struct stat found;

	assert_int_equal(fstat(fd, &found), 0);
	assert_int_equal(
		label_read(fd, (uint64_t)found.st_size, label, why, sizeof(why)), LABEL_FOUND);
	close(fd);
}

enum label_peer_state scene_says(const char *name, unsigned of)
{
	struct label label;
	enum label_peer_state state;

	scene_label(name, &label);
	state = label.peers[of].state;
	label_finish(&label);
	return state;
}

void scene_relabel(const char *name, struct label *label)
{
	int fd = file_open(name, O_RDWR);

	assert_int_equal(label_update_texts(fd, label), 0);
	assert_int_equal(label_update_texts(fd, label), 0);
	close(fd);
}
