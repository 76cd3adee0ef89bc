// SPDX-License-Identifier: MIT
/*
 * thin over a file whose sub-I/Os end when the test says so, fail, or never end: the daemon is
 * killed there, and the next start must find what was acknowledged, and nobody else's bytes.
 *
 * What is freed is not punched here ("discard": "ignore"), so that it is reserve at once, and the
 * lowest cluster of a reserve is the first to be taken.
 */
#include "scene.h"

#include "child_io.h"
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLUSTER 4096u
#define DEVICE (4u << 20)
#define TABLE_SPAN (2u << 20) /* what one L2 table maps */
#define TAGS 4
#define PENDING_MAX 256
#define UNDER_WAY 1 /* no result of a request */

static struct engine *engine;
static struct sub_io *pending[PENDING_MAX];
static unsigned pending_count;
static int results[TAGS];
static char buffers[TAGS][CLUSTER];

static void submit(void *context, struct sub_io *sub)
{
	assert_true(pending_count < PENDING_MAX);
	pending[pending_count++] = sub;
}

static void commit(void *context, unsigned tag, int result, bool linked)
{
	assert_false(linked);
	assert_int_equal(results[tag], UNDER_WAY);
	results[tag] = result < 0 ? result : 0;
}

static const struct engine_backend backend = { .submit = submit, .commit = commit };

static void load(void)
{
	scene_document("{'id':'t','type':'thin','size':'4MiB','cluster_size':4096,'discard':'ignore',"
		       "'data':{'id':'f','type':'file','path':'x','direct':false,'label':false}}");
	assert_true(scene_start(scene_plain));
	assert_int_equal(tree_load(scene_assembled(), &(struct err){ 0 }), 0);
	scene_assembled()->child_io = CHILD_IO_FULL;
}

/* From here on requests end by end_one() alone. */
static void go_live(void)
{
	struct engine_config config = {
		.tree = scene_assembled(),
		.backend = &backend,
		.depth = TAGS,
		.max_io = CLUSTER,
		.fan_out = FAN_OUT_GATHERED,
	};

	assert_int_equal(engine_open(&engine, &config, &(struct err){ 0 }), 0);
}

static void killed(void)
{
	engine_close(engine);
	pending_count = 0;
	scene_close();
}

static void stop(void)
{
	assert_int_equal(tree_unload(scene_assembled(), &(struct err){ 0 }), 0);
	scene_stop();
}

static void ask(unsigned tag, enum io_kind kind, uint64_t offset, char byte)
{
	struct request request = {
		.kind = kind,
		.offset = offset,
		.length = kind == IO_FLUSH ? 0 : CLUSTER,
		.data.home = kind == IO_WRITE ? DATA_REQUEST : DATA_NONE,
	};

	results[tag] = UNDER_WAY;
	memset(buffers[tag], byte, CLUSTER);
	engine_start(engine, tag, &request, buffers[tag]);
}

static void carry_out(const struct sub_io *sub)
{
	off_t offset = (off_t)sub->offset;
	unsigned i;

	assert_true(sub->kind == IO_READ || sub->kind == IO_WRITE || sub->kind == IO_FLUSH);
	for (i = 0; i < sub->vector_count; i++) {
		const struct iovec *piece = &sub->vectors[i];

		if (sub->kind == IO_READ)
			memset(piece->iov_base, 0, piece->iov_len); /* behind the file's end */
		assert_true((sub->kind == IO_READ
				? pread(sub->leaf->fd, piece->iov_base, piece->iov_len, offset)
				: pwrite(sub->leaf->fd, piece->iov_base, piece->iov_len, offset)) >= 0);
		offset += (off_t)piece->iov_len;
	}
}

/* The nth of what is pending: it is done, or with an error it is not. */
static void end_one(unsigned n, int error)
{
	struct sub_io *sub = pending[n];
	int result = sub->kind == IO_FLUSH ? 0 : (int)sub->length;

	memmove(&pending[n], &pending[n + 1], (--pending_count - n) * sizeof(*pending));
	if (error == 0)
		carry_out(sub);
	sub->event.end(&sub->event, error ? error : result);
}

