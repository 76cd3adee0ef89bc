// SPDX-License-Identifier: MIT
/*
 * Power cuts while a label is written: of what was not flushed, any subset of sectors may be there.
 * Every write is caught, and each flush is an epoch; then, from the leaf as it was before, all that
 * earlier epochs wrote and a random part of one epoch's sectors make a leaf that must be readable.
 */
#include "scene.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR 512
#define WRITES_MAX 64
#define CUTS 100
#define SEED 20261122

struct caught {
	unsigned epoch;
	size_t length;
	off_t offset;
	char *bytes;
};

static struct caught writes[WRITES_MAX];
static unsigned write_count, epoch, random_state = SEED;
static bool catching;

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (!catching)
		return syscall(SYS_pwrite64, fd, bytes, length, offset);
	assert_true(write_count < WRITES_MAX);
	writes[write_count] = (struct caught){ epoch, length, offset, malloc(length) };
	memcpy(writes[write_count++].bytes, bytes, length);
	return (ssize_t)length;
}

int fdatasync(int fd)
{
	epoch++;
	return 0;
}

static unsigned random_next(void)
{
	random_state = random_state * 1103515245 + 12345;
	return random_state >> 16;
}

static void catch_begin(void)
{
	write_count = epoch = 0;
	catching = true;
}

static void catch_end(void)
{
	catching = false;
}

static void forget(void)
{
	while (write_count)
		free(writes[--write_count].bytes);
}

/* Writes one caught write's sectors, each with a chance of `share` in 8. */
static void apply(int fd, const struct caught *caught, unsigned share)
{
	size_t at;

	for (at = 0; at < caught->length; at += SECTOR)
		if (random_next() % 8 < share)
			assert_int_equal(
				pwrite(fd, caught->bytes + at, SECTOR, caught->offset + (off_t)at),
				SECTOR);
}

/* The leaf as a power cut in this epoch could leave it. */
static void cut(int fd, unsigned last)
{
	unsigned i, share = random_next() % 9;

	for (i = 0; i < write_count; i++)
		if (writes[i].epoch < last)
			apply(fd, &writes[i], 8);
		else if (writes[i].epoch == last)
			apply(fd, &writes[i], share);
}

static int leaf_make(void)
{
	char path[] = "/tmp/ubd-test-label-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, (off_t)SCENE_LEAF_BYTES), 0);
	return fd;
}

/* Puts the heads and texts back as they were. */
static void restore(int fd, const char *image)
{
	unsigned copy;

	for (copy = 0; copy < LABEL_COPIES; copy++)
		assert_int_equal(pwrite(fd, image + copy * LABEL_COPY_STRIDE, 1 << 17,
					 (off_t)(copy * LABEL_COPY_STRIDE)),
			1 << 17);
}

static char *snapshot(int fd)
{
	char *image = malloc(LABEL_COPIES * LABEL_COPY_STRIDE);

	assert_int_equal(pread(fd, image, LABEL_COPIES * LABEL_COPY_STRIDE, 0),
		LABEL_COPIES * LABEL_COPY_STRIDE);
	return image;
}

static struct label sample(void)
{
	struct label label = {
		.place = 5,
		.leaf_count = 600, /* peers of several blocks */
		.data_offset = LABEL_FRONT,
		.data_length = SCENE_MIB,
		.generation = 2,
		.flags = LABEL_FORMATTING,
		.peers = calloc(600, sizeof(struct label_peer)),
		.document = malloc(10001),
		.geometry = strdup("stripe"),
	};

	memset(label.document, 'a', 10000);
	label.document[10000] = '\0';
	memset(label.tree_uuid, 1, sizeof(uuid_t));
	memset(label.leaf_uuid, 2, sizeof(uuid_t));
	return label;
}

static enum label_found read_back(int fd, struct label *label)
{
	char why[256];

	return label_read(fd, SCENE_LEAF_BYTES, label, why, sizeof(why));
}

