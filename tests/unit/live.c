// SPDX-License-Identifier: MIT
/* A live device over a scene's files, for tests. */
#include "live.h"

#include "child_io.h"
#include "mirror.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <unistd.h>

#define STEPS_MAX 20000 /* of all that a test may do until something is so */

struct engine *live_engine;
struct sub_io *live_pending[LIVE_PENDING_MAX];
unsigned live_pending_count;
int live_results[LIVE_TAGS];
char live_buffers[LIVE_TAGS][LIVE_BYTES];
uint64_t live_now, live_timer;

static void submit(void *context, struct sub_io *sub)
{
	assert_true(live_pending_count < LIVE_PENDING_MAX);
	live_pending[live_pending_count++] = sub;
}

static void commit(void *context, unsigned tag, int result, bool linked)
{
	assert_false(linked);
	assert_int_equal(live_results[tag], LIVE_UNDER_WAY);
	live_results[tag] = result < 0 ? result : 0;
}

static uint64_t now(void *context)
{
	return live_now;
}

static void timer(void *context, uint64_t when)
{
	live_timer = when;
}

static const struct engine_backend backend = {
	.submit = submit,
	.commit = commit,
	.now = now,
	.timer = timer,
};

void live_load(const char *root)
{
	scene_document(root);
	if (!scene_start(scene_plain))
		scene_said("");
	assert_int_equal(tree_load(scene_assembled(), &(struct err){ 0 }), 0);
	scene_assembled()->child_io = CHILD_IO_FULL;
}

void live_begin(void)
{
	struct engine_config config = {
		.tree = scene_assembled(),
		.backend = &backend,
		.depth = LIVE_TAGS,
		.max_io = LIVE_BYTES,
		.fan_out = FAN_OUT_GATHERED,
	};

	live_now = LIVE_BEGUN;
	live_timer = UINT64_MAX;
	assert_int_equal(engine_open(&live_engine, &config, &(struct err){ 0 }), 0);
	engine_begin(live_engine);
}

static void close_engine(void)
{
	engine_close(live_engine);
	live_engine = NULL;
	live_pending_count = 0;
}

void live_killed(void)
{
	close_engine();
	scene_close();
}

static void stop(void)
{
	if (live_engine)
		close_engine();
	assert_int_equal(tree_unload(scene_assembled(), &(struct err){ 0 }), 0);
	scene_stop();
}

void live_stop(void)
{
	if (live_engine) {
		engine_quiesce(live_engine);
		live_end_all();
	}
	stop();
}

void live_leave(void)
{
	unsigned steps;

	engine_suspend(live_engine);
	for (steps = 0; !engine_rests(live_engine) && steps < STEPS_MAX; steps++)
		if (live_pending_count)
			live_end_one(0, 0);
	assert_int_equal(live_pending_count, 0);
	stop();
}

void live_ask(unsigned tag, enum io_kind kind, uint64_t offset, char byte)
{
	struct request request = {
		.kind = kind,
		.offset = offset,
		.length = kind == IO_FLUSH ? 0 : LIVE_BYTES,
		.data.home = kind == IO_WRITE || kind == IO_READ ? DATA_REQUEST : DATA_NONE,
	};

	live_results[tag] = LIVE_UNDER_WAY;
	memset(live_buffers[tag], byte, LIVE_BYTES);
	engine_start(live_engine, tag, &request, live_buffers[tag]);
}