static void end_all(void)
{
	while (pending_count)
		end_one(0, 0);
}

static void write_before(uint64_t offset, char byte)
{
	char bytes[CLUSTER];

	memset(bytes, byte, CLUSTER);
	assert_int_equal(child_write(scene_assembled()->root, offset, bytes, CLUSTER), 0);
}

/* The byte of which the whole cluster consists. */
static char byte_at(uint64_t offset)
{
	char bytes[CLUSTER];
	unsigned i;

	assert_int_equal(child_read(scene_assembled()->root, offset, bytes, CLUSTER), 0);
	for (i = 1; i < CLUSTER; i++)
		assert_int_equal(bytes[i], bytes[0]);
	return bytes[0];
}

/*
 * The entry's end is on its way to the disk when somebody flushes: the flush proves nothing of it,
 * and what it named is not free.
 */
static void a_cluster_is_named_until_its_entrys_end_is_flushed(void **state)
{
	load();
	write_before(0, 'a');
	go_live();
	ask(0, IO_WRITE_ZEROES, 0, 0);
	assert_int_equal(pending_count, 1); /* the entries' page */
	ask(1, IO_FLUSH, 0, 0);
	assert_int_equal(pending[1]->kind, IO_FLUSH);
	end_one(1, 0);
	assert_int_equal(results[1], 0);
	ask(2, IO_WRITE, TABLE_SPAN / 2, 'b');
	assert_int_equal(pending[1]->kind, IO_WRITE);
	end_one(1, 0);
	assert_int_equal(results[0], UNDER_WAY);
	killed();
	load();
	assert_int_equal(byte_at(0), 'a');
	assert_int_equal(byte_at(TABLE_SPAN / 2), 0);
	stop();
}

/* The entries could not be written, and are not on the disk: memory must not keep them. */
static void an_entry_that_was_not_written_is_written_by_the_next_write(void **state)
{
	load();
	write_before(CLUSTER, 'a'); /* the table is there */
	go_live();
	ask(0, IO_WRITE, 0, 'b');
	end_one(0, 0); /* bytes */
	assert_int_equal(pending[0]->kind, IO_FLUSH);
	end_one(0, 0);
	assert_int_equal(pending[0]->kind, IO_WRITE);
	end_one(0, -EIO); /* entries */
	end_all();
	assert_int_equal(results[0], -EIO);
	ask(0, IO_WRITE, 0, 'c');
	end_all();
	assert_int_equal(results[0], 0);
	killed();
	load();
	assert_int_equal(byte_at(0), 'c');
	assert_int_equal(byte_at(CLUSTER), 'a');
	stop();
}

/* Whatever sub-I/O is the last: a new table, where another's bytes were, says nothing of its own. */
static void a_new_table_shows_nothing_of_its_clusters_past(void **state)
{
	unsigned last, done = 0;
	int result = UNDER_WAY;

	for (last = 0; result == UNDER_WAY; last++) {
		scene_file("x", 0);
		load();
		write_before(0, 'a');
		assert_int_equal(child_zero(scene_assembled()->root, 0, CLUSTER), 0);
		assert_int_equal(child_flush(scene_assembled()->root), 0); /* its cluster is reserve */
		go_live();
		ask(0, IO_WRITE, TABLE_SPAN, 'b');
		for (done = 0; done < last && pending_count; done++)
			end_one(0, 0);
		result = results[0];
		killed();
		load();
		assert_int_equal(byte_at(0), 0);
		assert_int_equal(byte_at(TABLE_SPAN + CLUSTER), 0);
		assert_true(byte_at(TABLE_SPAN) == 'b' || (result && byte_at(TABLE_SPAN) == 0));
		stop();
	}
	assert_int_equal(result, 0);
	assert_true(done >= 6); /* the table, a flush, the L1, bytes, a flush, entries */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_cluster_is_named_until_its_entrys_end_is_flushed),
		TEST(an_entry_that_was_not_written_is_written_by_the_next_write),
		TEST(a_new_table_shows_nothing_of_its_clusters_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