static void a_format_leaves_no_label_or_one_that_says_so(void **state)
{
	struct label label = sample(), read;
	unsigned i, last, labels = 0;
	int fd = leaf_make();
	char *image;

	for (i = 0; i < SCENE_LEAF_BYTES / 4 / SECTOR; i += 3) /* what a disk was full of before */
		assert_int_equal(pwrite(fd, &i, sizeof(i), (off_t)i * SECTOR), sizeof(i));
	image = snapshot(fd);
	catch_begin();
	assert_int_equal(label_format(fd, &label), 0);
	catch_end();
	assert_int_equal(epoch, 4);
	for (last = 0; last <= epoch; last++)
		for (i = 0; i < CUTS; i++) {
			enum label_found found;

			restore(fd, image);
			cut(fd, last);
			found = read_back(fd, &read);
			assert_true(found == LABEL_NONE || found == LABEL_FOUND);
			assert_true(found == LABEL_NONE || read.flags == LABEL_FORMATTING);
			assert_true(last < epoch || found == LABEL_FOUND);
			labels += found == LABEL_FOUND;
			label_finish(&read);
		}
	assert_true(labels > CUTS);
	forget();
	label_finish(&label);
	free(image);
	close(fd);
}

/* A start that broke off has torn copy 0: it is gone before the other one, which says so. */
static void a_format_over_a_torn_copy_leaves_none_that_is_damaged(void **state)
{
	struct label label = sample(), read;
	int fd = leaf_make();
	char wrong = 'x', *image;
	unsigned i, last;

	assert_int_equal(label_format(fd, &label), 0);
	assert_int_equal(pwrite(fd, &wrong, 1, LABEL_BLOCK), 1); /* a peer */
	image = snapshot(fd);
	catch_begin();
	assert_int_equal(label_format(fd, &label), 0);
	catch_end();
	for (last = 0; last <= epoch; last++)
		for (i = 0; i < CUTS; i++) {
			enum label_found found;

			restore(fd, image);
			cut(fd, last);
			found = read_back(fd, &read);
			assert_true(found == LABEL_NONE || found == LABEL_FOUND);
			label_finish(&read);
		}
	forget();
	label_finish(&label);
	free(image);
	close(fd);
}

/* Cuts a series of updates, made by `change`, everywhere: what is read is a state that there was.
 */
static void cut_updates(int (*change)(int fd, struct label *label, unsigned round), unsigned rounds)
{
	struct label label = sample(), read;
	unsigned round, last, i;
	int fd = leaf_make();
	char *image;

	assert_int_equal(label_format(fd, &label), 0);
	image = snapshot(fd);
	catch_begin();
	for (round = 0; round < rounds; round++)
		assert_int_equal(change(fd, &label, round), 0);
	catch_end();
	assert_int_equal(epoch, rounds);
	for (last = 0; last <= epoch; last++)
		for (i = 0; i < CUTS; i++) {
			restore(fd, image);
			cut(fd, last);
			assert_int_equal(read_back(fd, &read), LABEL_FOUND);
			/* The round's update is there, or the state before it: never less. */
			assert_true(read.generation == 2 + last || read.generation == 3 + last);
			assert_int_equal(read.peers[599].generation,
				read.generation == 2 ? 0 : read.generation);
			assert_int_equal(read.peers[0].generation, read.peers[599].generation);
			label_finish(&read);
		}
	forget();
	label_finish(&label);
	free(image);
	close(fd);
}

static void mark(struct label *label)
{
	label->peers[0].generation = label->peers[599].generation = label->generation + 1;
}

static int update(int fd, struct label *label, unsigned round)
{
	mark(label);
	return label_update(fd, label);
}

static int update_texts(int fd, struct label *label, unsigned round)
{
	mark(label);
	memset(label->document, 'b', 9999);
	return label_update_texts(fd, label);
}

static void an_update_is_there_or_not(void **state)
{
	cut_updates(update, 4);
}

static void texts_are_replaced_or_not(void **state)
{
	cut_updates(update_texts, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_format_leaves_no_label_or_one_that_says_so),
		cmocka_unit_test(a_format_over_a_torn_copy_leaves_none_that_is_damaged),
		cmocka_unit_test(an_update_is_there_or_not),
		cmocka_unit_test(texts_are_replaced_or_not),
	};

	return cmocka_run_group_tests_name("label crash", tests, NULL, NULL);
}