static void move(const struct sub_io *sub)
{
	off_t offset = (off_t)sub->offset;
	unsigned i;

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

static void carry_out(const struct sub_io *sub)
{
	static const char zeroes[LIVE_BYTES];
	uint64_t done, count;

	if (sub->kind == IO_READ || sub->kind == IO_WRITE) {
		move(sub);
	} else if (sub->kind == IO_DISCARD || sub->kind == IO_WRITE_ZEROES) {
		for (done = 0; done < sub->length; done += count) {
			count = sub->length - done < LIVE_BYTES ? sub->length - done : LIVE_BYTES;
			assert_int_equal(pwrite(sub->leaf->fd, zeroes, count, (off_t)(sub->offset + done)), count);
		}
	} else {
		assert_int_equal(sub->kind, IO_FLUSH);
	}
}

void live_end_one(unsigned n, int error)
{
	struct sub_io *sub = live_pending[n];
	bool has_bytes = sub->kind == IO_READ || sub->kind == IO_WRITE;
	int result = has_bytes ? (int)sub->length : 0;

	memmove(&live_pending[n], &live_pending[n + 1],
		(--live_pending_count - n) * sizeof(*live_pending));
	if (error == 0)
		carry_out(sub);
	sub->event.end(&sub->event, error ? error : result);
}

void live_end_all(void)
{
	while (live_pending_count)
		live_end_one(0, 0);
}

void live_tick(void)
{
	assert_true(live_timer != UINT64_MAX);
	if (live_now < live_timer)
		live_now = live_timer;
	live_timer = UINT64_MAX;
	engine_tick(live_engine);
}

void live_step(void)
{
	if (live_pending_count == 0)
		live_tick();
	else
		live_end_one(0, 0);
}

void live_write_all(char byte)
{
	unsigned i;

	for (i = 0; i < LIVE_REGIONS; i++) {
		live_ask(0, IO_WRITE, i * LIVE_BYTES, byte);
		live_end_all();
		assert_int_equal(live_results[0], 0);
	}
}

void live_write_failing(unsigned place, uint64_t offset, char byte)
{
	live_ask(1, IO_WRITE, offset, byte);
	while (live_results[1] == LIVE_UNDER_WAY)
		live_end_one(0, live_pending[0]->leaf->place == place ? -EIO : 0);
	assert_int_equal(live_results[1], 0);
}

char live_byte_of(const char *name, uint64_t offset)
{
	return *scene_read(name, LABEL_FRONT + MIRROR_FRONT + offset);
}

const char *live_states(void)
{
	const struct node *root = scene_assembled()->root;
	const struct mirror *mirror = root->state;
	static char text[LEGS_MAX + 1];
	unsigned i;

	for (i = 0; i < root->child_count; i++)
		text[i] = "ijlrsf"[mirror->legs[i].state];
	text[i] = '\0';
	return text;
}

void live_until(const char *states, int bad)
{
	unsigned steps;

	for (steps = 0; strcmp(live_states(), states); steps++) {
		if (steps == STEPS_MAX)
			fail_msg("legs are %s, never %s", live_states(), states);
		if (live_pending_count == 0)
			live_tick();
		else
			live_end_one(0, (int)live_pending[0]->leaf->place == bad ? -EIO : 0);
	}
}

void live_command(const char *verb, const char *leg)
{
	struct node *root = scene_assembled()->root;
	struct json_object *answer = json_object_new_object();
	struct err err = { 0 };
	struct json *arguments;
	char text[100];

	(void)snprintf(text, sizeof(text), "{\"leg\":\"%s\"}", leg);
	arguments = json_parse("arguments", text, strlen(text), &err);
	if (root->type->command(root, verb, arguments, answer, &err) < 0)
		fail_msg("%s", err.text);
	engine_wake(live_engine, root);
	json_destroy(arguments);
	json_object_put(answer);
}

int live_write(uint64_t offset, char byte)
{
	char bytes[LIVE_BYTES];

	memset(bytes, byte, LIVE_BYTES);
	return child_write(scene_assembled()->root, offset, bytes, LIVE_BYTES);
}

char live_byte_at(uint64_t offset)
{
	char bytes[LIVE_BYTES];
	unsigned i;

	assert_int_equal(child_read(scene_assembled()->root, offset, bytes, LIVE_BYTES), 0);
	for (i = 1; i < LIVE_BYTES; i++)
		assert_int_equal(bytes[i], bytes[0]);
	return bytes[0];
}
